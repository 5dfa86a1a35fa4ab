"""A body as a tree of joints: positions from rotations, and rotations from positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Rig:
    """A tree of joints; parents come before their children.

    names: of the joints. parents: the number of each joint's parent, -1 of the root.
    offsets: float64 (j, 3), of each joint from its parent in the parent's axes, in metres; that of
    the root is not used.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray

    @property
    def children(self) -> list[list[int]]:
        """The numbers of each joint's children."""
        children: list[list[int]] = [[] for _ in self.parents]
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                children[parent].append(joint)
        return children


def axis_rotation(axis: int, angles: np.ndarray) -> np.ndarray:
    """Rotations by angles (t,), in radians, about x, y or z (0, 1, 2): float64 (t, 3, 3)."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angles), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angles)
    matrix[:, j, i] = np.sin(angles)
    matrix[:, i, j] = -matrix[:, j, i]
    return matrix


def forward(parents: Sequence[int], translations: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Where the joints are: float64 (t, j, 3).

    Args:
      parents: int (j,), as in Rig.
      translations: (t, j, 3), of each joint in its parent's axes.
      rotations: (t, j, 3, 3), of each joint against its parent.
    """
    positions = np.empty(translations.shape)
    turned = np.empty(rotations.shape)
    for joint, parent in enumerate(parents):
        if parent < 0:
            positions[:, joint], turned[:, joint] = translations[:, joint], rotations[:, joint]
            continue
        away = np.einsum("tab,tb->ta", turned[:, parent], translations[:, joint])
        positions[:, joint] = positions[:, parent] + away
        turned[:, joint] = turned[:, parent] @ rotations[:, joint]
    return positions


def inverse(rig: Rig, positions: np.ndarray) -> np.ndarray:
    """Rotations (t, j, 3, 3), each against its parent, that bring a rig near positions (t, j, 3).

    From the root outwards each joint turns so that its children come as near to their places as the
    fixed lengths of the bones allow; what a length is off is made up for by the next bone. How a
    bone turns about itself shows in no position: there it turns as little as it can from one frame
    to the next. A joint without children keeps its rest rotation. With the root at its place,
    positions that a rig can take come back exactly.
    """
    frames, joints = positions.shape[:2]
    local = np.tile(np.eye(3), (frames, joints, 1, 1))
    turned, reached = local.copy(), np.empty(positions.shape)
    children = rig.children
    for joint, parent in enumerate(rig.parents):
        if parent < 0:
            reached[:, joint], above = positions[:, joint], np.tile(np.eye(3), (frames, 1, 1))
        else:
            above = turned[:, parent]
            reached[:, joint] = reached[:, parent] + above @ rig.offsets[joint]
        bones = [c for c in children[joint] if np.linalg.norm(rig.offsets[c]) > 0]
        if not bones:
            turned[:, joint] = above
            continue
        rest = rig.offsets[bones]
        # (t, n, 3), in the axes of the parent.
        wanted = (positions[:, bones] - reached[:, joint][:, None]) @ above
        local[:, joint] = _turns_to(rest, wanted)
        turned[:, joint] = above @ local[:, joint]
    return local


def _turns_to(rest: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rotations (t, 3, 3) of bones (n, 3) into directions (t, n, 3), least squares."""
    if np.linalg.matrix_rank(rest, tol=1e-6 * np.abs(rest).max()) > 1:
        return _best_rotations(np.einsum("tna,nb->tab", wanted, rest))
    bone = rest[np.linalg.norm(rest, axis=1).argmax()]
    aims = np.einsum("tna,n->ta", wanted, rest @ bone)
    rotations, last = np.empty((len(aims), 3, 3)), np.eye(3)
    for frame, aim in enumerate(aims):
        last = rotations[frame] = _swing(last @ bone, aim) @ last
    return rotations


def _best_rotations(products: np.ndarray) -> np.ndarray:
    """Kabsch's rotations (t, 3, 3) from sums (t, 3, 3) of outer products, target by source."""
    left, _, right = np.linalg.svd(products)
    signs = np.ones(products.shape[:2])
    signs[:, 2] = np.sign(np.linalg.det(left @ right))
    return (left * signs[:, None]) @ right


def _swing(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that turns one direction (3,) into another."""
    lengths = np.linalg.norm(start) * np.linalg.norm(end)
    if not lengths > 0:
        return np.eye(3)
    cross, cos = np.cross(start, end) / lengths, float(start @ end) / lengths
    if cos < -0.999999:  # half a turn about any axis across
        axis = np.cross(start, np.eye(3)[np.abs(start).argmin()])
        axis /= np.linalg.norm(axis)
        return 2 * np.outer(axis, axis) - np.eye(3)
    x, y, z = cross
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cos)


def procrustes(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """source (t, v, 3), each frame moved, turned and scaled as near to target as it comes."""
    middles = [points.mean(axis=1, keepdims=True) for points in (source, target)]
    a, b = source - middles[0], target - middles[1]
    rotations = _best_rotations(np.einsum("tva,tvb->tab", b, a))
    turned = np.einsum("tab,tvb->tva", rotations, a)
    size = np.maximum((a * a).sum((1, 2)), 1e-12)
    scale = (turned * b).sum((1, 2)) / size
    return scale[:, None, None] * turned + middles[1]
