"""Reads LSFB's landmarks: MediaPipe's points of a whole video, in one .npy file per part.

poses/pose/<video>.npy (t, 33, 3), poses/left_hand/<video>.npy and poses/right_hand/<video>.npy
(t, 21, 3); x and y as shares of the width and height of the picture, z in the scale of x. Missing
points are NaN or exactly 0. Fink et al., "LSFB-CONT and LSFB-ISOL" (2021), and its second version.
"""

from pathlib import Path

import numpy as np

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeletons import LSFB_75

FPS = 50
WIDTH, HEIGHT = 720, 576  # of the videos, in pixels
PARTS = ("pose", "left_hand", "right_hand")  # folders, in the order of LSFB_75


class NoFrames(ValueError):
    """A segment outside of its video, or an empty one."""


def read_segment(folder: str | Path, video: str, start: int, end: int) -> Pose:
    """Frames [start, end) of a video, clamped to its length, as LSFB_75 in shares of the picture.

    Only these frames are read from disk. Raises FileNotFoundError for a missing file, ValueError
    for one with another array, and NoFrames if no frame is left.
    """
    files = [Path(folder) / part / f"{video}.npy" for part in PARTS]
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise FileNotFoundError(f"{absent[0]} does not exist")
    sizes = [len(component.points) for component in LSFB_75.components]
    parts = [_open(file, size) for file, size in zip(files, sizes, strict=True)]
    length = min(len(part) for part in parts)
    start, stop = max(0, start), min(length, end)
    if stop <= start:
        raise NoFrames(f"{video}: no frames from {start} to {end}, the video has {length}")
    with np.errstate(over="ignore"):
        data = np.concatenate([part[start:stop] for part in parts], axis=1).astype(np.float32)
    seen = np.isfinite(data).all(axis=-1) & (data != 0).any(axis=-1)
    data[~seen] = 0
    return Pose(LSFB_75, data, seen.astype(np.float32), float(FPS), (WIDTH, HEIGHT, 0))


def frame_of(milliseconds: str | float) -> int:
    """The frame at a time. ValueError unless the time is a finite number."""
    try:
        return int(float(milliseconds) * FPS / 1000)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{milliseconds!r} is no time in milliseconds") from error


def _open(path: Path, num_points: int) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not an array that numpy can open: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: not an array of numbers")
    if array.ndim != 3 or array.shape[1:] != (num_points, 3):
        raise ValueError(f"{path}: an array of shape {array.shape}, expected (t, {num_points}, 3)")
    return array
