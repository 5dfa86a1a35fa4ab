"""The corpus of npz poses: what is read, what is refused, and the whole way to tokens and back."""

import io
import json

import jax
import numpy as np
import pytest

from configs.stgcn_rvq import get_config
from jaxvq import checkpoint, inference, input_pipeline
from jaxvq.datasets.pose_npz.pose_npz_dataset_builder import load_sample
from jaxvq.pose import skeletons
from jaxvq.pose.reader import read_pose
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics
from jaxvq.pose.writer import write_pose
from jaxvq.tasks import make_task
from jaxvq.train import train
from tools import (
    build_dataset,
    codes_to_poses,
    draw_mean_pose,
    evaluate,
    poses_to_codes,
    reconstruct_poses,
)

SKELETON = SKELETONS["coco_wholebody_133"]
RNG = np.random.default_rng(0)


def npz(**arrays) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def poses(frames=20, points=133, dims=3, seed=0):
    """A figure of random points that sways, in pixels; the last number is the confidence."""
    rng = np.random.default_rng(seed)
    place = np.random.default_rng(1).uniform(200, 400, (points, dims))
    sway = 20 * np.sin(np.arange(frames) / 5 + rng.uniform(0, 6))[:, None, None]
    data = place[None] + sway + rng.normal(size=(frames, points, dims))
    data[..., -1] = rng.uniform(0.1, 1, (frames, points))
    return data.astype(np.float32)


def test_coordinates_confidence_and_mask():
    data = poses()
    data[2, 5] = np.nan
    data[3, 6, 2] = 0
    frames = np.arange(20) < 15
    frames[4] = False
    pose = load_sample(npz(poses=data, mask=frames, fps=30.0), "a.npz", SKELETON)
    assert pose.data.shape == (15, 133, 2) and pose.fps == 30
    missing = np.zeros((15, 133), bool)
    missing[2, 5] = missing[3, 6] = True
    missing[4] = True
    np.testing.assert_array_equal(pose.mask, missing)
    np.testing.assert_array_equal(pose.data[~missing], data[:15][~missing][:, :2])

    flat = load_sample(npz(pose_sequence=data[:2, :, :2], conf=data[:2, :, 2]), "b", SKELETON)
    whole = load_sample(npz(pose=data[:2]), "b", SKELETON)
    np.testing.assert_array_equal(flat.confidence, whole.confidence)
    assert flat.fps == 25
    solid = load_sample(npz(poses=poses(points=75)), "c", SKELETONS["lsfb_75"])
    assert solid.data.shape == (20, 75, 3) and not solid.mask.any()


@pytest.mark.parametrize(
    "content, match",
    [
        (npz(joints=poses()), r"no array poses or pose .* there are: joints"),
        (npz(poses=poses(points=178)), r"178 points of 3 .* --skeleton holistic_178 has 178"),
        (npz(poses=poses(dims=5)), r"133 points of 5 numbers, expected 133 points of 2, or 3"),
        (npz(poses=np.full((4, 133, 2), np.nan)), "no finite point in any of its 4 frames"),
        (npz(poses=np.zeros((0, 133, 2))), r"shape \(0, 133, 2\)"),
        (npz(poses=poses(), mask=np.ones(3, bool)), r"mask of shape \(3,\), expected \(20,\)"),
        (npz(poses=poses(), fps=0.0), "fps 0 must be positive"),
        (npz(poses=-poses()), "the last of 3 numbers goes from .* a coordinate, and no confid"),
        (npz(poses=2 * poses() + 1), "the last of 3 numbers goes from .* to 3"),
        (npz(poses=np.zeros((4, 133, 90))), "90 numbers per point, the limit is"),
        (npz(poses=np.array([None])), "not an npz of plain arrays"),
        (b"PK nonsense", "not an npz"),
    ],
)
def test_bad_files_are_one_clear_line(content, match):
    with pytest.raises(ValueError, match="^clip.npz: .*" + match) as error:
        load_sample(content, "clip.npz", SKELETON)
    assert "\n" not in str(error.value)


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


def tiny_config(data_dir, total_steps=12):
    config = get_config("runlocal")
    config.data.dir, config.total_steps = str(data_dir), total_steps
    config.update(log_every=6, eval_every=12, checkpoint_every=12)
    config.model.update(hidden_dim=16)
    config.quantizer.update(codebook_size=16, code_dim=4)
    config.optim.schedule = "constant"
    return config.lock()


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


def write_poses(folder, count=6, **arrays) -> str:
    folder.mkdir(parents=True)
    for i in range(count):
        changes = {name: make(i) for name, make in arrays.items()}
        np.savez(folder / f"{i}.npz", **changes)
    return str(folder)


def build(source, data_dir, *more):
    arguments = ["--corpus", "pose_npz", "--input", source, "--workers", "1", *more]
    build_dataset.main([*arguments, "--data_dir", str(data_dir)])
    dataset = input_pipeline.open_dataset(data_dir)
    split = next(split for split, lengths in dataset.lengths.items() if len(lengths))
    return dataset, dataset.source(split)[0]


def test_a_third_number_is_a_coordinate_where_it_cannot_be_a_confidence(tmp_path, caplog):
    def solid(i):
        return np.concatenate([poses(seed=i)[..., :2], poses(seed=i)[..., :1] - 300], -1)

    dataset, record = build(write_poses(tmp_path / "in", poses=solid), tmp_path / "data")
    assert dataset.skeleton == SKELETON.with_coordinates("XYZ")
    assert "it is a coordinate, z, and no confidence" in caplog.text
    assert record["data"].shape[1:] == (133, 3) and record["data"][..., 2].std() > 0.01
    # Numbers of one file do not make confidences of the others.
    (tmp_path / "mixed").mkdir()
    source = write_poses(tmp_path / "mixed" / "in", 40, poses=poses_of_another_seed)
    np.savez(tmp_path / "mixed" / "in" / "1a.npz", poses=solid(0))
    dataset, _ = build(source, tmp_path / "mixed" / "data")
    assert dataset.skeleton == SKELETON.with_coordinates("XYC")
    (line,) = (json.loads(line) for line in (dataset.path / "skipped.jsonl").open())
    assert line["file"] == "1a.npz" and "a coordinate, and no confidence" in line["message"]


def poses_of_another_seed(i):
    return poses(6, seed=100 + i)


def test_two_numbers_and_four_numbers(tmp_path):
    flat = write_poses(tmp_path / "flat", poses=lambda i: poses(seed=i)[..., :2])
    dataset, record = build(flat, tmp_path / "a")
    assert dataset.skeleton == SKELETON and record["data"].shape[1:] == (133, 2)
    four = write_poses(tmp_path / "four", poses=lambda i: poses(points=75, dims=4, seed=i))
    dataset, record = build(four, tmp_path / "b", "--skeleton", "lsfb_75")
    assert dataset.skeleton == SKELETONS["lsfb_75"].with_coordinates("XYZC")
    assert 0 < record["data"][..., 3].min() and record["data"][..., 3].max() <= 1


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


def test_compression_counts_every_number():
    """The original's 133 points of 3 numbers in 64 frames against 4 codes of 10 bits per frame."""
    skeleton = SKELETON.with_coordinates("XYC")
    statistics = Statistics(np.zeros((133, 3)), np.ones((133, 3)))
    model = checkpoint.Model(get_config(), skeleton, statistics, {}, {}, 0, None)
    task = make_task(model.config, skeleton, statistics)
    tokenizer = inference.PoseTokenizer(model=model, task=task)
    assert 133 * 3 * 32 / tokenizer.bits_per_frame == pytest.approx(319.2)


@pytest.mark.parametrize("dims", [1, 2, 3, 5])
def test_points_without_a_skeleton_train(tmp_path, caplog, dims):
    source = write_poses(tmp_path / "in", poses=lambda i: poses(20, 30, dims, seed=i))
    dataset, record = build(source, tmp_path / "data")
    assert f"30 points of {dims} coordinates, and no --skeleton" in caplog.text
    assert dataset.skeleton.num_dims == dataset.skeleton.space_dims == dims
    assert len(dataset.skeleton.limbs) >= 29 and dataset.path.parent.name == "points"
    assert np.abs(record["data"]).max() < 10
    if dims > 1:
        return
    config = tiny_config(tmp_path / "data", total_steps=2)
    with config.unlocked():
        config.update(eval_every=2, checkpoint_every=2, log_every=1)
        config.data.seq_len = 8
    train(config, tmp_path / "run")
    arguments = {"checkpoint": "run", "data_dir": "data", "output_dir": "out"}
    words = [f"--{name}={tmp_path / path}" for name, path in arguments.items()]
    evaluate.main([*words, "--split", "train", "--visualize"])
    values = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert values["compression"] == 30 * dims * 32 / 4 and np.isfinite(values["mpjpe/all"])


def test_a_skeleton_of_a_file_builds_trains_and_is_drawn(tmp_path):
    path = tmp_path / "Mine v2.json"
    points = [f"p{i}" for i in range(10)]
    said = {"name": "ME", "format": "XYC", "points": points, "part": "body"}
    said |= {"limbs": [[a, b] for a, b in zip(points, points[1:], strict=False)]}
    said |= {"joints": {"left_shoulder": "p3", "right_shoulder": "p7"}}
    path.write_text(json.dumps({"components": [said]}))
    source = write_poses(tmp_path / "in", poses=lambda i: poses(20, 10, seed=i))
    dataset, record = build(source, tmp_path / "data", "--skeleton", str(path))
    assert dataset.path.parent.name.startswith("mine_v2_")
    assert dataset.skeleton == skeletons.find(path).with_coordinates("XYC")
    distance = np.linalg.norm(np.diff(record["data"][:, [3, 7], :2].astype(float), axis=1), axis=-1)
    assert distance.mean() == pytest.approx(1, abs=0.01)
    picture, stats = tmp_path / "mean.png", dataset.path / "pose_normalization.json"
    draw_mean_pose.main(["--stats", str(stats), "--output", str(picture)])
    assert picture.stat().st_size > 1000
    task = make_task(get_config("runlocal"), dataset.skeleton, dataset.statistics)
    np.testing.assert_array_equal(task.bones, [[i, i + 1] for i in range(9)])
    # Another content of the file is another dataset.
    said["limbs"].pop()
    path.write_text(json.dumps({"components": [said]}))
    other, _ = build(source, tmp_path / "other", "--skeleton", str(path))
    assert other.path.parent.name != dataset.path.parent.name
    with pytest.raises(ValueError, match="10 points of 3 numbers, expected 75 points of 3, or 4"):
        build(source, tmp_path / "wrong", "--skeleton", "lsfb_75")


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
