"""The corpus `hand_prior`: the frames of jaxvq make hand-splits, in blocks of 1024."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxvq.datasets import building, schema, splits
from jaxvq.hands import SPLITS, npz
from jaxvq.hands import splits as hand_splits
from jaxvq.hands.skeleton import HAND_ROTATIONS
from jaxvq.pose.files import PoseFile

BLOCK_FRAMES = 1024


@dataclass(frozen=True)
class Block:
    """Frames [start, stop) of those that a split draws from a data set."""

    key: str
    split: str
    dataset: str
    start: int
    stop: int


class Builder(building.CorpusBuilder):
    """30 joints per frame, axis-angle in radians, float32, bit for bit as in the data sets."""

    BUILDER_CONFIGS = [building.ClipConfig(name="rotations", description="As in the data sets.")]
    skeleton = HAND_ROTATIONS
    homepage = "https://smpl-x.is.tue.mpg.de"
    single_frames = True
    float32 = True
    unused = ("stats", "augmented")
    no_fps = "hand_prior has single frames, not clips"

    def list_clips(self) -> list[Block]:
        """The blocks of all splits, by data set, frames in the order in which they were drawn."""
        blocks = []
        for split in SPLITS:
            for name, frames in self._samples[split].items():
                for start in range(0, len(frames), BLOCK_FRAMES):
                    stop = min(start + BLOCK_FRAMES, len(frames))
                    key = f"{split}/{name}/{start // BLOCK_FRAMES:05d}"
                    blocks.append(Block(key, split, name, start, stop))
        return blocks

    def list_inputs(self) -> Iterator[PoseFile]:
        names = sorted({name for samples in self._samples.values() for name in samples})
        for path in (
            *(self._splits_dir / f"{split}_samples.json" for split in SPLITS),
            *(Path(self.options.input) / f"{name}.npz" for name in names),
        ):
            if not path.is_file():
                raise ValueError(f"{path} is missing: the splits draw frames from it")
            yield PoseFile(path.name, str(path))

    def assign_splits(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """The splits of the files, in order: training shuffles single frames."""
        if self.options.split_file:
            raise ValueError("--split_file: hand_prior has its splits from --splits_dir")
        assigned = {split: [] for split in schema.SPLITS}
        for key in keys:
            assigned[splits.NAMES[key.partition("/")[0]]].append(key)
        return assigned

    def make_reader(self, clips: list[Block]) -> Callable[[Block], dict]:
        """Reads a block out of its data set. ValueError if a frame does not exist."""
        drawn = {}
        for split, samples in self._samples.items():
            for name, frames in samples.items():
                drawn[split, name] = np.asarray(frames, np.int64)
                hands = npz.hand_members(Path(self.options.input) / f"{name}.npz")
                npz.check_rows(hands[npz.LEFT], drawn[split, name])
        return BlockReader(self.options.input, drawn)

    def more_features(self) -> dict:
        numbers = tfds.features.Tensor(shape=(None,), dtype=np.int64, encoding="bytes")
        return {"dataset_name": tfds.features.Text(), "frame_idx": numbers}

    @property
    def _splits_dir(self) -> Path:
        if not self.options.splits_dir:
            raise ValueError("hand_prior needs --splits_dir, made by jaxvq make hand-splits")
        return Path(self.options.splits_dir)

    @cached_property
    def _samples(self) -> dict[str, hand_splits.Samples]:
        return {split: hand_splits.load(self._splits_dir, split) for split in SPLITS}


@dataclass(frozen=True, eq=False)
class BlockReader:
    """Turns a block into an example.

    directory: of the data sets. drawn: (split, data set) -> frames. Compressed data sets can only
    be read from front to end, so the reader keeps all frames of a split for the following blocks.
    """

    directory: str
    drawn: dict[tuple[str, str], np.ndarray]

    def __call__(self, block: Block) -> dict:
        frames = self.drawn[block.split, block.dataset][block.start : block.stop]
        with schema.skipping("unusable frames"):
            drawn = self._read(block.split, block.dataset)
            hands = [hand[block.start : block.stop] for hand in drawn]
            for hand in hands:
                npz.check_finite(hand, frames, f"{self.directory}/{block.dataset}.npz")
        data = np.concatenate(hands, axis=1).reshape(len(frames), HAND_ROTATIONS.num_points, 3)
        return {
            "data": data,
            "mask": np.zeros(data.shape[:2], bool),
            "id": block.key,
            "fps": 1.0,  # without meaning: the frames of a block are unrelated
            "dataset_name": block.dataset,
            "frame_idx": frames,
        }

    @lru_cache(maxsize=1)  # noqa: B019  one reader per process
    def _read(self, split: str, dataset: str) -> list[np.ndarray]:
        """All drawn frames of each hand, float32 (n, 45)."""
        hands = npz.hand_members(Path(self.directory) / f"{dataset}.npz")
        frames = self.drawn[split, dataset]
        return [
            npz.read_rows(hands[side], frames).astype(np.float32) for side in (npz.LEFT, npz.RIGHT)
        ]
