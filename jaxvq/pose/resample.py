"""Changes the frame rate of a pose."""

import numpy as np

from jaxvq.pose.reader import Pose


def resample(pose: Pose, fps: float) -> Pose:
    """The pose at another frame rate, by linear interpolation between neighbouring frames.

    Frame i of the result shows the time i / fps. The clip keeps its duration to within half a
    frame, and at least one frame. A point is interpolated if both neighbours show it; otherwise it
    is as in the nearer frame. Raises ValueError unless fps > 0.
    """
    if not 0 < fps < float("inf"):
        raise ValueError(f"frames per second must be positive, not {fps}")
    old = len(pose.data)
    if fps == pose.fps or old == 0:
        return pose.replace(fps=float(fps))
    new = max(1, round(old * fps / pose.fps))
    times = np.minimum(np.arange(new) * (pose.fps / fps), old - 1)
    before = np.floor(times).astype(np.int64)
    after = np.minimum(before + 1, old - 1)
    weight = (times - before).astype(np.float32)
    nearest = np.where(weight < 0.5, before, after)
    both = ~(pose.mask[before] | pose.mask[after])

    def blend(values: np.ndarray) -> np.ndarray:
        fraction = weight.reshape(-1, *[1] * (values.ndim - 1))
        mixed = values[before] * (1 - fraction) + values[after] * fraction
        return np.where(both.reshape(both.shape + (1,) * (values.ndim - 2)), mixed, values[nearest])

    return pose.replace(data=blend(pose.data), confidence=blend(pose.confidence), fps=float(fps))


def resample_like(pose: Pose, other: Pose) -> Pose:
    """The pose at the frame rate of another one, with as many frames."""
    if pose.fps == other.fps:
        return pose
    pose = resample(pose, other.fps)
    # Two roundings of the length may make it a frame shorter or longer.
    frames = np.minimum(np.arange(len(other.data)), len(pose.data) - 1)
    return pose.replace(data=pose.data[frames], confidence=pose.confidence[frames])
