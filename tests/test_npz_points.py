"""What the corpus of npz poses reads: numbers, confidences, masks, and points of any skeleton."""

import json

import numpy as np
import pytest

from configs.stgcn_rvq import get_config
from jaxvq import checkpoint, inference
from jaxvq.datasets.pose_npz.pose_npz_dataset_builder import load_sample
from jaxvq.pose import skeletons
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from jaxvq.train import train
from tests.npz_clips import build, npz, poses, tiny_config, write_poses
from tools import draw_mean_pose, evaluate

SKELETON = SKELETONS["coco_wholebody_133"]


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
