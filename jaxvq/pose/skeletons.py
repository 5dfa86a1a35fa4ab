"""Skeletons by name: what corpora of different origin call their points.

- holistic_178: MediaPipe Holistic as sign-vq cuts it (in skeleton.py), 3-D
- openpose_67: OpenPose's BODY_25 and two hands, as How2Sign ships them, 2-D
- lsfb_75: MediaPipe's whole body and two hands, as LSFB ships them, 3-D
- coco_wholebody_133: body with feet, 68 points of the face, two hands, 2-D

Component and point names are those of pose-format's headers, so that `.pose` files of the same kind
find their points. Others are read from JSON files (docs/skeletons.md).
"""

from pathlib import Path

import numpy as np

from jaxvq.pose import bvh, motion
from jaxvq.pose.skeleton import (
    HAND_COLORS,
    HAND_LIMBS,
    HAND_POINTS,
    HOLISTIC_178,
    Component,
    Skeleton,
)
from jaxvq.storage import reading

# The hand of OpenPose and of COCO-WholeBody: a wrist and five fingers of four points.
_FINGER_LIMBS = tuple((joint - 1 if joint % 4 != 1 else 0, joint) for joint in range(1, 21))

# Figure: OpenPose's documentation, "Pose Output Format (BODY_25)".
BODY_25_POINTS = (
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip",
    "RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar",
    "LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel",
)  # fmt: skip
_BODY_25_LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (10, 11),
    (8, 12), (12, 13), (13, 14), (0, 15), (0, 16), (15, 17), (16, 18), (14, 19), (19, 20),
    (14, 21), (11, 22), (22, 23), (11, 24),
)  # fmt: skip
_OPENPOSE_HAND_POINTS = ("BASE", "T_STT", "T_BCMC", "T_MCP", "T_IP") + tuple(
    f"{finger}_{joint}" for finger in "IMRP" for joint in ("CMC", "MCP", "PIP", "DIP")
)

OPENPOSE_67 = Skeleton(
    (
        Component("pose_keypoints_2d", BODY_25_POINTS, _BODY_25_LIMBS, ((255, 0, 0),), "XYC"),
        Component(
            "hand_left_keypoints_2d", _OPENPOSE_HAND_POINTS, _FINGER_LIMBS, HAND_COLORS, "XYC"
        ),
        Component(
            "hand_right_keypoints_2d", _OPENPOSE_HAND_POINTS, _FINGER_LIMBS, HAND_COLORS, "XYC"
        ),
    )
)
"""OpenPose without its face: 25 body, 2 x 21 hand points, 2-D, in the order of its JSON files."""

# Figure: MediaPipe's documentation, "Pose landmark detection".
BLAZEPOSE_POINTS = (
    "NOSE", "LEFT_EYE_INNER", "LEFT_EYE", "LEFT_EYE_OUTER", "RIGHT_EYE_INNER", "RIGHT_EYE",
    "RIGHT_EYE_OUTER", "LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT",
    *(f"{side}_{joint}"
      for joint in ("SHOULDER", "ELBOW", "WRIST", "PINKY", "INDEX", "THUMB",
                    "HIP", "KNEE", "ANKLE", "HEEL", "FOOT_INDEX")
      for side in ("LEFT", "RIGHT")),
)  # fmt: skip
_BLAZEPOSE_LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12),
    (11, 13), (13, 15), (15, 17), (15, 19), (15, 21), (17, 19),
    (12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20),
    (11, 23), (12, 24), (23, 24), (23, 25), (25, 27), (27, 29), (27, 31), (29, 31),
    (24, 26), (26, 28), (28, 30), (28, 32), (30, 32),
)  # fmt: skip

LSFB_75 = Skeleton(
    (
        Component("POSE_LANDMARKS", BLAZEPOSE_POINTS, _BLAZEPOSE_LIMBS, ((255, 0, 0),)),
        Component("LEFT_HAND_LANDMARKS", HAND_POINTS, HAND_LIMBS, HAND_COLORS),
        Component("RIGHT_HAND_LANDMARKS", HAND_POINTS, HAND_LIMBS, HAND_COLORS),
    )
)
"""MediaPipe without its face: 33 body, 2 x 21 hand points, 3-D, in MediaPipe's order."""

# Jin et al., "Whole-Body Human Pose Estimation in the Wild" (2020): COCO's 17 points, then feet.
COCO_BODY_POINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    *(f"{side}_{joint}"
      for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
      for side in ("left", "right")),
    *(f"{side}_{point}"
      for side in ("left", "right")
      for point in ("big_toe", "small_toe", "heel")),
)  # fmt: skip
_COCO_BODY_LIMBS = (
    (0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    (15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22),
)  # fmt: skip
# The 68 points of iBUG 300-W: chin, brows, nose, eyes and lips; the last three are closed.
_FACE_68_PATHS = (
    range(0, 17), range(17, 22), range(22, 27), range(27, 31), range(31, 36),
    (*range(36, 42), 36), (*range(42, 48), 42), (*range(48, 60), 48), (*range(60, 68), 60),
)  # fmt: skip
_FACE_68_LIMBS = tuple(
    (a, b) for path in _FACE_68_PATHS for a, b in zip(path, list(path)[1:], strict=False)
)
_COCO_HAND_POINTS = tuple(f"hand_{joint}" for joint in range(21))

COCO_WHOLEBODY_133 = Skeleton(
    (
        Component("BODY", COCO_BODY_POINTS, _COCO_BODY_LIMBS, ((0, 255, 0),), "XYC"),
        Component(
            "FACE", tuple(f"face-{i}" for i in range(68)), _FACE_68_LIMBS, ((128, 0, 0),), "XYC"
        ),
        Component("LEFT_HAND", _COCO_HAND_POINTS, _FINGER_LIMBS, HAND_COLORS, "XYC"),
        Component("RIGHT_HAND", _COCO_HAND_POINTS, _FINGER_LIMBS, HAND_COLORS, "XYC"),
    )
)
"""COCO-WholeBody: 17 body, 6 feet, 68 face, 2 x 21 hand points, 2-D, in the order of the paper."""

SKELETONS: dict[str, Skeleton] = {
    "holistic_178": HOLISTIC_178,
    "openpose_67": OPENPOSE_67,
    "lsfb_75": LSFB_75,
    "coco_wholebody_133": COCO_WHOLEBODY_133,
}


def find(name: str | Path) -> Skeleton:
    """A skeleton by its name in SKELETONS, from a JSON file in the form of `Skeleton.to_json`, or
    that of a BVH file, for motion.

    Raises ValueError, one line, for an unknown name and for what is wrong with the file.
    """
    if str(name) in SKELETONS:
        return SKELETONS[str(name)]
    path = Path(name)
    if path.suffix.lower() == ".bvh":
        return motion.with_path(bvh.find_skeleton(bvh.parse(path, header=True)))
    if path.suffix.lower() != ".json":
        known = ", ".join(sorted(SKELETONS))
        raise ValueError(
            f"skeleton {name}: there are: {known}, or give the path of a .json or .bvh file"
        )
    content = reading.read_json(path)
    try:
        return Skeleton.from_json(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def without_names(places: np.ndarray, coordinates: str) -> Skeleton:
    """A skeleton of points without names; limbs join each to its two nearest neighbours in a pose.

    places: (v, s), such as the mean pose. coordinates: see `Skeleton.coordinates`.
    """
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, : min(2, len(places) - 1)]
    limbs = {(min(i, j), max(i, j)) for i, row in enumerate(nearest.tolist()) for j in row}
    names = tuple(str(i) for i in range(len(places)))
    return Skeleton((Component("POINTS", names, tuple(sorted(limbs)), format=f"{coordinates}C"),))
