"""The corpus of hands: built, read as batches, and trained on by the one loop."""

import json

import numpy as np
import pytest

from jaxvq import input_pipeline, train
from jaxvq.batch import empty_batch
from jaxvq.datasets import building, recipes
from jaxvq.hands import consolidated, npz, skeleton, splits
from jaxvq.storage import atomic
from tests.hands import synthetic_hands, tiny_config
from tools import sample_hands
from tools.hands import draws


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(DATA, NPZ_DIR, splits_dir) with 3000 frames of two data sets, built as a corpus."""
    root = tmp_path_factory.mktemp("hand_prior")
    data, splits_dir = root / "npz", root / "splits"
    rng = np.random.default_rng(0)
    for name, count in {"GRAB": 3000, "CMU": 1500}.items():
        hands = synthetic_hands(rng, count)
        npz.write_npz(data / f"{name}.npz", {npz.LEFT: hands[:, :45], npz.RIGHT: hands[:, 45:]})
    recipe = draws.Recipe(
        {"high": ["GRAB"], "medium": [], "low": ["CMU"]},
        {"high": 2000, "medium": 0, "low": 1000},
        {"train": 0.8, "val": 0.1, "test": 0.1},
    )
    draws.save(draws.plan(npz.count_frames(data), recipe), splits_dir)
    options = building.Options(input=str(data), splits_dir=str(splits_dir), workers=1)
    building.build("hand_prior", root / "DATA", options)
    return root / "DATA", data, splits_dir


def test_shards_hold_the_frames_bit_for_bit(built):
    import tensorflow_datasets as tfds

    dataset = input_pipeline.open_dataset(built[0])
    examples = list(tfds.builder_from_directory(dataset.path).as_data_source("train"))
    assert sorted(len(example["data"]) for example in examples) == [576, 800, 1024]
    for example in examples:
        with np.load(built[1] / f"{example['dataset_name'].decode()}.npz") as file:
            source = np.concatenate([file["lhand_pose"], file["rhand_pose"]], axis=1)
        data = np.asarray(example["data"])
        assert data.dtype == np.float32
        expected = source[example["frame_idx"]]
        assert data.reshape(-1, 90).tobytes() == expected.tobytes()
    record = dataset.source("test")[0]
    assert record["data"].dtype == np.float32 and not record["mask"].any()
    assert input_pipeline.open_dataset(built[0]).fingerprint == dataset.fingerprint


def test_building_again_does_nothing_and_other_splits_lie_beside(built, tmp_path):
    data, source, splits_dir = built
    options = building.Options(input=str(source), splits_dir=str(splits_dir), workers=1)
    before, again = building.build("hand_prior", data, options)
    assert again is False and before.parent.name.startswith("rotations_drawn_")
    for split in ("train", "val", "test"):
        samples = splits.load(splits_dir, split) if split != "test" else {"CMU": [0]}
        atomic.write_json(tmp_path / f"{split}_samples.json", samples, indent=None)
    options = building.Options(input=str(source), splits_dir=str(tmp_path), workers=1)
    beside, built_now = building.build("hand_prior", tmp_path / "DATA", options)
    assert built_now and beside.parent.name.startswith("rotations_drawn_")
    assert beside.parent.name != before.parent.name
    # The same frames elsewhere have the same name; in another order they are another dataset.
    names = []
    for content in ('{"CMU": [0, 1]}', '{"CMU": [1, 0]}', '{"CMU": [0, 1]}'):
        (tmp_path / "test_samples.json").write_text(content)
        names.append(recipes.full_name("rotations", options))
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"splits_dir": None}, "needs --splits_dir"),
        ({"split_file": "x.csv"}, "splits from --splits_dir|No such file"),
        ({"stats": "x.json"}, "--stats x.json: hand_prior has no use for it"),
        ({"input": "nowhere"}, "GRAB.npz is missing|CMU.npz is missing"),
    ],
)
def test_builds_that_cannot_be(built, tmp_path, changes, message):
    options = {"input": str(built[1]), "splits_dir": str(built[2]), "workers": 1} | changes
    with pytest.raises((ValueError, OSError), match=message):
        building.build("hand_prior", tmp_path, building.Options(**options))


def test_training_batches_are_all_frames_in_any_order(built):
    dataset = input_pipeline.open_dataset(built[0])
    options = {"batch_size": 256, "seq_len": 1, "seed": 5}
    batches = list(dataset.train_batches(**options, num_steps=12))
    for array, like in zip(batches[0][:4], empty_batch(256, 1, 30, 3)[:4], strict=True):
        assert array.shape == like.shape and array.dtype == like.dtype
    frames = np.concatenate([batch.pose for batch in batches])[:2400].reshape(2400, 90)
    everything = dataset.rows("train") - dataset.statistics.mean.reshape(90)
    everything = everything / dataset.statistics.std.reshape(90)
    assert sorted(map(bytes, frames)) == sorted(map(bytes, everything))

    resumed = list(dataset.train_batches(**options, num_steps=12, start_step=7))
    np.testing.assert_array_equal(resumed[0].pose, batches[7].pose)
    halves = [
        next(dataset.train_batches(**options, num_steps=1, host_index=i, host_count=2))
        for i in range(2)
    ]
    both = np.concatenate([half.pose for half in halves])
    np.testing.assert_array_equal(both, batches[0].pose)
    with pytest.raises(ValueError, match="seq_len=16: hands are single frames"):
        dataset.train_batches(**options | {"seq_len": 16}, num_steps=1)


def test_evaluation_sees_each_frame_once(built):
    dataset = input_pipeline.open_dataset(built[0])
    batches = list(dataset.eval_batches("train", batch_size=1000, seq_len=1))
    used = np.concatenate([batch.segment for batch in batches])[:, 0] > 0
    assert len(batches) == 3 and used.sum() == 2400
    clip = np.concatenate([batch.clip for batch in batches])[used]
    start = np.concatenate([batch.start for batch in batches])[used]
    records = [dataset.source("train")[i]["data"] for i in range(3)]
    poses = np.concatenate([batch.pose for batch in batches])[used][:, 0]
    for i in (0, 1023, 1024, 1600, 2399):
        expected = dataset.statistics.standardize(records[clip[i]][start[i]], np.zeros(30, bool))
        np.testing.assert_array_equal(poses[i], expected)


def test_a_split_without_frames(built, monkeypatch):
    dataset = input_pipeline.open_dataset(built[0])
    monkeypatch.setitem(dataset.lengths, "validation", np.array([], np.int32))
    assert list(dataset.eval_batches("validation", batch_size=8, seq_len=1)) == []
    with pytest.raises(ValueError, match="no frames in validation"):
        dataset.train_batches(split="validation", batch_size=8, seq_len=1, seed=0, num_steps=1)


def test_nothing_is_left_beside_the_shards(built):
    """Neither the build nor training keeps a copy of the frames."""
    names = {
        path.name.split("-")[0] for path in input_pipeline.open_dataset(built[0]).path.iterdir()
    }
    assert not any(name.startswith(("frames", "incomplete")) for name in names)
    assert not list(built[0].rglob("train.npz"))


def test_blocks_that_cannot_be_used_are_skipped_and_listed(built, tmp_path):
    _, data, splits_dir = built
    hands = np.zeros((2, 1500, 45), np.float32)
    bad = splits.load(splits_dir, "train")["CMU"][3]
    hands[1, bad, 3] = np.nan
    np.savez_compressed(tmp_path / "CMU.npz", lhand_pose=hands[0], rhand_pose=hands[1])
    (tmp_path / "GRAB.npz").symlink_to(data / "GRAB.npz")
    options = {"input": str(tmp_path), "splits_dir": str(splits_dir), "workers": 1}
    with pytest.raises(
        ValueError, match=rf"1 of 7 clips cannot be used.*\n.*CMU.npz.* frame {bad}"
    ):
        building.build("hand_prior", tmp_path / "DATA", building.Options(**options))
    folder, _ = building.build(
        "hand_prior", tmp_path / "DATA", building.Options(**options, max_skipped=0.2)
    )
    assert "unusable frames" in (folder / "skipped.jsonl").read_text()
    (tmp_path / "test_samples.json").write_text('{"GRAB": [3000]}')
    for split in ("train", "val"):
        (tmp_path / f"{split}_samples.json").write_text("{}")
    with pytest.raises(ValueError, match="GRAB.npz: lhand_pose has 3000 frames, there is no frame"):
        options["splits_dir"] = str(tmp_path)
        building.build("hand_prior", tmp_path / "OTHER", building.Options(**options))


@pytest.fixture(scope="module")
def run(built, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "vae"
    config = tiny_config("runlocal")
    config.data.dir = str(built[0])
    config.update(total_steps=60, batch_size=256, log_every=20, eval_every=60, checkpoint_every=30)
    return workdir, train.train(config, workdir), config


def test_the_loop_trains_the_prior_and_its_samples_are_drawn(built, run, tmp_path, capsys):
    workdir, validation, _ = run
    assert validation["degrees"] < validation["degrees_mean_pose"]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert "train_kl" in lines[0] and "validation_degrees/thumb" in lines[-1]
    sample_hands.main(
        ["--checkpoint", str(workdir), "--output_dir", str(tmp_path), "--num", "5", "--size", "32"]
    )
    assert "5 pairs of hands from the prior" in capsys.readouterr().out
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["frames"] == 300 and values["split"] == "test"
    joints = [
        values[f"degrees/{side}_{joint}"] for side in ("left", "right") for joint in skeleton.JOINTS
    ]
    assert np.mean(joints) == pytest.approx(values["degrees"], rel=1e-3)
    assert len(consolidated.Rows(tmp_path / "samples.npz")) == 5  # readable as any other hands
    for name in ("samples.png", "reconstructions.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_stopped_run_goes_on_with_the_same_batches(run, tmp_path):
    import shutil

    workdir, validation, config = run
    half = tmp_path / "half"
    shutil.copytree(workdir, half)
    shutil.rmtree(half / "checkpoints" / "60")
    assert train.train(config, half)["loss"] == pytest.approx(validation["loss"], rel=1e-6)
