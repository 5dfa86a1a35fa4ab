"""The input of all models: rows of frames, of one clip or of several."""

from typing import Any, NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Rows of standardised frames. Arrays are numpy's or JAX's.

    pose: float32 (b, t, v, c), the input of the encoder; 0 where a point is missing.
    visible: bool (b, t, v), the points that the encoder sees.
    segment: int32 (b, t), 0 for padding; 1, 2, … count the clips in a row.
    position: int32 (b, t), number of the frame in its clip.
    target_pose, target_visible: the reconstruction target, if augmentation changed the input; else
      None. Read them through `target`.
    clip, start: int32 (b,), in evaluation only: the clip of a row's window (-1 for none), and the
      first frame of the window.
    """

    pose: Any
    visible: Any
    segment: Any
    position: Any
    target_pose: Any = None
    target_visible: Any = None
    clip: Any = None
    start: Any = None

    @property
    def target(self) -> tuple[Any, Any]:
        """(pose, visible) of the reconstruction target."""
        if self.target_pose is None:
            return self.pose, self.visible
        return self.target_pose, self.target_visible

    @property
    def frames(self) -> Any:
        """bool (b, t): False for padding."""
        return self.segment > 0


def make_batch(pose: Any, visible: Any = None, segment: Any = None, position: Any = None) -> Batch:
    """A Batch of poses (b, t, v, c), by default with one whole, fully visible clip per row."""
    b, t = pose.shape[:2]
    if visible is None:
        visible = np.ones(pose.shape[:3], bool)
    if segment is None:
        segment = np.ones((b, t), np.int32)
    if position is None:
        position = np.broadcast_to(np.arange(t, dtype=np.int32), (b, t))
    return Batch(pose, visible, segment, position)


def empty_batch(rows: int, frames: int, num_points: int, num_dims: int) -> Batch:
    """A Batch of padding, numpy arrays to be filled in."""
    return Batch(
        pose=np.zeros((rows, frames, num_points, num_dims), np.float32),
        visible=np.zeros((rows, frames, num_points), bool),
        segment=np.zeros((rows, frames), np.int32),
        position=np.zeros((rows, frames), np.int32),
    )
