"""`.pose` files of every kind that is met in the wild, made of synthetic signing byte by byte.

The bytes are put together here, not by the code under test and not by pose-format.
"""

import functools
import struct
from dataclasses import replace

import numpy as np

from jaxvq.pose.preprocess import normalize_shoulders
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import HOLISTIC_178, Component, Skeleton
from jaxvq.pose.skeletons import OPENPOSE_67
from tools.make_synthetic_corpus import HOLISTIC_543, synthetic_pose

BODY, FACE, LEFT_HAND, RIGHT_HAND = HOLISTIC_543.components
CONTOURS = HOLISTIC_178.components[1]
WORLD = replace(BODY, name="POSE_WORLD_LANDMARKS")
# The newer face mesh ends with ten points of the irises.
FACE_478 = replace(FACE, points=tuple(str(i) for i in range(478)))
BOXES = tuple(Component(c.name, ("TOP_LEFT", "BOTTOM_RIGHT")) for c in HOLISTIC_178.components)
OPENPOSE_BODY, OPENPOSE_LEFT, OPENPOSE_RIGHT = OPENPOSE_67.components
OPENPOSE_FACE = Component("face_keypoints_2d", tuple(f"FB_{i}" for i in range(70)), format="XYC")
# Components that tests write by hand: name, format, points.
TWO = (("A", "XYZC", ("a", "b")), ("B", "XYZC", ("c",)))
OPENPOSE_137 = (OPENPOSE_BODY, OPENPOSE_FACE, OPENPOSE_LEFT, OPENPOSE_RIGHT)


def header(version: float, components=TWO, canvas=(640, 480, 0)) -> bytes:
    """components: (name, format, names of the points); each gets a limb from end to end."""

    def text(s):
        return struct.pack("<H", len(s.encode())) + s.encode()

    parts = [struct.pack("<fHHHH", version, *canvas, len(components))]
    for name, form, points in components:
        parts += [text(name), text(form), struct.pack("<HHH", len(points), 1, 1)]
        parts += [text(p) for p in points]
        parts += [struct.pack("<HH", 0, len(points) - 1), struct.pack("<HHH", 255, 262, 0)]
    return b"".join(parts)


def body(version: float, data: np.ndarray, confidence: np.ndarray, fps=25, frames=None) -> bytes:
    """data (t, people, v, c), confidence (t, people, v) in the layout of versions 0.1 and 0.2."""
    frames = len(data) if frames is None else frames
    start = struct.pack("<HHH" if version == 0.1 else "<fIH", fps, frames, data.shape[1])
    return start + data.astype("<f4").tobytes() + confidence.astype("<f4").tobytes()


def frames_v0(data: np.ndarray, confidence: np.ndarray, people_counts) -> bytes:
    """Version 0.0: frame by frame, person by person, component by component."""
    out = [struct.pack("<HH", 24, len(data))]
    for frame, count in enumerate(people_counts):
        out.append(struct.pack("<H", count))
        for person in range(count):
            rows = np.concatenate([data[frame, person], confidence[frame, person, :, None]], -1)
            out += [struct.pack("<h", person - 1), rows.astype("<f4").tobytes()]
    return b"".join(out)


def write(pose: Pose, version: float = 0.2, people: int = 1) -> bytes:
    """The file of a clip, all of whose components have the same format. Others copy person one."""
    components = [(c.name, c.format, c.points) for c in pose.skeleton.components]
    data = np.repeat(pose.data[:, None], people, 1)
    confidence = np.repeat(pose.confidence[:, None], people, 1)
    data[:, 1:] += 17
    start = header(version, components, pose.canvas)
    if version == 0:
        return start + frames_v0(data, confidence, [people] * len(data))
    fps = pose.fps if version == 0.2 else int(pose.fps)
    return start + body(version, data, confidence, fps)


def signing(components=HOLISTIC_543.components, frames=24, fps=25.0, seed=0) -> Pose:
    """Synthetic signing with these components; points that it does not have are random."""
    rng = np.random.default_rng(seed)
    source, target = synthetic_pose(rng, frames, fps), Skeleton(tuple(components))
    data = rng.uniform(0, 400, (frames, target.num_points, target.num_dims)).astype(np.float32)
    confidence = rng.uniform(0.5, 1, data.shape[:2]).astype(np.float32)
    places = {name: place for place, name in enumerate(source.skeleton.names)}
    for place, name in enumerate(target.names):
        if name in places:
            data[:, place] = source.data[:, places[name], : target.num_dims]
            confidence[:, place] = source.confidence[:, places[name]]
    return Pose(target, data, confidence, fps, source.canvas)


def nan_where_missing(confidence: float) -> Pose:
    """Both ways in which files mark missing points with NaN: confidence 0, or as if seen."""
    pose = signing(seed=2)
    hole = pose.mask
    hole[3:9, pose.skeleton.parts["left_hand"]] = True
    pose.data[hole], pose.confidence[hole] = np.nan, confidence
    return pose


def normalized() -> bytes:
    """Clips that somebody normalised already come on a canvas of a few pixels."""
    pose, _ = normalize_shoulders(signing((BODY, CONTOURS, LEFT_HAND, RIGHT_HAND), seed=4))
    return write(pose.replace(canvas=(3, 5, 1)))


def long_confidence() -> bytes:
    """A faulty writer left a confidence for every coordinate instead of every point."""
    pose = signing(frames=5)
    components = [(c.name, c.format, c.points) for c in pose.skeleton.components]
    confidence = np.repeat(pose.confidence[:, None], 3, axis=-1)
    return header(0.2, components) + body(0.2, pose.data[:, None], confidence)


REDUCED = HOLISTIC_178.components
WORLD_543 = (*HOLISTIC_543.components, WORLD)
MAKERS = {
    "178 points": lambda: write(signing(REDUCED, seed=1)),
    "178 points, version 0.1": lambda: write(signing(REDUCED, seed=1), 0.1),
    "178 points, version 0.0": lambda: write(signing(REDUCED, seed=1), 0.0),
    "543 points, 29.97 fps": lambda: write(signing(fps=29.97)),
    "543 points, version 0.1, 50 fps": lambda: write(signing(fps=50.0), 0.1),
    "576 points": lambda: write(signing(WORLD_543)),
    "586 points": lambda: write(signing((BODY, FACE_478, LEFT_HAND, RIGHT_HAND, WORLD))),
    "components in another order": lambda: write(signing(WORLD_543[::-1], seed=3)),
    "203 points, normalized": normalized,
    "missing points are NaN": lambda: write(nan_where_missing(0)),
    "missing points are NaN, seen": lambda: write(nan_where_missing(0.9)),
    "two people": lambda: write(signing(), people=2),
    "one frame": lambda: write(signing(WORLD_543, frames=1, fps=1.0), 0.1),
    "one hand": lambda: write(signing((RIGHT_HAND,), fps=60.0)),
    "boxes": lambda: write(signing(BOXES)),
    "openpose": lambda: write(signing(OPENPOSE_137), 0.1),
    "openpose, version 0.0": lambda: write(signing(OPENPOSE_137), 0.0),
    "confidence too long": long_confidence,
}


@functools.cache
def made(name: str) -> bytes:
    """The file of this kind, one of MAKERS."""
    return MAKERS[name]()
