"""The one form in which poses reach a model: rows of frames, of one clip or of several."""

from typing import Any, NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Rows of standardised frames; arrays are numpy's or JAX's.

    pose: float32 (b, t, v, c), what the encoder sees; 0 where a point is missing.
    visible: bool (b, t, v), which points the encoder sees.
    segment: int32 (b, t), 0 for padding; 1, 2, … count the clips in a row.
    position: int32 (b, t), number of the frame in its clip.
    target_pose, target_visible: what decoding is to give, where augmentation changed what the
      encoder sees; None where both are the same. Read them through `target`.
    clip, start: int32 (b,), in evaluation only: the clip that a row is a window of (-1 for none),
      and the window's first frame in it.
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
        """(pose, visible) that decoding is to give."""
        if self.target_pose is None:
            return self.pose, self.visible
        return self.target_pose, self.target_visible

    @property
    def frames(self) -> Any:
        """bool (b, t): frames that are no padding."""
        return self.segment > 0


def make_batch(pose: Any, visible: Any = None, segment: Any = None, position: Any = None) -> Batch:
    """A Batch of poses (b, t, v, c); what is left out is that of one whole clip per row.

    visible: all points. segment: 1, no padding. position: 0, 1, … from the first frame on.
    """
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
