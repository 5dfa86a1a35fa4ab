"""Builds a corpus into ArrayRecord shards with TFDS and without TensorFlow.

A corpus lists its clips and reads one of them. This module and `shards` do everything else: worker
processes, skipped clips, splits, side files, and cleaning up after a kill.

TFDS' own writer shuffles through TensorFlow as soon as a split exceeds 1 GB. Here the workers
*read* the clips in the order of the hashes of their keys. So nothing is shuffled on disk, memory
stays bounded, and the order is always the same.
"""

import contextlib
import dataclasses
import importlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import dataset_builder

from jaxvq.datasets import beam_build, compact, layout, recipes, schema, shards, splits
from jaxvq.datasets.recipes import Options
from jaxvq.pose.skeleton import Skeleton
from jaxvq.storage import atomic, reading, remote


@dataclasses.dataclass(eq=False)
class ClipConfig(tfds.core.BuilderConfig):
    """fps: the frame rate to resample all clips to; None keeps the frame rate of each clip.
    skeleton: a name or the path of a JSON file, for a corpus with several skeletons."""

    fps: float | None = None
    skeleton: str | None = None


class CorpusBuilder(dataset_builder.FileReaderBuilder, skip_registration=True):
    """A TFDS builder of clips. A corpus adds its configs and three methods.

    Only building needs `options`. listed: a builder with the same options, whose findings in the
    input are reused. single_frames: the frames of a record are unrelated to each other. float32:
    numbers are stored exactly. unused: options that would only change the name of the dataset.
    no_fps: why clips cannot be resampled, if so.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    skeleton: Skeleton
    homepage: str
    single_frames = False
    float32 = False
    unused = ("augmented", "splits_dir")
    no_fps = ""

    def __init_subclass__(cls, **kwargs):
        if "name" not in cls.__dict__:  # TFDS expects a package to name it
            cls.name = cls.__module__.rpartition(".")[2].removesuffix("_dataset_builder")
        super().__init_subclass__(**kwargs)

    def __init__(
        self, *, options: Options | None = None, listed: "CorpusBuilder | None" = None, **kwargs
    ):
        self.options, self._arguments = options, kwargs
        self._found = {} if listed is None else listed._found
        super().__init__(file_format="array_record", **kwargs)

    def again(self) -> "CorpusBuilder":
        """The same builder, for a folder that has changed since this one was made."""
        return type(self)(options=self.options, listed=self, **self._arguments)

    @classmethod
    def make_config(cls, fps: float | None, skeleton: str | None = None) -> ClipConfig:
        """The config of a skeleton, by default the first, and a frame rate."""
        default = cls.find_config(skeleton)
        if fps is None:
            return default
        if cls.no_fps:
            raise ValueError(f"--fps {fps:g}: {cls.no_fps}")
        if not 0 < fps < float("inf"):
            raise ValueError(f"--fps {fps:g}: frames per second must be positive")
        description = f"All clips resampled to {fps:g} frames per second."
        name = f"{default.name}_fps_{fps:g}"
        return dataclasses.replace(default, name=name, description=description, fps=fps)

    @classmethod
    def find_config(cls, skeleton: str | None) -> ClipConfig:
        """The config of a skeleton, by default the first. ValueError lists the choices."""
        configs = {config.name: config for config in cls.BUILDER_CONFIGS}
        if skeleton and skeleton not in configs:
            raise ValueError(f"--skeleton {skeleton}: there are: {', '.join(configs)}")
        return configs[skeleton or cls.BUILDER_CONFIGS[0].name]

    def list_clips(self) -> list:
        """Picklable objects, each with a unique `key`, a relative POSIX path."""
        raise NotImplementedError

    @property
    def clips(self) -> list:
        """list_clips(), called once per build."""
        return self.find("clips", self.list_clips)

    def find(self, name: str, function: Callable[[], object]):
        """function(), called once per build."""
        if name not in self._found:
            self._found[name] = function()
        return self._found[name]

    def list_inputs(self) -> Iterable:
        """The files that a build depends on, with key, path and member; by default the clips."""
        return self.clips

    def assign_splits(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """Split -> keys in the order of the records; by default by --split_file or md5."""
        return splits.assign_splits(keys, self.options.split_file)

    def make_reader(self, clips: list) -> Callable[..., dict]:
        """A picklable function from a listed object to an example of `schema.features`.

        The example's `data` may be float32, for exact statistics. Raises shards.SkippedClip.
        """
        raise NotImplementedError

    def more_features(self) -> dict:
        """What records hold besides `schema.features`."""
        return {}

    def _info(self) -> tfds.core.DatasetInfo:
        exact = self.float32 or (self.options is not None and self.options.exact)
        # Half precision is a millimetre at the height of a head, and motion capture is finer.
        whole = exact or self.skeleton.is_motion
        features = schema.features(self.skeleton, np.float32 if whole else np.float16)
        features = tfds.features.FeaturesDict({**features, **self.more_features()})
        return self.dataset_info_from_configs(features=features, homepage=self.homepage)

    def dataset_info_from_configs(self, *, features, **kwargs) -> tfds.core.DatasetInfo:
        """TFDS' method, with packed features for a compact dataset."""
        if self._is_compact():
            features = compact.compact(features)
        return super().dataset_info_from_configs(features=features, **kwargs)

    def _is_compact(self) -> bool:
        if self.options is not None:
            return self.options.compact
        folder = Path(self.data_path)
        return folder.exists() and layout.read(folder).packed

    def _log_download_bytes(self) -> None:
        """Silent: TFDS would announce a download."""

    _log_download_done = _log_download_bytes

    @property
    def recipe(self) -> dict:
        """make_recipe(), called once per build: of its start, for the next build to compare."""
        return self.find("recipe", self.make_recipe)

    def make_recipe(self) -> dict:
        """`recipes.make_recipe` of the present input, listed once per build."""
        for name in self.unused:
            if value := getattr(self.options, name):
                raise ValueError(f"--{name} {value}: {self.name} has no use for it")
        inputs = self.find("inputs", lambda: list(self.list_inputs()))
        return recipes.make_recipe(inputs, self.options)

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        if self.options is None:
            raise ValueError(f"{self.name}: give the builder `options` that name the input")
        recipe = self.recipe
        clips = {clip.key: clip for clip in self.clips}
        assigned = {
            split: [clips[key] for key in keys] for split, keys in self.assign_splits(clips).items()
        }
        hands = [self.skeleton.parts.get(name) for name in ("left_hand", "right_hand")]
        hands = tuple(hand for hand in hands if hand is not None)
        encode = shards.Encoder(self.make_reader(self.clips), self.info.features, hands)
        templates = {split: self._get_filename_template(split) for split in assigned}
        folder = Path(self.data_path)
        with shards.Build(
            encode,
            assigned,
            num_shards=self.options.num_shards,
            max_skipped=self.options.max_skipped,
        ) as build:
            if self.options.beam_pipeline_options is None:
                build.write_shards(templates, self.options.workers)
            else:
                beam_build.write_shards(build, templates, self.options.beam_pipeline_options)
            build.check_skipped(finished=True)
        build.write_side_files(folder, self.skeleton)
        dtype = np.dtype(self.info.features["data"].np_dtype).name
        data = layout.FIXED_POINT if self.options.compact else dtype
        fps = self.builder_config.fps or 0.0
        layout.write(folder, layout.Layout(data, fps, self.single_frames))
        counters = build.counters() | {"recipe": recipe, "input_changed": self._changed(recipe)}
        (folder / "counters.json").write_text(json.dumps(counters))
        infos = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=lengths,
                num_bytes=build.num_bytes[split],
                filename_template=templates[split],
            )
            for split, lengths in build.shard_lengths.items()
            if lengths  # TFDS has no empty splits
        ]
        self.info.set_splits(tfds.core.SplitDict(infos))

    def _changed(self, recipe: dict) -> bool:
        """Whether a file of the input changed or vanished. The next build finds new files."""
        try:
            return self.make_recipe() != recipe
        except (ValueError, OSError, KeyError, zipfile.BadZipFile):
            return True


def find_builder(corpus: str) -> type[CorpusBuilder]:
    """The Builder of jaxvq/datasets/<corpus>, or of any module, such as "mypackage.my_corpus"."""
    files = Path(__file__).parent.glob("*/*_dataset_builder.py")
    corpora = sorted(file.parent.name for file in files)
    if corpus in corpora:
        corpus = f"jaxvq.datasets.{corpus}.{corpus}_dataset_builder"
    try:
        module = importlib.import_module(corpus)
    except ModuleNotFoundError as error:
        if error.name and f"{corpus}.".startswith(f"{error.name}."):
            known = ", ".join(corpora)
            raise ValueError(
                f"no corpus {corpus!r}; there are: {known}, or name a module"
            ) from None
        raise ValueError(f"{corpus} cannot be imported: {error}") from error
    builder = getattr(module, "Builder", None)
    if not (isinstance(builder, type) and issubclass(builder, CorpusBuilder)):
        raise ValueError(f"{module.__file__} has no class Builder(building.CorpusBuilder)")
    # TFDS looks for README.md, CITATIONS.bib and TAGS.txt there, and expects a package.
    builder.pkg_dir_path = epath.Path(module.__file__).parent
    return builder


def build(
    corpus: str,
    data_dir: str | Path,
    options: Options,
    *,
    fps: float | None = None,
    skeleton: str | None = None,
    overwrite: bool = False,
    skipped_list: Path | None = None,
) -> tuple[Path | str, bool]:
    """Builds `corpus` under data_dir; returns its folder, and whether it had to be built.

    A complete dataset of the same options and input is left alone. The next build removes what a
    killed build left behind. If data_dir is an address such as gs://bucket/folder, the dataset is
    built on the local disk ($TMPDIR) and copied when it is complete.

    A build that skips too many clips leaves their list at skipped_list, by default in the folder of
    the config. Raises ValueError for too many skipped clips, while another build is running, and if
    another dataset is in the way.
    """
    if not remote.is_remote(data_dir):
        builder = make_builder(corpus, data_dir, options, fps, skeleton)
        return Path(builder.data_path), run(builder, overwrite, skipped_list)
    with tempfile.TemporaryDirectory(prefix="jaxvq_build_") as staging:
        builder = make_builder(corpus, staging, options, fps, skeleton)
        folder = Path(builder.data_path)
        url = f"{str(data_dir).rstrip('/')}/{folder.relative_to(staging).as_posix()}"
        filesystem, root = remote.open_filesystem(url)
        if filesystem.exists(f"{root}/{remote.LAST}") and not overwrite:
            # `run` compares its recipe.
            remote.download(url, folder, ["counters.json"])
        skipped_list = skipped_list or Path(f"{corpus}_skipped.jsonl").absolute()
        built = run(builder, overwrite, skipped_list)
        if built:
            remote.upload(folder, url)
    return url, built


def make_builder(
    corpus: str,
    data_dir: str | Path,
    options: Options,
    fps: float | None = None,
    skeleton: str | None = None,
) -> CorpusBuilder:
    """The builder of a dataset. It has listed the input, and written nothing."""
    builder_class = find_builder(corpus)
    config = builder_class.make_config(fps, skeleton)
    name = recipes.full_name(config.name, options)
    if name != config.name:  # TFDS compares configs of the same name by identity
        config = dataclasses.replace(config, name=name)
    builder = builder_class(options=options, data_dir=str(data_dir), config=config)
    _ = builder.recipe
    return builder


def run(builder: CorpusBuilder, overwrite: bool = False, skipped_list: Path | None = None) -> bool:
    """Builds a dataset, unless it exists; returns whether it was built. See `build`."""
    folder = Path(builder.data_path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    skipped_list = skipped_list or folder.parent / "skipped.jsonl"
    with atomic.locked(folder.parent, "build"):
        _clean(folder)
        if folder.exists() and not overwrite:
            _check_same(folder, builder.recipe)
            return False
        with _replacing(folder), _listing_skipped(skipped_list):
            downloads = folder.parent / "incomplete.downloads"  # TFDS always makes this folder
            builder.again().download_and_prepare(download_dir=downloads)
    return True


def _replaced(folder: Path) -> Path:
    return folder.parent / f"incomplete.replaced_{folder.name}"


def _clean(folder: Path) -> None:
    """Removes what a killed build left, and restores a dataset that it was about to replace."""
    if _replaced(folder).exists() and not folder.exists():
        _replaced(folder).rename(folder)
    # TFDS gives the prefix "incomplete." to everything unfinished.
    for leftover in (*folder.parent.glob("incomplete.*"), *folder.parent.glob("../.config/incom*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[None]:
    """Moves an earlier dataset aside, and back if the new one fails."""
    if folder.exists():
        folder.rename(_replaced(folder))
    try:
        yield
    finally:
        _clean(folder)  # removes the earlier dataset, or restores it


@contextlib.contextmanager
def _listing_skipped(path: Path) -> Iterator[None]:
    """Writes the list of skipped clips to `path` if a build fails for them."""
    path.unlink(missing_ok=True)
    try:
        yield
    except shards.TooManySkipped as error:
        shards.write_skipped(path, error.skipped)
        first = "\n".join(f"  {clip.reason}: {clip.message}" for clip in error.skipped[:5])
        more = f"\n  … and {len(error.skipped) - 5} more" if len(error.skipped) > 5 else ""
        raise ValueError(f"{error}. They are listed in {path}:\n{first}{more}") from error


def _check_same(folder: Path, recipe: dict) -> None:
    counters = folder / "counters.json"
    if not counters.exists():
        raise ValueError(f"{folder}: in the way, and not built by jaxvq build; remove it")
    before = reading.read_json(counters)["recipe"]
    changed = [name for name in recipe if recipe[name] != before.get(name)]
    if changed:
        what = {
            "input": f"the input ({before.get('files')} files then, {recipe['files']} now)",
            "num_shards": f"--num_shards ({before.get('num_shards')} then, "
            f"{recipe['num_shards']} now; None lets the size decide)",
        }
        listed = ", ".join(what.get(n, f"--{n}") for n in changed if n != "files")
        raise ValueError(
            f"{folder} is already built, but since then this has changed: {listed}. "
            "Give --overwrite to build it again, or another --data"
        )
