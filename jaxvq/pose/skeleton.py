"""What the points of a pose are called and how they are connected.

Points are known by name, never by index. Three naming schemes occur in `.pose` files: MediaPipe
Holistic ("POSE_LANDMARKS" / "LEFT_SHOULDER"), OpenPose ("pose_keypoints_2d" / "LShoulder") and
COCO-WholeBody with AlphaPose ("BODY", "BODY_133" / "left_shoulder").
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

PARTS = {
    "POSE_LANDMARKS": "body", "FACE_LANDMARKS": "face",
    "LEFT_HAND_LANDMARKS": "left_hand", "RIGHT_HAND_LANDMARKS": "right_hand",
    "pose_keypoints_2d": "body", "face_keypoints_2d": "face",
    "hand_left_keypoints_2d": "left_hand", "hand_right_keypoints_2d": "right_hand",
    "BODY": "body", "FACE": "face", "LEFT_HAND": "left_hand", "RIGHT_HAND": "right_hand",
}  # fmt: skip
PART_NAMES = ("body", "face", "left_hand", "right_hand", "path")  # path: see pose/motion.py

# What the joints that normalisation needs are called, a name for each naming scheme.
JOINTS = {
    "right_shoulder": ("RIGHT_SHOULDER", "RShoulder", "right_shoulder"),
    "left_shoulder": ("LEFT_SHOULDER", "LShoulder", "left_shoulder"),
    "left_wrist": ("LEFT_WRIST", "LWrist", "left_wrist"),
    "right_wrist": ("RIGHT_WRIST", "RWrist", "right_wrist"),
    # Of a hand; all others are of the body.
    "wrist": ("WRIST", "BASE", "hand_0", "left_hand_0", "right_hand_0"),
    "root": (),  # of motion, like all that follow; rigs say which they are
    **{f"{side}_{joint}": () for joint in ("hip", "ankle", "toe") for side in ("left", "right")},
}


@dataclass(frozen=True)
class Component:
    """A named group of points, as in the header of a `.pose` file.

    `limbs` are pairs of indices into `points`; `colors` are RGB: one for all, or one per point.
    `format` names the numbers of a point: coordinates, then C for the confidence. A C among the
    coordinates ("XYCC") is a confidence that counts as a number of the pose: models reconstruct it.
    `part` (one of PART_NAMES) and `joints` (of JOINTS, with their points) are for names that PARTS
    and JOINTS do not list. `offsets`: metres from a point's parent in the tree of limbs to the
    point, at rest. Only files of motion have them, and they do not count for equality.
    """

    name: str
    points: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ((0, 0, 0),)
    format: str = "XYZC"
    part: str = ""
    joints: tuple[tuple[str, str], ...] = ()
    offsets: tuple[tuple[float, ...], ...] = field(default=(), compare=False)

    @property
    def body_part(self) -> str:
        """`part`, or else what PARTS says of the name, also of BODY_133 and such; "" for others."""
        return self.part or PARTS.get(re.sub("_13[356]$", "", self.name), "")


@dataclass(frozen=True)
class Skeleton:
    """The components of a pose; points are numbered through all of them in order."""

    components: tuple[Component, ...]

    def __hash__(self) -> int:
        # Names and sizes suffice, and are quick: caches are asked once per clip.
        return hash(tuple((c.name, len(c.points)) for c in self.components))

    @cached_property
    def num_points(self) -> int:
        """v: the number of points of all components."""
        return sum(len(component.points) for component in self.components)

    @cached_property
    def coordinates(self) -> str:
        """The letters of a point's numbers, such as "XYZ": the longest format without its last C.

        "XYC" are two places and a confidence that is reconstructed like them.
        """
        return max((component.format[:-1] for component in self.components), key=len)

    @property
    def num_dims(self) -> int:
        """c: numbers of a point."""
        return len(self.coordinates)

    @property
    def space_dims(self) -> int:
        """How many of a point's numbers say where it is: all but the confidence, the last one."""
        return len(self.coordinates.removesuffix("C"))

    def with_coordinates(self, letters: str) -> "Skeleton":
        """The same points with other numbers, such as "XYZ"."""
        components = (replace(c, format=f"{letters}C") for c in self.components)
        return Skeleton(tuple(components))

    @cached_property
    def _placed(self) -> list[tuple[Component, int]]:
        """The components, each with the index of its first point."""
        starts = itertools.accumulate((len(c.points) for c in self.components), initial=0)
        return list(zip(self.components, starts, strict=False))

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Component name -> index of its first point."""
        offsets: dict[str, int] = {}
        for component, start in self._placed:
            offsets.setdefault(component.name, start)
        return offsets

    @cached_property
    def indices(self) -> dict[tuple[str, str], int]:
        """(component name, point name) -> index of the point; of two equal names the first wins."""
        indices: dict[tuple[str, str], int] = {}
        for index, name in enumerate(self.names):
            indices.setdefault(name, index)
        return indices

    def index(self, component: str, point: str) -> int:
        """Index of a point by name; ValueError that lists the choices for an unknown one."""
        if (component, point) in self.indices:
            return self.indices[component, point]
        if component not in self.offsets:
            raise ValueError(f"no component {component!r}; there are: {listed(self.offsets)}")
        points = (name for owner, name in self.indices if owner == component)
        raise ValueError(f"no point {point!r} in {component}; there are: {listed(points)}")

    @cached_property
    def limbs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of point indices of all components."""
        return tuple((start + a, start + b) for c, start in self._placed for a, b in c.limbs)

    @cached_property
    def colors(self) -> np.ndarray:
        """uint8 (v, 3): the RGB colour of each point (headers hold values above 255: clipped)."""
        rows = []
        for component in self.components:
            colors = component.colors or ((0, 0, 0),)
            rows += [colors[i % len(colors)] for i in range(len(component.points))]
        return np.clip(np.asarray(rows).reshape(-1, 3), 0, 255).astype(np.uint8)

    @cached_property
    def parts(self) -> dict[str, np.ndarray]:
        """Those of body, face, left_hand, right_hand that exist -> indices of their points."""
        parts: dict[str, np.ndarray] = {}
        for component, start in self._placed:
            if component.body_part:
                indices = np.arange(start, start + len(component.points))
                parts.setdefault(component.body_part, indices)
        return parts

    @property
    def is_motion(self) -> bool:
        """Whether poses are whole-body motion: normalised as `motion` does, in metres, y up."""
        return "path" in self.parts

    @cached_property
    def recorded(self) -> "Skeleton":
        """The points that recordings have: all but that of the path."""
        kept = tuple(c for c in self.components if c.body_part != "path")
        return self if kept == self.components else Skeleton(kept)

    @property
    def unit(self) -> str:
        """What 1 is in normalised poses."""
        return "metres" if self.is_motion else "shoulder widths"

    @cached_property
    def names(self) -> tuple[tuple[str, str], ...]:
        """(component name, point name) of each point, in order."""
        return tuple((c.name, point) for c in self.components for point in c.points)

    @cached_property
    def shoulders(self) -> tuple[int, int]:
        """Indices of the right and the left shoulder; ValueError without them."""
        right, left = (self.joint(f"{side}_shoulder") for side in ("right", "left"))
        if right is None or left is None:
            raise ValueError(f"no shoulders among the points of {listed(self.offsets)}")
        return right, left

    @cached_property
    def has_shoulders(self) -> bool:
        """Whether poses can be normalised by the shoulders."""
        return None not in (self.joint(f"{side}_shoulder") for side in ("left", "right"))

    @cached_property
    def wrist_pairs(self) -> tuple[tuple[int, int, np.ndarray], ...]:
        """(hand's wrist, body's wrist, hand's indices), left and right, where both exist."""
        pairs = []
        for hand in ("left_hand", "right_hand"):
            at_hand = self.joint("wrist", hand)
            at_body = self.joint(hand.replace("hand", "wrist"))
            if at_hand is not None and at_body is not None:
                pairs.append((at_hand, at_body, self.parts[hand]))
        return tuple(pairs)

    def joint(self, name: str, part: str = "body") -> int | None:
        """Index of a joint of a part, one of JOINTS; None where the skeleton has none."""
        for component in self.components:
            said = dict(component.joints)
            for point in (said[name],) if name in said else JOINTS[name]:
                if component.body_part == part and point in component.points:
                    return self.indices[component.name, point]
        return None

    def to_json(self) -> dict:
        """A dict of lists and strings; `from_json` is its inverse."""
        components = []
        for c in self.components:
            said: dict[str, Any] = {
                "name": c.name,
                "format": c.format,
                "points": list(c.points),
                "limbs": [list(limb) for limb in c.limbs],
                "colors": [list(color) for color in c.colors],
            }
            said |= {"part": c.part} if c.part else {}
            said |= {"joints": dict(c.joints)} if c.joints else {}
            said |= {"offsets": [list(offset) for offset in c.offsets]} if c.offsets else {}
            components.append(said)
        return {"components": components}

    @staticmethod
    def from_json(content: dict) -> "Skeleton":
        """The skeleton that `to_json` described, or a person; ValueError that says what is wrong.

        limbs, colors, part and joints may be absent; limbs may also name their points.
        """
        components = content.get("components") if isinstance(content, dict) else None
        if not isinstance(components, list) or not components:
            raise ValueError('no skeleton: expected {"components": [{"name", "format", "points"}]}')
        skeleton = Skeleton(tuple(map(_component_from_json, components)))
        names = [component.name for component in skeleton.components]
        if len(set(names)) < len(names):
            raise ValueError(f"two components are called {_first_repeated(names)!r}")
        if len({component.format for component in skeleton.components}) > 1:
            raise ValueError("all components must have the same format")
        return skeleton


def _component_from_json(content: Any) -> Component:
    """Raises ValueError that names the component and the field."""
    name = content.get("name") if isinstance(content, dict) else None
    if not isinstance(name, str) or not name:
        raise ValueError(f"a component without a name: {str(content)[:60]}")
    known = {"name", "format", "points", "limbs", "colors", "part", "joints", "offsets"}
    if unknown := content.keys() - known:
        raise ValueError(f"component {name!r} has a field {min(unknown)!r}; known: {sorted(known)}")
    points = content.get("points")
    if not isinstance(points, list) or not points or not all(isinstance(p, str) for p in points):
        raise ValueError(f"component {name!r} has no points: expected a list of names")
    if len(set(points)) < len(points):
        raise ValueError(f"component {name!r} has two points {_first_repeated(points)!r}")
    form = content.get("format")
    if not isinstance(form, str) or not re.fullmatch("X[A-Z]*C", form):
        raise ValueError(f"component {name!r} has the format {form!r}, expected XYC, XYZC or such")
    part, joints = content.get("part", ""), content.get("joints", {})
    if part not in ("", *PART_NAMES):
        choices = ", ".join(PART_NAMES)
        raise ValueError(f"component {name!r} has the part {part!r}; choose from {choices}")
    if not isinstance(joints, dict) or not joints.keys() <= JOINTS.keys():
        raise ValueError(f"component {name!r} has joints {joints!r}; known are {', '.join(JOINTS)}")
    for joint, point in joints.items():
        if point not in points:
            raise ValueError(f"component {name!r}: the {joint} {point!r} is none of its points")
    limbs, colors = content.get("limbs", []), content.get("colors", [[0, 0, 0]])
    offsets = content.get("offsets", [])
    if offsets and np.shape(offsets) != (len(points), 3):
        raise ValueError(f"component {name!r} has offsets that are not three numbers per point")
    if not isinstance(limbs, list):
        raise ValueError(f"component {name!r} has limbs {limbs!r}, expected pairs of its points")
    triples = isinstance(colors, list) and all(isinstance(c, list) and len(c) == 3 for c in colors)
    if not triples or not all(isinstance(n, int) for color in colors for n in color):
        raise ValueError(
            f"component {name!r} has colors {str(colors)[:40]}, expected [[r, g, b], …]"
        )
    return Component(
        name=name,
        points=tuple(points),
        limbs=tuple(_limb(limb, name, points) for limb in limbs),
        colors=tuple(map(tuple, colors)),
        format=form,
        part=part,
        joints=tuple(joints.items()),
        offsets=tuple(map(tuple, offsets)),
    )


def _limb(limb: Any, name: str, points: list[str]) -> tuple[int, int]:
    """A pair of indices or names as indices."""
    if not isinstance(limb, list) or len(limb) != 2:
        raise ValueError(f"component {name!r} has a limb {limb!r}, expected two of its points")
    for end in limb:
        if end not in points and (not isinstance(end, int) or not 0 <= end < len(points)):
            raise ValueError(
                f"component {name!r} has a limb to {end!r}, which is none of its points"
            )
    first, second = (points.index(end) if end in points else end for end in limb)
    return first, second


def _first_repeated(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def listed(names: Iterable[str], limit: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f", … ({len(names)})" if len(names) > limit else "")


def path_limbs(paths: Iterable[Iterable[int]], names: tuple[str, ...]) -> tuple:
    """Limbs along paths of point numbers, as pairs of positions in `names`."""
    at = {int(name): index for index, name in enumerate(names)}
    return tuple(
        (at[a], at[b]) for path in paths for a, b in zip(path, list(path)[1:], strict=False)
    )


# The contours of MediaPipe's face mesh (468 points), as closed or open paths of point numbers.
FACE_PATHS = {
    "oval": (
        10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148,
        152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356, 389, 251, 284, 332, 297,
        338, 10,
    ),
    "outer_lips": (
        61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291,
        409, 270, 269, 267, 0, 37, 39, 40, 185, 61,
    ),
    "inner_lips": (
        78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308,
        415, 310, 311, 312, 13, 82, 81, 80, 191, 78,
    ),
    "right_eye": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
    "left_eye": (
        263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263,
    ),
    "right_brow_low": (46, 53, 52, 65, 55),
    "right_brow_high": (70, 63, 105, 66, 107),
    "left_brow_low": (276, 283, 282, 295, 285),
    "left_brow_high": (300, 293, 334, 296, 336),
}  # fmt: skip
FACE_CONTOURS = tuple(str(i) for i in sorted({i for path in FACE_PATHS.values() for i in path}))

HAND_POINTS = ("WRIST",) + tuple(
    f"{finger}_{joint}"
    for finger, joints in (
        ("THUMB", ("CMC", "MCP", "IP", "TIP")),
        *(
            (f, ("MCP", "PIP", "DIP", "TIP"))
            for f in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
        ),
    )
    for joint in joints
)
HAND_LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 6), (6, 7), (7, 8), (9, 10), (10, 11), (11, 12),
    (13, 14), (14, 15), (15, 16), (17, 18), (18, 19), (19, 20), (5, 9), (9, 13), (13, 17), (0, 17),
)  # fmt: skip
# Each finger has its hue and grows lighter towards the tip, as in pose-format's headers.
_FINGERS = ((192, 0, 0), (192, 192, 0), (0, 192, 0), (0, 192, 192), (0, 0, 192))
HAND_COLORS = ((232, 232, 232),) + tuple(
    (min(r + 35 * joint, 255), min(g + 35 * joint, 255), min(b + 35 * joint, 255))
    for r, g, b in _FINGERS
    for joint in range(4)
)
BODY_POINTS = (
    "LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW", "RIGHT_ELBOW",
    "LEFT_WRIST", "RIGHT_WRIST", "LEFT_HIP", "RIGHT_HIP",
)  # fmt: skip

HOLISTIC_178 = Skeleton(
    (
        Component(
            "POSE_LANDMARKS",
            BODY_POINTS,
            ((0, 1), (0, 2), (2, 4), (1, 3), (3, 5), (0, 6), (1, 7), (6, 7)),
            ((255, 0, 0),),
        ),
        Component(
            "FACE_LANDMARKS",
            FACE_CONTOURS,
            path_limbs(FACE_PATHS.values(), FACE_CONTOURS),
            ((128, 0, 0),),
        ),
        Component("LEFT_HAND_LANDMARKS", HAND_POINTS, HAND_LIMBS, HAND_COLORS),
        Component("RIGHT_HAND_LANDMARKS", HAND_POINTS, HAND_LIMBS, HAND_COLORS),
    )
)
"""MediaPipe Holistic cut to 8 body, 128 face contour, 2 x 21 hand points, in sign-vq's order."""
