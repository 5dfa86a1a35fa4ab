"""The floor under every learned tokenizer: principal components, differences, rounding.

The encoder projects a frame on the first k principal components of the training frames, subtracts
the decoded previous frame, and rounds the difference to multiples of one step. This is closed-loop
DPCM, in which errors do not accumulate. The symbols are tokens like those of any other method.

Each coordinate is weighted by the square root of its standard deviation. In shoulder widths, body
and hands would take all components; in standardised units, the face would. On held-out signing, the
middle between both gave the least mean distance per bit at every rate.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics
from jaxvq.tokens.tokens import Tokens

# The largest change per frame, in standard deviations of the first component. Signing hardly ever
# exceeds it, and later frames make up for what was clipped.
LARGEST = 3.0


@dataclasses.dataclass(frozen=True, eq=False)
class Components:
    """Principal components of training frames, the largest first.

    weight: float32 (n,), n = v·c: weight of a standardised unit; 0 if a coordinate never moves.
    center: float32 (n,), mean of the weighted frames.
    basis: float32 (n, n), one component per column.
    deviation: float32 (n,), standard deviation along each component.
    """

    skeleton: Skeleton
    weight: np.ndarray
    center: np.ndarray
    basis: np.ndarray
    deviation: np.ndarray


def fit_components(clips: Iterable[Pose], skeleton: Skeleton, statistics: Statistics) -> Components:
    """The components of standardised clips, with missing points filled by `hold`.

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
    """Poses whose missing points stay where they were last seen, or at 0, the mean, before that.

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
      size: k, the number of components.
      step: step size of the quantizer, in standard deviations of the first component.
      dead_zone: changes below this many steps count as 0, changes up to one step larger as 1, and
        so on. 0.5 is rounding; 0.7 spends fewer bits on values that shake around a threshold.
    """

    components: Components
    size: int
    step: float
    dead_zone: float = 0.5

    frames_per_step = 1

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Alphabet sizes: of the changes of k components, then of one flag per hand."""
        return (2 * self.limit + 1,) * self.size + (2,) * len(self._hands)

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Each symbol is one digit."""
        return tuple((size,) for size in self.codebook_sizes)

    @property
    def token_shape(self) -> tuple[int, int]:
        """(s, q): one stream with all symbols."""
        return 1, len(self.codebook_sizes)

    @property
    def limit(self) -> int:
        """The largest change in steps: changes are -limit … limit."""
        return max(1, round(LARGEST / self.step))

    @property
    def num_parameters(self) -> int:
        """How many numbers encoder and decoder share, without the code tables."""
        return (self.size + 2) * len(self.components.center)

    def encode(self, pose: Pose) -> Tokens:
        """Symbols int32 (t, 1, k + hands) of a standardised clip: the changes plus `limit`, then 1
        for each hand without a visible point."""
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
        """Standardised poses float32 (t, v, c) of one clip, with all points."""
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
