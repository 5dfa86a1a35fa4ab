"""The built corpus of hands, as training reads it: single frames, shuffled over the whole split."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.batch import Batch, make_batch
from jaxvq.datasets.built import Dataset
from jaxvq.hands.loading import RowOrder, run
from jaxvq.storage import atomic

# One batch is made while the one before is in use.
THREADS = 1


@dataclass(frozen=True, eq=False)
class HandDataset(Dataset):
    """Records are blocks of frames that are no clips: a batch takes its frames from anywhere.

    For that the frames are copied once into a file beside the shards, which is mapped into memory
    (in the folder for temporary files where the dataset cannot be written to).
    """

    def rows(self, split: str) -> np.ndarray:
        """All frames of a split, float32 (n, 90), mapped into memory; ValueError if unknown."""
        if not self.split_lengths(split).sum():
            return np.empty((0, self.skeleton.num_points * 3), np.float32)  # cannot be mapped
        beside = self.path / f"frames-{split}.npy"
        elsewhere = Path(tempfile.gettempdir()) / f"jaxvq-{self.fingerprint}-{split}.npy"
        for path in (beside, elsewhere):
            if path.is_file():
                return np.load(path, mmap_mode="r")
        try:
            self._copy_frames(split, beside)
            return np.load(beside, mmap_mode="r")
        except PermissionError:
            self._copy_frames(split, elsewhere)
            return np.load(elsewhere, mmap_mode="r")

    def _copy_frames(self, split: str, path: Path) -> None:
        source = self.source(split)
        count, width = int(self.lengths[split].sum()), self.skeleton.num_points * 3
        with atomic.writing(path) as temporary, open(temporary, "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
            np.lib.format.write_array_header_1_0(file, header)
            for i in range(len(source)):
                file.write(source[i]["data"].tobytes())

    def rows_per_epoch(self, seq_len: int, align: int = 1) -> float:
        """Frames of training: each is a row."""
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
        num_workers: int = 0,
        align: int = 1,
        **hosts: int,
    ) -> Iterator[Batch]:
        """As input_pipeline.train_batches, of one frame a row; all frames before any comes again.

        num_workers: threads, at least one; a batch is a single gather. hosts: host_index and
        host_count, if there are several.
        """
        _check_single(seq_len, align)
        rows = self.rows(split)
        order = RowOrder(len(rows), batch_size, seed, endless=True, **hosts)

        def make(step: int) -> Batch:
            return self.standardized_batch(rows.take(order.rows(int(step)), axis=0))

        return run(make, start_step, num_steps, max(num_workers, THREADS))

    def eval_batches(
        self, split: str, *, batch_size: int, seq_len: int, num_workers: int = 0, **hosts: int
    ) -> Iterator[Batch]:
        """As input_pipeline.eval_batches; clip and start are a frame's block and place in it."""
        _check_single(seq_len, 1)
        rows = self.rows(split)
        count = -(-len(rows) // batch_size)
        ends = np.cumsum([0, *self.lengths[split]])
        order = RowOrder(
            max(count, 1) * batch_size, batch_size, shuffle=False, endless=True, **hosts
        )

        def make(number: int) -> Batch:
            wanted = order.rows(int(number))
            real = wanted < len(rows)
            batch = self.standardized_batch(rows.take(np.where(real, wanted, 0), axis=0))
            for array in (batch.pose, batch.visible, batch.segment):
                array[~real] = 0
            block = np.searchsorted(ends, np.where(real, wanted, 0), side="right") - 1
            return batch._replace(
                clip=np.where(real, block, -1).astype(np.int32),
                start=np.where(real, wanted - ends[block], 0).astype(np.int32),
            )

        return run(make, 0, count, max(num_workers, THREADS))

    def standardized_batch(self, frames: np.ndarray) -> Batch:
        """A batch of frames float32 (n, 90), an array of its own, which is changed."""
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
