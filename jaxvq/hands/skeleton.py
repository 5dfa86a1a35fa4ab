"""The joints of two hands, as a Skeleton whose three coordinates are axis-angle rotations.

So a frame of hands is a pose of 30 points, for datasets, batches, statistics and checkpoints.
"""

import numpy as np

from jaxvq.hands import NUM_JOINTS
from jaxvq.pose.skeleton import Component, Skeleton

FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # the order of MANO and SMPL-X
JOINTS = tuple(f"{finger}{i}" for finger in FINGERS for i in (1, 2, 3))
LEFT, RIGHT = "LEFT_HAND_ROTATIONS", "RIGHT_HAND_ROTATIONS"
COLORS = {
    "index": (214, 110, 32),
    "middle": (196, 160, 20),
    "pinky": (128, 72, 190),
    "ring": (44, 140, 80),
    "thumb": (200, 50, 60),
}


def _component(name: str) -> Component:
    limbs = tuple((i, i + 1) for i in range(NUM_JOINTS) if i % 3 < 2)
    colors = tuple(COLORS[joint[:-1]] for joint in JOINTS)
    return Component(name, JOINTS, limbs, colors, "XYZC")


HAND_ROTATIONS = Skeleton((_component(LEFT), _component(RIGHT)))


def groups() -> dict[str, np.ndarray]:
    """Name -> indices of joints: of each hand, and of each finger on both hands."""
    found = {"left": np.arange(NUM_JOINTS), "right": np.arange(NUM_JOINTS) + NUM_JOINTS}
    for i, finger in enumerate(FINGERS):
        found[finger] = np.concatenate([np.arange(3) + 3 * i + side for side in (0, NUM_JOINTS)])
    return found


def check_hands(skeleton: Skeleton) -> None:
    """ValueError unless a dataset has the rotations of two hands."""
    if skeleton != HAND_ROTATIONS:
        names = ", ".join(component.name for component in skeleton.components)
        raise ValueError(
            f"this task trains on hand rotations (--corpus hand_prior); the dataset "
            f"holds {skeleton.num_points} points of {names}"
        )
