"""Batches of rows in a shuffled order, by Grain: an element is a whole batch, not a row.

A row is a hundred numbers, so the cost of a loader is what it does once a row. That is nothing
here: a batch is one gather from mapped memory. The order is a permutation that follows from seed
and epoch, so any batch can be made at once, and a number is all there is to remember.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RowOrder:
    """Which rows are in which batch; `batch_size` counts the rows over all hosts.

    `endless` batches run on from one epoch into the next, so that all have the same size. Else each
    epoch ends with what is left, or, with drop_last, before it. Hosts get consecutive parts of a
    batch; put together they are the same whatever the number of hosts.
    """

    num_rows: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    endless: bool = False
    drop_last: bool = False
    host_index: int = 0
    host_count: int = 1

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: expected 1 or more")
        if not 0 <= self.host_index < self.host_count:
            raise ValueError(f"host_index={self.host_index} of {self.host_count} hosts")
        if self.endless and self.batch_size % self.host_count:
            raise ValueError(
                f"batch_size={self.batch_size} does not divide over {self.host_count} hosts"
            )
        if self.endless and not self.num_rows:
            raise ValueError("there are no rows to make batches of")

    @property
    def batches_per_epoch(self) -> int:
        """Whole number; for endless batches those that begin in an epoch, about."""
        whole, rest = divmod(self.num_rows, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def rows(self, number: int) -> np.ndarray:
        """The rows, int64, of this host in batch `number`, counted from the first epoch on."""
        if self.endless:
            start = number * self.batch_size
            start, stop = (
                start + self.batch_size * i // self.host_count
                for i in (self.host_index, self.host_index + 1)
            )
            places = np.arange(start, stop)
            epochs, places = np.divmod(places, self.num_rows)
            if epochs[0] == epochs[-1]:
                return self._epoch(int(epochs[0]))[places[0] : places[-1] + 1]
            return np.concatenate(
                [self._epoch(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
            )
        epoch, number = divmod(number, self.batches_per_epoch)
        rows = self._epoch(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        start, stop = (
            len(rows) * i // self.host_count for i in (self.host_index, self.host_index + 1)
        )
        return rows[start:stop]

    def _epoch(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.num_rows)
        return _permutation(self.num_rows, self.seed, epoch)


@functools.lru_cache(maxsize=2)
def _permutation(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num_rows)


def run(make: Callable, start: int, stop: int, threads: int = 0) -> Iterator:
    """make(start), …, make(stop - 1) through Grain; threads work ahead of the reader, 0 does not.

    Threads and not processes: gathering leaves the interpreter free, and a batch handed from
    process to process costs more than making it.
    """
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain reads its flags, also where no absl.app parsed them
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    yield from grain.MapDataset.range(start, stop).map(make).to_iter_dataset(options)


class Loader:
    """Iterates over one epoch at a time; the next iteration is the next epoch.

    `position` counts the batches handed out; a loader made with start=position goes on there.
    """

    def __init__(
        self,
        order: RowOrder,
        make: Callable[[np.ndarray], object],
        *,
        threads: int = 0,
        start: int = 0,
    ):
        self.order, self.make, self.threads, self.position = order, make, threads, start

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.order.batches_per_epoch

    def __iter__(self) -> Iterator:
        if not len(self):
            return
        stop = (self.position // len(self) + 1) * len(self)
        for batch in run(self._batch, self.position, stop, self.threads):
            self.position += 1
            yield batch

    def _batch(self, number: int):
        return self.make(self.order.rows(int(number)))
