"""What a graph network has to know of a skeleton: edges, left and right, and the adjacency.

The adjacency follows ST-GCN's spatial partition (Yan et al. 2018,
https://arxiv.org/abs/1801.07455): the neighbours of a point, itself among them, fall into those as
far from the root as it is, those nearer and those farther. The root is the pair of shoulders, since
poses are normalised by them.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from jaxvq.pose.skeleton import FACE_PATHS, Skeleton

PARTITIONS = 3

# iBUG's 68 points of the face: each row of points, from left to right, with its mirrored row.
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
    bones: int (n, 2), those inside one component: pairs whose distance is a length of the body.
    adjacency: float32 (3, v, v); adjacency[k, i, j] is the weight of point j's message to point i;
      all messages to a point add up to 1.
    """

    edges: np.ndarray
    bones: np.ndarray
    adjacency: np.ndarray


def make_graph(skeleton: Skeleton) -> Graph:
    """The graph of a skeleton; its root are the shoulders, or the first point where there are none
    (a hand's wrist)."""
    bones = np.array(sorted({(min(e), max(e)) for e in skeleton.limbs if e[0] != e[1]}), np.int64)
    bones = bones.reshape(-1, 2)
    edges = _connect(skeleton, bones)
    return Graph(edges, bones, _adjacency(skeleton, edges))


def _root(skeleton: Skeleton) -> tuple[int, ...]:
    return skeleton.shoulders if skeleton.has_shoulders else (0,)


def _connect(skeleton: Skeleton, bones: np.ndarray) -> np.ndarray:
    """The bones, and what joins hands, face and pieces of the face to the rest."""
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
        # The first piece of the face is joined to the root, as is every other loose piece; further
        # pieces of the face are joined to the first.
        if point in face and point != face[0]:
            edges.append((int(face[0]), point))
        else:
            edges += [(start, point) for start in root]
    return np.array(sorted({(min(edge), max(edge)) for edge in edges}), np.int64)


def _distances(num_points: int, edges, roots) -> np.ndarray:
    """Edges between each point and the nearest root, int (v,); -1 where no way leads there."""
    neighbours: list[list[int]] = [[] for _ in range(num_points)]
    for a, b in edges:
        neighbours[a].append(b)
        neighbours[b].append(a)
    distance = np.full(num_points, -1)
    distance[list(roots)] = 0
    queue = deque(roots)
    while queue:
        point = queue.popleft()
        for other in neighbours[point]:
            if distance[other] < 0:
                distance[other] = distance[point] + 1
                queue.append(other)
    return distance


def _adjacency(skeleton: Skeleton, edges: np.ndarray) -> np.ndarray:
    v = skeleton.num_points
    distance = _distances(v, edges.tolist(), _root(skeleton))
    connected = np.eye(v, dtype=bool)
    connected[edges[:, 0], edges[:, 1]] = connected[edges[:, 1], edges[:, 0]] = True
    here, there = distance[:, None], distance[None, :]
    parts = np.stack([here == there, there < here, there > here]) & connected
    return (parts / connected.sum(1)[None, :, None]).astype(np.float32)


def mirror_points(skeleton: Skeleton) -> np.ndarray:
    """int (v,): where each point's mirror image is; a point in the middle is its own.

    Sides are told by names; points of the face, which have numbers, by the mesh's own symmetry.
    """
    face = _face_mirror()
    mirror = np.empty(skeleton.num_points, np.int64)
    for i, (component, point) in enumerate(skeleton.names):
        other = (_other_side(component), face.get(point) or _other_side(point))
        mirror[i] = skeleton.indices.get(other, i)
    return mirror


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
        if name == "oval":  # starts and ends on the forehead: backwards is its mirror image
            pairs += zip(path, path[::-1], strict=True)
        else:  # starts and ends in a corner of the mouth; the other one is half way
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
