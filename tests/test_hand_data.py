"""From NPZ files of hands to batches: bit for bit, shuffled, sharded, resumable, and bad input."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxvq.hands import SPLITS, consolidated, npz, splits
from jaxvq.hands.data_modules import (
    ConsolidatedHandDataModule,
    HandPriorDataModule,
    HandVAEDataModule,
    wrap_to_pi,
)
from tools import benchmark_hands, create_consolidated_npz
from tools.hands import draws

FRAMES = {"CMU": 120, "GRAB": 90, "talkshow": 70}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(data_dir, splits_dir): one file compressed, one not, one float64 without image_ids… all have
    them but the last, whose are numbers."""
    root = tmp_path_factory.mktemp("hands")
    data, output = root / "npz", root / "splits"
    data.mkdir()
    rng = np.random.default_rng(0)
    for i, (name, count) in enumerate(FRAMES.items()):
        hands = rng.normal(scale=0.5, size=(2, count, 45)).astype(np.float32)
        ids = np.array([f"{name}_{frame:05d}.jpg" for frame in range(count)])
        save = np.savez_compressed if i == 0 else np.savez
        save(
            data / f"{name}.npz",
            lhand_pose=hands[0],
            rhand_pose=hands[1],
            image_ids=ids,
            body_pose=np.zeros((count, 63), np.float32),
        )
    recipe = draws.Recipe(
        {"high": ["GRAB"], "medium": ["talkshow"], "low": ["CMU"]},
        {"high": 90, "medium": 50, "low": 60},
        {"train": 0.8, "val": 0.1, "test": 0.1},
    )
    draws.save(draws.plan(npz.count_frames(data), recipe), output)
    return data, output


@pytest.fixture(scope="module")
def consolidated_dir(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("consolidated") / "splits"
    create_consolidated_npz.main(
        ["--data_dir", str(corpus[0]), "--splits_dir", str(corpus[1]), "--output_dir", str(output)]
    )
    return output


def source_row(data, name, frame):
    with np.load(data / f"{name}.npz") as file:
        return np.concatenate([file["lhand_pose"][frame], file["rhand_pose"][frame]])


def test_every_consolidated_row_is_its_source_frame(corpus, consolidated_dir):
    data, splits_dir = corpus
    for split in SPLITS:
        rows = consolidated.Rows(consolidated_dir / f"{split}.npz")
        table = json.loads((consolidated_dir / f"{split}_metadata.json").read_text())
        assert len(table) == len(rows)
        drawn = splits.load(splits_dir, split)
        order = [(name, frame) for name, frames in drawn.items() for frame in frames]
        for i, ((name, frame), entry) in enumerate(zip(order, table, strict=True)):
            assert entry == {"dataset_name": name, "original_idx": frame, "consolidated_idx": i}
            row = rows.take(np.array([i]))[0]
            assert row.tobytes() == source_row(data, name, frame).tobytes()
        with np.load(consolidated_dir / f"{split}.npz") as file:  # numpy reads it too
            left = file["lhand_pose"]
        assert left.dtype == np.float32
        np.testing.assert_array_equal(left, rows.take(np.arange(len(rows)))[:, :45])


def test_samples_have_names_numbers_and_ids(corpus):
    data, splits_dir = corpus
    module = HandPriorDataModule(data, splits_dir, batch_size=32, num_workers=2)
    module.prepare_data()
    module.setup()
    assert module.get_dataset_info()["dataset_creation_info"]["total_samples"] == 200
    seen = set()
    for batch in module.train_dataloader():
        assert batch["lhand_pose"].shape == batch["rhand_pose"].shape == (32, 45)
        for i, name in enumerate(batch["dataset_name"]):
            frame = int(batch["frame_idx"][i])
            assert batch["image_id"][i] == f"{name}_{frame:05d}.jpg"
            row = np.concatenate([batch["lhand_pose"][i], batch["rhand_pose"][i]])
            assert row.tobytes() == source_row(data, name, frame).tobytes()
            seen.add((name, frame))
    assert len(seen) == 160


def test_a_transform_sees_single_samples(corpus):
    class Doubled:
        def __call__(self, sample):
            assert sample["lhand_pose"].shape == (45,) and isinstance(sample["dataset_name"], str)
            return {**sample, "lhand_pose": 2 * sample["lhand_pose"]}

    plain, doubled = (
        HandPriorDataModule(*corpus, transform=transform) for transform in (None, Doubled())
    )
    batches = []
    for module in (plain, doubled):
        module.setup("validate")
        batches.append(next(iter(module.val_dataloader())))
    np.testing.assert_array_equal(2 * batches[0]["lhand_pose"], batches[1]["lhand_pose"])
    assert batches[0]["dataset_name"] == batches[1]["dataset_name"]


def test_vectors_are_standardised_by_the_frames_for_training(corpus):
    module = HandVAEDataModule(*corpus, batch_size=50, num_workers=0)
    module.prepare_data()
    module.setup()
    batches = list(module.train_dataloader())
    assert [batch.shape for batch in batches] == [(50, 90), (50, 90), (50, 90), (10, 90)]
    everything = np.concatenate(batches)
    assert everything.dtype == np.float32
    np.testing.assert_allclose(everything.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(everything.std(0), 1, atol=1e-5)

    alone = HandVAEDataModule(*corpus)  # a test alone is standardised by the same numbers
    alone.setup("test")
    np.testing.assert_array_equal(alone.stats["mean"], module.stats["mean"])
    np.testing.assert_array_equal(
        next(iter(alone.test_dataloader())), next(iter(module.test_dataloader()))
    )


@pytest.mark.parametrize("mmap", [True, False])
def test_dicts_hold_raw_hands_and_the_statistics(corpus, mmap):
    module = HandVAEDataModule(*corpus, batch_size=64, return_dict=True, mmap=mmap)
    module.setup()
    batch = next(iter(module.train_dataloader()))
    assert set(batch) == {
        "x90",
        "lhand_pose",
        "rhand_pose",
        "mean",
        "std",
        "dataset_name",
        "frame_idx",
        "image_id",
    }
    raw = np.concatenate([batch["lhand_pose"], batch["rhand_pose"]], axis=1)
    np.testing.assert_allclose(batch["x90"] * batch["std"] + batch["mean"], raw, atol=1e-6)
    first = source_row(corpus[0], batch["dataset_name"][0], batch["frame_idx"][0])
    np.testing.assert_array_equal(raw[0], first)
    assert module.get_sample_batch(n_samples=3)["x90"].shape == (3, 90)


def test_not_standardised_and_wrapped(corpus, tmp_path):
    raw = HandVAEDataModule(*corpus, standardize=False)
    raw.setup("test")
    assert raw.stats is None
    expected = consolidated.Rows(corpus[1] / "consolidated" / "test.npz").take(np.arange(20))
    np.testing.assert_array_equal(next(iter(raw.test_dataloader())), expected)
    angles = np.array([0.5, 3.5, -3.5, 7.0], np.float32)
    np.testing.assert_allclose(wrap_to_pi(angles), np.angle(np.exp(1j * angles)), atol=1e-5)
    wrapped = HandVAEDataModule(*corpus, wrap_angles=True)
    wrapped.setup("fit")
    np.testing.assert_allclose(next(iter(wrapped.train_dataloader())).std(0), 1, atol=1e-4)


def test_consolidated_module_gives_the_same_batches(corpus, consolidated_dir):
    module = ConsolidatedHandDataModule(consolidated_dir, batch_size=50)
    module.prepare_data()
    module.setup()
    other = HandVAEDataModule(*corpus, batch_size=50)
    other.setup()
    for mine, theirs in zip(module.train_dataloader(), other.train_dataloader(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert next(iter(module.val_dataloader())).shape == (20, 90)


def test_files_of_the_hand_prior_generator_load_too(tmp_path):
    """Compressed, float64, and without a trace of where rows come from."""
    hands = np.random.default_rng(1).normal(size=(2, 40, 45))
    for split in SPLITS:
        np.savez_compressed(tmp_path / f"{split}.npz", lhand_pose=hands[0], rhand_pose=hands[1])
    module = ConsolidatedHandDataModule(tmp_path, batch_size=8, return_dict=True)
    module.setup()
    batch = next(iter(module.val_dataloader()))
    assert set(batch) == {"x90", "lhand_pose", "rhand_pose", "mean", "std"}
    np.testing.assert_array_equal(batch["lhand_pose"], hands[0].astype(np.float32))
    np.testing.assert_allclose(batch["x90"].std(0), 1, atol=1e-5)


def test_changed_splits_are_copied_again(corpus, tmp_path):
    data, splits_dir = corpus
    for path in splits_dir.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    module = HandVAEDataModule(data, tmp_path)
    module.prepare_data()
    stamp = (tmp_path / "consolidated" / "train.npz").stat().st_mtime_ns
    module.prepare_data()
    assert (tmp_path / "consolidated" / "train.npz").stat().st_mtime_ns == stamp
    (tmp_path / "train_samples.json").write_text('{"CMU": [5, 3]}')
    module.setup()
    assert len(module.rows["train"]) == 2


def test_benchmark_prints_both_loaders(capsys, tmp_path):
    """The numbers that are claimed are measured by the tool at full size; here it only works."""
    benchmark_hands.main(
        [
            "--rows",
            "20000",
            "--batch_size",
            "2048",
            "--batches",
            "40",
            "--plain_batches",
            "1",
            "--json",
            str(tmp_path / "numbers.json"),
        ]
    )
    output = capsys.readouterr().out
    assert "whole batches, memory map" in output and "row by row" in output
    values = json.loads((tmp_path / "numbers.json").read_text())
    assert values["batches_per_second"] > 3 * values["plain_batches_per_second"]
    assert values["first_batch_seconds"] < 2


def test_the_snippet_of_the_documentation_runs(corpus, monkeypatch, tmp_path):
    """As printed, in a folder with data where it expects them."""
    text = (Path(__file__).parent.parent / "docs" / "hand_prior.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "npz").symlink_to(corpus[0])
    (tmp_path / "dataset_splits").symlink_to(corpus[1])
    names = {}
    exec(code, names)
    assert names["batch"].shape == (160, 90)  # all there are
