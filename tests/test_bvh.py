"""BVH files against another implementation, real recordings, and what is wrong with files.

tests/golden/bvh/positions.json is what bvhio 1.5.4 makes of rig.bvh, in centimetres. The rig has
rotations in several orders, and a joint with position channels.
"""

import csv
import json
from pathlib import Path

import motion_files
import numpy as np
import pytest

from jaxvq.pose import body_names, bvh, kinematics
from jaxvq.pose.skeleton import Skeleton

GOLDEN = Path(__file__).parent / "golden" / "bvh"


def test_joints_are_where_another_implementation_puts_them():
    pose = bvh.read_bvh(GOLDEN / "rig.bvh")
    expected = json.loads((GOLDEN / "positions.json").read_text())
    names = [name for _, name in pose.skeleton.names]
    assert set(names) - set(expected) == {
        "Head_end", "LeftHand_end", "RightHand_end", "RightToeBase_end",
    }  # fmt: skip
    for name, places in expected.items():
        np.testing.assert_allclose(
            pose.data[:, names.index(name)], np.divide(places, 100), atol=1e-6
        )
    assert pose.fps == 25 and pose.data.shape == (3, 24, 3) and not pose.mask.any()
    # An end site keeps its distance: that of the left toe is 0, so it is no point.
    end = pose.data[:, names.index("Head_end")] - pose.data[:, names.index("Head")]
    np.testing.assert_allclose(np.linalg.norm(end, axis=-1), 0.12, atol=1e-6)


def test_real_recordings_have_their_published_positions(shared):
    folder = shared / "data" / "bandai"
    stored = np.load(folder / "positions.npz")
    steps, lengths = stored["positions"], stored["frames"]
    clips = [row["clip"] for row in csv.DictReader(open(folder / "clips.csv"))]
    ends = np.cumsum(lengths)
    checked = 0
    for path in sorted(folder.glob("bvh/*.bvh")):
        pose = bvh.read_bvh(path)
        assert pose.fps == 30
        assert [n for _, n in pose.skeleton.names] == json.loads(
            (folder / "joints.json").read_text()
        )
        i = clips.index(path.stem)
        positions = steps[ends[i] - lengths[i] : ends[i]] * 0.00025
        np.testing.assert_allclose(pose.data, positions, atol=0.000126)
        checked += 1
    assert checked == 13


def test_written_files_have_the_same_joints(tmp_path, shared):
    recorded = bvh.read_bvh(sorted((shared / "data" / "bandai" / "bvh").glob("*.bvh"))[1])
    walking = bvh.read_bvh(motion_files.walk().encode())
    for pose in (recorded, walking):
        assert bvh.write_bvh(tmp_path / "again.bvh", pose) < 1e-6
        again = bvh.read_bvh(tmp_path / "again.bvh")
        np.testing.assert_allclose(again.data, pose.data, atol=2e-6)
        assert again.skeleton == pose.skeleton and again.fps == pose.fps


def test_writing_keeps_bones_and_says_what_that_costs(tmp_path):
    pose = bvh.read_bvh(motion_files.walk().encode())
    noise = np.random.default_rng(0).normal(0, 0.01, pose.data.shape).astype(np.float32)
    error = bvh.write_bvh(tmp_path / "noisy.bvh", pose.replace(data=pose.data + noise))
    again = bvh.read_bvh(tmp_path / "noisy.bvh")
    np.testing.assert_allclose(
        np.linalg.norm(again.data - pose.data - noise, axis=-1).mean(), error, atol=1e-6
    )
    assert 0.002 < error < 0.016  # a centimetre of noise on each coordinate is 1.6 cm of a joint
    rig = bvh.find_rig(pose.skeleton)
    for joint, parent in list(enumerate(rig.parents))[1:]:
        length = np.linalg.norm(again.data[:, joint] - again.data[:, parent], axis=-1)
        np.testing.assert_allclose(length, np.linalg.norm(rig.offsets[joint]), atol=1e-5)


def test_bones_turn_about_themselves_no_more_than_they_must():
    """An upper arm that swings right around: from frame to frame it never flips."""
    rig = kinematics.Rig(("a", "b", "c"), (-1, 0, 1), np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0]]))
    angle = np.linspace(0, 2 * np.pi, 90)
    positions = np.zeros((90, 3, 3))
    positions[:, 1] = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    positions[:, 2] = 2 * positions[:, 1]
    local = kinematics.inverse(rig, positions)
    steps = np.einsum("tjab,tjcb->tjac", local[1:], local[:-1])
    turned = np.degrees(np.arccos(np.clip((np.trace(steps, axis1=2, axis2=3) - 1) / 2, -1, 1)))
    assert turned.max() < 4.1  # 360 / 89


def test_a_body_is_aligned_before_it_is_compared():
    source = np.random.default_rng(1).normal(size=(5, 7, 3))
    turn = kinematics.axis_rotation(1, np.arange(5.0)) @ kinematics.axis_rotation(0, np.arange(5.0))
    moved = 1.7 * np.einsum("tab,tvb->tva", turn, source) + np.array([3, -2, 1])
    np.testing.assert_allclose(kinematics.procrustes(source, moved), moved, atol=1e-12)
    # A mirror image is another body.
    assert np.abs(kinematics.procrustes(source * [-1, 1, 1], moved) - moved).max() > 0.1


@pytest.mark.parametrize("scale, unit", [(1, 0.01), (0.01, 1), (10, 0.001)])
def test_the_size_of_the_body_tells_the_unit(scale, unit):
    def scaled(text):
        lines = text.splitlines()
        for i, line in enumerate(lines):
            words = line.split()
            if words[0] == "OFFSET":
                lines[i] = "OFFSET " + " ".join(str(float(word) * scale) for word in words[1:])
            elif i > lines.index("MOTION") + 2:
                words[:3] = [str(float(word) * scale) for word in words[:3]]
                lines[i] = " ".join(words)
        return "\n".join(lines)

    text = motion_files.walk(3)
    pose = bvh.read_bvh(scaled(text).encode())
    np.testing.assert_allclose(pose.data, bvh.read_bvh(text.encode()).data, atol=1e-5)


def test_skeletons_survive_json_with_their_rest_offsets():
    skeleton = bvh.find_skeleton(bvh.parse(motion_files.walk(2).encode()))
    again = Skeleton.from_json(json.loads(json.dumps(skeleton.to_json())))
    assert again == skeleton
    assert again.components[0].offsets == skeleton.components[0].offsets
    np.testing.assert_allclose(bvh.find_rig(again).offsets[2], [0, -0.42, 0])
    assert again.names[again.joint("left_toe")][1] == "LeftToeBase"


@pytest.mark.parametrize(
    "rig",
    [
        "Hips LeftUpLeg RightUpLeg LeftShoulder LeftArm RightShoulder RightArm LeftFoot",
        "Hips UpperLeg_L UpperLeg_R Shoulder_L UpperArm_L Shoulder_R UpperArm_R Foot_L",
        "mixamorig:Hips mixamorig:LeftUpLeg mixamorig:RightUpLeg mixamorig:LeftShoulder "
        "mixamorig:LeftArm mixamorig:RightShoulder mixamorig:RightArm mixamorig:LeftFoot",
        "hip lThigh rThigh lCollar lShldr rCollar rShldr lFoot",
        "pelvis left_hip right_hip left_collar left_shoulder right_collar right_shoulder "
        "left_ankle",
        "pelvis thigh_l thigh_r clavicle_l upperarm_l clavicle_r upperarm_r foot_l",
    ],
)
def test_rigs_of_many_studios_are_understood(rig):
    names = rig.split()
    found = body_names.find_joints(names, "x.bvh")
    keys = "root left_hip right_hip - left_shoulder - right_shoulder left_ankle".split()
    assert found == {key: name for key, name in zip(keys, names, strict=True) if key != "-"}


TEXT = motion_files.walk(4)
LINES = TEXT.splitlines()
MOTION = LINES.index("MOTION") + 1


def changed(line: int, new: str | None) -> str:
    """TEXT with another line `line`, or without it."""
    return "\n".join(LINES[: line - 1] + ([] if new is None else [new]) + LINES[line:]) + "\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "x.bvh:1: not a BVH file: the first line is not HIERARCHY"),
        ("\x00\xff" * 50, "x.bvh:1: not a BVH file"),
        (changed(5, "\tCHANNELS 5 Xposition Yposition Zposition Zrotation Yrotation Xrotation"),
         "x.bvh:5: CHANNELS says 5, and names 6"),
        (changed(5, "\tCHANNELS 3 Xrotation Yrotation Wrotation"), "x.bvh:5: channel 'Wrotation'"),
        (changed(5, "\tCHANNELS 3 Zrotation Yrotation Xrotation"),
         f"x.bvh:{MOTION + 3}: 63 numbers, but the joints have 60"),
        (changed(4, None), "has no OFFSET"),
        (changed(4, "\tOFFSET 0 zero 0"), "x.bvh:4: OFFSET '0 zero 0', expected three numbers"),
        (changed(3, None), "x.bvh:3: { has to follow ROOT, JOINT and End Site"),
        (changed(MOTION - 1, None), f"x.bvh:{MOTION - 1}: MOTION before the hierarchy is complete"),
        ("\n".join(LINES[: MOTION - 1]), f"x.bvh:{MOTION - 1}: the file ends without MOTION"),
        ("\n".join(LINES[:MOTION]), f"x.bvh:{MOTION + 1}: '', expected 'Frames: NUMBER' above 0"),
        (changed(MOTION + 1, "Frames: four"), f"x.bvh:{MOTION + 1}: 'Frames: four', expected"),
        (changed(MOTION + 2, "Frame Time: 0"), f"x.bvh:{MOTION + 2}: 'Frame Time: 0', expected"),
        (changed(MOTION + 1, "Frames: 9"), f"x.bvh:{MOTION + 6}: 4 frames, the file announces 9"),
        (changed(MOTION + 4, "1 2 3"), f"x.bvh:{MOTION + 4}: 3 numbers, but the joints have 63"),
        (changed(MOTION + 4, LINES[MOTION + 3].replace(" ", " x", 1)),
         f"x.bvh:{MOTION + 4}: not all of its 63 words are numbers"),
        (changed(MOTION + 5, LINES[MOTION + 4] .replace(" ", " nan ", 1).rpartition(" ")[0]),
         f"x.bvh:{MOTION + 5}: not all of its 63 words are numbers"),
        (changed(2, "ROOT Hips {\nROOT Hips"), "x.bvh:3: ROOT, where a file has one ROOT first"),
        (changed(MOTION + 2, "Frame Time: 1e-300"), f":{MOTION + 2}: a frame time of 1e-300 s"),
        (changed(MOTION + 4, "1e308 " + LINES[MOTION + 3].partition(" ")[2]),
         "x.bvh: joints are too far away to be numbers"),
        ("HIERARCHY\n" + "".join(f"{'JOINT' if i else 'ROOT'} j{i}\n{{\n" for i in range(600)),
         "x.bvh:1002: more than 500 joints"),
        (TEXT.replace("LeftToeBase", "LeftFoot"), "another joint is called 'LeftFoot', too"),
        (TEXT.replace("UpLeg", "Rod"), "no joint is the left hip: expected left with upleg"),
        (TEXT.replace("OFFSET 0 -42 0", "OFFSET 0 -4200 0"), "x.bvh:2: the longest way along the"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_in_one_line_with_its_number(text, message):
    with pytest.raises(ValueError) as error:
        bvh.read_bvh(text.encode("latin-1"), "x.bvh")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_files_may_have_odd_ends_of_lines_and_names_in_any_encoding():
    text = TEXT.replace("\n", "\r\n").replace("Head", "頭") + "\r\n\r\n"
    pose = bvh.read_bvh(text.encode("cp932"))
    np.testing.assert_array_equal(pose.data, bvh.read_bvh(TEXT.encode()).data)


@pytest.mark.parametrize("frame_time, fps", [("0.0333333", 30), ("0.008333", 120), ("0.04", 25)])
def test_frame_rates_are_whole_where_the_frame_time_was_rounded(frame_time, fps):
    text = changed(MOTION + 2, f"Frame Time: {frame_time}")
    assert bvh.read_bvh(text.encode()).fps == fps
    odd = bvh.read_bvh(changed(MOTION + 2, "Frame Time: 0.033367").encode())
    assert odd.fps == pytest.approx(29.97, abs=0.001)
