"""The floor under every learned tokenizer: principal components, differences, rounding.

A frame is projected on the first k principal components of the training frames; what changes to it
from the frame before, as that was decoded, is rounded to multiples of one step (closed-loop DPCM:
errors do not add up). Only a covariance is learned, and the symbols are tokens like any other.

Coordinates count by the square root of their standard deviation, halfway between shoulder widths,
where body and hands take all, and standardised ones, where the face does: on held-out signing this
gave the least mean distance per bit at every rate.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics
from jaxvq.tokens.tokens import Tokens

# Largest change in a frame, in deviations of the first component: hardly a frame of signing has
# more, and the loop makes up in later frames for what was cut off.
LARGEST = 3.0


@dataclasses.dataclass(frozen=True, eq=False)
class Components:
    """Principal components of training frames, the largest first.

    weight: float32 (n,), n = v·c: worth of a standardised unit; 0 for what never moves.
    center: float32 (n,), mean of the weighted frames. basis: float32 (n, n), a column each.
    deviation: float32 (n,), standard deviation along each.
    """

    skeleton: Skeleton
    weight: np.ndarray
    center: np.ndarray
    basis: np.ndarray
    deviation: np.ndarray


def fit_components(clips: Iterable[Pose], skeleton: Skeleton, statistics: Statistics) -> Components:
    """The components of standardised clips, their missing points held.

    Raises:
      ValueError: fewer than two frames.
    """
    weight = np.sqrt(statistics.scale).reshape(-1).astype(np.float64)
    count, total, products = 0, 0.0, 0.0
    for clip in clips:
        frames = hold(clip.data, clip.mask).reshape(len(clip.data), -1) * weight
        count, total = count + len(frames), total + frames.sum(0)
        products = products + frames.T @ frames
    if count < 2:
        raise ValueError(f"{count} frames to fit principal components on: expected 2 or more")
    center = total / count
    variance, basis = np.linalg.eigh(products / count - np.outer(center, center))
    order = np.argsort(-variance)
    deviation = np.sqrt(np.maximum(variance[order], 0))
    arrays = (weight, center, basis[:, order], deviation)
    return Components(skeleton, *(x.astype(np.float32) for x in arrays))


def hold(data: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Missing points stay where they were seen last; before that they are 0, the mean.

    data: (t, v, c), standardised; mask: bool (t, v), True = missing.
    """
    seen = np.where(mask, -1, np.arange(len(mask))[:, None])
    seen = np.maximum.accumulate(seen, axis=0)
    held = np.take_along_axis(data, np.maximum(seen, 0)[..., None], axis=0)
    return np.where(seen[..., None] >= 0, held, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class PcaDpcm:
    """A codec of standardised poses.

    Fields:
      size: k, components to keep.
      step: of the quantiser, in deviations of the first component.
      dead_zone: a change of fewer steps than this is no change, one of up to a step more is 1, and
        so on. 0.5 is rounding; 0.7 spends fewer bits on what shakes around a threshold.
    """

    components: Components
    size: int
    step: float
    dead_zone: float = 0.5

    frames_per_step = 1

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Sizes of the alphabets: k of changes, then a flag for each hand."""
        return (2 * self.limit + 1,) * self.size + (2,) * len(self._hands)

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Each symbol is its own only digit."""
        return tuple((size,) for size in self.codebook_sizes)

    @property
    def token_shape(self) -> tuple[int, int]:
        """(s, q): one stream of all symbols."""
        return 1, len(self.codebook_sizes)

    @property
    def limit(self) -> int:
        """Changes are -limit … limit steps."""
        return max(1, round(LARGEST / self.step))

    @property
    def num_parameters(self) -> int:
        """Numbers that encoder and decoder share, but for tables."""
        return (self.size + 2) * len(self.components.center)

    def encode(self, pose: Pose) -> Tokens:
        """Symbols int32 (t, 1, k + hands) of a standardised clip: changes, moved up by `limit` to
        be 0 or more, and 1 for each hand of which no point is seen."""
        frames = hold(pose.data, pose.mask).reshape(len(pose.data), -1)
        wanted = self._project(frames) / self._delta
        symbols = np.zeros(wanted.shape, np.int32)
        at = np.zeros(self.size, np.int32)
        for frame, target in enumerate(wanted):
            apart = target - at
            size = np.ceil(np.abs(apart) - self.dead_zone)
            change = np.clip(np.copysign(size, apart) * (size > 0), -self.limit, self.limit)
            symbols[frame] = change
            at += symbols[frame]
        missing = [pose.mask[:, hand].all(1) for hand in self._hands]
        indices = np.column_stack([symbols + self.limit, *missing]).astype(np.int32)
        return Tokens(indices[:, None], pose.fps, len(indices))

    def decode(self, tokens: Tokens) -> np.ndarray:
        """Standardised poses float32 (t, v, c) of one clip, every point of them."""
        changes = tokens.indices[:, 0, : self.size].astype(np.int64) - self.limit
        values = np.cumsum(changes, axis=0).astype(np.float32) * self._delta
        parts, skeleton = self.components, self.components.skeleton
        frames = values @ parts.basis[:, : self.size].T + parts.center
        scale = np.where(parts.weight > 0, parts.weight, 1)
        frames = np.where(parts.weight > 0, frames / scale, 0)
        return frames.reshape(len(frames), skeleton.num_points, skeleton.num_dims)

    @property
    def _delta(self) -> np.float32:
        return np.float32(self.step * self.components.deviation[0])

    @property
    def _hands(self) -> list[np.ndarray]:
        parts = self.components.skeleton.parts
        return [points for name, points in parts.items() if name.endswith("_hand")]

    def _project(self, frames: np.ndarray) -> np.ndarray:
        parts = self.components
        return (frames * parts.weight - parts.center) @ parts.basis[:, : self.size]
