"""Finds points by name, also those of COCO-WholeBody under their other names."""

import re
from functools import lru_cache

import numpy as np

from jaxvq.pose.skeleton import Skeleton, listed

CONFIDENCE = -1  # a column of `find_points` that is no coordinate
FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")  # MMPose's words


def common_name(component: str, point: str) -> tuple[str, str]:
    """The spelling that COCO-WholeBody's names have here: (BODY_133, left_hand_3), as AlphaPose
    writes them, and (…, left_thumb3), as MMPose does, are (…, hand_3). Other names stay."""
    component = re.sub(r"_13\d$", "", component)
    if match := re.fullmatch(r"(?:left_|right_)?hand[_-]?(\d+)", point):
        return component, f"hand_{int(match[1])}"
    if match := re.fullmatch(rf"(?:left|right)_({'|'.join(FINGERS)})([1-4])", point):
        return component, f"hand_{4 * FINGERS.index(match[1]) + int(match[2])}"
    if re.fullmatch("(?:left|right)_hand_root", point):
        return component, "hand_0"
    if match := re.fullmatch(r"face[_-]?(\d+)", point):
        return component, f"face-{int(match[1])}"
    return component, point


@lru_cache(maxsize=64)
def find_points(source: Skeleton, target: Skeleton) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Where the points of `target` are in `source`, by name.

    Returns int (v,), index in the source (0 if absent); bool (v,), whether it is there; and for
    each coordinate of the target the column of the source (None if absent, CONFIDENCE for a C
    that is not among them).
    Raises ValueError if no component is there, or if one is but has none of the points.
    """
    known = {common_name(*name): index for name, index in reversed(source.indices.items())}
    known |= source.indices
    components = {component for component, _ in known}
    shared = [c for c in target.components if common_name(c.name, "")[0] in components]
    if not shared:
        raise ValueError(
            f"no {', '.join(c.name for c in target.components)}; "
            f"there are: {listed(source.offsets)}"
        )
    for component in shared:
        names = [common_name(component.name, point) for point in component.points]
        if not any(name in known for name in names):
            raise ValueError(f"{component.name} has none of {listed(component.points)}")
    points = [known.get(name, known.get(common_name(*name))) for name in target.names]
    letters, wanted = source.coordinates, target.coordinates
    otherwise = {"C": CONFIDENCE}
    columns = tuple(letters.index(d) if d in letters else otherwise.get(d) for d in wanted)
    found = np.array([point is not None for point in points])
    return np.array([point or 0 for point in points]), found, columns
