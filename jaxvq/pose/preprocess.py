"""From a pose as it was recorded to the numbers a model sees, and back.

The steps are sign-vq's: select 178 points, put the body's wrists onto the hands' wrists, normalise
by the shoulders, express each hand relative to its wrist. (sign-vq drops the result of its wrist
correction; here it acts.) Poses of a skeleton without shoulders are normalised by their size, and
whole-body motion as `motion` describes. Every
function returns a new Pose and leaves its argument alone. A confidence among a point's numbers
(`Skeleton.space_dims`) is no coordinate, so it is neither moved nor scaled.
"""

from dataclasses import dataclass

import numpy as np

from jaxvq.pose import motion
from jaxvq.pose.reader import Pose, blank, pick_points
from jaxvq.pose.resample import resample
from jaxvq.pose.skeleton import HOLISTIC_178, Skeleton

# A point this many shoulder widths away is no pose any more (and soon leaves float16).
MAX_COORDINATE = 10_000


@dataclass(frozen=True)
class Placement:
    """Where a normalised pose was: original = normalised / scale + center.

    center: float64 (c,), the mean midpoint of the shoulders; scale: 1 / mean shoulder distance.
    Of a confidence the center is 0, and the scale does not count.
    Of motion, where the clip began: center, the root's place on the ground; heading, the direction
    it faced, radians from z to x.
    """

    center: np.ndarray
    scale: float
    heading: float = 0.0


ORIGIN = Placement(np.zeros(3), 1.0)  # where motion is put that comes without a place


def select_points(pose: Pose, skeleton: Skeleton = HOLISTIC_178) -> Pose:
    """The points of `skeleton`, found by component and point name.

    Components that the pose lacks are missing in the result, and so are single points; coordinates
    are taken by their letter in the format, and one that the pose lacks (z of a flat pose) is 0;
    a C among them is the confidence.
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


def can_place(pose: Pose) -> np.ndarray:
    """bool (t,): frames that `find_placement` can use."""
    if not pose.skeleton.has_shoulders:
        return np.logical_not(pose.mask.all(axis=1))
    right, left = pose.skeleton.shoulders
    return (pose.confidence[:, right] != 0) & (pose.confidence[:, left] != 0)


def find_placement(pose: Pose) -> Placement:
    """Where the shoulders are and how far apart, as means over the frames that show both, in
    float64; the distance counts all coordinates.

    Of a skeleton without shoulders: the mean of all points that are seen, and twice the root of
    their mean squared distance from it. Raises ValueError without a frame to use, or for shoulders,
    or points, in one place.
    """
    by, dims = "shoulders" if pose.skeleton.has_shoulders else "points", pose.skeleton.space_dims
    seen = can_place(pose)
    if not seen.any():
        shows = "both shoulders" if by == "shoulders" else "a point"
        raise ValueError(f"none of the {len(seen)} frames shows {shows}: cannot normalise")
    center = np.zeros(pose.data.shape[-1])
    if by == "shoulders":
        right, left = pose.skeleton.shoulders
        rights = pose.data[:, right, :dims][seen].astype(np.float64)
        lefts = pose.data[:, left, :dims][seen].astype(np.float64)
        center[:dims] = (rights + lefts).mean(axis=0) / 2
        rights -= lefts
        distance = np.sqrt((rights * rights).sum(axis=-1)).mean()
    else:
        points = pose.data[~pose.mask][:, :dims].astype(np.float64)
        center[:dims] = points.mean(axis=0)
        points -= center[:dims]
        distance = 2 * np.sqrt((points * points).sum(axis=-1).mean())
    if not distance > 0:
        raise ValueError(f"the {by} are in one place (distance 0): cannot normalise")
    return Placement(center, 1 / float(distance))


def place(pose: Pose, placement: Placement) -> Pose:
    """(pose - center) * scale; ValueError for points that are then MAX_COORDINATE away."""
    dims = pose.skeleton.space_dims
    with np.errstate(over="ignore"):
        # One row of repeated centres: numpy is slow at broadcasting over an axis of 3.
        row = np.tile(placement.center.astype(np.float32), pose.skeleton.num_points)
        data = (pose.data.reshape(len(pose.data), -1) - row).reshape(pose.data.shape)
        if dims == pose.data.shape[-1]:
            data *= np.float32(placement.scale)
        else:
            data[..., :dims] *= np.float32(placement.scale)
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
        if pose.skeleton.space_dims < dims:
            wrist = np.where(np.arange(dims) < pose.skeleton.space_dims, wrist, 0)
        flat[:, first * dims : last * dims] += np.tile(wrist, last - first)
        confidence[confidence[:, at_body] == 0, first:last] = 0
    blank(data, confidence == 0)
    return pose.replace(data=data, confidence=confidence)


def preprocess(
    pose: Pose, skeleton: Skeleton = HOLISTIC_178, fps: float = 0.0
) -> tuple[Pose, Placement]:
    """All steps: select the points of `skeleton`, correct wrists, normalise, shift hands.

    fps: resample to this frame rate; 0 keeps the pose's own.

    Raises ValueError where the points are not there or no frame shows both shoulders; of motion,
    where a frame lacks one of them, a hip or the root.
    """
    pose = select_points(pose, skeleton)
    if skeleton.is_motion:  # velocities are those of the new rate
        return _preprocess_motion(resample(pose, fps) if fps else pose)
    pose, placement = normalize_shoulders(correct_wrists(pose))
    pose = shift_hands(pose)
    return resample(pose, fps) if fps else pose, placement


def _preprocess_motion(pose: Pose) -> tuple[Pose, Placement]:
    data, place, heading = motion.to_local(pose.data, pose.mask, pose.skeleton, pose.fps)
    largest = float(np.abs(data).max())
    if not largest <= MAX_COORDINATE:
        raise ValueError(f"a point lies {largest:.3g} m away, the limit is {MAX_COORDINATE}")
    confidence = pose.confidence.copy()
    confidence[:, pose.skeleton.parts["path"]] = 1
    return pose.replace(data=data, confidence=confidence), Placement(place, 1.0, heading)


def restore(pose: Pose, placement: Placement) -> Pose:
    """Undoes `preprocess`: poses in the units of the recording, of motion without the path."""
    if pose.skeleton.is_motion:
        return select_points(_restore_motion(pose, placement), pose.skeleton.recorded)
    pose = unshift_hands(pose)
    scale = np.ones(pose.data.shape[-1], np.float32)
    scale[: pose.skeleton.space_dims] = placement.scale
    data = pose.data / scale + placement.center.astype(np.float32)
    blank(data, pose.mask)
    return pose.replace(data=data)


def _restore_motion(pose: Pose, placement: Placement) -> Pose:
    place, heading = placement.center, placement.heading
    world = motion.to_world(pose.data, pose.skeleton, pose.fps, place, heading)
    data = world.astype(np.float32)
    blank(data, pose.mask)
    return pose.replace(data=data)


def arrange(pose: Pose) -> Pose:
    """A normalised pose as pictures show it, with all of its points: hands at their wrists; motion
    along its path from the origin, and with y down as in all pictures."""
    if not pose.skeleton.is_motion:
        return unshift_hands(pose)
    pose = _restore_motion(pose, ORIGIN)
    return pose.replace(data=pose.data * np.array([1, -1, 1], np.float32))


def split_confidence(pose: Pose) -> Pose:
    """The pose with the confidence that stands among its numbers as its confidence, 0 to 1; what is
    missing stays so. Other poses as they are."""
    dims = pose.skeleton.space_dims
    if dims == pose.skeleton.num_dims:
        return pose
    confidence = np.where(pose.mask, np.float32(0), np.clip(pose.data[..., dims], 0, 1))
    data = np.ascontiguousarray(pose.data[..., :dims])
    blank(data, confidence == 0)
    skeleton = pose.skeleton.with_coordinates(pose.skeleton.coordinates[:dims])
    return pose.replace(skeleton=skeleton, data=data, confidence=confidence)
