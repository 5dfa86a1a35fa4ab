"""The corpus `tokens`: the clips of another dataset as the tokens of a trained model, with labels.

What a prior over tokens is trained on (configs/token_prior.py). The splits are those of the other
dataset. A record has `data`, the rows of jaxvq/tokens/rows.py, and the same in readable form.
"""

import csv
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import tensorflow_datasets as tfds

from jaxvq import inference, input_pipeline, pretrained
from jaxvq.datasets import building, schema
from jaxvq.pose.files import PoseFile
from jaxvq.pose.skeleton import Skeleton
from jaxvq.storage import atomic
from jaxvq.tasks.base import token_task
from jaxvq.tokens import code_tables, vocabulary
from jaxvq.tokens import rows as token_rows
from jaxvq.tokens.tokens import Tokens
from jaxvq.windows import first_frames

INPUTS = ("dataset_info.json", "lengths.npz", "layout.json", "pose_normalization.json")


@dataclass(frozen=True)
class Clip:
    """Clip `number` of a split of the other dataset, without its first `skip` frames."""

    key: str
    split: str
    number: int
    skip: int


class Builder(building.CorpusBuilder):
    """Tokens of a model; --input is what the model could be trained on."""

    BUILDER_CONFIGS = [building.ClipConfig(name="tokens", description="Tokens of one model.")]
    homepage = "https://arxiv.org/abs/2309.15505"
    float32 = True
    unused = ("stats", "augmented", "splits_dir", "split_file", "compact")
    no_fps = "tokens are made at the frame rate of their model"

    def __init__(self, *, options=None, **kwargs):
        # All clips are encoded together, which takes one process.
        options = options and dataclasses.replace(options, workers=1)
        super().__init__(options=options, **kwargs)

    @property
    def rows(self) -> token_rows.Rows:
        if self.options is None:
            return token_rows.read(Path(self.data_path))
        return self.find("rows", self._describe)

    @property
    def skeleton(self) -> Skeleton:
        return self.rows.skeleton

    def list_clips(self) -> list[Clip]:
        """All clips, those of training at `shifts` different frames of a step; without those of
        training whose label is held out."""
        found = []
        held_out = self._held_out
        step = self._tokenizer.task.frames_per_step
        for split, lengths in self._dataset.lengths.items():
            shifts = self.options.shifts if split == "train" else 1
            source = self._dataset.source(split) if len(lengths) else ()
            for number, length in enumerate(lengths.tolist()):
                name = str(PurePosixPath(source[number]["id"]).with_suffix(""))
                words = set(label_of(self._labels, name).split())
                if split == "train" and any(wanted <= words for wanted in held_out):
                    continue
                for skip in first_frames(step, shifts):
                    if skip < length:
                        found.append(Clip(f"{name}@{skip}" if skip else name, split, number, skip))
        return found

    def list_inputs(self) -> Iterator[PoseFile]:
        for name in INPUTS:
            path = self._dataset.path / name
            if path.exists():
                yield PoseFile(name, str(path))
        if self.options.labels:
            yield PoseFile("labels", self.options.labels)

    def make_recipe(self) -> dict:
        """As of other corpora, and what made the tokens."""
        held_out = {"held_out": self.options.held_out} if self.options.held_out else {}
        return super().make_recipe() | {
            "tokenizer": self.rows.fingerprint,
            "label_columns": self.options.label_columns,
            "shifts": self.options.shifts,
            **held_out,
        }

    def assign_splits(self, keys: Iterable[str]) -> dict[str, list[str]]:
        split_of = {clip.key: clip.split for clip in self.clips}
        order = sorted(keys, key=lambda key: hashlib.md5(key.encode()).digest())
        return {split: [k for k in order if split_of[k] == split] for split in schema.SPLITS}

    def make_reader(self, clips: list[Clip]) -> Callable[[Clip], dict]:
        dataset, tokenizer = self._dataset, self._tokenizer

        def poses():
            for clip in clips:
                pose = tokenizer.from_record(dataset.source(clip.split)[clip.number])
                shown = pose.confidence[clip.skip :]
                yield clip.key, pose.replace(data=pose.data[clip.skip :], confidence=shown)

        return Reader(dict(tokenizer.encode_stream(poses())), self.rows, self._labels)

    def more_features(self) -> dict:
        shape = (None, len(self.rows.levels))
        return {
            "codes": tfds.features.Tensor(shape=shape, dtype=np.int32, encoding="bytes"),
            "label": tfds.features.Text(),
            "length": tfds.features.Scalar(dtype=np.int64),
            "tokenizer": tfds.features.Text(),
        }

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        super()._download_and_prepare(dl_manager, download_config)
        atomic.write_json(Path(self.data_path) / token_rows.FILE, self.rows.to_json())

    def _describe(self) -> token_rows.Rows:
        model, task = self._tokenizer.model, self._tokenizer.task
        words = vocabulary.make(task)
        labels = self._labels.values()
        longest = max((len(label.encode()) for label in labels), default=0)
        if longest > token_rows.MAX_LABEL:
            raise ValueError(
                f"--labels {self.options.labels}: a label of {longest} bytes, at most "
                f"{token_rows.MAX_LABEL}; --label_columns chooses the columns"
            )
        ordered = model.config.get("quantizer", {}).get("type") == "fsq"
        fingerprint, path = code_tables.fingerprint(model), str(self.options.tokenizer)
        # A pretrained name with its version, or the way to a run from any folder.
        path = pretrained.writer(fingerprint) or (
            str(Path(path).resolve()) if Path(path).exists() else path
        )
        return token_rows.Rows(
            tokenizer=path,
            fingerprint=fingerprint,
            frames_per_step=task.frames_per_step,
            levels=token_rows.levels_of(task.levels, ordered),
            streams=words.streams,
            ordered=ordered,
            fps=model.fps or self._dataset.fps,
            label_length=longest,
            words=token_rows.words_of(list(labels)),
        )

    @property
    def _tokenizer(self) -> inference.PoseTokenizer:
        def load():
            if not self.options.tokenizer:
                raise ValueError("tokens needs --tokenizer, the model that makes them")
            tokenizer = inference.load(self.options.tokenizer)
            token_task(tokenizer.task, tokenizer.model.config.task)
            tokenizer.require_poses()
            return tokenizer

        return self.find("tokenizer", load)

    @property
    def _dataset(self):
        def open_dataset():
            return input_pipeline.open_for_model(self._tokenizer.model, self.options.input)

        return self.find("dataset", open_dataset)

    @property
    def _labels(self) -> dict[str, str]:
        """Stem of a clip -> its label."""
        options = self.options
        return self.find("labels", lambda: read_labels(options.labels, options.label_columns))

    @property
    def _held_out(self) -> list[set[str]]:
        """The words of each label that training must not see."""
        held_out = [set(label.split()) for label in (self.options.held_out or "").split(",")]
        held_out = [words for words in held_out if words]
        there = {word for label in self._labels.values() for word in label.split()}
        if unknown := sorted(set().union(*held_out) - there):
            raise ValueError(
                f"--held_out: no clip has {unknown[0]!r}; a label is words such as "
                f"{' '.join(sorted(there)[:2]) or 'COLUMN=VALUE of --labels'}"
            )
        return held_out


@dataclass(frozen=True, eq=False)
class Reader:
    """Turns a clip into an example. tokens: of each key. labels: of each stem."""

    tokens: dict[str, Tokens]
    rows: token_rows.Rows
    labels: dict[str, str]

    def __call__(self, clip: Clip) -> dict:
        tokens = self.tokens[clip.key]
        label = label_of(self.labels, clip.key.rpartition("@")[0] if clip.skip else clip.key)
        data = self.rows.make(tokens.indices, tokens.length, label)
        return {
            "data": data,
            "mask": np.zeros(data.shape[:2], bool),
            "id": clip.key,
            "fps": tokens.fps,
            "codes": tokens.indices.reshape(len(data), -1),
            "label": label,
            "length": tokens.length,
            "tokenizer": self.rows.fingerprint,
        }


def label_of(labels: dict[str, str], name: str) -> str:
    """The label of a clip, which a CSV may name with its folders or without; "" for none."""
    return labels.get(name, labels.get(PurePosixPath(name).name, ""))


def read_labels(path: str | None, columns: str | None) -> dict[str, str]:
    """Stem of a clip -> words COLUMN=VALUE, separated by spaces, in the order of the columns.

    path: a CSV whose first column names the clips. columns: names separated by commas; default: all
    others. A cell without text adds no word. ValueError for a column that is not there.
    """
    if not path:
        return {}
    lines = csv.DictReader(Path(path).read_text(encoding="utf-8-sig").splitlines())
    names = list(lines.fieldnames or ())
    if len(names) < 2:
        raise ValueError(f"--labels {path}: expected a CSV of a clip's name and its labels")
    chosen = columns.split(",") if columns else names[1:]
    if missing := [name for name in chosen if name not in names[1:]]:
        raise ValueError(
            f"--label_columns: {path} has no {missing[0]!r}; there are {', '.join(names[1:])}"
        )
    labels = {}
    for line in lines:
        words = [(name, "_".join((line[name] or "").split())) for name in chosen]
        label = " ".join(f"{name}={value}" for name, value in words if value)
        labels[str(PurePosixPath(line[names[0]]).with_suffix(""))] = label
    return labels
