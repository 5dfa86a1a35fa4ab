"""Encoding what a model was trained on: each corpus's own files, npz, and names in other words."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import real_samples, tiny_config

from jaxvq import checkpoint, inference
from jaxvq.pose.reader import Pose, read_pose
from jaxvq.pose.skeleton import Component, Skeleton
from jaxvq.pose.skeletons import COCO_WHOLEBODY_133, SKELETONS
from jaxvq.pose.spellings import common_name, find_points
from jaxvq.pose.statistics import Statistics
from tests.signformer_corpus import write_how2sign
from tools import codes_to_poses, poses_to_codes, reconstruct_poses


def untrained(folder, skeleton):
    """A model of a skeleton with the weights of the start."""
    import jax

    from jaxvq.batch import empty_batch
    from jaxvq.tasks import make_task

    v, c = skeleton.num_points, skeleton.num_dims
    statistics = Statistics(np.zeros((v, c), np.float32), np.ones((v, c), np.float32))
    config = tiny_config("")
    task = make_task(config, skeleton, statistics)
    params, state = task.init(jax.random.key(0), empty_batch(1, 8, v, c))
    about = {"config": config, "skeleton": skeleton, "statistics": statistics}
    checkpoint.save_model(folder, **about, params=params, state=state)
    return folder


@pytest.fixture(scope="module")
def wholebody(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("model"), COCO_WHOLEBODY_133)


@pytest.fixture
def clips(tmp_path):
    """A folder of three npz files, each with another word for its poses."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "clips"
    (folder / "sub").mkdir(parents=True)
    for i, (key, name) in enumerate(
        [("poses", "a.npz"), ("pose", "b.npz"), ("keypoints", "sub/c.npz")]
    ):
        points = rng.uniform(100, 300, (20 + i, 133, 2)).astype(np.float32)
        points[:, 5], points[:, 6] = (260, 200), (160, 200)  # the shoulders
        np.savez(folder / name, **{key: points})
    return folder


def rows(path) -> dict[str, str]:
    with open(path, newline="") as file:
        return {row["file"]: row["codes"] for row in csv.DictReader(file)}


def test_npz_files_are_encoded_and_decoded_into_npz(wholebody, clips, tmp_path, capsys):
    table, decoded = tmp_path / "codes.csv", tmp_path / "decoded"
    poses_to_codes.main([str(clips), "--model", str(wholebody), "--output", str(table)])
    assert "3 clips" in capsys.readouterr().out
    found = rows(table)
    assert sorted(found) == ["a.npz", "b.npz", "sub/c.npz"]
    tokenizer = inference.load(wholebody)
    expected = [tokenizer.encode(clips / name).flat() for name in sorted(found)]
    assert [list(map(int, found[name].split())) for name in sorted(found)] == expected
    codes_to_poses.main([str(table), "--model", str(wholebody), "--output", str(decoded)])
    again = tokenizer.read(decoded / "sub/c.npz")
    direct = tokenizer.decode(tokenizer.encode(clips / "sub/c.npz"))
    np.testing.assert_allclose(again.data, direct.data, atol=1e-3)
    assert sorted(p.name for p in decoded.rglob("*.*")) == ["a.npz", "b.npz", "c.npz"]
    reconstruct_poses.main(
        [str(clips / "a.npz"), "--model", str(wholebody), "--output", str(tmp_path / "y.npz")]
    )
    assert tokenizer.read(tmp_path / "y.npz").data.shape == (20, 133, 2)


def test_a_corpus_is_encoded_as_it_was_built(wholebody, clips, tmp_path):
    """The tokens of the records of the dataset, and of the files by the corpus's own reader."""
    from jaxvq import input_pipeline
    from tools import build_dataset

    data, table = tmp_path / "data", tmp_path / "codes.csv"
    words = ["--corpus", "pose_npz", "--data", str(data), "--workers", "1"]
    build_dataset.main([str(clips), *words, "--skeleton", "coco_wholebody_133"])
    model = ["--model", str(wholebody), "--output", str(table)]
    poses_to_codes.main([str(clips), "--corpus", "pose_npz", *model])
    found, tokenizer = rows(table), inference.load(wholebody)
    dataset = input_pipeline.open_dataset(data)
    for split, lengths in dataset.lengths.items():
        for record in (dataset.source(split)[i] for i in range(len(lengths))):
            (indices,) = tokenizer.encode_clips([tokenizer.from_record(record)])
            told = np.array(found[record["id"]].split(), int)
            assert (told == indices.reshape(-1)).mean() > 0.9  # records are float16


def test_a_corpus_of_other_points_is_one_line(wholebody, corpus):
    model = ["--model", str(wholebody)]
    with pytest.raises(ValueError, match="has 178 points per frame, the model another set of 133"):
        poses_to_codes.main([str(corpus), "--corpus", "sign_poses", *model])
    with pytest.raises(ValueError, match="no corpus 'nothing'; there are: .*sign_poses"):
        poses_to_codes.main([str(corpus), "--corpus", "nothing", *model])


def test_sentences_of_a_corpus_are_encoded(tmp_path):
    """Points of three arrays per video, cut as the table of sentences says."""
    from tools.benchmark_signformer import write_lsfb

    write_lsfb(tmp_path, 4, 40)
    model, table = untrained(tmp_path / "model", SKELETONS["lsfb_75"]), tmp_path / "codes.csv"
    words = ["--corpus", "lsfb_cont", "--model", str(model), "--output", str(table)]
    poses_to_codes.main([str(tmp_path / "LSFB-CONT"), *words])
    found = rows(table)
    assert len(found) == 4 and all(codes.split() for codes in found.values())
    assert {name.partition("/")[0] for name in found} <= {"train", "validation", "test"}


def test_frames_of_openpose_are_encoded_decoded_and_reconstructed(tmp_path, capsys):
    """Folders of JSON, one per sentence."""
    root = write_how2sign(tmp_path / "how2sign", {"train": 3, "val": 1, "test": 1})
    model, table = untrained(tmp_path / "model", SKELETONS["openpose_67"]), tmp_path / "codes.csv"
    words = ["--corpus", "how2sign_openpose", "--model", str(model)]
    poses_to_codes.main([str(root), *words, "--output", str(table)])
    found = rows(table)
    assert len(found) == 5 and {"train/train_0", "validation/val_0"} < found.keys()
    codes_to_poses.main([str(table), "--model", str(model), "--output", str(tmp_path / "decoded")])
    reconstruct_poses.main([str(root), *words, "--output", str(tmp_path / "again")])
    assert f"{tmp_path / 'again'}: 5 clips" in capsys.readouterr().out
    for name in found:
        decoded, again = (read_pose(tmp_path / f / f"{name}.pose") for f in ("decoded", "again"))
        assert decoded.skeleton.names == SKELETONS["openpose_67"].names
        np.testing.assert_array_equal(decoded.data, again.data)
        assert len(decoded.data) == len(found[name].split())
    with pytest.raises(ValueError, match="--only_masked fills in single files"):
        reconstruct_poses.main([str(root), *words, "--output", str(tmp_path), "--only_masked"])


@pytest.mark.parametrize(
    "component, point, known",
    [
        ("LEFT_HAND", "left_hand_7", ("LEFT_HAND", "hand_7")),
        ("RIGHT_HAND_133", "right_hand_0", ("RIGHT_HAND", "hand_0")),
        ("LEFT_HAND", "left_hand_root", ("LEFT_HAND", "hand_0")),
        ("LEFT_HAND", "left_forefinger2", ("LEFT_HAND", "hand_6")),
        ("FACE_136", "face_12", ("FACE", "face-12")),
        ("BODY_133", "left_wrist", ("BODY", "left_wrist")),
        ("POSE_LANDMARKS", "LEFT_WRIST", ("POSE_LANDMARKS", "LEFT_WRIST")),
    ],
)
def test_spellings_of_wholebody_points(component, point, known):
    assert common_name(component, point) == known


def test_points_are_found_under_other_spellings():
    renamed = [
        replace(
            part,
            name=f"{part.name}_133",
            points=tuple(re.sub("^hand", f"{part.name.lower()}", p) for p in part.points),
        )
        for part in COCO_WHOLEBODY_133.components
    ]
    source = Skeleton(tuple(reversed(renamed)))
    points, found, _ = find_points(source, COCO_WHOLEBODY_133)
    assert found.all() and sorted(points) == list(range(133))
    assert source.names[points[COCO_WHOLEBODY_133.index("LEFT_HAND", "hand_4")]] == (
        *("LEFT_HAND_133", "left_hand_4"),
    )
    stranger = Skeleton((Component("LEFT_HAND", ("x", "y")),))
    with pytest.raises(ValueError, match="LEFT_HAND has none of hand_0"):
        find_points(stranger, COCO_WHOLEBODY_133)


@pytest.mark.parametrize("name", real_samples(["FOOTBALL_mmpose133.pose"]))
def test_a_real_file_of_mmpose_has_its_hands(name, shared):
    pose = read_pose(shared / "data/samples/wholebody" / name, skeleton=COCO_WHOLEBODY_133)
    assert isinstance(pose, Pose) and pose.confidence[:, 91:].any()
