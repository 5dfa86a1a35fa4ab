"""How2Sign, LSFB-CONT and Signformer's files as datasets to train on."""

import json

import numpy as np
import pytest

from jaxvq import input_pipeline
from jaxvq.datasets import building
from jaxvq.pose import landmarks, openpose
from jaxvq.pose.preprocess import preprocess
from jaxvq.pose.skeletons import LSFB_75, OPENPOSE_67
from jaxvq.signformer import pami0
from tests.signformer_corpus import JSON, write_how2sign, write_lsfb, write_table
from tools.signformer import parts

SIZES = {"train": 4, "val": 2, "test": 1}


def build(corpus, source, data_dir, *, fps=None, **options):
    options = {"workers": 1, "max_skipped": 0.5, **options}
    return building.build(
        corpus, data_dir, building.Options(input=str(source), **options), fps=fps
    )[0]


def records(folder, split) -> dict[str, dict]:
    """id -> record, as plain TFDS reads it."""
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(str(folder)).as_data_source(split=split)
    return {one["id"].decode(): one for one in source}


@pytest.fixture(scope="module")
def how2sign(tmp_path_factory):
    root = write_how2sign(tmp_path_factory.mktemp("how2sign"), SIZES)
    return root, build("how2sign_openpose", root, root / "data")


@pytest.fixture(scope="module")
def lsfb(tmp_path_factory):
    root = write_lsfb(tmp_path_factory.mktemp("lsfb"), SIZES)
    return root, build("lsfb_cont", root, root / "data")


def test_how2sign(how2sign):
    root, folder = how2sign
    assert folder.parts[-3:] == ("how2sign_openpose", "openpose_67", "1.0.0")
    found = records(folder, "train")
    assert set(found) == {f"train/train_{n}" for n in range(4)}
    assert set(records(folder, "validation")) == {"validation/val_0", "validation/val_1"}
    one = found["train/train_1"]
    assert one["text"].decode() == "train sentence 1, with a comma"
    assert (one["name"].decode(), one["signer"].decode(), one["fps"]) == ("train_1", "train", 30)
    frames = root / "sentence_level/train" / JSON / "train_1-5-rgb_front"
    pose, _ = preprocess(openpose.read_clip(frames, 30)[0], OPENPOSE_67)
    np.testing.assert_array_equal(one["data"], pose.data.astype(np.float16))
    np.testing.assert_array_equal(one["mask"], pose.mask)
    right, left = OPENPOSE_67.shoulders
    assert np.linalg.norm(pose.data[:, right] - pose.data[:, left], axis=-1).mean() == (
        pytest.approx(1, abs=1e-5)
    )
    for at_hand, _, _ in OPENPOSE_67.wrist_pairs:
        assert not one["data"][:, at_hand].any()


def test_lsfb_has_one_scale_on_all_axes(lsfb):
    root, folder = lsfb
    one = records(folder, "train")["train/train_0"]
    pose = landmarks.read_segment(root / "poses", "CLSFBI0103A_S001_B", 0, 20)
    pixels = pose.replace(data=pose.data * np.array([720, 576, 720], np.float32))
    wanted, _ = preprocess(pixels, LSFB_75)
    assert one["fps"] == 50 and one["data"].shape == (20, 75, 3)
    np.testing.assert_array_equal(one["data"], wanted.data.astype(np.float16))
    np.testing.assert_array_equal(one["mask"], wanted.mask)
    assert one["mask"][10:].all(axis=0)[33:].all() and one["signer"] == b"CLSFBI0103A_S001_B"


@pytest.mark.parametrize("corpus", ["how2sign", "lsfb"])
def test_the_input_pipeline_reads_them(corpus, request):
    _, folder = request.getfixturevalue(corpus)
    dataset = input_pipeline.open_dataset(folder)
    assert len(dataset.lengths["train"]) == 4 and len(dataset.lengths["validation"]) == 2
    batch = next(iter(dataset.train_batches(batch_size=2, seq_len=32, seed=0, num_steps=1)))
    v, c = dataset.skeleton.num_points, dataset.skeleton.num_dims
    assert batch.pose.shape == (2, 32, v, c) and np.isfinite(batch.pose).all()
    assert batch.visible.any() and not batch.pose[~batch.visible].any()


def test_resampled(lsfb, tmp_path):
    root, _ = lsfb
    folder = build("lsfb_cont", root, tmp_path, fps=25)
    assert folder.parts[-2] == "lsfb_75_fps_25"
    one = records(folder, "test")["test/test_0"]
    assert one["fps"] == 25 and len(one["data"]) == 10


def test_skipped_and_augmented(tmp_path):
    write_how2sign(tmp_path, SIZES)
    table = tmp_path / "How2Sign/train_aug.tsv"
    table.write_text("id\ttext\ntrain_0\tone\ntrain_0\tein\ntrain_9\tnine\n")
    folder = build("how2sign_openpose", tmp_path, tmp_path / "data", augmented=str(tmp_path))
    found = records(folder, "train")
    assert {one["text"].decode() for one in found.values()} == {"one", "ein"}
    first, second = found["train/train_0"], found["train/train_0#1"]
    np.testing.assert_array_equal(first["data"], second["data"])
    skipped = json.loads((folder / "skipped.jsonl").read_text())
    assert (skipped["file"], skipped["reason"]) == ("train/train_9", "no pose")
    assert len(records(folder, "validation")) == 2
    # Other texts, another threshold: another dataset.
    table.write_text("id\ttext\ntrain_0\tuno\n")
    with pytest.raises(ValueError, match="already built, .*the input"):
        build("how2sign_openpose", tmp_path, tmp_path / "data", augmented=str(tmp_path))
    hands = build("how2sign_openpose", tmp_path, tmp_path / "data", hand_threshold=0.9)
    assert hands.parent.name == folder.parent.name.replace("augmented", "hands_0.9")
    assert all(one["mask"][:, 25:].all() for one in records(hands, "test").values())


def test_split_file(lsfb, tmp_path):
    root, _ = lsfb
    rows = [("file", "split"), ("train/train_1", "test"), ("test/test_0", "train")]
    write_table(tmp_path / "splits.csv", rows)
    folder = build("lsfb_cont", root, tmp_path, split_file=str(tmp_path / "splits.csv"))
    assert set(records(folder, "test")) == {"train/train_1"}


def test_files_of_pytorch(shared, tmp_path):
    for name, end in (("phoenix14t.pami0.train", "train"), ("phoenix14t_half.pami0.dev", "dev")):
        (tmp_path / f"phoenix14t.pami0.{end}").write_bytes((shared / "golden" / name).read_bytes())
    folder = build("pami0", tmp_path / "phoenix14t.pami0", tmp_path / "data")
    expected = np.load(shared / "golden/pami0_expected.npz")
    for split, dtype in (("train", np.float32), ("validation", np.float16)):
        found = records(folder, split)
        assert set(found) == {f"{split}/train/clip_{n}" for n in range(3)}
        for n in range(3):
            one = found[f"{split}/train/clip_{n}"]
            wanted = expected[f"train_clip_{n}"].astype(dtype).reshape(-1, 512, 2)
            np.testing.assert_array_equal(one["data"], wanted)
            assert one["data"].dtype == np.float32
            assert (one["gloss"], one["signer"]) == (b"A B", f"Signer0{n}".encode())
            assert one["text"].decode() == f"satz {n} ü" and not one["mask"].any()
    assert not list((tmp_path / "data").rglob("incomplete*"))


def write_samples(path, *samples):
    encoded = [
        parts.encode_sample(pami0.Sample(sign.astype(np.float32), "t", "", "", name), 1)
        for name, sign in samples
    ]
    parts.write_part(path, encoded)


def test_parts_of_pami0_and_odd_samples(tmp_path):
    prefix = tmp_path / "x.pami0"
    for n in (0, 2, 10):
        write_samples(f"{prefix}.train.part{n}", ("same", np.full((2, 1024), n + 1)))
    write_samples(
        f"{prefix}.test.part0",
        ("narrow", np.arange(1, 7).reshape(2, 3)),
        ("large", np.full((1, 4), 1e9)),
        ("wide", np.ones((1, 1025))),
        ("zeros", np.zeros((3, 134))),
    )
    folder = build("pami0", prefix, tmp_path / "data", workers=2)
    found = records(folder, "train")
    values = {key: float(one["data"][0, 0, 0]) for key, one in found.items()}
    assert values == {"train/same": 1, "train/same#1": 3, "train/same#2": 11}
    found = records(folder, "test")
    assert set(found) == {"test/narrow", "test/zeros", "test/large"}
    assert found["test/large"]["data"][0, 1].tolist() == [1e9, 1e9]
    assert found["test/narrow"]["data"][1, :2].tolist() == [[4, 5], [6, 0]]
    assert found["test/narrow"]["mask"][:, 2:].all() and found["test/zeros"]["mask"].all()
    skipped = json.loads((folder / "skipped.jsonl").read_text())
    assert (skipped["file"], skipped["reason"]) == ("test/wide", "other shape")


@pytest.mark.parametrize(
    ("corpus", "options", "message"),
    [
        ("pami0", {}, "no .*absent.train, .val, .dev or .test"),
        ("pami0", {"fps": 25}, "do not say their frame rate"),
        ("pami0", {"split_file": "x"}, "--split_file x: pami0 has no use for it"),
        ("pami0", {"augmented": "x"}, "--augmented x: pami0 has no use for it"),
        ("lsfb_cont", {}, "no annotations.csv"),
        ("lsfb_cont", {"stats": "x"}, "--stats"),
        ("sign_poses", {"splits_dir": "x"}, "--splits_dir x: sign_poses has no use for it"),
        ("sign_poses", {"augmented": "x"}, "--augmented x: sign_poses has no use for it"),
        ("how2sign_openpose", {"hand_threshold": 2}, "--hand_threshold 2: expected 0 to 1"),
    ],
)
def test_what_cannot_be_built(tmp_path, corpus, options, message):
    with pytest.raises(ValueError, match=message):
        build(corpus, tmp_path / "absent", tmp_path / "data", **options)


def test_a_hostile_file_ends_the_build(tmp_path):
    import gzip

    path = tmp_path / "x.pami0.train"
    path.write_bytes(gzip.compress(b"cos\nsystem\n(S'true'\ntR."))
    with pytest.raises(ValueError, match=f"{path}: .*asks for os.system"):
        build("pami0", tmp_path / "x.pami0", tmp_path / "data")
