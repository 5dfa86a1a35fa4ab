"""The other names of COCO-WholeBody's points."""

import re

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
