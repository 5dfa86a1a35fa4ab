"""OpenPose's JSON files, good and bad, made up and real."""

import json

import numpy as np
import pytest

from jaxvq.pose import openpose
from tests.signformer_corpus import person, write_frame


def test_numbers_land_where_they_belong(tmp_path):
    one = person(1)
    one["pose_keypoints_2d"][0:3] = [11, 12.5, 0.9]
    one["hand_left_keypoints_2d"][0:3] = [21, 22, 0.8]
    one["hand_right_keypoints_2d"][60:63] = [31, 32, 0.7]
    write_frame(tmp_path, 0, [one, person(2)])
    pose, found = openpose.read_clip(tmp_path, 24)
    assert pose.data.shape == (1, 67, 2) and pose.data.dtype == np.float32 and pose.fps == 24
    assert pose.data[0, 0].tolist() == [11, 12.5]
    assert pose.data[0, 25].tolist() == [21, 22]
    assert pose.data[0, 66].tolist() == [31, 32]
    assert pose.confidence[0, [0, 25, 66]].tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert pose.skeleton.names[4] == ("pose_keypoints_2d", "RWrist")
    assert not pose.mask.any() and found == {"frames": 1, openpose.LOW_HANDS: 0}


@pytest.mark.parametrize("name", ["frame_{:06d}", "-abc_0-1-rgb_front_{:012d}"])
def test_frames_in_the_order_of_their_numbers(tmp_path, name):
    for number in (0, 2, 10, 9, 1):
        one = person(0)
        one["pose_keypoints_2d"][0] = number
        write_frame(tmp_path, number, [one], name)
    (tmp_path / "notes.txt").touch()
    pose, _ = openpose.read_clip(tmp_path, 24)
    assert pose.data[:, 0, 0].tolist() == [0, 1, 2, 9, 10]


def test_numbers_of_different_width_are_not_sorted_as_text(tmp_path):
    for number in (2, 10):
        write_frame(tmp_path, number, [person(number)], "f_{}")
    assert openpose.list_frames(tmp_path) == ["f_2_keypoints.json", "f_10_keypoints.json"]


def test_a_bad_frame_is_missing_and_never_shortens_the_clip(tmp_path):
    bad = [b"", b"{", b"[]", b'{"people": 3}', b'{"people": [7]}', b'{"people": [{}]}', b"\xff\xfe"]
    bad.append(b'{"people": [{"pose_keypoints_2d": [1, 2]}]}')
    bad.append(b'{"people": [{"pose_keypoints_2d": ["x", "y", "z"]}]}')
    bad.append(b'{"people": [{"pose_keypoints_2d": [[1], [2, 3]]}]}')
    bad.append(b'{"people": [{"pose_keypoints_2d": {"a": 1}}]}')
    bad.append(b"[" * 100_000)
    for number, content in enumerate(bad):
        (tmp_path / f"f_{number}_keypoints.json").write_bytes(content)
    write_frame(tmp_path, 50, [person(0)])
    write_frame(tmp_path, 51, [])
    (tmp_path / "f_60_keypoints.json").mkdir()
    pose, found = openpose.read_clip(tmp_path, 24)
    assert len(pose.data) == len(bad) + 3
    assert found[openpose.UNREADABLE] == len(bad) + 1 and found[openpose.NO_PERSON] == 1
    assert pose.mask.all(axis=1).tolist() == [True] * len(bad) + [False, True, True]
    assert not pose.data[: len(bad)].any()


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="no .*_keypoints.json"):
        openpose.read_clip(tmp_path / "absent", 24)
    (tmp_path / "f_1_keypoints.json").write_text("{")
    with pytest.raises(ValueError, match="none of the 1 frames .*f_1_keypoints.json"):
        openpose.read_clip(tmp_path, 24)


def test_hands_of_low_confidence_are_missing(tmp_path):
    write_frame(tmp_path, 0, [person(0, hand_confidence=0.02)])
    write_frame(tmp_path, 1, [person(0, hand_confidence=0.06)])
    pose, found = openpose.read_clip(tmp_path, 24)
    assert pose.mask[0, 25:].all() and not pose.data[0, 25:].any() and not pose.mask[1].any()
    assert found[openpose.LOW_HANDS] == 2
    kept, found = openpose.read_clip(tmp_path, 24, hand_threshold=0)
    assert not kept.mask.any() and found[openpose.LOW_HANDS] == 0


def test_empty_hands_zeros_and_numbers_that_are_none(tmp_path):
    one = person(0)
    one["hand_left_keypoints_2d"] = []
    del one["hand_right_keypoints_2d"]
    one["pose_keypoints_2d"][0:9] = [0, 0, 0, 5, 1e300, 0.5, float("nan"), 4, 0.5]
    one["pose_keypoints_2d"][9:12] = [7, 8, -1]
    write_frame(tmp_path, 0, [one])
    pose, _ = openpose.read_clip(tmp_path, 24)
    assert pose.mask[0, 25:].all()
    assert pose.mask[0, :5].tolist() == [True, True, True, True, False]
    assert np.isfinite(pose.data).all() and not pose.data[pose.mask].any()


def test_coco_18_bodies_are_put_in_the_places_of_body_25(tmp_path):
    one = person(0)
    one["pose_keypoints_2d"] = [float(n) for k in range(18) for n in (k + 1, 100 + k, 0.5)]
    write_frame(tmp_path, 0, [one])
    pose, found = openpose.read_clip(tmp_path, 24)
    x = {name: pose.data[0, i, 0] for i, (_, name) in enumerate(pose.skeleton.names[:25])}
    assert (x["Nose"], x["RWrist"], x["RHip"], x["LAnkle"], x["LEar"]) == (1, 5, 9, 14, 18)
    assert pose.mask[0, [8, *range(19, 25)]].all() and found[openpose.COCO_18] == 1


def test_c_style_nan_is_read_as_missing(tmp_path):
    text = json.dumps({"people": [person(3)]}).replace("0.75", "-nan", 1)
    (tmp_path / "f_0_keypoints.json").write_text(text)
    pose, found = openpose.read_clip(tmp_path, 24)
    assert pose.mask[0, 0] and not pose.mask[0, 1:].any() and not found[openpose.UNREADABLE]


def test_real_files(shared, tmp_path):
    folder = shared / "data/samples/openpose"
    pose, found = openpose.read_clip(
        folder / "how2sign_val/openpose_output/json/_2FBDaOPYig_1-3-rgb_front", 30
    )
    assert pose.data[0, 0].tolist() == pytest.approx([666.535, 219.883], abs=1e-3)
    assert pose.mask[0, 10:12].all() and not pose.mask[0, 25:46].any()
    example = folder / "J22Melody_example/openpose_output/json/example"
    pose, found = openpose.read_clip(example, 24)
    assert len(pose.data) == found["frames"] == 133 and found[openpose.LOW_HANDS] == 7
    pose, found = openpose.read_clip(folder / "multi10people_nohands", 25)
    assert len(pose.data) == 41 and pose.mask[:, 25:].all() and not found[openpose.UNREADABLE]
    broken = (folder / "invalid/minus_nan_000000000001_keypoints_3.json").read_bytes()
    (tmp_path / "x_1_keypoints.json").write_bytes(broken)
    pose, found = openpose.read_clip(tmp_path, 25)
    assert not found[openpose.UNREADABLE] and pose.data[0, 0, 0] == pytest.approx(327.494, abs=1e-3)


def test_same_as_pose_format_on_a_real_clip(shared):
    from jaxvq.pose.preprocess import select_points
    from jaxvq.pose.reader import read_pose
    from jaxvq.pose.skeletons import OPENPOSE_67

    samples = shared / "data/samples"
    example = samples / "openpose/J22Melody_example/openpose_output/json/example"
    ours, _ = openpose.read_clip(example, 24, hand_threshold=0)
    theirs = select_points(read_pose(samples / "pose/j22_example.openpose.pose"), OPENPOSE_67)
    assert np.array_equal(ours.mask, theirs.mask)
    np.testing.assert_allclose(ours.data, theirs.data, atol=1e-3)
