"""Mean and standard deviation of every point, and the files that hold them.

The JSON form is that of sign-vq: {component: {point: {"mean": [c numbers], "std": [c numbers]}}}.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxvq.pose.skeleton import Skeleton
from jaxvq.storage import atomic, reading


@dataclass(frozen=True, eq=False)
class Statistics:
    """Moments of normalised poses.

    mean, std: float32 (v, c). A std of 0 (coordinates that never change, such as the wrists of the
    hands) is replaced by 1 and noted in `constant`, bool (v, c); files keep the 0.
    """

    mean: np.ndarray
    std: np.ndarray
    constant: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        std = np.asarray(self.std, np.float32)
        object.__setattr__(self, "mean", np.asarray(self.mean, np.float32))
        object.__setattr__(self, "constant", std == 0)
        object.__setattr__(self, "std", np.where(std == 0, np.float32(1), std))

    @property
    def scale(self) -> np.ndarray:
        """float32 (v, c): a standardised unit in the pose's units; 0 for constants."""
        return np.where(self.constant, np.float32(0), self.std)

    def standardize(self, data: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(data - mean) / std: data (..., v, c), mask bool (..., v) -> float32, 0 where missing."""
        result = np.asarray(data - self.mean, np.float32)
        result /= self.std
        result.reshape(-1, result.shape[-1])[np.flatnonzero(mask)] = 0  # faster than by mask
        return result

    def unstandardize(self, data: np.ndarray) -> np.ndarray:
        """The inverse of `standardize`: data (..., v, c) -> float32, mean where the data are 0.

        A coordinate that never changes comes out as its mean, whatever a model made of it.
        """
        return np.asarray(data * self.scale + self.mean, np.float32)


@dataclass
class Accumulator:
    """Gathers moments clip by clip, in float64, ignoring missing points.

    Keeps count, mean and summed squared deviation (Chan, Golub and LeVeque 1979), so that
    coordinates that never change end with a std of exactly 0.
    """

    count: np.ndarray | float = 0.0
    mean: np.ndarray | float = 0.0
    deviation: np.ndarray | float = 0.0

    def add(self, data: np.ndarray, mask: np.ndarray) -> None:
        """Adds frames: data (t, v, c), mask bool (t, v), True = missing."""
        seen = ~mask
        count = seen.sum(axis=0, dtype=np.float64)[:, None]
        # Deviations from the first seen value: exact for constants, and stable for all others.
        first = data[seen.argmax(axis=0), np.arange(data.shape[1])].astype(np.float64)
        first[count[:, 0] == 0] = 0
        shifted = data.astype(np.float64)
        shifted -= first
        shifted.reshape(-1, shifted.shape[-1])[np.flatnonzero(mask)] = 0  # faster than by mask
        total = shifted.sum(axis=0)
        shift = total / np.maximum(count, 1)
        deviation = np.einsum("tvc,tvc->vc", shifted, shifted) - total * shift
        self.merge(Accumulator(count, first + shift, np.maximum(deviation, 0)))

    def merge(self, other: "Accumulator") -> None:
        """Adds what another accumulator has gathered."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.mean - self.mean
        self.deviation = self.deviation + other.deviation + delta**2 * self.count * share
        self.mean = self.mean + delta * share
        self.count = count

    def result(self) -> Statistics:
        """The moments so far (std of the population); never seen points have mean 0.

        Raises ValueError if no frame was added.
        """
        if np.ndim(self.count) == 0:
            raise ValueError("no frames to take the mean and standard deviation of")
        std = np.sqrt(self.deviation / np.maximum(self.count, 1))
        return Statistics(np.asarray(self.mean), std)


def statistics_to_json(statistics: Statistics, skeleton: Skeleton) -> dict:
    """The moments by component and point name."""
    std = np.where(statistics.constant, 0, statistics.std)
    content: dict = {component.name: {} for component in skeleton.components}
    for index, (component, point) in enumerate(skeleton.names):
        content[component][point] = {
            "mean": statistics.mean[index].tolist(),
            "std": std[index].tolist(),
        }
    return content


def statistics_from_json(content: dict, skeleton: Skeleton) -> Statistics:
    """The moments of the skeleton's points, in its order; ValueError where one is not there."""
    try:
        rows = [content[component][point] for component, point in skeleton.names]
        moments = [np.array([row[key] for row in rows], np.float64) for key in ("mean", "std")]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not statistics of these points: {error} is missing") from error
    shape = (skeleton.num_points, skeleton.num_dims)
    if any(moment.shape != shape for moment in moments):
        raise ValueError(f"statistics of shape {moments[0].shape}, expected {shape}")
    if not all(np.isfinite(moment).all() for moment in moments) or moments[1].min() < 0:
        raise ValueError("statistics hold numbers that are no mean or standard deviation")
    return Statistics(*moments)


def save_statistics(path: str | Path, skeleton: Skeleton, statistics: Statistics) -> None:
    """Writes the moments as JSON, as sign-vq does."""
    atomic.write_text(path, json.dumps(statistics_to_json(statistics, skeleton), indent=2))


def load_statistics(path: str | Path, skeleton: Skeleton) -> Statistics:
    """Reads `pose_normalization.json`, ours or sign-vq's; ValueError naming the file."""
    content = reading.read_json(path)
    try:
        return statistics_from_json(content, skeleton)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
