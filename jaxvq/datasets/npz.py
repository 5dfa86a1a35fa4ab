"""sign-vq's form of a corpus: a zip of standardised npz files.

A member `<stem>.npz` has `data` float16 (t, v, c), standardised and 0 where missing, and `mask`
bool of the same shape, True = missing (sign-language-processing/sign-vq, `ZipPoseDataset`, which
loads every member of the zip). jaxvq export zip adds `fps` and, in the comment of the archive, the
statistics that undo the standardisation.
"""

import json
import zipfile
from pathlib import Path

import numpy as np

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics, statistics_from_json
from jaxvq.storage import reading

FOREIGN_FPS = 25.0  # sign-vq stores no frame rate, and decodes at this one


def decode_clip(content: bytes, name: str, skeleton: Skeleton, statistics: Statistics) -> Pose:
    """The clip in a member of a zip of jaxvq export zip, or of sign-vq."""
    try:
        arrays = reading.read_npz(content, name)
        data, mask = arrays["data"], arrays["mask"]
        fps = float(arrays.get("fps", FOREIGN_FPS))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}: not an npz with the arrays data and mask: {error}") from error
    shape = (len(data) if data.ndim else 0, skeleton.num_points, skeleton.num_dims)
    if data.shape != shape or mask.shape not in (shape, shape[:2]) or not len(data):
        raise ValueError(
            f"{name}: data of shape {data.shape} and mask of {mask.shape}, expected "
            f"(frames, {skeleton.num_points}, {skeleton.num_dims}) and at least one frame"
        )
    if mask.ndim == 3:
        mask = mask.any(axis=-1)
    mask = mask | ~np.isfinite(data).all(axis=-1)
    data = statistics.unstandardize(data)
    data[mask] = 0
    return Pose(skeleton, data, (~mask).astype(np.float32), fps)


def read_statistics(path: str | Path, skeleton: Skeleton) -> Statistics | None:
    """The statistics in a zip; None if there are none, as in sign-vq's own zips."""
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
    try:
        return statistics_from_json(json.loads(comment), skeleton)
    except ValueError:
        return None
