"""Made-up signing looks like what trackers deliver; corpora are found in folders and zips."""

import pickle
import zipfile

import numpy as np
import pytest

from jaxvq.pose.files import PoseFile, list_poses
from jaxvq.pose.preprocess import preprocess
from jaxvq.pose.reader import read_pose
from tools import make_synthetic_corpus as synthetic
from tools.make_synthetic_corpus import HOLISTIC_543, synthetic_pose, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, num_clips=6, seed=1)
    return folder


def test_a_clip_has_the_layout_of_holistic():
    pose = synthetic_pose(np.random.default_rng(0), 50, fps=30, canvas=(320, 240, 0))
    assert [len(c.points) for c in HOLISTIC_543.components] == [33, 468, 21, 21]
    assert pose.data.shape == (50, 543, 3) and pose.data.dtype == np.float32
    assert pose.confidence.shape == (50, 543) and pose.fps == 30 and pose.canvas == (320, 240, 0)
    shoulders = pose.data[:, list(pose.skeleton.shoulders)]
    assert ((shoulders[..., 0] > 0) & (shoulders[..., 0] < 320)).all()
    assert np.abs(pose.data[..., 2]).max() > 5  # depth is there


def test_movement_is_smooth_and_bones_keep_their_length():
    clip, _ = preprocess(synthetic_pose(np.random.default_rng(4), 200, fps=25))
    index = clip.skeleton.index
    elbow, wrist = index("POSE_LANDMARKS", "RIGHT_ELBOW"), index("POSE_LANDMARKS", "RIGHT_WRIST")
    forearm = np.linalg.norm(clip.data[:, elbow] - clip.data[:, wrist], axis=-1)
    assert abs(np.median(forearm) - synthetic.FOREARM) < 0.05 and forearm.std() < 0.05
    steps = np.linalg.norm(np.diff(clip.data[:, wrist], axis=0), axis=-1)
    assert steps.max() < 0.5 and steps.sum() > 4  # it moves, and never jumps


def test_hands_drop_out_as_a_whole_and_for_a_while():
    missing = []
    for seed in range(12):
        mask = synthetic_pose(np.random.default_rng(seed), 150).mask
        for hand in (mask[:, 501:522], mask[:, 522:]):
            assert (hand.all(axis=1) == hand.any(axis=1)).all()
            missing.append(hand[:, 0])
        assert not mask[:, :501].any()
    missing = np.array(missing)
    assert 0.15 < missing.mean() < 0.6
    changes = np.abs(np.diff(missing.astype(int), axis=1)).sum(axis=1).mean()
    assert changes < 15  # stretches, not flicker


def test_hand_shapes_differ_between_fist_and_flat_hand():
    flat, fist = synthetic._hand_points(synthetic.HAND_SHAPES[[0, 2]])
    reach = [np.linalg.norm(hand[[8, 12, 16, 20]], axis=1).mean() for hand in (flat, fist)]
    assert reach[0] > 1.5 * reach[1]


def test_one_frame_and_impossible_wishes():
    assert synthetic_pose(np.random.default_rng(0), 1).data.shape == (1, 543, 3)
    with pytest.raises(ValueError, match="0 frames"):
        synthetic_pose(np.random.default_rng(0), 0)


def test_clips_are_those_of_version_0_1():
    """Numbers that were recorded with it: what is measured on synthetic clips stays comparable."""
    pose = synthetic_pose(np.random.default_rng(3), 60)
    recorded = {  # (frame, point): pixels
        (0, 11): (391.924, 254.891, -0.679),
        (20, 16): (275.603, 205.68, -56.729),
        (59, 1): (332.744, 159.352, -36.891),
        (10, 500): (304.183, 199.679, -20.077),
        (20, 530): (284.865, 190.832, -71.905),
        (59, 505): (0, 0, 0),
    }
    for (frame, point), place in recorded.items():
        assert pose.data[frame, point] == pytest.approx(place, abs=1e-3)
    assert (pose.confidence == 0).sum() == 861


def test_corpora_are_reproducible_and_varied(corpus, tmp_path):
    write_corpus(tmp_path, num_clips=6, seed=1)
    poses = []
    for i in range(6):
        name = f"synthetic_{i:03d}.pose"
        assert (corpus / name).read_bytes() == (tmp_path / name).read_bytes()
        poses.append(read_pose(corpus / name))
        preprocess(poses[-1])
    assert len({len(pose.data) for pose in poses}) > 3
    assert {round(pose.fps, 2) for pose in poses} == {24, 25, 29.97, 30}
    assert all(20 <= len(pose.data) <= 200 for pose in poses)


def test_clips_of_a_folder_and_of_a_zip_have_the_same_keys(corpus, tmp_path):
    folder = tmp_path / "a"
    (folder / "deep/er").mkdir(parents=True)
    for name, source in (("b.pose", 0), ("deep/er/a.POSE", 1), ("deep/._a.pose", 0), ("x.txt", 0)):
        (folder / name).write_bytes((corpus / f"synthetic_00{source}.pose").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(folder))
    listed = list_poses(folder), list_poses(tmp_path / "a.zip")
    for files in listed:
        assert [file.key for file in files] == ["b.pose", "deep/er/a.POSE"]
    for one, other in zip(*listed, strict=True):
        other = pickle.loads(pickle.dumps(other))
        assert one.read() == other.read()
    assert [f.key for f in list_poses(folder / "b.pose")] == ["b.pose"]


def test_nothing_found_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="no such file or directory: .*absent"):
        list_poses(tmp_path / "absent")
    with pytest.raises(ValueError, match="no .pose or .bvh or .npz files; expected a directory"):
        list_poses(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="x.zip: not a zip file"):
        list_poses(tmp_path / "x.zip")
    with pytest.raises(ValueError, match="expected a directory"):
        list_poses(__file__)


def test_damaged_zip_member_is_a_value_error(corpus, tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(corpus / "synthetic_000.pose", "a.pose")
    content = bytearray(path.read_bytes())
    content[20_000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot unpack a.pose"):
        list_poses(path)[0].read()


def test_a_rewritten_zip_is_read_anew(tmp_path):
    for content in (b"one", b"other"):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr("a.pose", content)
        assert PoseFile("a.pose", str(tmp_path / "x.zip"), "a.pose").read() == content
