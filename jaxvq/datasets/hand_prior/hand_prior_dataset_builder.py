"""The corpus `hand_prior`: the frames that tools.create_hand_splits drew, in blocks of 1024."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxvq.datasets import building, schema
from jaxvq.hands import SPLITS, consolidated, splits
from jaxvq.hands.skeleton import HAND_ROTATIONS

BLOCK_FRAMES = 1024
_NAMES = dict(zip(SPLITS, schema.SPLITS, strict=True))  # val is called validation here


@dataclass(frozen=True)
class Block:
    """Some frames of a split, all of one data set. start, stop: its rows in the whole split."""

    key: str
    split: str
    dataset: str
    start: int
    stop: int


@dataclass(frozen=True)
class Input:
    """A file that a build depends on."""

    key: str
    path: str
    member: None = None


class Builder(building.CorpusBuilder):
    """30 joints a frame, axis-angle in radians, float32, bit for bit as in the data sets."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [building.ClipConfig(name="rotations", description="As in the data sets.")]
    skeleton = HAND_ROTATIONS
    homepage = "https://smpl-x.is.tue.mpg.de"
    single_frames = True

    @classmethod
    def make_config(cls, fps: float | None, skeleton: str | None = None) -> building.ClipConfig:
        """The only one there is."""
        if fps is not None:
            raise ValueError(f"--fps {fps:g}: hand_prior has single frames, not clips")
        return super().make_config(None, skeleton)

    def list_clips(self) -> list[Block]:
        """The blocks of all splits, data set by data set, frames in the order they were drawn."""
        blocks = []
        for split in SPLITS:
            row = 0
            for name, frames in self._samples[split].items():
                for start in range(0, len(frames), BLOCK_FRAMES):
                    stop = min(start + BLOCK_FRAMES, len(frames))
                    key = f"{split}/{name}/{start // BLOCK_FRAMES:05d}"
                    blocks.append(Block(key, split, name, row + start, row + stop))
                row += len(frames)
        return blocks

    def list_inputs(self) -> Iterator[Input]:
        """The files of the splits and of the data sets that they name."""
        self.refuse_options("stats", "augmented")
        names = sorted({name for samples in self._samples.values() for name in samples})
        for path in (
            *(self._splits_dir / f"{split}_samples.json" for split in SPLITS),
            *(Path(self.options.input) / f"{name}.npz" for name in names),
        ):
            if not path.is_file():
                raise ValueError(f"{path} is missing: the splits draw frames from it")
            yield Input(path.name, str(path))

    def assign_splits(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """As the splits say; shuffling is left to training, which draws single frames."""
        if self.options.split_file:
            raise ValueError("--split_file: hand_prior has its splits from --splits_dir")
        assigned = {split: [] for split in schema.SPLITS}
        for key in keys:
            assigned[_NAMES[key.partition("/")[0]]].append(key)
        return assigned

    def make_reader(self, clips: list[Block]) -> Callable[[Block], dict]:
        """Copies the drawn frames into one file a split, in a folder that is removed later."""
        consolidated.consolidate(self.options.input, self._splits_dir, self._store, metadata=False)
        return BlockReader(self._store)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                **schema.features(self.skeleton, np.float32),
                "dataset_name": tfds.features.Text(),
                "frame_idx": tfds.features.Tensor(shape=(None,), dtype=np.int64, encoding="bytes"),
            }
        )
        return self.dataset_info_from_configs(features=features, homepage=self.homepage)

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        # "incomplete.": after a kill, the next build removes it.
        parent = Path(self.data_path).parent
        with tempfile.TemporaryDirectory(prefix="incomplete.", dir=parent) as self._store:
            super()._download_and_prepare(dl_manager, download_config)

    @property
    def _splits_dir(self) -> Path:
        if not self.options.splits_dir:
            raise ValueError("hand_prior needs --splits_dir, made by tools.create_hand_splits")
        return Path(self.options.splits_dir)

    @cached_property
    def _samples(self) -> dict[str, splits.Samples]:
        return {split: splits.load(self._splits_dir, split) for split in SPLITS}


@dataclass(frozen=True)
class BlockReader:
    """Turns a block into an example; directory: of consolidated splits."""

    directory: str

    def __call__(self, block: Block) -> dict:
        rows = _open(f"{self.directory}/{block.split}.npz")
        numbers = np.arange(block.start, block.stop)
        data = rows.take(numbers).reshape(len(numbers), HAND_ROTATIONS.num_points, 3)
        return {
            "data": data,
            "mask": np.zeros(data.shape[:2], bool),
            "id": block.key,
            "fps": 1.0,  # of no meaning: neighbours in a block are no neighbours in time
            "dataset_name": block.dataset,
            "frame_idx": rows.origin["frame_idx"][block.start : block.stop],
        }


_opened: dict[str, consolidated.Rows] = {}


def _open(path: str) -> consolidated.Rows:
    """Opened once a process."""
    if path not in _opened:
        _opened.clear()
        _opened[path] = consolidated.Rows(path)
    return _opened[path]
