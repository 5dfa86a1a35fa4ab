"""The frames of each training row, as a pure function of the row's number.

The lengths of all clips are known. For each epoch, a permutation of the clips and a cumulative sum
lay all clips end to end on one long line of frames. Row g is the frames [g * seq_len,
(g + 1) * seq_len) of that line, which binary search finds. In a mixture, each dataset has a line,
and a second permutation chooses the dataset of row g.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLOCK = 1000  # rows in which each dataset of a mixture has exactly its (rounded) share


@dataclass(frozen=True)
class Filter:
    """The clips to train on. Lengths are in frames, after resampling; a maximum of 0 means none.

    min_hands: minimum share of frames in which a hand is seen, a mean over both hands.
    """

    min_frames: int = 0
    max_frames: int = 0
    min_hands: float = 0.0

    def __post_init__(self):
        if not 0 <= self.min_hands <= 1:
            raise ValueError(f"data.min_hands={self.min_hands}: expected a share from 0 to 1")
        if self.max_frames and self.max_frames < self.min_frames:
            raise ValueError(
                f"data.max_frames={self.max_frames} is below data.min_frames={self.min_frames}"
            )

    def choose(self, lengths: np.ndarray, hands: Callable[[], np.ndarray]) -> np.ndarray:
        """The numbers of the clips that pass, int64. hands: called only if it matters."""
        passing = lengths >= self.min_frames
        if self.max_frames:
            passing &= lengths <= self.max_frames
        if self.min_hands:
            passing &= hands() >= self.min_hands
        return np.flatnonzero(passing)


@dataclass(frozen=True, eq=False)
class PackingPlan:
    """The frames of each row. lengths: frames of each clip.

    All epochs have the same number of frames, because crops do not change in length. So the line of
    epoch e starts at e * frames, and a row may reach into the next epoch. On the line, each clip
    takes a multiple of `align` frames, and so does a row.
    """

    lengths: np.ndarray
    seq_len: int
    seed: int
    align: int = 1

    @functools.cached_property
    def cropped(self) -> np.ndarray:
        """int64 (clips,): frames per epoch of each clip."""
        return np.minimum(self.lengths.astype(np.int64), self.seq_len)

    @functools.cached_property
    def room(self) -> np.ndarray:
        """int64 (clips,): frames on the line of each clip, with padding."""
        return -(-self.cropped // self.align) * self.align

    @functools.cached_property
    def frames(self) -> int:
        """Frames on the line per epoch."""
        return int(self.room.sum())

    def row(self, index: int) -> list[tuple[int, int, int, int]]:
        """The fragments of a row: (clip, first frame in the clip, position of that frame, count).

        The position counts from the start of the crop. The counts, rounded up to multiples of
        `align`, add up to seq_len.
        """
        fragments = []
        start, stop = index * self.seq_len, (index + 1) * self.seq_len
        while start < stop:
            epoch, offset = divmod(start, self.frames)
            order, ends, crops = _epoch(self, epoch)
            nth = int(np.searchsorted(ends, offset, side="right"))
            clip = int(order[nth])
            position = offset - (int(ends[nth]) - int(self.room[clip]))
            room = min(int(ends[nth]) - offset, stop - start)
            count = min(room, int(self.cropped[clip]) - position)
            fragments.append((clip, int(crops[clip]) + position, position, count))
            start += room
        return fragments


@functools.lru_cache(maxsize=4)
def _epoch(plan: PackingPlan, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The clips in the order of the epoch, their ends on the line, first frames of crops."""
    rng = np.random.default_rng((plan.seed, epoch))
    order = rng.permutation(len(plan.lengths))
    spare = plan.lengths - plan.cropped
    crops = np.floor(rng.random(len(spare)) * (spare + 1)).astype(np.int64)
    return order, np.cumsum(plan.room[order]), crops


@dataclass(frozen=True)
class FramePlan:
    """A line of single frames. seed: determines their order; None keeps it."""

    num_frames: int
    seed: int | None

    def frames(self, start: int, stop: int) -> np.ndarray:
        """int64 (stop - start,): the frames at these places of the line of all epochs."""
        parts = []
        while start < stop:
            epoch, first = divmod(start, self.num_frames)
            last = min(first + stop - start, self.num_frames)
            parts.append(_shuffled(self, epoch)[first:last])
            start += last - first
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts])


@functools.lru_cache(maxsize=2)
def _shuffled(plan: FramePlan, epoch: int) -> np.ndarray:
    if plan.seed is None:
        return np.arange(plan.num_frames)
    return np.random.default_rng((plan.seed, epoch)).permutation(plan.num_frames)


@dataclass(frozen=True, eq=False)
class MixedPlan:
    """Rows of several plans. Every BLOCK rows have each plan's share by weight."""

    plans: tuple[PackingPlan, ...]
    weights: tuple[float, ...]
    seed: int

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """int64 (plans,): rows per block, which largest remainders round to a sum of BLOCK."""
        shares = np.array(self.weights, float) / sum(self.weights) * BLOCK
        counts = np.floor(shares).astype(np.int64)
        last = np.argsort(counts - shares, kind="stable")[: BLOCK - counts.sum()]
        counts[last] += 1
        return counts

    def row(self, index: int) -> tuple[int, list[tuple[int, int, int, int]]]:
        """The number of the plan of a row, and the row as in `PackingPlan.row`."""
        block, place = divmod(index, BLOCK)
        owners, ranks = _block(self, block)
        plan = int(owners[place])
        return plan, self.plans[plan].row(block * int(self.counts[plan]) + int(ranks[place]))


@functools.lru_cache(maxsize=4)
def _block(mixed: MixedPlan, block: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row of a block: its plan, and the number of rows of that plan before it."""
    owners = np.repeat(np.arange(len(mixed.plans)), mixed.counts)
    owners = np.random.default_rng((mixed.seed, block, 1)).permutation(owners)
    order = np.argsort(owners, kind="stable")
    ranks = np.empty(BLOCK, np.int64)
    ranks[order] = np.concatenate([np.arange(count) for count in mixed.counts])
    return owners, ranks
