"""Reads and writes BVH: a tree of joints, and the rotations of each through time.

`read_bvh` returns the positions of the joints, a Pose in metres, y up; `write_bvh` finds rotations
that give such positions. A file states no unit: metres, centimetres or millimetres follow from the
size of the body.
"""

import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxvq.pose import body_names, kinematics
from jaxvq.pose.kinematics import Rig
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Component, Skeleton
from jaxvq.storage import atomic

CHANNELS = tuple(f"{axis}{kind}" for kind in ("position", "rotation") for axis in "XYZ")
# Units in metres. In the right one, the longest path along the bones, from a hand or the head to a
# foot, is SIZES metres long.
UNITS = (1.0, 0.01, 0.001)
SIZES = (0.8, 4.0)
MOST_JOINTS = 500
FRAME_TIMES = (1e-4, 10.0)  # seconds
COLORS = {"left": (0, 110, 220), "right": (220, 60, 0), "": (70, 70, 70)}


@dataclass(frozen=True)
class Joint:
    """A joint of a file. parent: its number, -1 of the root. offset: in the file's units.
    channels: names of its numbers in a frame. line: where the file declares it. An End Site is a
    joint "<parent>_end" without channels."""

    name: str
    parent: int
    line: int
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Bvh:
    """A file as it is. numbers: float64 (t, channels). frame_time: seconds; its line, and a name
    for errors."""

    joints: tuple[Joint, ...]
    numbers: np.ndarray
    frame_time: float
    frame_time_line: int
    name: str

    @property
    def fps(self) -> float:
        """Frames per second: a whole number where the frame time is one over it, rounded."""
        fps = 1 / self.frame_time
        return float(round(fps)) if abs(fps - round(fps)) < 1e-4 * fps else fps


def read_bvh(source: str | Path | bytes, name: str | None = None) -> Pose:
    """The motion of a BVH file: joints from the hips on and end sites, in metres, y up.

    source: a path, or the file's bytes; name: what errors call it (default: the path).
    Raises ValueError, one line with the number of the file's line, for everything that is no
    complete BVH file of a human body.
    """
    return to_pose(parse(source, name))


def to_pose(bvh: Bvh) -> Pose:
    """The positions of the joints of a parsed file; ValueError for a body of no human size."""
    skeleton, unit, numbers = _describe(bvh)
    with np.errstate(over="ignore", invalid="ignore"):
        data = (_positions(bvh)[:, numbers] * unit).astype(np.float32)
    if not np.isfinite(data).all():
        raise ValueError(f"{bvh.name}: joints are too far away to be numbers")
    return Pose(skeleton, data, np.ones(data.shape[:2], np.float32), bvh.fps)


def find_skeleton(bvh: Bvh) -> Skeleton:
    """The skeleton of `to_pose`: points, limbs, rest offsets, and the joints for normalisation."""
    return _describe(bvh)[0]


def _describe(bvh: Bvh) -> tuple[Skeleton, float, list[int]]:
    """The skeleton, metres of the file's unit, and the numbers of the joints that are points."""
    translations = _translations(bvh, slice(0, 1))[0]
    joints = bvh.joints
    root = body_names.find_root([joint.name for joint in joints])
    numbers = [root]
    for i, joint in enumerate(joints):
        # An end site in the place of its joint adds no point.
        is_point = joint.channels or np.linalg.norm(translations[i]) > 0
        if joint.parent in numbers and is_point:
            numbers.append(i)
    at = {number: i for i, number in enumerate(numbers)}
    parents = (-1, *(at[joints[n].parent] for n in numbers[1:]))
    unit = _find_unit(bvh, parents, np.linalg.norm(translations[numbers], axis=1))
    names = tuple(joints[n].name for n in numbers)
    offsets = np.round(translations[numbers] * unit, 7)
    offsets[0] = 0
    component = Component(
        "JOINTS",
        names,
        limbs=tuple((parent, i) for i, parent in enumerate(parents) if parent >= 0),
        colors=tuple(COLORS[body_names.split_side(name)[0]] for name in names),
        part="body",
        joints=tuple(body_names.find_joints(names, bvh.name).items()),
        offsets=tuple(tuple(offset) for offset in offsets.tolist()),
    )
    return Skeleton((component,)), unit, numbers


def _find_unit(bvh: Bvh, parents: tuple[int, ...], lengths: np.ndarray) -> float:
    below, longest = np.zeros(len(parents)), 0.0
    for joint in range(len(parents) - 1, 0, -1):
        way, parent = below[joint] + lengths[joint], parents[joint]
        longest = max(longest, below[parent] + way)
        below[parent] = max(below[parent], way)
    for unit in UNITS:
        if SIZES[0] <= longest * unit <= SIZES[1]:
            return unit
    raise ValueError(
        f"{bvh.name}:{bvh.joints[0].line}: the longest way along the bones is {longest:.4g}; "
        "expected 0.8 to 4 metres, in metres, centimetres or millimetres: scale the file"
    )


def _positions(bvh: Bvh) -> np.ndarray:
    """float64 (t, j, 3), in the file's units."""
    rotations = np.tile(np.eye(3), (len(bvh.numbers), len(bvh.joints), 1, 1))
    column = 0
    for i, joint in enumerate(bvh.joints):
        for channel in joint.channels:
            if channel.endswith("rotation"):
                angles = np.radians(bvh.numbers[:, column])
                turn = kinematics.axis_rotation("XYZ".index(channel[0]), angles)
                rotations[:, i] = rotations[:, i] @ turn
            column += 1
    parents = [joint.parent for joint in bvh.joints]
    return kinematics.forward(parents, _translations(bvh, slice(None)), rotations)


def _translations(bvh: Bvh, frames: slice) -> np.ndarray:
    """float64 (t, j, 3): offsets, or what position channels put in their place."""
    numbers, column = bvh.numbers[frames], 0
    offsets = np.array([joint.offset for joint in bvh.joints])
    translations = np.tile(offsets, (len(numbers), 1, 1))
    for i, joint in enumerate(bvh.joints):
        for channel in joint.channels:
            if channel.endswith("position"):
                translations[:, i, "XYZ".index(channel[0])] = numbers[:, column]
            column += 1
    return translations


# ---------------------------------------------------------------------------------------- parsing


def parse(source: str | Path | bytes, name: str | None = None, *, header: bool = False) -> Bvh:
    """A file as it is; with `header`, only its first frame is read.

    Raises ValueError, one line that begins with name:line, for what is no complete BVH file.
    """
    if isinstance(source, str | Path):
        name = name or str(source)
        source = Path(source).read_bytes()
    name = name or "bvh"
    # Names of joints may be in any encoding; all else is ASCII.
    lines = io.StringIO(bytes(source).decode("latin-1")).read().splitlines()
    joints, line = _parse_hierarchy(lines, name)
    frames, frame_time, line = _parse_timing(lines, line, name)
    rows = [(n, row) for n, row in enumerate(lines[line:], line + 1) if row and not row.isspace()]
    if len(rows) != frames:
        where = rows[-1][0] if rows else line
        raise ValueError(f"{name}:{where}: {len(rows)} frames, the file announces {frames}")
    count = sum(len(joint.channels) for joint in joints)
    numbers = _parse_numbers(rows[:1] if header else rows, count, name)
    return Bvh(joints, numbers, frame_time, line, name)


def _parse_hierarchy(lines: list[str], name: str) -> tuple[tuple[Joint, ...], int]:
    """The joints, and the number of lines up to MOTION, which is among them."""
    if not lines or lines[0].split() != ["HIERARCHY"]:
        raise ValueError(f"{name}:1: not a BVH file: the first line is not HIERARCHY")
    joints: list[Joint] = []
    given: list[set[str]] = []  # what each joint has stated
    open_joints: list[int] = []
    announced = False  # a joint whose brace is to follow
    for number, line in enumerate(lines[1:], 2):
        for piece in re.split("([{}])", line):
            words = piece.split()
            if not words:
                continue
            word, where = words[0], f"{name}:{number}"
            if announced != (word == "{"):
                raise ValueError(f"{where}: {{ has to follow ROOT, JOINT and End Site, and only it")
            if word == "{":
                open_joints.append(len(joints) - 1)
                announced = False
            elif word == "}":
                if not open_joints:
                    raise ValueError(f"{where}: }} without {{")
                _check_closed(joints[open_joints[-1]], given[open_joints.pop()], where)
            elif word in ("ROOT", "JOINT", "End"):
                joints.append(_begin(words, joints, open_joints, number, where))
                given.append(set())
                announced = True
            elif word in ("OFFSET", "CHANNELS"):
                if not open_joints or word in given[open_joints[-1]]:
                    raise ValueError(f"{where}: {word} where no joint wants one")
                given[open_joints[-1]].add(word)
                parse_words = _parse_offset if word == "OFFSET" else _parse_channels
                at = open_joints[-1]
                joints[at] = parse_words(joints[at], words, where)
            elif word == "MOTION":
                if open_joints or not joints:
                    raise ValueError(f"{where}: MOTION before the hierarchy is complete")
                return tuple(joints), number
            else:
                raise ValueError(f"{where}: {word[:20]!r} is no word of a BVH hierarchy")
    raise ValueError(f"{name}:{len(lines)}: the file ends without MOTION")


def _begin(
    words: list[str], joints: list[Joint], open_joints: list[int], number: int, where: str
) -> Joint:
    if (words[0] == "ROOT") == bool(joints):
        raise ValueError(f"{where}: {words[0]}, where a file has one ROOT first, and only one")
    if joints and not open_joints:
        raise ValueError(f"{where}: {words[0]} outside of the root")
    parent = open_joints[-1] if open_joints else -1
    called = " ".join(words[1:]) if words[0] != "End" else f"{joints[parent].name}_end"
    if not called:
        raise ValueError(f"{where}: a joint without a name")
    if len(joints) == MOST_JOINTS:
        raise ValueError(f"{where}: more than {MOST_JOINTS} joints")
    if any(joint.name == called for joint in joints):
        raise ValueError(f"{where}: another joint is called {called!r}, too")
    if parent >= 0 and joints[parent].name.endswith("_end") and not joints[parent].channels:
        raise ValueError(f"{where}: {called!r} follows an End Site, which has no children")
    return Joint(called, parent, number)


def _check_closed(joint: Joint, given: set[str], where: str) -> None:
    is_end = joint.name.endswith("_end") and "CHANNELS" not in given
    if "OFFSET" not in given or not is_end and "CHANNELS" not in given:
        missing = "OFFSET" if "OFFSET" not in given else "CHANNELS"
        raise ValueError(f"{where}: {joint.name} (line {joint.line}) has no {missing}")


def _parse_offset(joint: Joint, words: list[str], where: str) -> Joint:
    try:
        offset = tuple(map(float, words[1:]))
    except ValueError:
        offset = ()
    if len(offset) != 3 or not np.isfinite(offset).all():
        raise ValueError(f"{where}: OFFSET {' '.join(words[1:])[:60]!r}, expected three numbers")
    return replace(joint, offset=offset)


def _parse_channels(joint: Joint, words: list[str], where: str) -> Joint:
    channels = tuple(words[2:])
    if not words[1:] or not words[1].isdigit() or int(words[1]) != len(channels):
        said = words[1] if words[1:] else "no number"
        raise ValueError(f"{where}: CHANNELS says {said}, and names {len(channels)}")
    if odd := [channel for channel in channels if channel not in CHANNELS]:
        raise ValueError(f"{where}: channel {odd[0][:20]!r}, expected {', '.join(CHANNELS)}")
    if len(set(channels)) < len(channels):
        raise ValueError(f"{where}: CHANNELS names one twice")
    return replace(joint, channels=channels)


def _parse_timing(lines: list[str], line: int, name: str) -> tuple[int, float, int]:
    """The announced frames, the frame time, and the number of lines so far."""
    values = []
    for label in ("Frames:", "Frame Time:"):
        while line < len(lines) and not lines[line].strip():
            line += 1
        text = lines[line].strip() if line < len(lines) else ""
        found = re.fullmatch(rf"{label}\s*(\S+)", text)
        try:
            values.append(float(found[1]) if found else np.nan)
        except ValueError:
            values.append(np.nan)
        line += 1
        if not 0 < values[-1] < np.inf or label == "Frames:" and values[-1] % 1:
            raise ValueError(f"{name}:{line}: {text[:40]!r}, expected '{label} NUMBER' above 0")
    if not FRAME_TIMES[0] <= values[1] <= FRAME_TIMES[1]:
        raise ValueError(f"{name}:{line}: a frame time of {values[1]:g} s, expected .0001 to 10 s")
    return int(values[0]), values[1], line


def _parse_numbers(rows: list[tuple[int, str]], count: int, name: str) -> np.ndarray:
    words = [row.split() for _, row in rows]
    for (line, _), row in zip(rows, words, strict=True):
        if len(row) != count:
            raise ValueError(f"{name}:{line}: {len(row)} numbers, but the joints have {count}")
    try:
        numbers = np.array(words, np.float64)
    except ValueError:
        numbers = np.full((len(words), count), np.nan)
        for i, row in enumerate(words):
            try:
                numbers[i] = row
            except ValueError:
                break
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(bad):
        raise ValueError(f"{name}:{rows[bad[0]][0]}: not all of its {count} words are numbers")
    return numbers


# ---------------------------------------------------------------------------------------- writing


def find_rig(skeleton: Skeleton) -> Rig:
    """The tree of a skeleton's joints; ValueError where it has no rest offsets."""
    component = next((c for c in skeleton.components if c.offsets), None)
    if component is None:
        raise ValueError(
            "this skeleton has no rest offsets, so there are no bones to rotate: write .npz, or "
            "take the skeleton from a .bvh file"
        )
    parents = {child: parent for parent, child in component.limbs}
    order = tuple(parents.get(i, -1) for i in range(len(component.points)))
    return Rig(component.points, order, np.array(component.offsets))


def write_bvh(path: str | Path, pose: Pose) -> float:
    """Writes joints in metres as BVH, in centimetres, with rotations that `inverse` finds.

    Returns the mean distance in metres of the file's joints from those of the pose: bones have the
    fixed lengths of the skeleton's rest offsets. Raises ValueError for a skeleton without them.
    """
    rig = find_rig(pose.skeleton)
    positions = pose.data.astype(np.float64)
    rotations = kinematics.inverse(rig, positions)
    translations = np.tile(rig.offsets, (len(positions), 1, 1))
    translations[:, 0] = positions[:, 0]
    reached = kinematics.forward(rig.parents, translations, rotations)
    lines, order = _write_joint(rig, 0)
    columns = [100 * positions[:, 0]] + [_zxy_angles(rotations[:, joint]) for joint in order]
    lines += ["MOTION", f"Frames: {len(positions)}", f"Frame Time: {1 / pose.fps:.9g}"]
    frames = np.concatenate(columns, axis=1)
    lines += [" ".join(f"{number:.6f}" for number in frame) for frame in frames.tolist()]
    atomic.write_text(path, "\n".join(["HIERARCHY", *lines]) + "\n")
    return float(np.linalg.norm(reached - positions, axis=-1).mean())


def _write_joint(rig: Rig, joint: int) -> tuple[list[str], list[int]]:
    """The lines of a joint and those below it, and their numbers as far as they have channels."""
    offset = " ".join(f"{100 * number:.6f}" for number in rig.offsets[joint])
    if joint and _is_end(rig, joint):
        return ["End Site", "{", f"  OFFSET {offset}", "}"], []
    channels = "Zrotation Xrotation Yrotation"
    channels = f"3 {channels}" if joint else f"6 Xposition Yposition Zposition {channels}"
    lines, order = [f"OFFSET {offset}", f"CHANNELS {channels}"], [joint]
    for child in rig.children[joint]:
        below, numbers = _write_joint(rig, child)
        lines, order = lines + below, order + numbers
    if not rig.children[joint]:
        lines += ["End Site", "{", "  OFFSET 0 0 0", "}"]
    kind = "JOINT" if joint else "ROOT"
    return [f"{kind} {rig.names[joint]}", "{", *(f"  {line}" for line in lines), "}"], order


def _is_end(rig: Rig, joint: int) -> bool:
    named = rig.names[joint] == f"{rig.names[rig.parents[joint]]}_end"
    return named and not rig.children[joint]


def _zxy_angles(rotations: np.ndarray) -> np.ndarray:
    """Degrees (t, 3) about z, x and y, in this order, whose product rotations (t, 3, 3) are."""
    x = np.arcsin(np.clip(rotations[:, 2, 1], -1, 1))
    z = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    y = np.arctan2(-rotations[:, 2, 0], rotations[:, 2, 2])
    return np.degrees(np.stack([z, x, y], axis=1))
