"""Finds the joints of a human body among those of a rig, by their names.

Studios name joints in their own ways: LeftUpLeg, UpperLeg_L, mixamorig:LeftUpLeg, lThigh, left_hip.
"""

import os
import re
from collections.abc import Sequence

# A joint of skeleton.JOINTS -> what rigs call it without its side, the best name first: a rig with
# an ankle calls the ball of the foot "foot", and one with an upper arm calls the collar "shoulder".
LIMBS = {
    "hip": ("upleg", "upperleg", "thigh", "femur", "hip", "hipjoint"),
    "shoulder": ("upperarm", "uparm", "arm", "humerus", "shldr", "shoulder"),
    "ankle": ("ankle", "foot"),
    "toe": ("toebase", "toes", "toe", "ball", "foot"),
}
ROOTS = ("hips", "pelvis")


def split_side(name: str) -> tuple[str, str]:
    """(side, rest) of a joint's name: "left", "right" or "", and what is left, in small letters."""
    words = re.findall("[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+", name)
    words = [word.lower() for word in words]
    for side in ("left", "right"):
        for mark in (side, side[0]):
            if mark in words:
                words.remove(mark)
                return side, "".join(words)
    return "", "".join(words)


def _without_prefix(names: Sequence[str]) -> list[str]:
    """The names without what all of them begin with, such as "mixamorig:" or "Bip01 "."""
    prefix = os.path.commonprefix(list(names)) if len(names) > 1 else ""
    return [name[len(prefix) :] for name in names]


def find_root(names: Sequence[str]) -> int:
    """The number of the hips among joints, or of the first joint."""
    rest = ["".join(split_side(name)) for name in _without_prefix(names)]
    return next((i for i, name in enumerate(rest) if name in ROOTS), 0)


def find_joints(names: Sequence[str], file: str) -> dict[str, str]:
    """Joint of skeleton.JOINTS -> its name in a rig: the root, which is the first, and hips,
    shoulders, ankles and toes of both sides.

    Raises ValueError that begins with `file` without the hips and shoulders, which tell where a
    body faces.
    """
    joints = {"root": names[0]}
    plain = [split_side(name) for name in _without_prefix(names)]
    for limb, called in LIMBS.items():
        for side in ("left", "right"):
            own = {rest: name for name, (s, rest) in zip(names, plain, strict=True) if s == side}
            found = [own[rest] for rest in called if rest in own]
            if limb == "toe":
                found = [name for name in found if name != joints.get(f"{side}_ankle")]
            if found:
                joints[f"{side}_{limb}"] = found[0]
            elif limb in ("hip", "shoulder"):
                raise ValueError(
                    f"{file}: no joint is the {side} {limb}: expected {side} with "
                    f"{', '.join(called)}, as in LeftUpLeg or UpperLeg_L; there are: "
                    f"{', '.join(names[:12])}"
                )
    return joints
