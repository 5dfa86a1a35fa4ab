"""Hands out of the formats they are published in: columns, conventions, and files that lie."""

import pickle
import struct

import numpy as np
import pytest

from jaxvq.hands import npz, pickles
from tools import import_hands
from tools.hands import sources


def marked(width, left, frames=3):
    """Poses whose numbers tell their column."""
    poses = np.tile(np.arange(width, dtype=np.float64), (frames, 1))
    poses += np.arange(frames)[:, None] / 100
    return poses, poses[:, left : left + 45], poses[:, left + 45 : left + 90]


@pytest.mark.parametrize(
    "layout, width, left, key",
    [
        ("smplh156", 156, 66, "poses"),
        ("smplx165", 165, 75, "poses"),
        ("smplx165", 165, 75, "pose_cam"),
        ("smplx165", 165, 75, "fullpose"),
        ("motionx322", 322, 66, None),
        ("talkshow265", 265, 75, None),
        ("signavatars", 182, 66, "smplx"),
        ("signavatars", 169, 66, "unsmooth_smplx"),
    ],
)
def test_columns_of_each_layout(tmp_path, layout, width, left, key):
    poses, expected_left, expected_right = marked(width, left)
    if layout == "signavatars":
        path = tmp_path / "a.pkl"
        path.write_bytes(pickle.dumps({key: poses.astype(np.float32)}))
    elif key:
        path = tmp_path / "a.npz"
        np.savez(path, **{key: poses, "betas": np.zeros(10)})
    else:
        path = tmp_path / "a.npy"
        np.save(path, poses)
    hands = sources.read_hands(path, layout)
    np.testing.assert_array_equal(hands.left, expected_left.astype(np.float32))
    np.testing.assert_array_equal(hands.right, expected_right.astype(np.float32))
    assert hands.valid.all() and len(hands) == 3


def test_real_amass_one_moves_and_one_does_not(shared):
    folder = shared / "data" / "samples" / "smplx"
    moving = sources.read_hands(folder / "amass_sample_601x156.npz", "smplh156")
    still = sources.read_hands(folder / "amass_dmpl_sample_235x156.npz", "smplh156")
    assert (len(moving), len(still)) == (601, 235)
    assert not sources.never_move(moving) and sources.never_move(still)
    with np.load(folder / "amass_sample_601x156.npz") as file:
        np.testing.assert_array_equal(moving.left, file["poses"][:, 66:111].astype(np.float32))


def test_real_talkshow(shared):
    for path in sorted((shared / "data" / "samples" / "smplx").glob("talkshow*.npy")):
        hands = sources.read_hands(path, "talkshow265")
        matrix = np.load(path)
        assert hands.left.tobytes() == np.ascontiguousarray(matrix[:, 75:120]).tobytes()
        assert hands.right.tobytes() == np.ascontiguousarray(matrix[:, 120:165]).tobytes()
        assert not sources.never_move(hands) and np.abs(hands.left).max() < np.pi


def test_real_signavatars_is_the_same_in_both_kinds_of_files(shared):
    folder = shared / "data" / "samples" / "smplx"
    plain = sorted((folder / "signavatars_wlasl_pickle").glob("*.pkl"))
    assert len(plain) == 4
    for path in plain:
        first = sources.read_hands(path, "signavatars")
        second = sources.read_hands(
            folder / "signavatars_wlasl_torchzip" / path.name, "signavatars"
        )
        for name in ("left", "right", "valid"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert 0 < first.valid.sum() <= len(first)
    others = [
        sources.read_hands(path, "signavatars")
        for path in (folder / "signavatars_how2sign").glob("*.pkl")
    ]
    assert sorted(map(len, others)) == [35, 78, 91, 101, 113, 133]


@pytest.mark.parametrize(
    "name, layout, message",
    [
        ("smpl_only_aistpp_gBR.pkl", "signavatars", "has no smplx.* it has .*smpl_poses"),
        ("smplifyxmc_pose3.pkl", "signavatars", "left_hand_pose has 12 numbers, PCA components"),
        (
            "talkshow_conan.npy",
            "motionx322",
            "265 numbers per frame, motionx322 has 322; 265 is talk",
        ),
        ("amass_sample_601x156.npz", "smplx165", "156 numbers per frame.*156 is smplh156"),
    ],
)
def test_real_files_of_another_kind(shared, name, layout, message):
    with pytest.raises(ValueError, match=message) as error:
        sources.read_hands(shared / "data" / "samples" / "smplx" / name, layout)
    assert "\n" not in str(error.value)


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


@pytest.mark.parametrize(
    "content, message",
    [
        ({"smplx": Evil()}, "not allowed"),
        ([1, 2], "holds a list, expected a dict"),
        ({"smplx": np.zeros((0, 182))}, "has no frames"),
        ({"smplx": np.zeros(182)}, "is no matrix"),
        ({"smplx": "text"}, "is no matrix"),
        ({"smplx": np.full((2, 182), np.nan)}, "left hand has NaN .* first in frame 0"),
        ({"smplx": np.zeros((2, 182)), "left_valid": np.ones(3, bool)}, "3 values for 2 frames"),
        ({"smplx": np.zeros((2, 72))}, "72 is SMPL, which has no hands"),
    ],
)
def test_pickles_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        sources.read_hands(path, "signavatars")
    assert "a.pkl" in str(error.value) and "\n" not in str(error.value)


def test_damaged_and_missing_files(tmp_path):
    whole = pickle.dumps({"smplx": np.zeros((2, 182))})
    (tmp_path / "a.pkl").write_bytes(whole[:-40])
    with pytest.raises(ValueError, match="a.pkl: damaged pickle"):
        sources.read_hands(tmp_path / "a.pkl", "signavatars")
    (tmp_path / "a.npy").write_bytes(pickle.dumps(1))
    with pytest.raises(ValueError, match="a.npy is not an array of numbers"):
        sources.read_hands(tmp_path / "a.npy", "motionx322")
    np.save(tmp_path / "b.npy", np.array([{"left_hand_pose": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match="b.npy is not an array of numbers"):
        sources.read_hands(tmp_path / "b.npy", "motionx322")
    with pytest.raises(ValueError, match="no such file"):
        sources.read_hands(tmp_path / "c.npy", "motionx322")
    with pytest.raises(ValueError, match="format 'bvh' is not known; choices: smplh156"):
        sources.read_hands(tmp_path / "a.npy", "bvh")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_every_pickle_protocol(tmp_path, protocol):
    content = {
        "a": np.arange(6, dtype=">f4").reshape(2, 3),
        "b": np.array([True, False]),
        "c": np.float64(2.5),
        "d": np.asfortranarray(np.arange(4.0).reshape(2, 2)),
        "e": "x",
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    loaded = pickles.load_arrays(path)
    for name, value in content.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_tensor_in_a_plain_pickle_whose_size_lies(tmp_path, shared):
    path = sorted((shared / "data/samples/smplx/signavatars_wlasl_pickle").glob("*.pkl"))[0]
    content = path.read_bytes()
    frames = len(sources.read_hands(path, "signavatars"))
    size = struct.pack("<q", frames)  # of left_valid, in front of its bytes
    assert size in content
    (tmp_path / "a.pkl").write_bytes(content.replace(size, struct.pack("<q", frames + 1), 1))
    with pytest.raises(ValueError, match="a storage of .* elements, but"):
        pickles.load_arrays(tmp_path / "a.pkl")


def test_grab_has_principal_components_too(tmp_path):
    np.savez(tmp_path / "a.npz", left_hand_pose=np.zeros((5, 24)), transl=np.zeros((5, 3)))
    with pytest.raises(ValueError, match="no poses or pose_cam or fullpose.* has 24 numbers, PCA"):
        sources.read_hands(tmp_path / "a.npz", "smplx165")


def test_a_mirrored_hand_is_the_other_hand():
    rng = np.random.default_rng(0)
    hands = sources.Hands(*rng.normal(size=(2, 4, 45)).astype(np.float32), np.ones(4, bool))
    twice = sources.mirror(sources.mirror(hands))
    np.testing.assert_array_equal(twice.left, hands.left)
    mirrored = sources.mirror(hands).left.reshape(4, 15, 3)
    original = hands.right.reshape(4, 15, 3)
    np.testing.assert_array_equal(mirrored, original * np.array([1, -1, -1], np.float32))


def test_mean_hand_is_added_once_and_needs_both_sides(tmp_path):
    path = tmp_path / "SMPLX.npz"
    np.savez(path, hands_meanl=np.full(45, 0.5), hands_meanr=np.full(45, -0.25))
    mean = sources.load_mean(path)
    hands = sources.Hands(*np.zeros((2, 3, 45), np.float32), np.ones(3, bool))
    flat = sources.add_mean(hands, mean)
    assert (flat.left == 0.5).all() and (flat.right == -0.25).all() and flat.left.dtype == "f4"
    np.savez(path, hands_meanl=np.zeros(45))
    with pytest.raises(ValueError, match="has no hands_meanr of 45"):
        sources.load_mean(path)


def run_tool(*arguments):
    import_hands.main([*map(str, arguments)])


def test_tool_collects_a_folder(tmp_path, caplog):
    folder = tmp_path / "motion"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, count in {"a.npz": 4, "sub/b.npz": 3}.items():
        np.savez(folder / name, poses=rng.normal(size=(count, 156)).astype(np.float32))
    np.savez(folder / "still.npz", poses=np.ones((5, 156), np.float32))
    np.savez(folder / "shape.npz", betas=np.zeros(10))
    output = tmp_path / "npz" / "CMU.npz"
    options = ("--format", "smplh156", "--input", folder, "--output", output)
    with pytest.raises(ValueError, match="1 of 4 files cannot be read as smplh156.*shape.npz"):
        run_tool(*options)
    run_tool(*options, "--max_skipped", 0.5, "--mirror", "--drop_constant")
    assert any(
        "never move in 1 of 4 files" in line and "still.npz" in line for line in caplog.messages
    )
    assert npz.count_frames(output.parent) == {"CMU": 14}
    with np.load(output) as file, np.load(folder / "a.npz") as source:
        assert file["image_ids"][:2].tolist() == ["a.npz:0", "a.npz:1"]
        assert file["image_ids"][4] == "a.npz:0#mirrored"
        np.testing.assert_array_equal(file["lhand_pose"][:4], source["poses"][:, 66:111])
        np.testing.assert_array_equal(
            file["lhand_pose"][4:8], sources.mirror_hand(source["poses"][:, 111:156])
        )
    with pytest.raises(ValueError, match="expected DIR/NAME.npz"):
        run_tool(*options[:4], "--output", tmp_path / "CMU")
    with pytest.raises(ValueError, match="no .npy files in"):
        run_tool("--format", "motionx322", *options[2:])


def test_tool_leaves_out_what_is_not_valid(tmp_path, capsys):
    seen = np.array([True, False, True])
    content = {"smplx": marked(182, 66)[0], "left_valid": seen, "right_valid": np.ones(3, bool)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=4))
    options = ("--format", "signavatars", "--input", tmp_path / "a.pkl", "--output")
    run_tool(*options, tmp_path / "x.npz")
    assert "2 frames of 1 files, without 1 that are not valid" in capsys.readouterr().out
    run_tool(*options, tmp_path / "y.npz", "--keep_invalid")
    assert "3 frames of 1 files" in capsys.readouterr().out
