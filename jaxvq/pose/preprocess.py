"""From a pose as it was recorded to the numbers a model sees, and back.

The steps are sign-vq's: select 178 points, put the body's wrists onto the hands' wrists, normalise
by the shoulders, express each hand relative to its wrist. (sign-vq drops the result of its wrist
correction; here it acts.) Every function returns a new Pose and leaves its argument alone.
"""

from dataclasses import dataclass

import numpy as np

from jaxvq.pose.reader import Pose, blank, pick_points
from jaxvq.pose.skeleton import HOLISTIC_178, Skeleton

# A point this many shoulder widths away is no pose any more (and soon leaves float16).
MAX_COORDINATE = 10_000


@dataclass(frozen=True)
class Placement:
    """Where a normalised pose was: original = normalised / scale + center.

    center: float64 (c,), the mean midpoint of the shoulders; scale: 1 / mean shoulder distance.
    """

    center: np.ndarray
    scale: float


def select_points(pose: Pose, skeleton: Skeleton = HOLISTIC_178) -> Pose:
    """The points of `skeleton`, found by component and point name.

    Components that the pose lacks are missing in the result, and so are single points; coordinates
    are taken by their letter in the format, and one that the pose lacks (z of a flat pose) is 0.
    Raises ValueError if none of the components is there, or one is but shares no point.
    """
    if pose.skeleton is skeleton or pose.skeleton == skeleton:
        return pose
    data, confidence = pick_points(pose.data, pose.confidence, pose.skeleton, skeleton)
    return pose.replace(skeleton=skeleton, data=data, confidence=confidence)


def correct_wrists(pose: Pose) -> Pose:
    """Puts the body's wrist onto the hand's wrist in the frames where the hand is seen."""
    data, confidence = pose.data.copy(), pose.confidence.copy()
    for at_hand, at_body, _ in pose.skeleton.wrist_pairs:
        seen = confidence[:, at_hand] != 0
        data[seen, at_body] = data[seen, at_hand]
        confidence[seen, at_body] = confidence[seen, at_hand]
    return pose.replace(data=data, confidence=confidence)


def normalize_shoulders(pose: Pose) -> tuple[Pose, Placement]:
    """Moves the mean midpoint of the shoulders to 0 and scales their mean distance to 1; errors as
    `find_placement` and `place` have them."""
    placement = find_placement(pose)
    return place(pose, placement), placement


def find_placement(pose: Pose) -> Placement:
    """Where the shoulders are and how far apart, as means over the frames that show both, in
    float64; the distance counts all coordinates.

    Raises ValueError without such a frame, or for shoulders in one place.
    """
    right, left = pose.skeleton.shoulders
    seen = (pose.confidence[:, right] != 0) & (pose.confidence[:, left] != 0)
    if not seen.any():
        raise ValueError(f"none of the {len(seen)} frames shows both shoulders: cannot normalise")
    rights = pose.data[:, right][seen].astype(np.float64)
    lefts = pose.data[:, left][seen].astype(np.float64)
    center = (rights + lefts).mean(axis=0) / 2
    rights -= lefts
    distance = np.sqrt((rights * rights).sum(axis=-1)).mean()
    if not distance > 0:
        raise ValueError("the shoulders are in one place (distance 0): cannot normalise")
    return Placement(center, 1 / float(distance))


def place(pose: Pose, placement: Placement) -> Pose:
    """(pose - center) * scale; ValueError for points that are then MAX_COORDINATE away."""
    with np.errstate(over="ignore"):
        # One row of repeated centres: numpy is slow at broadcasting over an axis of 3.
        row = np.tile(placement.center.astype(np.float32), pose.skeleton.num_points)
        data = (pose.data.reshape(len(pose.data), -1) - row).reshape(pose.data.shape)
        data *= np.float32(placement.scale)
    blank(data, pose.mask)
    largest = max(data.max(initial=0), -data.min(initial=0))
    if not largest <= MAX_COORDINATE:
        raise ValueError(
            f"a point lies {largest:.3g} shoulder widths away, the limit is {MAX_COORDINATE}"
        )
    return pose.replace(data=data)


def shift_hands(pose: Pose) -> Pose:
    """Hands relative to their wrists; after `correct_wrists` hand wrists become exactly 0.

    The origin is the body's wrist (equal to the hand's wrist where that is seen), so that
    `unshift_hands` needs nothing else. A hand in a frame without any wrist cannot be placed and
    becomes missing.
    """
    return _move_hands(pose, -1)


def unshift_hands(pose: Pose) -> Pose:
    """Puts the hands back to the body's wrists: the inverse of `shift_hands`."""
    return _move_hands(pose, 1)


def _move_hands(pose: Pose, sign: int) -> Pose:
    frames, points, dims = pose.data.shape
    data, confidence = pose.data.copy(), pose.confidence.copy()
    flat = data.reshape(frames, points * dims)
    for _, at_body, hand in pose.skeleton.wrist_pairs:
        first, last = hand[0], hand[-1] + 1
        wrist = data[:, at_body] if sign > 0 else -data[:, at_body]
        flat[:, first * dims : last * dims] += np.tile(wrist, last - first)
        confidence[confidence[:, at_body] == 0, first:last] = 0
    blank(data, confidence == 0)
    return pose.replace(data=data, confidence=confidence)


def preprocess(pose: Pose, skeleton: Skeleton = HOLISTIC_178) -> tuple[Pose, Placement]:
    """All steps: select the points of `skeleton`, correct wrists, normalise, shift hands.

    Raises ValueError where the points are not there or no frame shows both shoulders.
    """
    pose, placement = normalize_shoulders(correct_wrists(select_points(pose, skeleton)))
    return shift_hands(pose), placement


def restore(pose: Pose, placement: Placement) -> Pose:
    """Undoes `shift_hands` and `normalize_shoulders`: poses in the units of the recording."""
    pose = unshift_hands(pose)
    data = pose.data / np.float32(placement.scale) + placement.center.astype(np.float32)
    blank(data, pose.mask)
    return pose.replace(data=data)
