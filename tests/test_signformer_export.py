"""The export to Signformer: layout, names, parts, what is skipped, and ends of every kind."""

import json
import os
import stat

import numpy as np
import pytest
import yaml

from jaxvq.datasets.sentence_corpora import CORPORA, read_table
from jaxvq.pose.reader import Pose
from tests.signformer_corpus import (
    JSON,
    person,
    write_frame,
    write_how2sign,
    write_lsfb,
    write_table,
)
from tests.test_signformer_pami0 import load_as_signformer
from tools import convert_how2sign_csv, export_signformer
from tools.signformer import export


def run(dataset, root, out, *options, workers=1) -> int:
    arguments = ["--dataset", dataset, "--input", root, "--output_dir", out, "--workers", workers]
    return export_signformer.main([str(argument) for argument in (*arguments, *options)])


def parts(out, base: str) -> dict[int, list[dict]]:
    """Part number -> its samples, found and read as Signformer's loaders do."""
    paths = sorted(out.glob(f"{base}.part*"), key=lambda path: int(str(path).split(".part")[-1]))
    return {int(str(path).split(".part")[-1]): load_as_signformer(path) for path in paths}


def snapshot(out) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.pami0.*"))}


@pytest.mark.parametrize(
    ("dataset", "sizes"), [("How2Sign", (25, 21, 21)), ("LSFB-CONT", (33, 21, 21))]
)
def test_layout_of_the_features(dataset, sizes):
    skeleton, order = CORPORA[dataset].skeleton, CORPORA[dataset].parts
    c = skeleton.num_dims
    data = np.arange(2 * sum(sizes) * c, dtype=np.float32).reshape(2, -1, c) + 1
    pose = Pose(skeleton, data, np.ones(data.shape[:2], np.float32), 25)
    sign = export.lay_out(pose, order, 1024)
    assert sign.shape == (2, 1024) and sign.dtype == np.float32
    width = 2 * sum(sizes)
    assert width == {"How2Sign": 134, "LSFB-CONT": 150}[dataset]
    body, left = 2 * sizes[0], 2 * (sizes[0] + sizes[1])
    assert (body, left) == {"How2Sign": (50, 92), "LSFB-CONT": (66, 108)}[dataset]
    for point in range(sum(sizes)):  # x, y of each, one after another
        assert sign[1, 2 * point : 2 * point + 2].tolist() == data[1, point, :2].tolist()
    assert sign[:, body].tolist() == data[:, skeleton.parts["left_hand"][0], 0].tolist()
    assert sign[:, left].tolist() == data[:, skeleton.parts["right_hand"][0], 0].tolist()
    assert not sign[:, width:].any()
    assert export.lay_out(pose, order, width).shape == (2, width)
    with pytest.raises(ValueError, match=f"points need {width}"):
        export.lay_out(pose, order, width - 1)


def test_how2sign(tmp_path, capsys):
    root = write_how2sign(tmp_path, {"train": 5, "val": 2, "test": 1})
    out = tmp_path / "new/out"
    assert run("How2Sign", root, out, "--chunk_size", 2) == 0
    text = capsys.readouterr().out
    found = parts(out, "How2Sign-1024.pami0.train")
    assert {number: len(samples) for number, samples in found.items()} == {0: 2, 1: 2, 2: 1}
    samples = [one for part in found.values() for one in part]
    assert [one["name"] for one in samples] == [f"train_{n}" for n in range(5)]
    assert [one["signer"] for one in samples] == ["train"] * 5
    for n, one in enumerate(samples):
        assert list(one) == ["sign", "text", "gloss", "signer", "name"] and one["gloss"] == ""
        assert one["text"] == f"train sentence {n}, with a comma"
        assert one["sign"].shape == (3 + n % 2, 1024) and one["sign"].dtype == np.float32
    frame = json.loads(
        (
            root / f"sentence_level/train/{JSON}/train_1-5-rgb_front/frame_000002_keypoints.json"
        ).read_text()
    )["people"][0]
    keys = ("pose_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d")
    numbers = [frame[key][i] for key in keys for i in range(len(frame[key])) if i % 3 < 2]
    np.testing.assert_array_equal(samples[1]["sign"][2, :134], np.array(numbers, np.float32))
    assert "Chunk 0 saved (2 samples)" in text and "RSS" in text
    assert "train: 5 samples in 3 parts (skipped 0)" in text
    assert len(parts(out, "How2Sign-1024.pami0.val")) == 1


def test_lsfb(tmp_path):
    root = write_lsfb(tmp_path, {"train": 3, "val": 1, "test": 1})
    assert run("LSFB-CONT", root, tmp_path / "out") == 0
    samples = parts(tmp_path / "out", "LSFB-CONT-1024.pami0.train")[0]
    assert [one["signer"] for one in samples] == [f"CLSFBI0103A_S00{n}_B" for n in (1, 2, 1)]
    assert samples[0]["sign"].shape == (20, 1024)
    body = np.load(root / "poses/pose/CLSFBI0103A_S002_B.npy")[5:25, :, :2].reshape(20, 66)
    np.testing.assert_array_equal(samples[1]["sign"][:, :66], body.astype(np.float32))
    hands = samples[0]["sign"][:, 66:150]
    assert not hands[10:].any() and hands[:10].all()  # NaN becomes 0


def test_settings_of_both_loaders(tmp_path, capsys):
    root = write_how2sign(tmp_path, {"train": 3, "val": 1, "test": 0})
    out = tmp_path / "out"
    assert run("How2Sign", root, out, "--chunk_size", 1) == 0
    printed = capsys.readouterr().out
    settings = yaml.safe_load(printed.partition("Settings for Signformer's loader:\n")[2])
    assert settings == yaml.safe_load((out / "How2Sign-1024.yaml").read_text())
    assert settings["data"] == {
        "data_path": str(out),
        "train": ["How2Sign-1024.pami0.train"],
        "dev": ["How2Sign-1024.pami0.val"],
        "feature_size": 1024,
        "stream_train_parts": True,
    }
    original = yaml.safe_load((out / "How2Sign-1024.original-loader.yaml").read_text())["data"]
    assert original["train"] == [f"How2Sign-1024.pami0.train.part{n}" for n in range(3)]
    assert original["feature_size"] == [1024]
    assert all((out / name).is_file() for name in original["train"] + original["dev"])


@pytest.mark.parametrize(("size", "chunk", "count"), [(5, 2, 3), (4, 2, 2), (3, 0, 1), (1, 200, 1)])
def test_number_of_parts(tmp_path, size, chunk, count):
    root = write_lsfb(tmp_path, {"train": size})
    run("LSFB-CONT", root, tmp_path / "out", "--chunk_size", chunk, "--splits", "train")
    assert len(parts(tmp_path / "out", "LSFB-CONT-1024.pami0.train")) == count


@pytest.mark.parametrize(
    ("size", "chunk", "count"), [(14446, 200, 73), (804, 200, 5), (2344, 100, 24)]
)
def test_number_of_parts_of_the_published_exports(tmp_path, size, chunk, count):
    report = export.Report(size)
    written = export.export_split(
        lambda name: export.Encoded(str(name), b"x"),
        list(range(size)),
        tmp_path / "base",
        chunk_size=chunk,
        workers=1,
        report=report,
    )
    samples = [part.samples for part in written]
    assert len(samples) == count and sum(samples) == report.written == size
    assert set(samples[:-1]) == {chunk}


def test_skipped_sentences_are_counted_and_listed(tmp_path, capsys):
    root = write_how2sign(tmp_path, {"train": 4, "val": 1, "test": 0})
    folder = root / "sentence_level/train" / JSON
    (folder / "train_0-5-rgb_front").rename(folder / "elsewhere")
    for file in (folder / "train_2-5-rgb_front").iterdir():
        file.write_text("{")
    (folder / "train_3-5-rgb_front/frame_000001_keypoints.json").write_text("{")
    out = tmp_path / "out"
    assert run("How2Sign", root, out, "--chunk_size", 2) == 0
    text = capsys.readouterr().out
    assert "train: 2 samples in 1 parts (skipped 2: 1 no pose, 1 unreadable)" in text
    assert "1 unreadable frames" in text and "No samples for split 'test'" in text
    samples = parts(out, "How2Sign-1024.pami0.train")[0]
    assert [one["name"] for one in samples] == ["train_1", "train_3"]
    assert len(samples[1]["sign"]) == 4 and not samples[1]["sign"][1].any()
    lines = (out / "How2Sign-1024.skipped.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["train_0", "train_2"]
    assert not list(out.glob("*test*"))
    assert run("How2Sign", root, out, "--max_skipped", 0.3) == 1
    assert "--max_skipped allows 30.0%" in capsys.readouterr().err
    assert run("How2Sign", root, out, "--max_skipped", 0.5) == 0


def test_recordings_without_a_row(tmp_path, capsys):
    """Two signers recorded a sentence that has one row: the second is named, exported if asked."""
    root = write_how2sign(tmp_path, {"train": 1})
    folder = root / "sentence_level/train" / JSON
    for number, signer in enumerate((1, 2)):
        for frame in range(2):
            write_frame(folder / f"X-{signer}-rgb_front", frame, [person(number)])
    write_frame(folder / "Y-1-rgb_front", 0, [person(7)])  # not a sentence of the table
    rows = [("id", "text", "split"), ("X", "two signers", "train"), ("train_0", "one", "train")]
    write_table(root / "annotations.csv", rows)

    out = tmp_path / "out"
    assert run("How2Sign", root, out, "--splits", "train") == 0
    text = capsys.readouterr().out
    assert "train: 2 samples in 1 parts (skipped 0)" in text
    assert (
        "1 recordings without a row of their own, left out (--all_recordings exports them): "
        "X-2-rgb_front\n" in text
    )
    assert [one["name"] for one in parts(out, "How2Sign-1024.pami0.train")[0]] == ["X", "train_0"]
    listed = json.loads((out / "How2Sign-1024.skipped.jsonl").read_text())
    assert (listed["name"], listed["reason"]) == ("X-2-rgb_front", "no row")

    assert run("How2Sign", root, out, "--splits", "train", "--all_recordings") == 0
    assert "exported with the text of their sentence: X-2-rgb_front\n" in capsys.readouterr().out
    samples = parts(out, "How2Sign-1024.pami0.train")[0]
    assert [(one["name"], one["text"]) for one in samples] == [
        ("X", "two signers"), ("train_0", "one"), ("X#1", "two signers"),
    ]  # fmt: skip
    numbers = [person(seed)["pose_keypoints_2d"][0] for seed in (0, 1)]
    assert [samples[i]["sign"][0, 0] for i in (0, 2)] == pytest.approx(numbers)
    assert (out / "How2Sign-1024.skipped.jsonl").read_text() == ""


def test_nothing_written(tmp_path, capsys):
    root = write_how2sign(tmp_path, {"train": 1})
    assert run("How2Sign", root, tmp_path / "out", "--splits", "val,test") == 1
    captured = capsys.readouterr()
    assert "nothing was written" in captured.err
    assert "No samples for split 'val'" in captured.out
    rows = [("id", "text", "split"), ("x", " ", "train"), ("train_0", "t", "other")]
    write_table(root / "annotations.csv", rows)
    assert run("How2Sign", root, tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "skipped 1: 1 no text" in captured.out and "unknown split 'other'" in captured.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--features", 133), "has 67 points, so 134 or more"),
        (("--chunk_size", -1), "--chunk_size -1: expected 0"),
        (("--workers", 0), "--workers 0"),
        (("--gzip_level", 10), "--gzip_level 10: expected 0 to 9"),
        (("--splits", "train,dev"), "no split 'dev'; there are: train, val, test"),
        (("--hand_threshold", 2), "--hand_threshold 2"),
        (("--max_skipped", -0.1), "--max_skipped"),
        (("--augmented", "/absent"), "no train_aug.tsv"),
    ],
)
def test_settings_that_cannot_be(tmp_path, options, message):
    root = write_how2sign(tmp_path, {"train": 1})
    with pytest.raises(ValueError, match=message):
        run("How2Sign", root, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_another_size_of_features(tmp_path):
    root = write_how2sign(tmp_path, {"train": 1})
    run("How2Sign", root, tmp_path / "out", "--features", 134)
    assert parts(tmp_path / "out", "How2Sign-134.pami0.train")[0][0]["sign"].shape == (3, 134)


def test_names_are_unique_in_augmented_splits(tmp_path):
    write_how2sign(tmp_path, {"train": 1, "val": 1, "test": 1})
    table = tmp_path / "aug/How2Sign/train_aug.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("id\ttext\ntrain_0\tone\ntrain_0\tein\ntrain_0\tone\n")
    assert run("How2Sign", tmp_path, tmp_path / "out", "--augmented", tmp_path / "aug") == 0
    samples = parts(tmp_path / "out", "How2Sign-aug-1024.pami0.train")[0]
    assert [(one["name"], one["text"]) for one in samples] == [
        ("train_0", "one"), ("train_0#1", "ein"), ("train_0#2", "one"),
    ]  # fmt: skip
    assert len(parts(tmp_path / "out", "How2Sign-aug-1024.pami0.test")[0]) == 1


def test_workers_change_nothing(tmp_path):
    root = write_lsfb(tmp_path, {"train": 23, "val": 2})
    run("LSFB-CONT", root, tmp_path / "one", "--chunk_size", 5)
    run("LSFB-CONT", root, tmp_path / "two", "--chunk_size", 5, workers=2)
    assert len(snapshot(tmp_path / "one")) == 6
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_parts_of_an_earlier_export_go(tmp_path):
    root = write_lsfb(tmp_path, {"train": 6, "val": 2})
    out = tmp_path / "out"
    run("LSFB-CONT", root, out, "--chunk_size", 1)
    (out / "tmp.LSFB-CONT-1024.pami0.train.part9").touch()
    (out / "How2Sign-1024.pami0.train.part7").touch()
    run("LSFB-CONT", root, out, "--chunk_size", 4, "--splits", "train")
    assert sorted(path.name for path in out.glob("*part*")) == [
        "How2Sign-1024.pami0.train.part7",
        "LSFB-CONT-1024.pami0.train.part0",
        "LSFB-CONT-1024.pami0.train.part1",
        "LSFB-CONT-1024.pami0.val.part0",
        "LSFB-CONT-1024.pami0.val.part1",
    ]
    (out / "LSFB-CONT-1024.pami0.val").touch()  # the loader would take it, and no part
    before = snapshot(out)
    with pytest.raises(ValueError, match="val exists: loaders read it instead"):
        run("LSFB-CONT", root, out)
    assert snapshot(out) == before


def test_the_input_is_only_read(tmp_path):
    root = write_how2sign(tmp_path, {"train": 2, "val": 1, "test": 1})
    for folder, _, files in os.walk(root, topdown=False):
        for name in (*files, "."):
            path = os.path.join(folder, name)
            os.chmod(path, os.stat(path).st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    before = {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*")}
    try:
        assert run("How2Sign", root, tmp_path / "out") == 0
        assert {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*")} == before
    finally:
        for folder, _, _ in os.walk(root):
            os.chmod(folder, 0o755)


def test_a_frame_of_more_people_counts_the_first(tmp_path):
    root = write_how2sign(tmp_path, {"train": 1}, frames=1)
    folder = root / f"sentence_level/train/{JSON}/train_0-5-rgb_front"
    write_frame(folder, 1, [])
    run("How2Sign", root, tmp_path / "out")
    sign = parts(tmp_path / "out", "How2Sign-1024.pami0.train")[0][0]["sign"]
    assert sign[0].any() and not sign[1].any() and len(sign) == 2


def test_official_table_and_real_frames(shared, tmp_path, capsys):
    """How2Sign as it is distributed, but with the frames of one clip only."""
    samples = shared / "data/samples"
    clips = tmp_path / "sentence_level/val" / JSON
    clips.mkdir(parents=True)
    name = "_2FBDaOPYig_1-3-rgb_front"
    (clips / name).symlink_to(samples / "openpose/how2sign_val/openpose_output/json" / name)
    table = samples / "annotations/how2sign_realigned_val.csv"
    convert_how2sign_csv.main(
        ["--input", str(table), "--split", "val", "--output", str(tmp_path / "annotations.csv")]
    )
    rows = read_table(tmp_path / "annotations.csv", ("id", "text", "split", "sentence_name"))
    wanted = next(row for row in rows if row["sentence_name"] == name)
    assert run("How2Sign", tmp_path, tmp_path / "out") == 0
    assert "val: 1 samples in 1 parts (skipped 1740: 1740 no pose)" in capsys.readouterr().out
    (one,) = parts(tmp_path / "out", "How2Sign-1024.pami0.val")[0]
    assert (one["text"], one["signer"]) == (wanted["text"], wanted["video_id"])
    assert one["name"].split("#")[0] == wanted["id"]
    np.testing.assert_allclose(one["sign"][0, :4], [666.535, 219.883, 682.2, 353.068], rtol=1e-6)
    assert one["sign"][0, 50:134].any() and one["sign"].shape == (1, 1024)


@pytest.mark.parametrize("dataset", CORPORA)
@pytest.mark.parametrize("augmented", [False, True])
def test_signformer_finds_the_language_by_the_name(dataset, augmented):
    name = export.base_name(CORPORA[dataset], 1024, augmented).split(".pami0")[0]
    assert name.endswith("-aug-1024") is augmented
    assert name.removesuffix("-aug-1024").removesuffix("-1024") == dataset


def test_samples_too_long_for_training_are_counted(tmp_path, capsys):
    root = write_lsfb(tmp_path, {"train": 1}, frames=402)
    video = "CLSFBI0103A_S001_B"
    rows = [("id", "text", "video_id", "start", "end", "split")]
    rows += [("a", "t", video, 0, 8000, "train"), ("b", "t", video, 0, 8020, "train")]
    write_table(root / "annotations.csv", rows)
    run("LSFB-CONT", root, tmp_path / "out")
    samples = parts(tmp_path / "out", "LSFB-CONT-1024.pami0.train")[0]
    assert [len(one["sign"]) for one in samples] == [400, 401]
    assert "1 samples of more than 400 frames" in capsys.readouterr().out
