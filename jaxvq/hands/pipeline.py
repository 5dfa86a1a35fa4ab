"""Batches of the built corpus of hands: single frames, shuffled over the whole split."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jaxvq.batch import Batch, make_batch
from jaxvq.datasets import loading
from jaxvq.datasets.built import Dataset
from jaxvq.datasets.packing import FramePlan


@dataclass(frozen=True, eq=False)
class HandDataset(Dataset):
    """Blocks of unrelated frames. A batch takes its frames from anywhere in a split.

    So all frames of a split are read into memory, 360 bytes each.
    """

    def rows(self, split: str) -> np.ndarray:
        """All frames of a split, float32 (n, 90)."""
        lengths = self.split_lengths(split)
        rows = np.empty((lengths.sum(), self.skeleton.num_points * 3), np.float32)
        source = self.source(split) if len(lengths) else None
        for block, stop in enumerate(np.cumsum(lengths)):
            place = rows[stop - lengths[block] : stop]
            place[:] = source[block]["data"].reshape(place.shape)
        return rows

    def rows_per_epoch(self, seq_len: int, align: int = 1) -> float:
        """The number of training frames, each of which is a row."""
        _check_single(seq_len, align)
        return float(self.split_lengths("train").sum())

    def train_batches(
        self,
        *,
        split: str = "train",
        batch_size: int,
        seq_len: int,
        seed: int,
        num_steps: int,
        start_step: int = 0,
        host_index: int = 0,
        host_count: int = 1,
        num_workers: int = 0,
        align: int = 1,
    ) -> Iterator[Batch]:
        """ClipDataset.train_batches with one frame per row, and every frame once per epoch.

        num_workers has no effect: threads gather the batches ahead.
        """
        _check_single(seq_len, align)
        mine = loading.host_rows(batch_size, host_count, host_index)
        rows = self.rows(split)
        if not len(rows):
            raise ValueError(f"{self.path}: no frames in {split}")
        plan = FramePlan(len(rows), seed)

        def make(step: int) -> Batch:
            start = int(step) * batch_size
            wanted = plan.frames(start + mine.start, start + mine.stop)
            return self.standardized_batch(rows.take(wanted, axis=0))

        return loading.in_threads(make, start_step, num_steps)

    def eval_batches(
        self,
        split: str,
        *,
        batch_size: int,
        seq_len: int,
        host_index: int = 0,
        host_count: int = 1,
        num_workers: int = 0,
    ) -> Iterator[Batch]:
        """ClipDataset.eval_batches; clip and start are the block and the place of a frame."""
        _check_single(seq_len, 1)
        mine = loading.host_rows(batch_size, host_count, host_index)
        rows = self.rows(split)
        ends = np.cumsum([0, *self.lengths[split]])

        def make(number: int) -> Batch:
            wanted = int(number) * batch_size + np.arange(mine.start, mine.stop)
            real = wanted < len(rows)
            wanted = np.where(real, wanted, 0)
            batch = self.standardized_batch(rows.take(wanted, axis=0))
            for array in (batch.pose, batch.visible, batch.segment):
                array[~real] = 0
            block = np.searchsorted(ends, wanted, side="right") - 1
            return batch._replace(
                clip=np.where(real, block, -1).astype(np.int32),
                start=np.where(real, wanted - ends[block], 0).astype(np.int32),
            )

        return loading.in_threads(make, 0, -(-len(rows) // batch_size))

    def standardized_batch(self, frames: np.ndarray) -> Batch:
        """A batch of frames float32 (n, 90), an array that this function overwrites."""
        pose = frames.reshape(len(frames), 1, self.skeleton.num_points, 3)
        pose -= self.statistics.mean
        pose /= self.statistics.std
        return make_batch(pose)


def _check_single(seq_len: int, align: int) -> None:
    if seq_len != 1 or align != 1:
        raise ValueError(
            f"seq_len={seq_len}: hands are single frames, without an order in time; "
            "give --config.data.seq_len=1 and a model that looks at one frame"
        )
