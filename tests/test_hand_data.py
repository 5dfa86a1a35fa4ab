"""From NPZ files of hands to batches: bit for bit, shuffled, sharded, resumable, and bad input."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxvq.datasets import packing
from jaxvq.hands import SPLITS, consolidated, npz, pickles, splits
from jaxvq.hands.data_modules import (
    ConsolidatedHandDataModule,
    HandPriorDataModule,
    HandVAEDataModule,
    Loader,
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


# ------------------------------------------------------------------------------------ order


def loader(num_rows, batch_size, **options) -> Loader:
    return Loader(num_rows, batch_size, lambda rows: rows, **options)


def test_each_epoch_has_all_rows_in_another_order():
    rows = loader(103, 10, seed=3)
    first, second = (np.concatenate(list(rows)) for _ in range(2))
    assert len(rows) == 11
    assert sorted(first) == sorted(second) == list(range(103))
    assert first.tolist() != second.tolist()
    assert np.concatenate(list(loader(103, 10))).tolist() == list(range(103))
    assert list(loader(0, 10)) == []


def test_a_loader_goes_on_where_another_was_stopped():
    whole = loader(103, 10, seed=3)
    expected = [batch.tolist() for _ in range(2) for batch in whole]
    stopped = loader(103, 10, seed=3, threads=2)
    iterator = iter(stopped)
    got = [next(iterator).tolist() for _ in range(7)]
    resumed = loader(103, 10, seed=3, position=stopped.position)
    got += [batch.tolist() for _ in range(2) for batch in resumed]
    assert got == expected


def test_hosts_share_each_batch():
    hosts = [loader(50, 12, seed=1, host_index=i, host_count=3) for i in range(3)]
    for _ in range(2):
        parts = [np.concatenate(batches) for batches in zip(*hosts, strict=True)]
        expected = list(loader(50, 12, seed=1, position=hosts[0].position - 5))
        assert [part.tolist() for part in parts] == [batch.tolist() for batch in expected]


def test_the_order_is_that_of_packing_single_frames():
    frames = packing.FramePlan(50, seed=1)
    rows = frames.frames(0, 300)
    for epoch in range(6):
        assert sorted(rows[50 * epoch : 50 * (epoch + 1)]) == list(range(50))
    packed = packing.PackingPlan(np.ones(50, np.int32), seq_len=1, seed=1)
    assert rows.tolist() == [packed.row(i)[0][0] for i in range(300)]
    assert frames.frames(40, 170).tolist() == rows[40:170].tolist()
    assert frames.frames(7, 7).tolist() == []


def test_impossible_loaders():
    for options in ({"batch_size": 0}, {"batch_size": 8, "host_index": 2, "host_count": 2}):
        with pytest.raises(ValueError, match="batch_size=0|host_index=2: expected 0 to 1"):
            loader(50, **options)


# ------------------------------------------------------------------------------------ bad input


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


GOOD = np.zeros((4, 45), np.float32)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"poses": GOOD}, "has no lhand_pose; it holds poses"),
        ({"lhand_pose": GOOD, "rhand_pose": GOOD[:3]}, "lhand_pose has 4 frames, rhand_pose 3"),
        (
            {"lhand_pose": GOOD[:, :24], "rhand_pose": GOOD},
            r"shape \(4, 24\), expected \(frames, 45",
        ),
        ({"lhand_pose": GOOD.astype(object), "rhand_pose": GOOD}, "is object, expected float32"),
        ({"lhand_pose": GOOD.astype(int), "rhand_pose": GOOD}, "is int64, expected float32"),
        (
            {"lhand_pose": np.asfortranarray(np.ones((4, 45))), "rhand_pose": GOOD},
            "column by column",
        ),
    ],
)
def test_files_without_usable_hands(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message) as error:
        npz.hand_members(save(tmp_path / "a.npz", **arrays))
    assert "a.npz" in str(error.value) and "\n" not in str(error.value)


def write_generated(path, count, image_ids=None):
    """As the hand prior generator has its data sets."""
    rng = np.random.default_rng(count)
    widths = {
        "global_orient": 3,
        "body_pose": 63,
        "jaw_pose": 3,
        "lhand_pose": 45,
        "rhand_pose": 45,
    }
    arrays = {name: rng.normal(size=(count, width)) for name, width in widths.items()}
    if image_ids is not None:
        arrays["image_ids"] = image_ids
    np.savez(
        path,
        **{
            name: array.astype(np.float32) if name in widths else array
            for name, array in arrays.items()
        },
    )


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def test_image_ids_survive_beside_data_sets_without(tmp_path, caplog):
    """160 frames of text ids, of a pickled array of objects, of numbers, and of none at all."""
    data, splits_dir = tmp_path / "npz", tmp_path / "splits"
    data.mkdir(), splits_dir.mkdir()
    texts = [f"clip_é/{i:04d}.jpg" for i in range(40)]
    ids = {
        "Objects": np.array([*texts[:37], np.str_("scalar"), None, 39], object),
        "Texts": np.array(texts),
        "Bytes": np.array([text.encode() for text in texts]),
        "Numbers": np.arange(40),
        "Evil": np.array([Evil()] * 40, object),
        "Bare": None,
    }
    for name, values in ids.items():
        write_generated(data / f"{name}.npz", 40, values)
    everything = {name: list(range(40)) for name in ids}
    for split in SPLITS:
        (splits_dir / f"{split}_samples.json").write_text(json.dumps(everything))
    (splits_dir / "dataset_metadata.json").write_text("{}")
    expected = {name: texts for name in ("Texts", "Bytes")} | {
        "Objects": [*texts[:37], "scalar", "", "39"],
        "Numbers": [str(number) for number in range(40)],
        "Evil": [""] * 40,
        "Bare": [""] * 40,
    }
    module = HandPriorDataModule(data, splits_dir, batch_size=100)
    module.setup()
    assert "Evil.npz: image_ids is left out: refused: the pickle asks for" in caplog.text
    seen = 0
    for batch in module.train_dataloader():
        origin = zip(batch["dataset_name"], batch["frame_idx"], batch["image_id"], strict=True)
        for name, frame, image_id in origin:
            assert type(image_id) is str and image_id == expected[name][frame]
            seen += bool(image_id)
    assert seen == 4 * 40 - 1


def test_texts_of_a_pickled_array():
    """More than a pickle's usual number of instructions, as the ids of a large data set have."""
    texts = np.array([str(i) for i in range(300)], object)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pickles, "MAX_INSTRUCTIONS", 100)
        assert pickles.load_texts(pickle.dumps(texts, 4), 300) == texts.tolist()
        with pytest.raises(ValueError, match="too large"):
            pickles.load_texts(pickle.dumps(texts, 4), 3)
    with pytest.raises(ValueError, match="300 values, expected 3"):
        pickles.load_texts(pickle.dumps(texts, 4), 3)
    texts[7] = ("a", "b")
    with pytest.raises(ValueError, match="expected an array of texts"):
        pickles.load_texts(pickle.dumps(texts, 4), 300)


def test_no_npz_file_at_all(tmp_path):
    (tmp_path / "a.npz").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="a.npz is not an NPZ file"):
        npz.members(tmp_path / "a.npz")
    whole = save(tmp_path / "b.npz", lhand_pose=np.zeros((900, 45)), rhand_pose=np.zeros((900, 45)))
    member = npz.hand_members(whole)["rhand_pose"]
    data = bytearray(whole.read_bytes())
    data[member.offset + 1000] ^= 255
    whole.write_bytes(data)
    with pytest.raises(ValueError, match="b.npz: rhand_pose is damaged"):
        npz.read_rows(member, np.arange(900))


@pytest.mark.parametrize("name", ["lhand_pose", "image_ids"])
def test_damaged_compressed_arrays_are_one_line(tmp_path, name, caplog):
    path = tmp_path / "a.npz"
    hand = np.random.default_rng(0).normal(size=(900, 45))
    ids = np.array([f"{i * 7919:x}.jpg" for i in range(900)], object)
    np.savez_compressed(path, lhand_pose=hand, rhand_pose=hand, image_ids=ids)
    member = npz.hand_members(path)[name]
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
    data = bytearray(path.read_bytes())
    at = info.header_offset + info.compress_size // 2
    data[at : at + 100] = bytes(100)
    path.write_bytes(data)
    if name == "image_ids":
        assert set(npz.read_texts(member, np.arange(900))) == {""}
        assert "a.npz: image_ids is left out: " in caplog.text
    else:
        with pytest.raises(ValueError, match="a.npz: lhand_pose is damaged"):
            npz.read_rows(member, np.arange(900))


@pytest.fixture
def small(tmp_path):
    """(data_dir, splits_dir) of one data set of four frames, to be broken."""
    (tmp_path / "data").mkdir()
    (tmp_path / "splits").mkdir()
    save(tmp_path / "data" / "CMU.npz", lhand_pose=GOOD, rhand_pose=GOOD)
    for split, frames in {"train": [0, 1], "val": [2], "test": [3]}.items():
        (tmp_path / "splits" / f"{split}_samples.json").write_text(json.dumps({"CMU": frames}))
    return tmp_path / "data", tmp_path / "splits"


def prepare_error(small) -> str:
    module = HandVAEDataModule(*small)
    with pytest.raises(ValueError) as error:
        module.prepare_data()
    assert "\n" not in str(error.value)
    assert not list(small[1].glob("consolidated/*.npz")) or "NaN" in str(error.value)
    return str(error.value)


def test_a_frame_that_does_not_exist(small):
    (small[1] / "train_samples.json").write_text('{"CMU": [0, 4]}')
    assert "CMU.npz: lhand_pose has 4 frames, there is no frame 4" in prepare_error(small)


def test_a_data_set_that_is_listed_and_missing(small):
    (small[1] / "test_samples.json").write_text('{"CMU": [3], "KIT": [0]}')
    assert "KIT.npz is missing: the test split draws frames from it" in prepare_error(small)


def test_nan_in_a_frame_that_was_drawn(small):
    hands = GOOD.copy()
    hands[2, 7] = np.nan
    save(small[0] / "CMU.npz", lhand_pose=GOOD, rhand_pose=hands)
    message = prepare_error(small)
    assert "CMU.npz: rhand_pose has NaN" in message and "frame 2" in message


def test_folders_that_are_missing(small, tmp_path):
    for options, message in [
        ((tmp_path / "no", small[1]), "data set directory not found"),
        ((small[0], tmp_path / "no"), "splits directory not found"),
    ]:
        with pytest.raises(ValueError, match=message):
            HandVAEDataModule(*options).prepare_data()
    with pytest.raises(ValueError, match="no train.npz"):
        ConsolidatedHandDataModule(tmp_path / "no").prepare_data()
    with pytest.raises(ValueError, match="split train is not set up; .*setup"):
        ConsolidatedHandDataModule(tmp_path / "no").train_dataloader()
    module = HandVAEDataModule(*small)
    with pytest.raises(ValueError, match="stage 'predict' .*fit, validate, test"):
        module.setup("predict")


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
