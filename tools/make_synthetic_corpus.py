"""Writes synthetic signing clips as `.pose` files, to try everything without a download.

    jaxvq make clips --output DIR [--num_clips 120] [--seed 0]

A clip is a random sequence of signs from a small fixed lexicon of places, palm directions and hand
shapes. Hands travel on minimum-jerk paths (Flash and Hogan 1985), arms follow by inverse
kinematics, fingers bend at each joint, the face blinks and speaks, and the torso sways. Points have
the names and numbers of MediaPipe Holistic. The same seed gives the same clips.
"""

# Lengths are in shoulder widths until `synthetic_pose` turns them into pixels. x points to the
# right of the image, y down, z away from the camera. Frames are t, points v.

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxvq import command
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import (
    FACE_PATHS,
    HAND_COLORS,
    HAND_LIMBS,
    HAND_POINTS,
    Component,
    Skeleton,
    path_limbs,
)
from jaxvq.pose.writer import write_pose

POSE_POINTS = (
    "NOSE", "LEFT_EYE_INNER", "LEFT_EYE", "LEFT_EYE_OUTER", "RIGHT_EYE_INNER", "RIGHT_EYE",
    "RIGHT_EYE_OUTER", "LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT", "LEFT_SHOULDER",
    "RIGHT_SHOULDER", "LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST", "LEFT_PINKY",
    "RIGHT_PINKY", "LEFT_INDEX", "RIGHT_INDEX", "LEFT_THUMB", "RIGHT_THUMB", "LEFT_HIP",
    "RIGHT_HIP", "LEFT_KNEE", "RIGHT_KNEE", "LEFT_ANKLE", "RIGHT_ANKLE", "LEFT_HEEL",
    "RIGHT_HEEL", "LEFT_FOOT_INDEX", "RIGHT_FOOT_INDEX",
)  # fmt: skip
POSE_LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12), (11, 13),
    (13, 15), (15, 17), (15, 19), (15, 21), (17, 19), (12, 14), (14, 16), (16, 18), (16, 20),
    (16, 22), (18, 20), (11, 23), (12, 24), (23, 24), (23, 25), (24, 26), (25, 27), (26, 28),
    (27, 29), (28, 30), (29, 31), (30, 32), (27, 31), (28, 32),
)  # fmt: skip
_FACE = tuple(str(i) for i in range(468))
HOLISTIC_543 = Skeleton(
    (
        Component("POSE_LANDMARKS", POSE_POINTS, POSE_LIMBS, ((255, 0, 0),)),
        Component("FACE_LANDMARKS", _FACE, path_limbs(FACE_PATHS.values(), _FACE), ((128, 0, 0),)),
        Component("LEFT_HAND_LANDMARKS", HAND_POINTS, HAND_LIMBS, HAND_COLORS),
        Component("RIGHT_HAND_LANDMARKS", HAND_POINTS, HAND_LIMBS, HAND_COLORS),
    )
)

UPPER_ARM, FOREARM = 0.80, 0.70
HEAD = np.array([0.0, -0.60, -0.10])  # middle of the face
FACE_SIZE = np.array([0.225, 0.285])  # half its width and height
# Bend of thumb, index, middle, ring and little finger (0 straight, 1 closed), then the spread of
# the fingers (0 to 1).
HAND_SHAPES = np.array(
    [
        (0.1, 0.0, 0.0, 0.0, 0.0, 0.2),  # flat
        (0.0, 0.0, 0.0, 0.0, 0.0, 1.0),  # five
        (0.9, 1.0, 1.0, 1.0, 1.0, 0.0),  # fist
        (0.9, 0.0, 1.0, 1.0, 1.0, 0.0),  # index
        (0.9, 0.0, 0.0, 1.0, 1.0, 0.9),  # two fingers apart
        (0.0, 0.0, 1.0, 1.0, 1.0, 0.0),  # index and thumb
        (0.0, 1.0, 1.0, 1.0, 0.0, 0.6),  # thumb and little finger
        (0.4, 0.5, 0.5, 0.5, 0.5, 0.2),  # curved
        (0.7, 0.6, 0.0, 0.0, 0.0, 0.6),  # ring
        (0.2, 0.55, 0.55, 0.55, 0.55, 1.0),  # claw
    ]
)
# The posture of an arm is 12 numbers: the place of the wrist, the rotation of the hand about x, y
# and z, and its shape as in HAND_SHAPES.
WRIST, ANGLES, SHAPE = slice(0, 3), slice(3, 6), slice(6, 12)
RESTING = np.array([0.42, 1.28, -0.12, 2.9, 0.0, 0.0, 0.3, 0.25, 0.25, 0.25, 0.25, 0.1])
FPS = (24.0, 25.0, 29.97, 30.0)


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("--output", required=True, help="folder for the .pose files")
    parser.add_argument("--num_clips", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    write_corpus(args.output, num_clips=args.num_clips, seed=args.seed)
    print(f"{args.output}: {args.num_clips} clips")
    return 0


def synthetic_pose(
    rng: np.random.Generator,
    num_frames: int,
    fps: float = 25.0,
    canvas: tuple[int, int, int] = (640, 480, 0),
) -> Pose:
    """A clip of one synthetic signer: the points of HOLISTIC_543 in pixels of the canvas.

    As with real trackers, a hand is lost now and then: confidence 0 at all 21 points.
    """
    if num_frames < 1 or not fps > 0:
        raise ValueError(f"cannot make {num_frames} frames at {fps} frames per second")
    times = np.arange(num_frames) / fps  # in seconds
    sway = 0.02 * _slow_waves(rng, times, 3)
    right, left = _sign_sentence(rng, times)
    arms = {
        "LEFT": _arm_points(left, 1, 1 + rng.normal(0, 0.01)),
        "RIGHT": _arm_points(right, -1, 1 + rng.normal(0, 0.01)),
    }
    face = _face_points(rng, times)
    body = _body_points(face, arms)
    data = np.concatenate([body, face, arms["LEFT"]["hand"], arms["RIGHT"]["hand"]], axis=1)
    # The sway grows with the height above the hips.
    data += sway[:, None] * (1.3 - data[..., 1:2]).clip(0, 2)
    shoulder_width = rng.uniform(0.19, 0.26) * canvas[0]
    neck = np.array([canvas[0] * rng.uniform(0.46, 0.54), canvas[1] * rng.uniform(0.5, 0.56), 0])
    noise = rng.normal(0, (0.35, 0.35, 0.8), data.shape)
    data = data * shoulder_width + neck + noise
    confidence = _confidence(rng, arms, num_frames, fps)
    data[confidence == 0] = 0
    return Pose(
        HOLISTIC_543, data.astype(np.float32), confidence.astype(np.float32), float(fps), canvas
    )


def write_corpus(folder: str | Path, num_clips: int = 24, seed: int = 0) -> list[Path]:
    """Writes synthetic_000.pose, synthetic_001.pose, …; returns their paths.

    Clips have 20 to 200 frames at 24, 25, 29.97 or 30 fps.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(num_clips):
        rng = np.random.default_rng((seed, i))
        pose = synthetic_pose(rng, int(rng.integers(20, 201)), FPS[i % len(FPS)])
        paths.append(folder / f"synthetic_{i:03d}.pose")
        write_pose(paths[-1], pose)
    return paths


class Sign(NamedTuple):
    """The postures (12,) at the start and the end of a sign, and whether both hands make it."""

    start: np.ndarray
    end: np.ndarray
    two_handed: bool


def _make_lexicon(size: int = 24) -> list[Sign]:
    """The lexicon, which is always the same."""
    rng = np.random.default_rng(20)
    signs = []
    for i in range(size):
        wrist = rng.uniform((-0.05, -0.75, -0.60), (0.50, 0.70, -0.35))
        movement = rng.normal(0, (0.16, 0.20, 0.08))
        angles = rng.uniform((-0.3, -1.2, -0.5), (0.9, 1.2, 0.9))
        shapes = HAND_SHAPES[rng.integers(len(HAND_SHAPES), size=2)]
        start = np.concatenate([wrist, angles, shapes[0]])
        last_angles = angles + rng.normal(0, 0.35, 3)
        end = np.concatenate([wrist + movement, last_angles, shapes[i // 2 % 2]])
        signs.append(Sign(start, end, two_handed=i % 2 == 0))
    return signs


LEXICON = _make_lexicon()


def _sign_sentence(rng: np.random.Generator, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Postures (t, 12) of the right arm, which makes all signs, and of the left arm."""
    now, stops = 0.0, [(0.0, RESTING, RESTING)]  # (seconds, right posture, left posture)
    while len(stops) < 2 or now < times[-1]:
        sign = LEXICON[rng.integers(len(LEXICON))]
        now += rng.uniform(0.25, 0.45)
        left = sign.start if sign.two_handed else RESTING
        stops.append((now, sign.start + rng.normal(0, 0.02, 12), left))
        now += rng.uniform(0.25, 0.55)
        left = sign.end if sign.two_handed else RESTING
        stops.append((now, sign.end + rng.normal(0, 0.02, 12), left))
        if rng.random() < 0.15:
            now += rng.uniform(0.3, 0.5)
            stops.append((now, RESTING, RESTING))
    stop_times, right, left = zip(*stops, strict=True)
    return _minimum_jerk(times, stop_times, right), _minimum_jerk(times, stop_times, left)


def _minimum_jerk(times: np.ndarray, stop_times: ArrayLike, stops: ArrayLike) -> np.ndarray:
    """Smooth paths (t, d) that rest at `stops` (n, d) at `stop_times` (n,)."""
    stop_times, stops = np.asarray(stop_times), np.asarray(stops, np.float64)
    i = np.clip(np.searchsorted(stop_times, times, side="right") - 1, 0, len(stop_times) - 2)
    s = ((times - stop_times[i]) / (stop_times[i + 1] - stop_times[i])).clip(0, 1)[:, None]
    return stops[i] + (stops[i + 1] - stops[i]) * (10 * s**3 - 15 * s**4 + 6 * s**5)


def _slow_waves(rng: np.random.Generator, times: np.ndarray, dims: int) -> np.ndarray:
    """Slow irregular movement (t, dims), within -1 and 1."""
    frequency = rng.uniform(0.1, 0.6, (3, 1, dims))
    phase = rng.uniform(0, 2 * np.pi, (3, 1, dims))
    return np.sin(2 * np.pi * frequency * times[None, :, None] + phase).mean(axis=0)


def _rotations(angles: np.ndarray) -> np.ndarray:
    """Rotation matrices (t, 3, 3) about x, then y, then z by angles (t, 3) in radians."""
    matrix = np.eye(3)
    for axis in range(3):
        one = np.zeros((len(angles), 3, 3))
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        cos, sin = np.cos(angles[:, axis]), np.sin(angles[:, axis])
        one[:, axis, axis] = 1
        one[:, a, a] = one[:, b, b] = cos
        one[:, a, b], one[:, b, a] = -sin, sin
        matrix = one @ matrix
    return matrix


def _arm_points(postures: np.ndarray, side: int, hand_size: float) -> dict[str, np.ndarray]:
    """Shoulder, elbow and wrist (t, 3) and hand (t, 21, 3) for postures (t, 12).

    side: 1 for the left arm of the signer, on the right of the image; -1 for its mirror image, the
    right arm.
    """
    shoulder = np.tile([0.5, 0.0, 0.0], (len(postures), 1))
    reach = postures[:, WRIST] - shoulder
    distance = np.linalg.norm(reach, axis=1, keepdims=True)
    along = reach / distance
    distance = distance.clip(0.25, 0.99 * (UPPER_ARM + FOREARM))
    wrist = shoulder + along * distance
    # The elbow lies on a circle around the line from shoulder to wrist, at its outer, lower side.
    cos = (UPPER_ARM**2 + distance**2 - FOREARM**2) / (2 * UPPER_ARM * distance)
    pole = np.array([0.6, 0.8, 0.35])
    out = pole - (along @ pole)[:, None] * along
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    elbow = shoulder + UPPER_ARM * (cos * along + np.sqrt(1 - cos.clip(-1, 1) ** 2) * out)
    upright = _hand_points(postures[:, SHAPE]) * hand_size
    hand = wrist[:, None] + np.einsum("tij,tvj->tvi", _rotations(postures[:, ANGLES]), upright)
    mirror = np.array([side, 1, 1])
    points = {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": hand}
    return {name: values * mirror for name, values in points.items()}


def _hand_points(shapes: np.ndarray) -> np.ndarray:
    """Left hands (t, 21, 3) of shapes (t, 6), the wrist at 0, fingers up, palm to the camera."""
    points = np.zeros((len(shapes), 21, 3))
    spread = shapes[:, 5]
    for finger in range(5):
        bend = shapes[:, finger]
        if finger == 0:
            base, lean = np.array([-0.07, -0.06, -0.01]), -0.9 + 0.5 * bend
            lengths, most_bends = (0.09, 0.075, 0.06), (0.2, 0.5, 0.6)
        else:
            across = (-0.075, -0.02, 0.03, 0.075)[finger - 1]
            base = np.array([across, -(0.225, 0.235, 0.22, 0.195)[finger - 1], 0.0])
            lean = across * (1 + 3.5 * spread) * (1 - 0.8 * bend)
            size = (0.95, 1.05, 0.97, 0.76)[finger - 1]
            lengths = (0.11 * size, 0.07 * size, 0.055 * size)
            most_bends = (1.45, 1.75, 1.1)
        place, angle = np.tile(base, (len(shapes), 1)), np.zeros(len(shapes))
        points[:, 1 + 4 * finger] = place
        for joint, (length, most_bend) in enumerate(zip(lengths, most_bends, strict=True)):
            angle = angle + bend * most_bend
            inward = bend * joint * 0.5 if finger == 0 else 0.0
            flat = np.cos(angle)
            step = [np.sin(lean + inward) * flat, -np.cos(lean + inward) * flat, -np.sin(angle)]
            place = place + length * np.stack(step, axis=1)
            points[:, 2 + 4 * finger + joint] = place
    return points


def _face_points(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """The face mesh (t, 468, 3), whose contours speak, blink and raise the brows."""
    count = int(times[-1] / 0.25) + 3
    quarters = np.arange(count) * 0.25  # of a second
    mouth = _minimum_jerk(times, quarters, rng.beta(1.2, 2.5, (count, 2)))
    brows = _minimum_jerk(times, quarters, np.repeat(rng.random((count // 4 + 1, 1)), 4, 0)[:count])
    blink = _minimum_jerk(times, quarters, rng.random((count, 1)) < 0.08)[:, 0]
    points = np.zeros((len(times), 468, 3))
    # Points on no contour do not move: a spiral with the golden angle fills the face.
    radius, angle = np.sqrt(np.linspace(0, 0.9, 468)), np.arange(468) * 2.39996
    points[..., :2] = np.stack([np.cos(angle), np.sin(angle)], -1) * radius[:, None] * FACE_SIZE
    for name, path in FACE_PATHS.items():
        points[:, list(path), :2] = _contour_points(name, len(path), mouth, brows[:, 0], blink)
    distance = (points[..., :2] / FACE_SIZE) ** 2
    points[..., 2] = -0.17 * np.sqrt((1 - distance.sum(-1)).clip(0, 1))
    turns = _rotations(_slow_waves(rng, times, 3) * (0.12, 0.2, 0.1))
    return HEAD + np.einsum("tij,tvj->tvi", turns, points)


def _contour_points(
    name: str, count: int, mouth: np.ndarray, brows: np.ndarray, blink: np.ndarray
) -> np.ndarray:
    """The points (t, count, 2) of an entry of FACE_PATHS, relative to the middle of the face.

    All from 0 to 1: mouth (t, 2), its opening and width; brows (t,), their height; blink (t,), 1
    for closed eyes.
    """
    a = np.linspace(0, 2 * np.pi, count)
    ones = np.ones((len(brows), 1))
    side = -1 if "right" in name else 1
    if name == "oval":
        jaw = 1 - 0.16 * (1 - np.cos(a)) / 2
        return ones[..., None] * np.stack([-np.sin(a) * jaw, -np.cos(a)], -1) * FACE_SIZE
    if "lips" in name:
        outer = 0.018 if name == "outer_lips" else 0.003
        high = (outer + 0.035 * mouth[:, :1]) * (1 + 0.4 * (np.sin(a) > 0))
        wide = 0.062 + 0.9 * outer + 0.015 * mouth[:, 1:]
        return np.stack([-np.cos(a) * wide, 0.125 + np.sin(a) * high], -1)
    if "eye" in name:
        high = 0.017 * (1 - 0.9 * blink[:, None])
        return np.stack([side * (0.10 + 0.045 * np.cos(a)) * ones, -0.10 + np.sin(a) * high], -1)
    along = np.linspace(1, 0, count)  # brows: from their outer to their inner end
    arch = 0.018 * np.sin(np.pi * along) + (0.018 if "high" in name else 0.0)
    return np.stack(
        [side * (0.045 + 0.115 * along) * ones, -0.135 - arch - 0.03 * brows[:, None]], -1
    )


def _body_points(face: np.ndarray, arms: dict) -> np.ndarray:
    """The body (t, 33, 3): points of the face (t, 468, 3) and of both arms, and standing legs."""
    on_face = {
        "NOSE": (1, 4), "LEFT_EYE_INNER": (362,), "LEFT_EYE": (386, 374), "LEFT_EYE_OUTER": (263,),
        "RIGHT_EYE_INNER": (133,), "RIGHT_EYE": (159, 145), "RIGHT_EYE_OUTER": (33,),
        "LEFT_EAR": (454,), "RIGHT_EAR": (234,), "MOUTH_LEFT": (291,), "MOUTH_RIGHT": (61,),
    }  # fmt: skip
    in_hand = {"PINKY": 17, "INDEX": 5, "THUMB": 2}
    below = {
        "HIP": (0.33, 1.45, 0), "KNEE": (0.33, 2.5, -0.1), "ANKLE": (0.33, 3.5, 0.1),
        "HEEL": (0.33, 3.6, 0.15), "FOOT_INDEX": (0.38, 3.7, -0.1),
    }  # fmt: skip
    body = np.zeros((len(face), 33, 3))
    for i, name in enumerate(POSE_POINTS):
        side, _, point = name.partition("_")
        if name in on_face:
            body[:, i] = face[:, on_face[name]].mean(axis=1)
        elif point in below:
            body[:, i] = np.array(below[point]) * (1 if side == "LEFT" else -1, 1, 1)
        elif point in in_hand:
            body[:, i] = arms[side]["hand"][:, in_hand[point]]
        else:
            body[:, i] = arms[side][point.lower()]
    return body


def _confidence(rng: np.random.Generator, arms: dict, num_frames: int, fps: float) -> np.ndarray:
    """Confidences (t, 543): near 0 for the legs; 1 for a hand, or 0 while it is lost."""
    body = np.where(np.arange(33) < 25, rng.uniform(0.97, 1), rng.uniform(0.001, 0.05))
    parts = [np.tile(body, (num_frames, 1)), np.ones((num_frames, 468))]
    for side in ("LEFT", "RIGHT"):
        # A hand is lost more often at rest, near the edge of the image.
        low = arms[side]["wrist"][:, 1] > 1.1
        seen = np.ones(num_frames)
        frame = 0
        while frame < num_frames:
            length = int(fps * rng.uniform(0.15, 0.7)) + 1
            if rng.random() < (0.6 if low[frame] else 0.12):
                seen[frame : frame + length] = 0
            frame += length
        parts.append(np.repeat(seen[:, None], 21, axis=1))
    return np.concatenate(parts, axis=1)


if __name__ == "__main__":
    command.run(main)
