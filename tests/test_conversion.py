"""Zips and folders of clips where a dataset is wanted, as sign-vq takes them."""

import shutil
import threading
import zipfile

import numpy as np
import pytest
from conftest import REPOSITORY, tiny_config
from ml_collections import ConfigDict

from jaxvq import checkpoint, inference, input_pipeline
from jaxvq.datasets import building
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.train import train
from jaxvq.training import command_line
from tests import clips
from tools import zip_dataset


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXVQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def builds(monkeypatch):
    """The corpora that were built, in order."""
    found, inner = [], building.run
    monkeypatch.setattr(
        building, "run", lambda builder, *rest: found.append(builder.name) or inner(builder, *rest)
    )
    return found


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("poses")
    clips.write_clips(folder, [5 + i % 3 for i in range(20)])
    return folder


@pytest.fixture(scope="module")
def archive(poses, tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "X.zip"
    zip_dataset.main(["--dir", str(poses), "--out", str(path), "--workers", "1"])
    return path


def frames(dataset) -> int:
    return sum(int(lengths.sum()) for lengths in dataset.lengths.values())


def test_a_zip_trains_and_is_converted_once(archive, tmp_path, builds):
    config = tiny_config("", total_steps=2, eval_every=2, checkpoint_every=2)
    with config.unlocked():
        config.data.path = str(archive)
    train(config, tmp_path / "run")
    assert checkpoint.load_model(tmp_path / "run").config.data.dir == str(archive)
    assert builds == ["sign_poses"]
    first = input_pipeline.open_dataset(archive)
    again = input_pipeline.open_for_training(ConfigDict({"dir": "", "path": str(archive)}))
    assert builds == ["sign_poses"] and again.path == first.path and frames(first) == 119
    words = [f"--config.data.path={archive}"]
    config = command_line.read_config(f"{REPOSITORY}/configs/fsq_pose.py:runlocal", words)
    assert config.data.dir == str(archive)
    # In shoulder widths: the zip says what it was standardised with.
    record = first.source("train")[0]
    right, left = (record["data"][:, i].astype(np.float32) for i in HOLISTIC_178.shoulders)
    assert np.linalg.norm(right - left, axis=1).mean() == pytest.approx(1, abs=0.01)


def test_another_content_is_converted_anew_and_the_first_stays(archive, tmp_path, builds):
    copy = shutil.copy(archive, tmp_path / "copy.zip")
    first = input_pipeline.open_dataset(copy)
    assert input_pipeline.open_dataset(archive).path == first.path  # the same clips elsewhere
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(copy, "w") as fewer:
        fewer.comment = whole.comment
        for name in whole.namelist()[:15]:
            fewer.writestr(name, whole.read(name))
    second = input_pipeline.open_dataset(copy)
    assert builds == ["sign_poses"] * 2 and second.path != first.path
    assert frames(second) < frames(first) and len(first.source("train")[0]["data"])


def test_a_folder_of_foreign_npz_trains_with_and_without_statistics(archive, tmp_path, caplog):
    folder = tmp_path / "npz"
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    plain = input_pipeline.open_dataset(folder)
    assert "does not say what its clips were standardised with" in caplog.text
    np.testing.assert_allclose(plain.statistics.mean, 0, atol=1e-2)
    shutil.copy(input_pipeline.open_dataset(archive).path / "pose_normalization.json", folder)
    known = input_pipeline.open_dataset(folder)
    assert known.path != plain.path and np.abs(known.statistics.mean).max() > 0.1
    assert frames(plain) == frames(known) == 119


def test_folders_of_poses_and_of_other_npz(poses, tmp_path, builds):
    assert frames(input_pipeline.open_dataset(poses)) == 119
    folder = tmp_path / "processed" / "train"
    folder.mkdir(parents=True)
    for i in range(3):
        np.savez(folder / f"{i}.npz", poses=np.random.default_rng(i).normal(size=(9, 20, 2)))
    assert frames(input_pipeline.open_dataset(folder.parent)) == 27
    assert builds == ["sign_poses", "pose_npz"]


def test_two_at_once_convert_once(archive, builds):
    opened = []
    threads = [
        threading.Thread(target=lambda: opened.append(input_pipeline.open_dataset(archive).path))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 3 and len(set(opened)) == 1 and len(builds) == 1


def test_a_conversion_that_broke_off_is_no_dataset(archive, monkeypatch, cache):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("jaxvq.datasets.shards.Build.write_side_files", stop)
        input_pipeline.open_dataset(archive)
    assert not list(cache.rglob("dataset_info.json"))
    assert frames(input_pipeline.open_dataset(archive)) == 119


@pytest.mark.parametrize(
    "name, message",
    [
        ("nothing.zip", "no such directory: .*nothing.zip"),
        ("empty.zip", "empty.zip: no .pose or .bvh or .npz files"),
        ("no.zip", "no.zip: not a zip file"),
        ("arrays", "arrays: no built dataset"),
        ("broken", "none of the 2 clips can be used"),
    ],
)
def test_what_holds_no_clips_is_one_line(name, message, tmp_path):
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    (tmp_path / "no.zip").write_text("no")
    for folder in ("arrays", "broken"):
        (tmp_path / folder).mkdir()
    np.savez(tmp_path / "arrays" / "lengths.npz", train=np.zeros(3))
    for i in range(2):
        (tmp_path / "broken" / f"{i}.pose").write_bytes(b"no pose")
    with pytest.raises(ValueError, match=message):
        input_pipeline.open_dataset(tmp_path / name)


def test_two_clips_are_learned_by_heart(tmp_path):
    """sign-vq's own check: trained on two clips, the rounded prediction is what was put in."""
    rng = np.random.default_rng(0)
    wanted = {}
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as target:
        for name in ("a", "c"):  # stems that md5 puts into train
            wanted[f"{name}.npz"] = rng.integers(-2, 7, (1, 178, 3)).astype(np.float16)
            mask = np.zeros((1, 178, 3), bool)
            with target.open(f"{name}.npz", "w") as file:
                np.savez(file, data=wanted[f"{name}.npz"], mask=mask)
    config = tiny_config(tmp_path / "two.zip", total_steps=70, eval_videos=0)
    with config.unlocked():
        config.update(batch_size=4, log_every=70, eval_every=70, checkpoint_every=70)
        config.data.seq_len = 2
        config.model.hidden_dim = 32
        config.quantizer.levels = (5, 3)  # 15 codes, one of 16 there
        config.loss.update(type="l2", hand_weight=1.0)
        config.optim.update(learning_rate=5e-3, warmup_steps=0, weight_decay=0.0)
    train(config, tmp_path / "run")
    dataset = input_pipeline.open_dataset(tmp_path / "two.zip")
    tokenizer, source = inference.load(tmp_path / "run"), dataset.source("train")
    assert len(source) == 2
    for record in map(source.__getitem__, range(2)):
        clip = tokenizer.from_record(record)
        (standardised,) = tokenizer.reconstruct_clips([clip])
        predicted = tokenizer.unstandardize(standardised, clip.fps)
        assert isinstance(predicted, Pose)
        np.testing.assert_array_equal(np.round(predicted.data), wanted[record["id"]])
