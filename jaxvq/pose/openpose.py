"""Reads OpenPose's JSON files: one per frame, named <anything><number>_keypoints.json.

The numbers of a person are x, y, confidence of each point (OpenPose's documentation, "JSON output
format"). Each file becomes one frame. A frame without a person and a frame that cannot be read are
missing, so that a clip keeps its length and timing.
"""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeletons import BODY_25_POINTS, OPENPOSE_67

SUFFIX = "_keypoints.json"
HAND_THRESHOLD = 0.05  # OpenPose invents hands, with confidences around 0.02

# The older body model, without MidHip and feet.
COCO_18_POINTS = (
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist",
    "RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar",
)  # fmt: skip
_COCO_18 = np.array([BODY_25_POINTS.index(point) for point in COCO_18_POINTS])
# Without the face, which is half of the numbers and never used, parsing is twice as fast.
_FACE = re.compile(rb'"face_keypoints_2d"\s*:\s*\[[^][{}"]*\]')
_HANDS = {"hand_left_keypoints_2d": slice(25, 46), "hand_right_keypoints_2d": slice(46, 67)}

# Counts of `read_clip`, besides "frames".
NO_PERSON = "frames without a person"
UNREADABLE = "unreadable frames"
COCO_18 = "frames with COCO-18 bodies"
LOW_HANDS = "hands below the threshold"


def list_frames(folder: str | Path) -> list[str]:
    """The file names of frames in `folder`, by number; [] if it does not exist."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith(SUFFIX)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(names, key=_frame_number)


def _frame_number(name: str) -> tuple[int, str]:
    digits = re.findall(r"\d*$", name.removesuffix(SUFFIX))[0]
    return int(digits or 0), name


def read_clip(
    folder: str | Path, fps: float, hand_threshold: float = HAND_THRESHOLD
) -> tuple[Pose, Counter]:
    """The first person of all frames of a folder, as OPENPOSE_67, and counts of oddities.

    Points are missing if their confidence is 0 or a number is not finite, and hands if their mean
    confidence is below `hand_threshold` (0 keeps all hands). COCO-18 bodies take the places of
    BODY_25. Raises ValueError if the folder has no frames, or none can be read.
    """
    names = list_frames(folder)
    if not names:
        raise ValueError(f"{folder}: no *{SUFFIX} files")
    found: Counter = Counter(frames=len(names))
    points = np.zeros((len(names), OPENPOSE_67.num_points, 3), np.float32)
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, so missing
        for index, name in enumerate(names):
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    _fill(points[index], file.read(), found)
            except (OSError, ValueError) as error:
                points[index] = 0
                found[UNREADABLE] += 1
                reason = f"{name}: {error}"
    if found[UNREADABLE] == len(names):
        raise ValueError(f"{folder}: none of the {len(names)} frames can be read ({reason})")
    with np.errstate(invalid="ignore"):
        missing = ~(points[..., 2] > 0)
    missing |= ~np.isfinite(points).all(axis=-1)
    points[missing] = 0
    for hand in _HANDS.values():
        confidence = points[:, hand, 2].mean(axis=1)
        low = confidence < hand_threshold
        found[LOW_HANDS] += int((low & (confidence > 0)).sum())
        points[low, hand] = 0
    data, confidence = np.ascontiguousarray(points[..., :2]), points[..., 2].copy()
    return Pose(OPENPOSE_67, data, confidence, fps), found


def _fill(points: np.ndarray, content: bytes, found: Counter) -> None:
    """Fills points (67, 3) with the first person of a file. ValueError for other content."""
    people = _parse(_FACE.sub(b'"face_keypoints_2d":[]', content))
    if not isinstance(people, dict) or not isinstance(people := people.get("people"), list):
        raise ValueError('no list "people"')
    if not people:
        found[NO_PERSON] += 1
        return
    person = people[0]
    if not isinstance(person, dict) or "pose_keypoints_2d" not in person:
        raise ValueError('the first person has no "pose_keypoints_2d"')
    body = _triples(person, "pose_keypoints_2d", (25, 18))
    if len(body) == 18:
        found[COCO_18] += 1
        points[_COCO_18] = body
    elif len(body):
        points[:25] = body
    for hand, place in _HANDS.items():
        values = _triples(person, hand, (21,))
        if len(values):
            points[place] = values


def _parse(content: bytes) -> Any:
    try:
        text = content.decode("utf-8-sig")
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        # OpenPose writes C's nan, which Python's reader knows as NaN.
        if isinstance(error, RecursionError) or not re.search(r"[\[,]\s*-?nan\b", text):
            raise ValueError(str(error)) from error
        return json.loads(re.sub(r"(?<=[\[,])\s*-?nan\b", "NaN", text))


def _triples(person: dict, key: str, sizes: tuple[int, ...]) -> np.ndarray:
    """The numbers of a component as (points, 3), empty if there are none."""
    try:
        values = np.array(person.get(key) or (), np.float32)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{key}: {error}") from error
    if values.shape not in ((0,), *((3 * size,) for size in sizes)):
        raise ValueError(f"{key} has {values.size} numbers, expected 3 x {sizes[0]}")
    return values.reshape(-1, 3)
