"""Whole-body motion from files to tokens and back: normalisation, corpus, metrics and configs."""

import importlib
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import motion_files
import numpy as np
import pytest
from test_prior_tools import untrained_prior

from jaxvq import filling, inference, input_pipeline
from jaxvq.batch import make_batch
from jaxvq.evaluators import motion as evaluation
from jaxvq.evaluators import page
from jaxvq.models.graphs import mirror_points
from jaxvq.pose import bvh, kinematics, motion, preprocess
from jaxvq.pose.reader import Pose
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from jaxvq.train import train
from jaxvq.training import augment


def read(text: str) -> Pose:
    return bvh.read_bvh(text.encode(), "walk.bvh")


@pytest.fixture(scope="module")
def walking() -> Pose:
    return read(motion_files.walk(90, seed=5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """24 walks of one rig."""
    folder = tmp_path_factory.mktemp("bvh")
    for i in range(24):
        (folder / f"walk_{i}.bvh").write_text(motion_files.walk(40 + i, seed=i))
    return folder


# -------------------------------------------------------------------------------- normalisation


def test_normalising_and_its_inverse_are_exact(walking, shared):
    recorded = bvh.read_bvh(next((shared / "data" / "bandai" / "bvh").glob("*run*.bvh")))
    for pose in (walking, recorded):
        normalised, placement = preprocess.preprocess(pose, motion.with_path(pose.skeleton))
        assert normalised.data.dtype == np.float32
        again = preprocess.restore(normalised, placement)
        np.testing.assert_allclose(again.data, pose.data, atol=2e-6)
        assert again.skeleton == pose.skeleton


def test_an_hour_comes_back_as_exactly():
    data = np.tile(read(motion_files.walk(60)).data, (1800, 1, 1))
    skeleton = motion.with_path(read(motion_files.walk(2)).skeleton)
    data += np.cumsum(np.full((len(data), 1, 3), [0.02, 0, 0.01]), axis=0)  # on and on: 2.4 km
    pose = Pose(skeleton.recorded, data.astype(np.float32), np.ones(data.shape[:2]), 30)
    normalised, placement = preprocess.preprocess(pose, skeleton)
    again = preprocess.restore(normalised, placement)
    np.testing.assert_allclose(again.data, pose.data, atol=1e-3)  # 2^-13 m is float32's step there


def test_a_body_stands_on_the_ground_and_faces_ahead(walking):
    skeleton = motion.with_path(walking.skeleton)
    normalised, _ = preprocess.preprocess(walking, skeleton)
    data = normalised.data
    joints = [j for j in range(skeleton.num_points) if j not in skeleton.parts["path"]]
    assert data[:, joints, 1].min() == 0
    assert (data[:, skeleton.joint("root")][:, [0, 2]] == 0).all()
    left, right = (data[:, skeleton.joint(f"{side}_hip")] for side in ("left", "right"))
    assert (left[:, 0] > 0.05).all() and (right[:, 0] < -0.05).all()  # x is to the left
    toes = data[:, skeleton.joint("left_toe")] - data[:, skeleton.joint("left_ankle")]
    assert toes[:, 2].mean() > 0.02  # and z ahead
    # It walks ahead, at the speed of motion_files.walk.
    velocity = data[:, skeleton.parts["path"][0]]
    assert abs(velocity[:, 2].mean() - 1.2) < 0.1 and abs(velocity[:, 0].mean()) < 0.1


def test_velocities_are_metres_and_radians_a_second(walking):
    """A body that keeps its pose, turns left by 0.1 rad a frame, and goes 2 cm ahead in each."""
    frames, skeleton = 20, motion.with_path(walking.skeleton)
    still, _ = preprocess.preprocess(walking, skeleton)
    data = np.tile(still.data[:1], (frames, 1, 1))
    path = skeleton.parts["path"][0]
    for fps in (10, 40):
        data[:, path] = [0, 0.1 * fps, 0.02 * fps]
        world = motion.to_world(data, skeleton, fps, np.array([3.0, 0.5, 1.0]), 0.0)
        angles = 0.1 * np.arange(1, frames)
        ahead = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], 1) * 0.02
        expected = np.array([3.0, 0.5, 1.0]) + np.cumsum(ahead, axis=0)
        np.testing.assert_allclose(world[1:, path], expected, atol=1e-6)


def test_the_frame_rate_changes_neither_speed_nor_path():
    fast = read(motion_files.walk(240, fps=120, seed=2))
    skeleton = motion.with_path(fast.skeleton)
    whole, placement = preprocess.preprocess(fast, skeleton)
    fewer, placement_of_fewer = preprocess.preprocess(fast, skeleton, 30)
    assert fewer.fps == 30 and len(fewer.data) == 60
    speeds = [pose.data[:, -1, 2].mean() for pose in (whole, fewer)]
    assert abs(speeds[0] - speeds[1]) < 0.05
    again = preprocess.restore(fewer, placement_of_fewer)
    np.testing.assert_allclose(again.data, fast.data[::4], atol=2e-6)


def test_a_body_without_hips_in_a_frame_is_refused_in_one_line(walking):
    skeleton = motion.with_path(walking.skeleton)
    confidence = walking.confidence.copy()
    confidence[7, skeleton.joint("left_hip")] = 0
    with pytest.raises(ValueError, match="^no left hip in frame 7: cannot tell where a body faces"):
        preprocess.preprocess(walking.replace(confidence=confidence), skeleton)


def test_a_mirrored_body_is_that_of_mirrored_records(walking):
    skeleton = motion.with_path(walking.skeleton)
    mirror = mirror_points(skeleton)
    names = [name for _, name in skeleton.names]
    assert names[mirror[names.index("LeftHand_end")]] == "RightHand_end"
    assert names[mirror[names.index("Spine")]] == "Spine"
    normalised, _ = preprocess.preprocess(walking, skeleton)
    flipped = walking.data[:, mirror[:-1]] * [-1, 1, 1]
    expected, _ = preprocess.preprocess(walking.replace(data=flipped.astype(np.float32)), skeleton)
    shape = normalised.data.shape[1:]
    plain = Statistics(np.zeros(shape), np.ones(shape))
    batch = jax.tree.map(jnp.asarray, make_batch(normalised.data[None]))
    path = skeleton.parts["path"]
    result = augment.flip(batch, jnp.ones(1, bool), mirror, plain, path)
    np.testing.assert_allclose(result.pose[0], expected.data, atol=1e-5)


# --------------------------------------------------------------------------------------- corpus


def build(source, data_dir, *words) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tools.build_dataset", "--corpus", "bvh", "--workers", "1"]
    command += ["--input", str(source), "--data_dir", str(data_dir), *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_bad_files_are_skipped_and_listed_with_their_lines(folder, tmp_path):
    source = tmp_path / "some"
    source.mkdir()
    text = motion_files.walk(20)
    for path in folder.glob("*.bvh"):
        (source / path.name).write_bytes(path.read_bytes())
    wrong = {
        "cut.bvh": text[: len(text) // 2],
        "renamed.bvh": text.replace("Neck", "Nacken"),
        "slow.bvh": text.replace("Frame Time: 0.033333", "Frame Time: 0.05"),
        "empty.bvh": "",
    }
    for name, content in wrong.items():
        (source / name).write_text(content)
    result = build(source, tmp_path / "data")
    assert result.returncode == 2 and "4 of 28" in result.stderr, result.stderr
    result = build(source, tmp_path / "data", "--max_skipped", "0.2")
    assert result.returncode == 0, result.stderr
    (listed,) = (tmp_path / "data").rglob("skipped.jsonl")
    skipped = {row["file"]: row for row in map(json.loads, listed.read_text().splitlines())}
    messages = {key: f"{row['reason']}: {row['message']}" for key, row in skipped.items()}
    line = text[: text.index("Neck")].count("\n") + 1
    time = text[: text.index("Frame Time")].count("\n") + 1
    where = f"renamed.bvh:{line}: joint Nacken, where most files have Neck"
    assert messages == {
        "cut.bvh": messages["cut.bvh"],
        "renamed.bvh": f"other joints: {where}",
        "slow.bvh": f"other frame time: slow.bvh:{time}: 20 frames per second, most files have 30; "
        "--fps 30 resamples all",
        "empty.bvh": "malformed: empty.bvh:1: not a BVH file: the first line is not HIERARCHY",
    }
    assert messages["cut.bvh"].startswith("malformed: cut.bvh:")

    dataset = input_pipeline.open_dataset(tmp_path / "data")
    assert dataset.skeleton.is_motion and dataset.layout.data == "float32"
    assert sum(map(len, dataset.lengths.values())) == 24
    clip = dataset.source("train")[0]
    pose = bvh.read_bvh(folder / clip["id"])
    expected, _ = preprocess.preprocess(pose, dataset.skeleton)
    np.testing.assert_array_equal(clip["data"], expected.data)


def test_with_fps_all_frame_times_are_welcome(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "walks.zip", "w") as archive:
        for path in sorted(folder.glob("*.bvh"))[:10]:
            archive.write(path, path.name)
        archive.writestr("fast.bvh", motion_files.walk(120, fps=60))
    result = build(tmp_path / "walks.zip", tmp_path / "data", "--fps", "20")
    assert result.returncode == 0 and "skipped" not in result.stdout, result.stderr
    dataset = input_pipeline.open_dataset(tmp_path / "data")
    assert dataset.fps == 20
    assert 40 in np.concatenate(list(dataset.lengths.values()))  # two seconds


def test_positions_in_npz_are_motion_with_the_skeleton_of_a_bvh_file(folder, tmp_path):
    from jaxvq.datasets import building

    source = tmp_path / "npz"
    for i, path in enumerate(sorted(folder.glob("*.bvh"))[:6]):
        target = source / ("train", "val")[i % 2] / f"{path.stem}.npz"
        target.parent.mkdir(parents=True, exist_ok=True)
        pose = bvh.read_bvh(path)
        np.savez(target, poses=pose.data, fps=np.float32(30))
    rig = next(folder.glob("*.bvh"))
    options = building.Options(str(source), workers=1)
    building.build("pose_npz", tmp_path / "data", options, skeleton=str(rig))
    dataset = input_pipeline.open_dataset(tmp_path / "data")
    assert dataset.skeleton == motion.with_path(bvh.read_bvh(rig).skeleton)
    clip = dataset.source("train")[0]
    pose = bvh.read_bvh(folder / f"{Path(clip['id']).stem}.bvh")
    expected, _ = preprocess.preprocess(pose, dataset.skeleton)
    np.testing.assert_allclose(clip["data"], expected.data, atol=1e-6)


# -------------------------------------------------------------------------------------- metrics


def test_metrics_are_those_computed_by_hand(walking):
    moved = walking.data + np.array([0.03, 0, 0.04], np.float32)  # all by 5 cm
    values = measured(walking, moved)
    assert values["world_mpjpe_mm"] == pytest.approx(50, abs=0.01)
    assert values["root_error_mm"] == pytest.approx(50, abs=0.01)
    assert values["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert values["acceleration_error_mm"] == pytest.approx(0, abs=1e-2)
    root = walking.skeleton.joint("root")
    turn = kinematics.axis_rotation(1, np.full(len(walking.data), 0.3))
    origin = walking.data[:, root, None]
    turned = np.einsum("tab,tvb->tva", turn, walking.data - origin) + origin
    values = measured(walking, turned)
    assert values["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-2) and values["mpjpe_mm"] > 20
    assert values["root_error_mm"] == pytest.approx(0, abs=1e-2)
    shaking = walking.data.copy()
    shaking[::2] += np.array([0, 0.001, 0], np.float32)  # 1 mm up and down: 2 mm per frame²
    assert measured(walking, shaking)["acceleration_error_mm"] == pytest.approx(2, abs=0.01)


def test_a_foot_slides_that_moves_while_it_is_on_the_ground(walking):
    frames, skeleton = 11, walking.skeleton
    data = np.tile(walking.data[:1], (frames, 1, 1)).astype(np.float64)
    toes = [skeleton.joint(f"{side}_toe") for side in ("left", "right")]
    data[..., 1] += 0.2 - data[..., 1].min()
    data[:, toes[0], 1] = 0.01
    assert not evaluation.sliding(data, skeleton, 0.0, 30).any()
    data[5:, :, 0] += 0.02  # one step of 0.6 m/s
    assert evaluation.sliding(data, skeleton, 0.0, 30).tolist() == [i == 4 for i in range(10)]
    assert not evaluation.sliding(data, skeleton, 0.0, 20).any()  # 0.4 m/s
    data[:, toes[0], 1] = 0.06
    assert not evaluation.sliding(data, skeleton, 0.0, 30).any()


def measured(original: Pose, data: np.ndarray) -> dict[str, float]:
    sums = evaluation.measure(original, original.replace(data=data.astype(np.float32)))
    return {name: total / count for name, (total, count) in sums.items()}


# ---------------------------------------------------------------------------- models and programs


@pytest.mark.parametrize("variant", importlib.import_module("configs.motion").VARIANTS)
def test_configs_lock_and_their_shapes_fit(variant):
    module = importlib.import_module("configs.motion")
    config = module.get_config(variant).lock()
    assert not variant or f":{variant}" in module.__doc__
    if config.quantizer.type == "fsq":  # what is fitted to the data
        config = config.copy_and_resolve_references().unlock()
        rest = config.quantizer.num_quantizers - 1
        config.quantizer.levels = (((3, 3), *[(3,)] * rest), ((5,), *[(3,)] * rest))
    skeleton = motion.with_path(bvh.find_skeleton(bvh.parse(motion_files.walk(2).encode())))
    shape = skeleton.num_points, 3
    task = make_task(config, skeleton, Statistics(np.zeros(shape), np.ones(shape)))
    batch = jax.eval_shape(lambda: make_batch(jnp.zeros((2, 64, *shape))))
    batch = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), batch)
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    indices = jax.eval_shape(task.encode, params, state, batch)
    assert indices.shape == (2, 64 // task.frames_per_step, *task.token_shape)
    assert jax.eval_shape(task.decode, params, state, indices, batch).shape == (2, 64, *shape)


def test_published_hyperparameters():
    get_config = importlib.import_module("configs.motion").get_config
    ours, t2m_gpt, momask = map(get_config, ("", "t2m_gpt", "momask"))
    assert ours.model.parts == "body path"
    for config, layers, dropout in ((t2m_gpt, 1, 0.0), (momask, 6, 0.2)):
        assert (config.quantizer.num_quantizers, config.quantizer.dropout) == (layers, dropout)
        assert (config.quantizer.codebook_size, config.quantizer.code_dim) == (512, 512)
        assert (config.model.frames_per_step, config.data.seq_len, config.batch_size) == (
            4,
            64,
            256,
        )
        assert (config.loss.velocity, config.quantizer.commitment) == (0.5, 0.02)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> Path:
    """A tiny model, trained straight from a folder of BVH files."""
    root = tmp_path_factory.mktemp("motion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXVQ_CACHE", str(root / "cache"))
        config = importlib.import_module("configs.motion").get_config("runlocal")
        config.data.dir, config.batch_size, config.data.seq_len = str(folder), 4, 64
        values = train(config.lock(), root / "run")
    assert values["mpjpe"] < 0.1
    assert list((root / "run" / "validation").rglob("*.gif"))
    return root / "run"


def test_reconstructions_stay_in_their_place(run, walking):
    tokenizer = inference.load(run)
    result = tokenizer.reconstruct(walking)
    assert result.skeleton == walking.skeleton and result.fps == walking.fps
    apart = np.linalg.norm(result.data - walking.data, axis=-1)
    assert apart[0].mean() < 0.15 and apart.mean() < 0.6
    decoded = tokenizer.decode(tokenizer.encode(walking))
    root = walking.skeleton.joint("root")
    assert np.abs(decoded.data[0, root, [0, 2]]).max() < 1e-6  # from the origin on
    local = [
        preprocess.preprocess(pose, tokenizer.model.skeleton)[0].data for pose in (result, decoded)
    ]
    np.testing.assert_allclose(local[0][:, :-1], local[1][:, :-1], atol=2e-3)


def test_a_filled_gap_leaves_what_was_recorded_where_it_was(run, walking):
    """What the tokens of the very clip decode to, moved so that it meets the frames beside."""
    prior = untrained_prior(run)
    tokens = prior.tokenizer.encode(walking)
    filled = filling.complete(prior, walking, 30, 45, [tokens])
    assert filled.skeleton == walking.skeleton and len(filled.data) == 90
    np.testing.assert_array_equal(filled.data[:30], walking.data[:30])
    np.testing.assert_array_equal(filled.data[45:], walking.data[45:])
    apart = np.linalg.norm(filled.data[30:45] - walking.data[30:45], axis=-1)
    assert 0 < apart.mean() < 0.15 and apart[[0, -1]].mean() < apart.mean()


def test_tools_read_and_write_bvh(run, walking, tmp_path, capsys):
    from tools import codes_to_poses, poses_to_codes, reconstruct_poses

    source = tmp_path / "in"
    source.mkdir()
    (source / "a.bvh").write_text(motion_files.walk(50, seed=30))
    (source / "bad.bvh").write_text("HIERARCHY\n")
    model = ["--model", str(run)]
    poses_to_codes.main([*model, "--data", str(source), "--output", str(tmp_path / "codes.csv")])
    out = capsys.readouterr()
    assert (
        "left out: bad.bvh:1: the file ends without MOTION" in out.err and "1 left out" in out.out
    )
    corpus = ["--corpus", "bvh", "--data", str(source)]
    poses_to_codes.main([*model, *corpus, "--output", str(tmp_path / "same.csv")])
    assert (tmp_path / "same.csv").read_text() == (tmp_path / "codes.csv").read_text()
    reconstruct_poses.main(
        [*model, "--corpus", "bvh", str(source), "--output", str(tmp_path / "r")]
    )
    out = capsys.readouterr()
    assert "left out: bad.bvh" in out.err and f"{tmp_path / 'r'}: 1 clips" in out.out
    codes_to_poses.main([*model, "--codes", str(tmp_path / "codes.csv"), "--output", str(tmp_path)])
    assert "bones of fixed length move the decoded joints by" in capsys.readouterr().out
    assert (tmp_path / "a.bvh").read_bytes() == (tmp_path / "r" / "a.bvh").read_bytes()
    decoded = bvh.read_bvh(tmp_path / "a.bvh")
    assert decoded.data.shape == (50, *walking.data.shape[1:]) and decoded.fps == 30
    output = tmp_path / "again.bvh"
    reconstruct_poses.main([*model, "--input", str(source / "a.bvh"), "--output", str(output)])
    original, again = bvh.read_bvh(source / "a.bvh"), bvh.read_bvh(output)
    assert np.linalg.norm(again.data[0] - original.data[0], axis=-1).mean() < 0.15
    output = tmp_path / "again.npz"
    reconstruct_poses.main([*model, "--input", str(source / "a.bvh"), "--output", str(output)])
    arrays = np.load(output)
    assert arrays["poses"].shape == again.data.shape and arrays["fps"] == 30
    codes = "0 " * 4  # one step of two streams of two codebooks, of a clip without a name
    codes_to_poses.main([*model, "--codes", codes, "--output", str(tmp_path / "zero")])
    assert bvh.read_bvh(tmp_path / "zero" / "0.bvh").data.shape[0] == 16


def test_an_evaluation_has_the_metrics_of_motion(run, folder, tmp_path):
    from jaxvq.evaluators import results
    from tools.evaluation import pages

    tokenizer = inference.load(run)
    dataset = replace(input_pipeline.open_dataset(folder))
    evaluation = results.write(tokenizer, dataset, "train", tmp_path)
    pages.write(tokenizer, evaluation, dataset.source("train"), tmp_path, "train", 1)
    values = evaluation.values
    names = [name for name in values if name.startswith("motion/")]
    assert len(names) == 7 and all(page.meaning(name) for name in names)
    assert values["motion/pa_mpjpe_mm"] <= values["motion/mpjpe_mm"] < 100
    assert 0 <= values["motion/foot_skating"] <= 1
    report = (tmp_path / "evaluation_report.md").read_text()
    assert "in metres" in report and "shoulder" not in report
    page_of_clips = (tmp_path / "index.html").read_text()
    assert "shoulder" not in page_of_clips and "metres" in page_of_clips


def test_motion_is_not_encoded_live(run):
    from jaxvq.live import LiveEncoder

    with pytest.raises(ValueError, match="motion is coded by whole clips"):
        LiveEncoder(inference.load(run))
