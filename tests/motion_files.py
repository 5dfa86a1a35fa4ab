"""BVH files of a rig that walks, made from nothing: what the tests of motion read."""

import numpy as np

# name, parent, offset in centimetres, order of the rotations.
RIG = (
    ("Hips", None, (0, 0, 0), "ZYX"),
    ("LeftUpLeg", "Hips", (9, -3, 0), "ZXY"),
    ("LeftLeg", "LeftUpLeg", (0, -42, 0), "XYZ"),
    ("LeftFoot", "LeftLeg", (0, -40, 0), "YXZ"),
    ("LeftToeBase", "LeftFoot", (0, -6, 12), "ZXY"),
    ("RightUpLeg", "Hips", (-9, -3, 0), "ZXY"),
    ("RightLeg", "RightUpLeg", (0, -42, 0), "XYZ"),
    ("RightFoot", "RightLeg", (0, -40, 0), "YXZ"),
    ("RightToeBase", "RightFoot", (0, -6, 12), "ZXY"),
    ("Spine", "Hips", (0, 20, -1), "XZY"),
    ("Neck", "Spine", (0, 30, 1), "YZX"),
    ("Head", "Neck", (0, 9, 2), "ZXY"),
    ("LeftShoulder", "Spine", (4, 24, 0), "ZXY"),
    ("LeftArm", "LeftShoulder", (13, 0, 0), "ZXY"),
    ("LeftForeArm", "LeftArm", (27, 0, 0), "ZXY"),
    ("LeftHand", "LeftForeArm", (24, 0, 0), "ZXY"),
    ("RightShoulder", "Spine", (-4, 24, 0), "ZXY"),
    ("RightArm", "RightShoulder", (-13, 0, 0), "ZXY"),
    ("RightForeArm", "RightArm", (-27, 0, 0), "ZXY"),
    ("RightHand", "RightForeArm", (-24, 0, 0), "ZXY"),
)
ENDS = {
    "Head": (0, 12, 0),
    "LeftHand": (9, 0, 0),
    "RightHand": (-9, 0, 0),
    "LeftToeBase": (0, 0, 0),
}


def walk(frames: int = 40, fps: float = 30, seed: int = 0, speed: float = 1.2) -> str:
    """The text of a file: a walk along a curve, in centimetres, with a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / fps
    phase = 2 * np.pi * (0.9 * time + rng.random())
    turn = rng.uniform(-0.6, 0.6)
    heading = rng.uniform(-np.pi, np.pi) + turn * time
    path = np.cumsum(np.stack([np.sin(heading), np.cos(heading)]), axis=1) * 100 * speed / fps
    swing = 30 * np.sin(phase)
    angles = {joint: dict.fromkeys("XYZ", 0.0) for joint, *_ in RIG}
    angles["Hips"] |= {"Y": np.degrees(heading), "X": 3 * np.cos(phase)}
    for side, sign in (("Left", 1), ("Right", -1)):
        angles[f"{side}UpLeg"]["X"] = -sign * swing
        angles[f"{side}Leg"]["X"] = 20 + 15 * np.cos(phase + sign)
        angles[f"{side}Arm"] |= {"Z": -sign * 70.0, "X": sign * swing / 2}
        angles[f"{side}ForeArm"]["Y"] = -sign * (25 + swing / 3)
    columns = [100 * rng.random() + path[0], 88 + 2 * np.cos(2 * phase), path[1]]
    for joint, _, _, order in RIG:
        columns += [angles[joint][axis] + rng.normal(0, 1, frames) * 0.5 for axis in order]
    rows = np.stack([np.broadcast_to(column, frames) for column in columns], axis=1)
    lines = [*hierarchy(), "MOTION", f"Frames: {frames}", f"Frame Time: {1 / fps:.6f}"]
    return "\n".join(lines + [" ".join(f"{x:.5f}" for x in row) for row in rows]) + "\n"


def hierarchy() -> list[str]:
    """The lines before MOTION."""
    return ["HIERARCHY", *_lines("Hips", "")]


def _lines(joint: str, indent: str) -> list[str]:
    _, parent, offset, order = next(row for row in RIG if row[0] == joint)
    inner = f"{indent}\t"
    rotations = " ".join(f"{axis}rotation" for axis in order)
    channels = f"3 {rotations}" if parent else f"6 Xposition Yposition Zposition {rotations}"
    lines = [f"{indent}{'JOINT' if parent else 'ROOT'} {joint}", f"{indent}{{"]
    lines += [f"{inner}OFFSET {' '.join(map(str, offset))}", f"{inner}CHANNELS {channels}"]
    children = [name for name, above, *_ in RIG if above == joint]
    for child in children:
        lines += _lines(child, inner)
    if not children:
        end = " ".join(map(str, ENDS.get(joint, (0, -5, 0))))
        lines += [f"{inner}End Site", f"{inner}{{", f"{inner}\tOFFSET {end}", f"{inner}}}"]
    return [*lines, f"{indent}}}"]
