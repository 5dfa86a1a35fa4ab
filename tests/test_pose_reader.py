"""Reading `.pose` bytes: every version, every way to mark a missing point, every kind of damage."""

import io
import struct

import numpy as np
import pytest
from pose_files import body, frames_v0, header

from jaxvq.pose import reader
from jaxvq.pose.preprocess import select_points
from jaxvq.pose.reader import read_pose
from jaxvq.pose.skeleton import HOLISTIC_178, Component, Skeleton
from jaxvq.pose.writer import write_header, write_pose
from tools.make_synthetic_corpus import synthetic_pose

FLAT = (("A", "XYC", ("a",)),)


def clip(frames=4, people=1, points=3, dims=3, seed=0):
    rng = np.random.default_rng(seed)
    data = rng.uniform(0, 500, (frames, people, points, dims)).astype(np.float32)
    return data, rng.uniform(0.1, 1, (frames, people, points)).astype(np.float32)


@pytest.mark.parametrize("version, fps", [(0.1, 50), (0.2, 29.97)])
def test_blocks_hold_the_first_person(version, fps):
    data, confidence = clip(people=2)
    pose = read_pose(header(version) + body(version, data, confidence, fps))
    np.testing.assert_array_equal(pose.data, data[:, 0])
    np.testing.assert_array_equal(pose.confidence, confidence[:, 0])
    assert pose.fps == pytest.approx(fps) and pose.canvas == (640, 480, 0)
    assert pose.data.dtype == pose.confidence.dtype == np.float32 and not pose.mask.any()
    assert pose.skeleton.names == (("A", "a"), ("A", "b"), ("B", "c"))
    assert pose.skeleton.limbs == ((0, 1), (2, 2))
    assert pose.skeleton.colors.tolist() == [[255, 255, 0]] * 3


def test_version_0_counts_people_in_every_frame():
    data, confidence = clip(people=2)
    pose = read_pose(header(0.0) + frames_v0(data, confidence, (1, 0, 2, 1)))
    assert pose.fps == 24
    np.testing.assert_array_equal(pose.mask.any(axis=1), [False, True, False, False])
    np.testing.assert_array_equal(pose.data[[0, 2, 3]], data[[0, 2, 3], 0])
    assert not pose.data[1].any() and not pose.confidence[1].any()


def test_four_conventions_of_missing_points():
    data, confidence = clip(frames=6, points=3)
    confidence[0, 0, 0], data[0, 0, 0] = 0, 0
    confidence[1, 0, 1] = 0
    confidence[2, 0, 2], data[2, 0, 2] = 0, np.nan
    data[3, 0, 0, 2] = np.nan
    data[4, 0, 1, 0] = np.inf
    confidence[5, 0, 2] = np.nan
    pose = read_pose(header(0.2) + body(0.2, data, confidence))
    expected = np.zeros((6, 3), bool)
    expected[range(6), [0, 1, 2, 0, 1, 2]] = True
    np.testing.assert_array_equal(pose.mask, expected)
    assert not pose.data[expected].any() and np.isfinite(pose.data).all()
    np.testing.assert_array_equal(pose.data[~expected], data[:, 0][~expected])


def test_formats_of_other_widths():
    data, confidence = clip(points=1, dims=2)
    flat = read_pose(header(0.2, FLAT) + body(0.2, data, confidence))
    assert flat.skeleton.num_dims == 2 and flat.data.shape == (4, 1, 2)
    data, confidence = clip(points=1, dims=4)
    wide = (("A", "XYZKC", ("a",)),)
    assert read_pose(header(0.2, wide) + body(0.2, data, confidence)).data.shape == (4, 1, 4)


@pytest.mark.parametrize("announced", [0, 0xFFFF, 70_000 - 0x10000])
def test_version_1_with_more_frames_than_its_counter_holds(announced):
    data, confidence = clip(frames=70_000, points=1, dims=2)
    content = header(0.1, FLAT) + body(0.1, data, confidence, frames=announced)
    np.testing.assert_array_equal(read_pose(content).data, data[:, 0])
    with pytest.raises(ValueError, match="truncated or malformed"):
        read_pose(content[:-4])


@pytest.mark.parametrize("version", [0.0, 0.1, 0.2])
def test_every_truncation_is_an_error(version):
    data, confidence = clip()
    if version == 0:
        content = header(version) + frames_v0(data, confidence, (1,) * 4)
    else:
        content = header(version) + body(version, data, confidence)
    read_pose(content)
    for end in range(len(content)):
        with pytest.raises(ValueError):
            read_pose(content[:end])
    with pytest.raises(ValueError, match="truncated or malformed"):
        read_pose(content + b"\0" * 16)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "0 bytes"),
        (b"PK\x03\x04" + b"x" * 400, "not a .pose file"),
        (header(0.3) + b"\0" * 100, "version 0.3"),
        (struct.pack("<fHHHH", 0.2, 1, 1, 1, 0) + b"\0" * 10, "names no points"),
        (header(0.2, (("A", "C", ("a",)),)), "format 'C'"),
        (
            struct.pack("<fHHHH", 0.2, 1, 1, 1, 1) + b"\1\0A\3\0XYC\1\0\1\0\0\0\1\0a\0\0\7\0",
            "limb to point 7 of 1",
        ),
        (header(0.2) + struct.pack("<fIH", 25, 4, 0), "no person"),
        (header(0.2) + struct.pack("<fIH", 25, 0, 1), "no frames"),
        (header(0.1) + struct.pack("<HHH", 25, 0, 1), "no frames"),
        (header(0.0) + struct.pack("<HH", 25, 0), "no frames"),
        (header(0.2) + body(0.2, *clip(), fps=0), "must be positive"),
        (header(0.2) + body(0.2, *clip(), fps=np.nan), "must be positive"),
        (header(0.2) + body(0.2, clip()[0], clip()[1] * 50), "damaged: confidences"),
        (header(0.2) + body(0.2, clip()[0], clip()[1] - 0.6), "damaged: confidences"),
    ],
)
def test_other_damage_is_one_line(content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_pose(content, name="x.pose")
    assert str(caught.value).startswith("x.pose: ") and "\n" not in str(caught.value)


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "broken.pose"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="broken.pose: not a .pose file"):
        read_pose(path)
    with pytest.raises(OSError):
        read_pose(tmp_path / "absent.pose")


def test_confidence_slightly_outside_its_range_is_real():
    data, confidence = clip()
    confidence[0, 0], confidence[1, 0] = 1.03, -0.02
    pose = read_pose(header(0.2) + body(0.2, data, confidence))
    assert not pose.mask.any() and pose.confidence[0, 0] == np.float32(1.03)


def test_headers_are_parsed_once():
    data, confidence = clip()
    first = read_pose(header(0.2) + body(0.2, data, confidence))
    again = read_pose(header(0.1, canvas=(3, 5, 1)) + body(0.1, data, confidence))
    assert again.skeleton is first.skeleton and again.canvas == (3, 5, 1)
    for i in range(40):
        name = (("A", "XYZC", (f"p{i}", "b")), ("B", "XYZC", ("c",)))
        pose = read_pose(header(0.2, name) + body(0.2, data, confidence))
        assert pose.skeleton.names[0] == ("A", f"p{i}")
    assert len(reader._recent) <= 16


def test_reading_only_some_points_equals_selecting_them(tmp_path):
    pose = synthetic_pose(np.random.default_rng(0), 30)
    whole = select_points(pose)
    write_pose(tmp_path / "x.pose", pose)
    part = read_pose(tmp_path / "x.pose", skeleton=HOLISTIC_178)
    np.testing.assert_array_equal(part.data, whole.data)
    np.testing.assert_array_equal(part.confidence, whole.confidence)
    assert part.skeleton == HOLISTIC_178


def test_written_files_open_in_pose_format_and_here(tmp_path):
    from pose_format import Pose as FormatPose

    pose = synthetic_pose(np.random.default_rng(1), 25, fps=29.97)
    write_pose(tmp_path / "x.pose", pose)
    again = read_pose(tmp_path / "x.pose")
    theirs = FormatPose.read((tmp_path / "x.pose").read_bytes())
    np.testing.assert_array_equal(again.data, pose.data)
    np.testing.assert_array_equal(again.confidence, pose.confidence)
    assert again.skeleton == pose.skeleton and again.canvas == pose.canvas
    assert again.fps == theirs.body.fps == pytest.approx(29.97)
    np.testing.assert_array_equal(theirs.body.data.mask[:, 0, :, 0], pose.mask)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pose"]


def test_header_file_is_a_header_of_pose_format(tmp_path):
    from pose_format.pose_header import PoseHeader
    from pose_format.utils.reader import BufferReader

    write_header(tmp_path / "header.poseheader", HOLISTIC_178)
    content = (tmp_path / "header.poseheader").read_bytes()
    theirs = PoseHeader.read(BufferReader(content + b"\0" * 4))
    assert [c.name for c in theirs.components] == [c.name for c in HOLISTIC_178.components]
    out = io.BytesIO()
    theirs.write(out)
    assert out.getvalue() == content
    skeleton, end = reader._parse_skeleton(content)
    assert skeleton == HOLISTIC_178 and end == len(content)


def test_canvas_that_does_not_fit_is_an_error(tmp_path):
    pose = reader.Pose(
        Skeleton((Component("A", ("a",)),)),
        np.zeros((1, 1, 3), np.float32),
        np.ones((1, 1), np.float32),
        25.0,
        (70_000, 1, 1),
    )
    with pytest.raises(ValueError, match="65535"):
        write_pose(tmp_path / "x.pose", pose)
    assert not list(tmp_path.iterdir())
