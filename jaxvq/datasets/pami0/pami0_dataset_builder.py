"""Signformer's `.pami0` files, such as PHOENIX-2014T's, with the features as 2-D points."""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxvq.datasets import building, schema, splits
from jaxvq.datasets.sentence_corpora import unique_names
from jaxvq.datasets.shards import SkippedClip
from jaxvq.pose.files import PoseFile
from jaxvq.pose.skeleton import Component, Skeleton
from jaxvq.signformer import pami0

FEATURES = 1024
FEATURE_POINTS = Skeleton(
    (Component("FEATURES", tuple(str(i) for i in range(FEATURES // 2)), format="XYC"),)
)
FPS = 25.0  # of PHOENIX-2014T; the files do not say
SUFFIXES = {"train": ("train",), "validation": ("val", "dev"), "test": ("test",)}


@dataclass(frozen=True)
class SampleClip:
    """A sample whose numbers, float32 `shape`, are in a file from byte `offset` on."""

    key: str
    texts: dict[str, str]
    path: str
    offset: int
    shape: tuple[int, int]


class Builder(building.CorpusBuilder):
    """1024 features per frame, as 512 points of two numbers, without normalisation."""

    BUILDER_CONFIGS = [
        building.ClipConfig(name="features_1024", description="Features as they are.")
    ]
    skeleton = FEATURE_POINTS
    homepage = "https://github.com/EtaEnding/Signformer"
    float32 = True
    unused = ("stats", "augmented", "split_file", "splits_dir")
    no_fps = ".pami0 files do not say their frame rate"

    def more_features(self) -> dict:
        return {name: tfds.features.Text() for name in pami0.TEXTS}

    def list_inputs(self) -> list[PoseFile]:
        """The files and parts of all splits. ValueError if there are none."""
        files = [path for split in schema.SPLITS for path in self._find(split)]
        if not files:
            raise ValueError(
                f"{self.options.input}: no {self.options.input}.train, .val, .dev or .test, nor "
                "parts of them such as .train.part0"
            )
        return [PoseFile(path.name, str(path)) for path in files]

    def _find(self, split: str) -> list[Path]:
        found = {end: pami0.find_parts(self.options.input, end) for end in SUFFIXES[split]}
        found = {end: parts for end, parts in found.items() if parts}
        if len(found) > 1:
            raise ValueError(f"{self.options.input}: both .{' and .'.join(found)}; remove one")
        return next(iter(found.values()), [])

    def list_clips(self) -> list[SampleClip]:
        """Reads all files once, and moves the numbers to a file with random access for workers.

        `building` removes that file, also after a kill.
        """
        scratch = Path(self.data_path).parent / "incomplete.features"
        scratch.parent.mkdir(parents=True, exist_ok=True)
        clips = []
        with open(scratch, "wb") as file:
            for split in schema.SPLITS:
                parts = (pami0.read_samples(path) for path in self._find(split))
                moved = [_move(sample, file) for sample in itertools.chain.from_iterable(parts)]
                names = unique_names(sample.name for sample, _, _ in moved)
                for name, (sample, offset, shape) in zip(names, moved, strict=True):
                    texts = {key: getattr(sample, key) for key in pami0.TEXTS} | {"name": name}
                    clip = SampleClip(f"{split}/{name}", texts, str(scratch), offset, shape)
                    clips.append(clip)
        return clips

    def assign_splits(self, keys) -> dict[str, list[str]]:
        return splits.by_first_folder(keys)

    def make_reader(self, clips: list[SampleClip]) -> Callable[[SampleClip], dict]:
        return read_clip


def _move(sample: pami0.Sample, file) -> tuple[pami0.Sample, int, tuple[int, ...]]:
    """The sample without its numbers, their place in the file, and their shape."""
    sign = np.asarray(sample.sign, np.float32)
    offset = file.tell()
    file.write(sign.tobytes())
    return dataclasses.replace(sample, sign=np.empty(0)), offset, sign.shape


def read_clip(clip: SampleClip) -> dict:
    """An example of `schema.features` with texts. Raises SkippedClip.

    Points are missing if the sample lacks their features, or both are 0, or one is not finite.
    """
    if len(clip.shape) != 2 or not clip.shape[0] or not 0 < clip.shape[1] <= FEATURES:
        raise SkippedClip(
            "other shape", f"{clip.key}: {clip.shape}, expected (frames, up to {FEATURES})"
        )
    frames, features = clip.shape
    sign = np.fromfile(clip.path, np.float32, frames * features, offset=clip.offset)
    data = np.zeros((frames, FEATURES), np.float32)
    data[:, :features] = sign.reshape(frames, features)
    data = data.reshape(frames, FEATURES // 2, 2)
    mask = ~np.isfinite(data).all(axis=-1) | (data == 0).all(axis=-1)
    data[mask] = 0
    return {"data": data, "mask": mask, "id": clip.key, "fps": FPS, **clip.texts}
