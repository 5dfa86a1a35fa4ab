"""The graph of a skeleton: edges, mirror images, and the adjacency for graph networks.

The adjacency follows ST-GCN's spatial partition (Yan et al. 2018,
https://arxiv.org/abs/1801.07455): the neighbours of a point, including the point itself, are as far
from the root as the point, nearer, or farther. The root is the pair of shoulders, by which poses
are normalised.
"""

from dataclasses import dataclass

import numpy as np

from jaxvq.pose import body_names
from jaxvq.pose.skeleton import FACE_PATHS, Skeleton

PARTITIONS = 3

# iBUG's 68 points of the face: rows of points from left to right, each with its mirrored row.
_FACE_68_MIRROR = (
    (range(0, 17), range(16, -1, -1)),
    (range(17, 22), range(26, 21, -1)),
    (range(31, 36), range(35, 30, -1)),
    ((36, 37, 38, 39, 40, 41), (45, 44, 43, 42, 47, 46)),
    (range(48, 55), range(54, 47, -1)),
    (range(55, 60), range(59, 54, -1)),
    (range(60, 65), range(64, 59, -1)),
    (range(65, 68), range(67, 64, -1)),
)


@dataclass(frozen=True, eq=False)
class Graph:
    """edges: int (e, 2), all connections, each once; the graph is connected.
    bones: int (n, 2), the connections inside a component, whose lengths are those of the body.
    adjacency: float32 (3, v, v); adjacency[k, i, j] is the weight of point j's message to point i.
      The weights of all messages to a point sum to 1.
    """

    edges: np.ndarray
    bones: np.ndarray
    adjacency: np.ndarray


def make_graph(skeleton: Skeleton) -> Graph:
    """The graph of a skeleton. Its root is the shoulders or, without shoulders, the first point."""
    bones = np.array(sorted({(min(e), max(e)) for e in skeleton.limbs if e[0] != e[1]}), np.int64)
    bones = bones.reshape(-1, 2)
    edges = _connect(skeleton, bones)
    return Graph(edges, bones, _adjacency(skeleton, edges))


def _root(skeleton: Skeleton) -> tuple[int, ...]:
    return skeleton.shoulders if skeleton.has_shoulders else (0,)


def _connect(skeleton: Skeleton, bones: np.ndarray) -> np.ndarray:
    """The bones, and edges that join hands, face and pieces of the face to the rest."""
    root = _root(skeleton)
    edges = [tuple(bone) for bone in bones.tolist()]
    if len(root) > 1:
        edges.append(root)
    edges += [(hand, body) for hand, body, _ in skeleton.wrist_pairs]
    face = skeleton.parts.get("face", np.zeros(0, int))
    while True:
        away = np.flatnonzero(_distances(skeleton.num_points, edges, root) < 0)
        if not len(away):
            break
        point = int(away[0])
        # Loose pieces are joined to the root, except further pieces of the face, which are joined
        # to its first piece.
        if point in face and point != face[0]:
            edges.append((int(face[0]), point))
        else:
            edges += [(start, point) for start in root]
    return np.array(sorted({(min(edge), max(edge)) for edge in edges}), np.int64)


def _distances(num_points: int, edges, roots) -> np.ndarray:
    """Edges between each point and the nearest root, int (v,); -1 for unreachable points."""
    from scipy.sparse import coo_array, csgraph  # slow to import, and only graphs need it

    start, end = np.asarray(edges, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(start)), (start, end)), (num_points, num_points)).tocsr()
    options = {"directed": False, "unweighted": True, "min_only": True}
    distance = csgraph.dijkstra(graph, indices=list(roots), **options)
    return np.where(np.isfinite(distance), distance, -1).astype(np.int64)


def _adjacency(skeleton: Skeleton, edges: np.ndarray) -> np.ndarray:
    v = skeleton.num_points
    distance = _distances(v, edges.tolist(), _root(skeleton))
    connected = np.eye(v, dtype=bool)
    connected[edges[:, 0], edges[:, 1]] = connected[edges[:, 1], edges[:, 0]] = True
    here, there = distance[:, None], distance[None, :]
    parts = np.stack([here == there, there < here, there > here]) & connected
    return (parts / connected.sum(1)[None, :, None]).astype(np.float32)


def mirror_points(skeleton: Skeleton) -> np.ndarray:
    """int (v,): the index of each point's mirror image; a point in the middle is its own.

    Names tell the sides. For the numbered points of the face, the symmetry of the mesh does.
    """
    if skeleton.is_motion:
        return _mirror_rig([point for _, point in skeleton.names])
    face = _face_mirror()
    mirror = np.empty(skeleton.num_points, np.int64)
    for i, (component, point) in enumerate(skeleton.names):
        other = (_other_side(component), face.get(point) or _other_side(point))
        mirror[i] = skeleton.indices.get(other, i)
    return mirror


def _mirror_rig(names: list[str]) -> np.ndarray:
    """The same of a rig's joints, whose names come in more ways."""
    at = {body_names.split_side(name): i for i, name in enumerate(names)}
    other = {"left": "right", "right": "left", "": ""}
    sides = (body_names.split_side(name) for name in names)
    return np.array([at.get((other[side], rest), i) for i, (side, rest) in enumerate(sides)])


def _other_side(name: str) -> str:
    for left, right in (("LEFT", "RIGHT"), ("left", "right")):
        if left in name:
            return name.replace(left, right)
        if right in name:
            return name.replace(right, left)
    # OpenPose: LShoulder, RBigToe; but not L_RHand.
    if len(name) > 2 and name[0] in "LR" and name[1].isupper() and name[2].islower():
        return ("R" if name[0] == "L" else "L") + name[1:]
    return name


def _face_mirror() -> dict[str, str]:
    """Point name -> name of its mirror image, for MediaPipe's mesh and iBUG's 68 points."""
    pairs = []
    for name in ("oval", "outer_lips", "inner_lips"):
        path = FACE_PATHS[name]
        if name == "oval":  # starts and ends on the forehead: its reverse is its mirror image
            pairs += zip(path, path[::-1], strict=True)
        else:  # starts and ends in one corner of the mouth; the other corner is half way
            half = len(path) // 2
            pairs += zip(path[: half + 1], path[half::-1], strict=True)
            pairs += zip(path[half:], path[: half - 1 : -1], strict=True)
    for name in ("eye", "brow_low", "brow_high"):
        pairs += zip(FACE_PATHS[f"right_{name}"], FACE_PATHS[f"left_{name}"], strict=True)
        pairs += zip(FACE_PATHS[f"left_{name}"], FACE_PATHS[f"right_{name}"], strict=True)
    mirror = {str(a): str(b) for a, b in pairs}
    for row, other in _FACE_68_MIRROR:
        for a, b in zip(row, other, strict=True):
            mirror |= {f"face-{a}": f"face-{b}", f"face-{b}": f"face-{a}"}
    return mirror
