"""sign-vq's zip of npz, out and in; read here as its ZipPoseDataset does, without torch."""

import json
import zipfile

import numpy as np
import pytest

from jaxvq import input_pipeline
from jaxvq.datasets import building, npz
from jaxvq.pose import preprocess
from jaxvq.pose.reader import read_pose
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import load_statistics, save_statistics
from tests import clips
from tools import zip_dataset


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    clips.write_clips(folder, [3 + i % 5 for i in range(15)])
    (folder / "more/clip_0.pose").write_bytes((folder / "clip_1.pose").read_bytes())
    return folder


@pytest.fixture(scope="module")
def archive(corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "X.zip"
    zip_dataset.main(["--input", str(corpus), "--output", str(path), "--workers", "1"])
    assert [file.name for file in path.parent.iterdir()] == ["X.zip"]
    return path


def read_as_sign_vq(path):
    """Opens every name in the zip, takes data and mask, and converts to float32."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                member = np.load(file)
                yield name, member["data"], member["mask"]


def build(source, data_dir, **changes):
    options = building.Options(input=str(source), workers=1, **changes)
    dataset = input_pipeline.open_dataset(building.build("sign_poses", data_dir, options)[0])
    sources = [dataset.source(split) for split in dataset.lengths]
    return dataset, {
        clip["id"]: clip
        for source in sources
        for clip in map(source.__getitem__, range(len(source)))
    }


def test_zip_and_dataset_hold_the_same(corpus, archive, tmp_path):
    dataset, stored = build(corpus, tmp_path)
    names = zip_dataset.member_names(stored)
    assert names["clip_1.pose"] == "clip_1.npz" and names["more/clip_2.pose"] == "clip_2.npz"
    assert (names["clip_0.pose"], names["more/clip_0.pose"]) == ("clip_0.npz", "more/clip_0.npz")
    members = {name: (data, mask) for name, data, mask in read_as_sign_vq(archive)}
    assert members.keys() == set(names.values())
    for key, clip in stored.items():
        data, mask = members[names[key]]
        pose, _ = preprocess.preprocess(read_pose(corpus / key))
        assert data.dtype == np.float16 and mask.dtype == np.bool_
        assert data.shape == mask.shape == (len(clip["data"]), 178, 3)
        assert not data[mask].any()
        np.testing.assert_array_equal(mask, np.repeat(clip["mask"][..., None], 3, -1))
        # Rounded once: from the numbers of the recording, not from those of the dataset.
        expected = dataset.statistics.standardize(pose.data, pose.mask)
        np.testing.assert_array_equal(data, expected.astype(np.float16))


def test_zip_is_an_input(corpus, archive, tmp_path):
    _, before = build(corpus, tmp_path / "a")
    _, after = build(archive, tmp_path / "b")
    assert {zip_dataset.member_names(before)[key] for key in before} == set(after)
    for key, clip in before.items():
        again = after[zip_dataset.member_names(before)[key]]
        np.testing.assert_array_equal(clip["mask"], again["mask"])
        np.testing.assert_allclose(
            again["data"].astype(float), clip["data"].astype(float), atol=4e-3
        )
        assert again["fps"] == clip["fps"]


def test_foreign_zip_needs_statistics(archive, tmp_path):
    foreign = tmp_path / "foreign.zip"
    with zipfile.ZipFile(foreign, "w") as target:
        for name, data, mask in read_as_sign_vq(archive):
            with target.open(name, "w") as file:
                np.savez(file, data=data, mask=mask)
    with pytest.raises(ValueError, match="give --stats pose_normalization.json"):
        build(foreign, tmp_path / "a")
    save_statistics(
        tmp_path / "stats.json", HOLISTIC_178, npz.read_statistics(archive, HOLISTIC_178)
    )
    _, ours = build(archive, tmp_path / "b")
    _, theirs = build(foreign, tmp_path / "c", stats=str(tmp_path / "stats.json"))
    for key, clip in ours.items():
        np.testing.assert_array_equal(clip["data"], theirs[key]["data"])
        assert theirs[key]["fps"] == npz.FOREIGN_FPS


def test_own_statistics(corpus, tmp_path, shared):
    stats = shared / "golden/sign_vq_one_codebook/pose_normalization.json"
    output = tmp_path / "Y.zip"
    zip_dataset.main(
        ["--dir", str(corpus), "--out", str(output), "--stats", str(stats), "--workers", "1"]
    )
    found = npz.read_statistics(output, HOLISTIC_178)
    np.testing.assert_array_equal(found.mean, load_statistics(stats, HOLISTIC_178).mean)


def test_skipped_are_listed(corpus, tmp_path, capsys):
    clips.write_clips(tmp_path / "in", [4] * 3)
    (tmp_path / "in/bad.pose").write_text("no pose")
    argv = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "Z.zip"), "--workers", "1"]
    with pytest.raises(ValueError, match="1 of 4 clips cannot be used"):
        zip_dataset.main(argv)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Z.zip.skipped.jsonl", "in"]
    zip_dataset.main([*argv, "--max_skipped", "0.5"])
    assert "3 clips" in capsys.readouterr().out
    line = json.loads((tmp_path / "Z.zip.skipped.jsonl").read_text())
    assert (line["file"], line["reason"]) == ("bad.pose", "malformed")


@pytest.mark.parametrize(
    "arrays",
    [
        {"data": np.zeros((2, 178, 3), np.float16)},
        {"data": np.zeros((2, 133, 3)), "mask": np.zeros((2, 133, 3), bool)},
        {"data": np.zeros((2, 178, 3)), "mask": np.zeros((3, 178, 3), bool)},
        {"data": np.zeros((0, 178, 3)), "mask": np.zeros((0, 178, 3), bool)},
        {"data": np.array([object()]), "mask": np.zeros((3, 178, 3), bool)},
    ],
)
def test_malformed_members(tmp_path, arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match="x.npz: "):
        npz.decode_clip((tmp_path / "x.npz").read_bytes(), "x.npz", HOLISTIC_178, None)
    with pytest.raises(ValueError, match="x.npz: not an npz"):
        npz.decode_clip(b"PK nonsense", "x.npz", HOLISTIC_178, None)
