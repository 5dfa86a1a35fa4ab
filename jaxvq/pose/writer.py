"""Writes `.pose` files and headers through pose-format."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.storage import atomic

if TYPE_CHECKING:
    from pose_format.pose_header import PoseHeader

# As in sign-vq, 2.5 shoulder widths fill the canvas, around the midpoint of the shoulders.
CANVAS_MARGIN = 1.25


def write_pose(path: str | Path, pose: Pose) -> None:
    """Writes a `.pose` file of version 0.2 with the clip's own frame rate.

    Raises ValueError for a canvas outside 0 ... 65535.
    """
    from pose_format import Pose as FormatPose
    from pose_format.numpy import NumPyPoseBody

    confidence = np.asarray(pose.confidence, np.float32)[:, None]
    data = np.ma.masked_array(np.asarray(pose.data, np.float32)[:, None])
    data[np.broadcast_to(confidence[..., None] == 0, data.shape)] = np.ma.masked
    body = NumPyPoseBody(fps=pose.fps, data=data, confidence=confidence)
    buffer = io.BytesIO()
    FormatPose(_header(pose.skeleton, pose.canvas), body).write(buffer)
    with atomic.writing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def write_header(path: str | Path, skeleton: Skeleton, canvas: tuple[int, ...] = (1, 1, 1)) -> None:
    """Writes the header of a `.pose` file alone, as sign-vq's `header.poseheader`."""
    buffer = io.BytesIO()
    _header(skeleton, canvas).write(buffer)
    with atomic.writing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def pose_for_canvas(pose: Pose, size: int = 500) -> Pose:
    """A normalised pose (hands at their wrists) in pixels of a square canvas, as in sign-vq.

    (x, y, z) -> (x, y, z + 1.25) * size / 2.5, so one shoulder width is 200 of 500 pixels.
    """
    dims = pose.skeleton.space_dims
    data = pose.data.astype(np.float32)
    data[..., :dims] = (data[..., :dims] + CANVAS_MARGIN) * (size / (2 * CANVAS_MARGIN))
    data[pose.mask] = 0
    return pose.replace(data=data, canvas=(size, size, size))


def _header(skeleton: Skeleton, canvas: tuple[int, ...]) -> "PoseHeader":
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    components = [
        PoseHeaderComponent(c.name, list(c.points), list(c.limbs), list(c.colors), c.format)
        for c in skeleton.components
    ]
    return PoseHeader(version=0.2, dimensions=PoseHeaderDimensions(*canvas), components=components)
