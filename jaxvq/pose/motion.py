"""Whole-body motion as a model sees it: the body where it stands and faces, and its path apart.

As Guo et al. describe for HumanML3D (2022, "Generating Diverse and Natural 3D Human Motions from
Text"): a clip stands on the ground; in each frame the root is above the origin, and the body faces
along z; how the root moves on the ground and turns is kept beside it, as velocities. Units are
metres, and seconds for velocities, so that they do not depend on the frame rate. Other than there,
bones keep their lengths, nothing is left out, and `to_world` is the exact inverse.

All arrays are (t, v, 3) with y up, the points those of a skeleton with a path (`with_path`).
"""

import numpy as np

from jaxvq.pose.skeleton import Component, Skeleton

# Its point is the root's velocity: x to the body's left and z ahead, in m/s, y the turn in rad/s.
PATH = Component("PATH", ("VELOCITY",), part="path")
# Seconds, the standard deviation of the Gaussian by which the facing is smoothed, as in HumanML3D:
# the sway of hips and shoulders stays with the body.
SMOOTHING = 1.0
NEEDED = ("root", "left_hip", "right_hip", "left_shoulder", "right_shoulder")


def with_path(skeleton: Skeleton) -> Skeleton:
    """The skeleton of a recording with a point for the path, which says that it is motion."""
    if skeleton.num_dims != 3:
        raise ValueError(f"motion needs x, y and z, these points have {skeleton.coordinates}")
    return skeleton if skeleton.is_motion else Skeleton((*skeleton.components, PATH))


def to_local(
    data: np.ndarray, mask: np.ndarray, skeleton: Skeleton, fps: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Where the points are in the world -> what a model sees, float32, with the path filled in.

    mask: bool (t, v), True = missing. Also returns where the clip was: the root's place on the
    ground in its first frame, float64 (3,), and the direction it faced, radians from z to x.
    Raises ValueError where root, hips or shoulders are not seen in every frame.
    """
    joints = {name: skeleton.joint(name) for name in NEEDED}
    for name, index in joints.items():
        if index is None or mask[:, index].any():
            where = "" if index is None else f" in frame {int(mask[:, index].argmax())}"
            raise ValueError(f"no {name.replace('_', ' ')}{where}: cannot tell where a body faces")
    world = data.astype(np.float64)
    root, left_hip, right_hip, left_shoulder, right_shoulder = (
        world[:, index] for index in joints.values()
    )
    across = right_hip - left_hip + right_shoulder - left_shoulder
    heading = _smooth_heading(np.arctan2(across[:, 2], -across[:, 0]), fps)
    path = skeleton.parts["path"][0]
    seen = ~mask
    seen[:, path] = False
    ground = world[..., 1][seen].min()
    # The last of the steps that lead to each frame; the first frame has that of the second.
    steps = np.diff(root, axis=0, prepend=root[:1])
    turns = np.diff(heading, prepend=heading[:1])
    local = world - np.stack([root[:, 0], np.full(len(root), ground), root[:, 2]], 1)[:, None]
    local = _turn(local, -heading)
    local[:, joints["root"], [0, 2]] = 0
    velocity = _turn(steps[:, None], -heading)[:, 0] * fps
    velocity[:, 1] = (turns + np.pi) % (2 * np.pi) * fps - np.pi * fps
    if len(velocity) > 1:
        velocity[0] = velocity[1]
    local[:, path] = velocity
    local[mask & (np.arange(mask.shape[1]) != path)] = 0
    place = np.array([root[0, 0], ground, root[0, 2]])
    return local.astype(np.float32), place, float(heading[0])


def to_world(
    data: np.ndarray, skeleton: Skeleton, fps: float, place: np.ndarray, heading: float
) -> np.ndarray:
    """The inverse of `to_local`, float64 (t, v, 3); the point of the path is the root's place on
    the ground."""
    local = data.astype(np.float64)
    path = skeleton.parts["path"][0]
    velocity = local[:, path] / fps
    velocity[0] = 0
    headings = heading + np.cumsum(velocity[:, 1])
    velocity[:, 1] = 0
    ways = place + np.cumsum(_turn(velocity[:, None], headings)[:, 0], axis=0)
    local[:, path] = 0
    return _turn(local, headings) + ways[:, None]


def _turn(points: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Points (t, v, 3) turned about y by angles (t,), from z to x."""
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x * cos + z * sin, y, z * cos - x * sin], axis=-1)


def _smooth_heading(heading: np.ndarray, fps: float) -> np.ndarray:
    """Angles (t,) of the directions averaged over neighbouring frames."""
    reach = int(4 * SMOOTHING * fps)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (SMOOTHING * fps)) ** 2)
    padded = np.pad(np.stack([np.sin(heading), np.cos(heading)]), [(0, 0), (reach, reach)], "edge")
    sin, cos = (np.convolve(row, weights, "valid") for row in padded)
    return np.arctan2(sin, cos)
