"""The corpus of npz poses: the whole way to tokens and back."""

import json

import jax
import numpy as np
import pytest

from configs.stgcn_rvq import get_config
from jaxvq import checkpoint, inference, input_pipeline
from jaxvq.datasets.pose_npz.pose_npz_dataset_builder import load_sample
from jaxvq.pose.reader import read_pose
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.writer import write_pose
from jaxvq.train import train
from tests.npz_clips import npz, poses, tiny_config
from tools import build_dataset, codes_to_poses, evaluate, poses_to_codes, reconstruct_poses

SKELETON = SKELETONS["coco_wholebody_133"]


def write_corpus(folder):
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        (folder / split).mkdir(parents=True)
        for i in range(count):
            # One frame is shorter than a token's two, and must come through as well.
            frames = 1 if split == "train" and i == 0 else 20 + 13 * i
            data = poses(frames, seed=10 * i + count)
            np.savez(folder / split / f"{split}_{i}.npz", poses=data, fps=24.0)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("npz")
    write_corpus(folder / "processed")
    (folder / "processed" / "train" / "broken.npz").write_bytes(b"")
    build = ["--corpus", "pose_npz", "--input", str(folder / "processed"), "--workers", "1"]
    build_dataset.main([*build, "--data_dir", str(folder / "data"), "--max_skipped", "0.2"])
    return folder / "data", build


@pytest.fixture(scope="module")
def run(built, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    train(tiny_config(built[0]), workdir)
    return workdir


def test_folders_are_splits_and_bad_files_are_listed(built):
    dataset = input_pipeline.open_dataset(built[0])
    assert {k: len(v) for k, v in dataset.lengths.items()} == {
        "train": 8, "validation": 2, "test": 2,
    }  # fmt: skip
    # x, y and the confidence are the three numbers of a point.
    assert dataset.skeleton == SKELETON.with_coordinates("XYC")
    skipped = [json.loads(line) for line in (dataset.path / "skipped.jsonl").open()]
    assert [line["file"] for line in skipped] == ["train/broken.npz"]
    record = dataset.source("test")[0]
    assert record["data"].shape[1:] == (133, 3) and record["fps"] == 24


def test_the_confidence_is_reconstructed(run, built):
    tokenizer = inference.load(run)
    assert tokenizer.model.skeleton.num_dims == 3
    clip = load_sample(npz(poses=poses(30, seed=3)), "clip", SKELETON)
    decoded = tokenizer.decode(tokenizer.encode(clip))
    again = tokenizer.reconstruct(clip)
    for pose in (decoded, again):
        assert pose.skeleton == SKELETON and pose.data.shape == (30, 133, 2)
        assert 0.2 < pose.confidence.mean() < 0.9 and pose.confidence.max() <= 1
    filled = tokenizer.reconstruct(clip, only_masked=True)
    np.testing.assert_array_equal(filled.confidence, clip.confidence)
    # A change of the confidence alone is a change of the input.
    batch = next(
        input_pipeline.open_dataset(built[0]).eval_batches("test", batch_size=1, seq_len=8)
    )
    other = batch._replace(pose=batch.pose + np.array([0, 0, 9], np.float32))
    latents = [tokenizer.task._encode(tokenizer.model.params, b) for b in (batch, other)]
    assert np.abs(latents[0] - latents[1]).max() > 1e-3


def test_other_skeletons_by_name(built, tmp_path):
    with pytest.raises(ValueError, match="mediapipe: there are: coco_wholebody_133"):
        build_dataset.main([*built[1], "--data_dir", str(tmp_path), "--skeleton", "mediapipe"])
    with pytest.raises(ValueError, match="133 points .* expected 178 points of 3"):
        build_dataset.main([*built[1], "--data_dir", str(tmp_path), "--skeleton", "holistic_178"])


def test_packed_clips_start_where_tokens_do(built):
    dataset = input_pipeline.open_dataset(built[0])
    batches = dataset.train_batches(batch_size=4, seq_len=32, seed=0, num_steps=12, align=8)
    frames = 0
    for batch in batches:
        segment, position = batch.segment, batch.position
        before = np.pad(segment, ((0, 0), (1, 0)))[:, :-1]
        starts = np.argwhere((segment != before) & (segment > 0))
        assert (starts[:, 1] % 8 == 0).all()
        inside = (segment == before) & (segment > 0)
        assert (np.diff(position, prepend=-1, axis=1)[inside] == 1).all()
        assert not batch.visible[segment == 0].any()
        frames += (segment > 0).sum()
    # All but the padding at the end of clips is full.
    assert frames > 0.8 * 12 * 4 * 32
    with pytest.raises(ValueError, match="seq_len=12: expected a multiple of 8"):
        next(dataset.train_batches(batch_size=4, seq_len=12, seed=0, num_steps=1, align=8))


def test_all_commands_serve_this_model_and_skeleton(run, tmp_path):
    tokenizer = inference.load(run)
    data = poses(45, seed=3)
    clip = load_sample(npz(poses=data), "clip", SKELETON)
    write_pose(tmp_path / "clip.pose", clip)

    poses_to_codes.main(
        [
            "--model",
            str(run),
            "--data",
            str(tmp_path / "clip.pose"),
            "--output",
            str(tmp_path / "codes.csv"),
        ]
    )
    codes_to_poses.main(
        [
            "--model",
            str(run),
            "--codes",
            str(tmp_path / "codes.csv"),
            "--output",
            str(tmp_path / "decoded"),
        ]
    )
    decoded = read_pose(tmp_path / "decoded" / "clip.pose")
    assert decoded.data.shape == (45, 133, 2) and decoded.fps == 25
    reconstruct_poses.main(
        [
            "--model",
            str(run),
            "--input",
            str(tmp_path / "clip.pose"),
            "--output",
            str(tmp_path / "again.pose"),
        ]
    )
    again = read_pose(tmp_path / "again.pose")
    tokens = tokenizer.encode(clip)
    assert tokens.indices.shape == (23, 1, 2)
    # The same pose up to where it stands and how large it is.
    here, there = (x.data[:, 100] - x.data[:, 20] for x in (decoded, again))
    scale = np.linalg.norm(here) / np.linalg.norm(there)
    np.testing.assert_allclose(here, there * scale, atol=0.1 * scale)
    with pytest.raises(ValueError, match="left_out|no POSE_LANDMARKS|no BODY"):
        tokenizer.encode(clip.replace(skeleton=SKELETONS["holistic_178"]))


def test_evaluation_counts_layers_and_draws(run, tmp_path):
    evaluate.main(
        [
            "--checkpoint",
            str(run),
            "--output_dir",
            str(tmp_path),
            "--visualize",
            "--num_videos",
            "1",
        ]
    )
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["mpjpe_layers/2"] == pytest.approx(values["mpjpe/all"], rel=1e-4)
    assert values["mpjpe_layers/1"] != values["mpjpe_layers/2"]
    # 133 x 3 numbers of 32 bits per frame against two codes of 4 bits every two frames.
    assert values["compression"] == 133 * 3 * 32 / 4
    assert 0 < values["confidence_error"] < 1
    assert values["rmse"] == pytest.approx(values["mse"] ** 0.5)
    # What the first layer leaves is what the second is given.
    error = {name: values[f"quantization_error/{name}"] for name in ("1/after", "2/before")}
    assert error["1/after"] == pytest.approx(error["2/before"]) and error["1/after"] > 0
    assert values["quantization_error"] == values["quantization_error/2/after"]
    books = [values[f"code_utilization/{n}"] for n in (1, 2)]
    assert values["code_utilization"] == pytest.approx(sum(books) / 2)
    results = json.loads((tmp_path / "evaluation_results.json").read_text())
    assert len(results["point_errors"]) == 133
    # 20 and 33 frames are 10 and 17 steps.
    assert [sum(book) for book in results["code_counts"]] == [27, 27]
    for name in ("sequence_test_0.png", "index.html", "evaluation_report.md"):
        assert (tmp_path / name).stat().st_size > 500


def test_continued_training_is_the_same_to_the_last_bit(built, run, tmp_path):
    for steps in (5, 12):
        train(tiny_config(built[0], steps), tmp_path)
    whole, parts = (checkpoint.load_model(folder) for folder in (run, tmp_path))
    assert int(parts.state["steps"]) == 12
    trees = ((model.params, model.state) for model in (whole, parts))
    for a, b in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_array_equal(a, b)


def test_windows_of_a_long_clip_are_the_clip(run):
    tokenizer = inference.load(run)
    clip = tokenizer.standardize(load_sample(npz(poses=poses(700)), "clip", SKELETON))[0]
    assert tokenizer.task.context and tokenizer.window < 300
    whole = inference.PoseTokenizer(model=tokenizer.model, task=tokenizer.task)
    whole.__dict__["window"] = 704
    np.testing.assert_array_equal(tokenizer.encode_clips([clip])[0], whole.encode_clips([clip])[0])
    np.testing.assert_allclose(
        tokenizer.reconstruct_clips([clip])[0], whole.reconstruct_clips([clip])[0], atol=1e-4
    )


def test_empty_split_and_another_model_are_one_line(built, run, tmp_path):
    split_file = tmp_path / "splits.json"
    split_file.write_text(json.dumps({"test": ["test_0", "test_1"]}))
    build_dataset.main(
        [
            *built[1],
            "--data_dir",
            str(tmp_path / "data"),
            "--split_file",
            str(split_file),
            "--max_skipped",
            "1",
        ]
    )
    config = get_config("runlocal")
    config.data.dir = str(tmp_path / "data")
    with pytest.raises(ValueError, match="no clips in train"):
        train(config, tmp_path / "run")
    with pytest.raises(ValueError, match="the split train of .* holds no clips"):
        evaluate.main(
            [
                "--checkpoint",
                str(run),
                "--data_dir",
                str(tmp_path / "data"),
                "--split",
                "train",
                "--output_dir",
                str(tmp_path / "out"),
            ]
        )


def test_a_run_of_another_model_is_not_continued(built, run):
    config = get_config("runlocal")
    config.data.dir = str(built[0])
    with pytest.raises(ValueError, match="started with another config .*codebook_size"):
        train(config, run)
