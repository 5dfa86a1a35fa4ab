"""The sign_poses dataset: what is stored, in which order, and what happens when things go wrong."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxvq import input_pipeline
from jaxvq.datasets import building, layout, recipes, schema, shards, splits
from jaxvq.pose import files, preprocess, reader, statistics
from jaxvq.pose.skeleton import HOLISTIC_178, Skeleton
from tests import clips
from tests.clips import contents, options
from tools import build_dataset

LENGTHS = [3 + i % 7 for i in range(30)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    clips.write_clips(folder, LENGTHS)
    return folder


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory) -> Path:
    data_dir = tmp_path_factory.mktemp("data")
    folder, _ = building.build("sign_poses", data_dir, options(corpus))
    return folder


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for split in one:
        assert [c["id"] for c in one[split]] == [c["id"] for c in other[split]]
        for a, b in zip(one[split], other[split], strict=True):
            np.testing.assert_array_equal(a["data"], b["data"])
            np.testing.assert_array_equal(a["mask"], b["mask"])
            assert a["fps"] == b["fps"]


def test_plain_tfds_reads_it_without_tensorflow(built, corpus):
    sources = tfds.builder_from_directory(built).as_data_source()
    seen = {}
    for split, source in sources.items():
        for example in source:
            key = example["id"].decode()
            seen[key] = split
            pose, _ = preprocess.preprocess(reader.read_pose(corpus / key))
            assert example["data"].dtype == np.float16 and example["mask"].dtype == np.bool_
            np.testing.assert_array_equal(example["data"], pose.data.astype(np.float16))
            np.testing.assert_array_equal(example["mask"], pose.mask)
            assert not example["data"][example["mask"]].any()
            assert example["fps"] == pose.fps
    assert len(seen) == len(LENGTHS)
    for key, split in seen.items():
        digit = int(hashlib.md5(Path(key).stem.encode()).hexdigest(), 16) % 10
        assert split == ("validation" if digit == 8 else "test" if digit == 9 else "train")
    assert "tensorflow" not in sys.modules


def test_our_parser_equals_that_of_tfds(built):
    source = tfds.builder_from_directory(built).as_data_source("train")
    for theirs, ours in zip(source, contents(built)["train"], strict=True):
        np.testing.assert_array_equal(theirs["data"], ours["data"])
        np.testing.assert_array_equal(theirs["mask"], ours["mask"])
        assert (theirs["id"].decode(), theirs["fps"]) == (ours["id"], ours["fps"])


def test_side_files(built, corpus):
    stored = contents(built)
    for split, lengths in input_pipeline.open_dataset(built).lengths.items():
        assert lengths.dtype == np.int32
        assert lengths.tolist() == [len(clip["data"]) for clip in stored[split]]
        keys = [clip["id"] for clip in stored[split]]
        assert keys == sorted(keys, key=splits.record_order)
    assert Skeleton.from_json(json.loads((built / "skeleton.json").read_text())) == HOLISTIC_178
    assert (built / "header.poseheader").stat().st_size > 1000
    assert (built / "skipped.jsonl").read_text() == ""
    poses = [
        preprocess.preprocess(reader.read_pose(corpus / clip["id"]))[0] for clip in stored["train"]
    ]
    data = np.concatenate([pose.data for pose in poses]).astype(np.float64)
    mask = np.repeat(np.concatenate([pose.mask for pose in poses])[..., None], 3, axis=-1)
    masked = np.ma.masked_array(data, mask)
    found = statistics.load_statistics(built / "pose_normalization.json", HOLISTIC_178)
    np.testing.assert_allclose(found.mean, masked.mean(axis=0).filled(0), atol=1e-5)
    std = masked.std(axis=0).filled(0)
    np.testing.assert_allclose(found.std, np.where(std == 0, 1, std), rtol=1e-4)


def test_workers_zip_and_shards_do_not_change_the_content(built, corpus, tmp_path, monkeypatch):
    archive = tmp_path / "corpus.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in corpus.rglob("*.pose"):
            target.write(path, path.relative_to(corpus))
    several, _ = building.build(
        "sign_poses", tmp_path / "a", options(archive, workers=2, num_shards=3)
    )
    assert len(list(several.glob("*-train.array_record-*-of-00003"))) == 3
    assert_same(contents(built), contents(several))
    for name in ("skeleton.json", "header.poseheader"):
        assert (several / name).read_bytes() == (built / name).read_bytes()
    one, _ = building.build("sign_poses", tmp_path / "one", options(archive, num_shards=3))
    name = "pose_normalization.json"
    assert (several / name).read_bytes() == (one / name).read_bytes()
    # Moments are merged shard by shard, so other shards mean another rounding.
    ours, theirs = (input_pipeline.open_dataset(folder).statistics for folder in (built, several))
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.std, theirs.std, rtol=1e-6)

    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)  # as if the splits were above a gigabyte
    large, _ = building.build("sign_poses", tmp_path / "b", options(corpus))
    assert len(list(large.glob("*-train.array_record-*"))) > 3
    assert_same(contents(built), contents(large))
    assert len(tfds.builder_from_directory(large).as_data_source("train")) == len(
        contents(built)["train"]
    )


def test_runs_hold_all_clips_in_order_and_many_processes_have_something_to_do():
    listed = {"train": list(range(100_000)), "validation": list(range(550)), "test": []}
    for num_shards, counts in ((None, (100, 9)), (282, (282, 282))):
        runs = shards.plan_runs(listed, num_shards)
        for split, count in zip(("train", "validation"), counts, strict=True):
            of_split = [run for run in runs if run.split == split]
            assert len(of_split) == count
            assert [clip for run in of_split for clip in run.clips] == listed[split]
            assert [run.number for run in of_split] == list(range(count))
            sizes = [len(run.clips) for run in of_split]
            assert max(sizes) - min(sizes) <= 1
        assert not any(run.split == "test" for run in runs)


def test_more_shards_than_clips(tmp_path):
    clips.write_clips(tmp_path / "in", [4, 5])
    folder, _ = building.build("sign_poses", tmp_path, options(tmp_path / "in", num_shards=16))
    assert sum(map(len, contents(folder).values())) == 2
    tfds.builder_from_directory(folder).as_data_source()


def test_fps_makes_another_config(corpus, tmp_path):
    folder, _ = building.build("sign_poses", tmp_path, options(corpus), fps=12.5)
    assert folder.parent.name == "holistic_178_fps_12.5"
    fps = {clip["fps"] for split in contents(folder).values() for clip in split}
    assert fps == {12.5}
    with pytest.raises(ValueError, match="must be positive"):
        building.build("sign_poses", tmp_path, options(corpus), fps=-1)


def test_skipped_clips_are_counted_and_listed(tmp_path):
    source = tmp_path / "in"
    paths = clips.write_clips(source, [5] * 10)
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    (source / "note.pose").write_text("not a pose at all")
    no_shoulders = clips.make_pose(5, seed=99)
    confidence = no_shoulders.confidence.copy()
    confidence[:, :8] = 0
    clips.write_pose(source / "hands.pose", no_shoulders.replace(confidence=confidence))
    (source / "unreadable.pose").symlink_to(tmp_path / "gone")

    argv = [
        "--corpus",
        "sign_poses",
        "--input",
        str(source),
        "--data_dir",
        str(tmp_path / "data"),
        "--workers",
        "1",
    ]
    with pytest.raises(ValueError, match="4 of 13 clips cannot be used") as caught:
        build_dataset.main(argv)
    config = tmp_path / "data/sign_poses/holistic_178"
    assert str(config / "skipped.jsonl") in str(caught.value)
    assert "hands.pose" in str(caught.value)
    failed = [json.loads(line) for line in (config / "skipped.jsonl").read_text().splitlines()]
    assert [path.name for path in config.iterdir()] == ["skipped.jsonl"]

    build_dataset.main([*argv, "--max_skipped", "0.5"])
    folder = config / "1.0.0"
    listed = [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
    assert listed == failed
    assert {line["file"]: line["reason"] for line in listed} == {
        paths[0].name: "malformed",
        "note.pose": "malformed",
        "hands.pose": "no shoulders",
        "unreadable.pose": "unreadable",
    }
    counters = json.loads((folder / "counters.json").read_text())
    assert counters["skipped"] == {"malformed": 2, "no shoulders": 1, "unreadable": 1}
    assert sum(split["clips"] for split in counters["splits"].values()) == 9
    assert sum(split["frames"] for split in counters["splits"].values()) == 45
    assert not (config / "skipped.jsonl").exists()


def test_an_input_of_bad_files_ends_early(tmp_path, monkeypatch):
    for i in range(30):
        (tmp_path / f"{i}.pose").write_text("no pose")
    monkeypatch.setattr(shards, "GIVE_UP_AFTER", 5)
    with pytest.raises(ValueError, match="7 of 30 clips cannot be used"):
        building.build("sign_poses", tmp_path / "data", options(tmp_path))


def test_built_again(tmp_path, capsys):
    source = tmp_path / "in"
    paths = clips.write_clips(source, [4] * 5)
    argv = [
        "--corpus",
        "sign_poses",
        "--input",
        str(source),
        "--data_dir",
        str(tmp_path / "data"),
        "--workers",
        "1",
    ]
    build_dataset.main(argv)
    assert capsys.readouterr().out.startswith("built: ")
    folder = tmp_path / "data/sign_poses/holistic_178/1.0.0"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build_dataset.main(argv)
    assert capsys.readouterr().out.startswith("already built: ")
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    with pytest.raises(ValueError, match=r"--num_shards \(None then, 2 now.*--overwrite"):
        build_dataset.main([*argv, "--num_shards", "2"])
    paths[0].write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"the input \(5 files then, 5 now\).*--overwrite"):
        build_dataset.main(argv)
    with pytest.raises(ValueError, match="1 of 5 clips"):
        build_dataset.main([*argv, "--overwrite"])
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}  # still there
    build_dataset.main([*argv, "--overwrite", "--max_skipped", "0.2"])
    assert sum(map(len, contents(folder).values())) == 4
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


@pytest.mark.parametrize("earlier", [False, True])
def test_killed_and_started_again(corpus, built, tmp_path, earlier):
    data_dir = tmp_path / "data"
    argv = ["--corpus", "sign_poses", "--data_dir", str(data_dir), "--workers", "2", "--overwrite"]
    if earlier:  # a finished dataset must survive a kill while it is being replaced
        clips.write_clips(tmp_path / "small", [4] * 3)
        build_dataset.main([*argv, "--input", str(tmp_path / "small"), "--workers", "1"])
    # The last clip to be read is a pipe that nobody writes to, so the build is sure to be halfway.
    stuck = tmp_path / "in"
    stuck.mkdir()
    for path in corpus.rglob("*.pose"):
        (stuck / path.name).symlink_to(path)
    os.mkfifo(stuck / "clip_stuck.pose")
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.build_dataset", *argv, "--input", str(stuck)],
        cwd=Path(__file__).parent.parent,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    config = data_dir / "sign_poses/holistic_178"
    wait_until(lambda: list(config.glob("incomplete.*_1.0.0/incomplete.*")))
    children = child_processes(process.pid)
    assert len(children) >= 2
    with pytest.raises(ValueError, match="another build is writing"):
        building.build("sign_poses", data_dir, options(corpus))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    assert list(config.glob("incomplete.*"))

    folder, was_built = building.build("sign_poses", data_dir, options(corpus), overwrite=True)
    assert was_built
    assert_same(contents(built), contents(folder))
    assert [path.name for path in config.iterdir()] == ["1.0.0"]
    assert not any("incomplete" in path.name for path in data_dir.rglob("*"))


def wait_until(condition, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def child_processes(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_split_file(corpus, tmp_path):
    keys = sorted(str(path.relative_to(corpus)) for path in corpus.rglob("*.pose"))
    by_json = tmp_path / "splits.json"
    by_json.write_text(json.dumps({"train": [keys[0], Path(keys[1]).stem], "test": [keys[2]]}))
    folder, _ = building.build("sign_poses", tmp_path, options(corpus, split_file=str(by_json)))
    ids = {split: {clip["id"] for clip in stored} for split, stored in contents(folder).items()}
    assert ids == {"train": set(keys[:2]), "validation": set(), "test": {keys[2]}}

    by_csv = tmp_path / "splits.csv"
    by_csv.write_text(f"file,split\n{keys[0]},dev\n{Path(keys[3]).stem},train\n")
    assert splits.assign_splits(keys, by_csv) == {
        "train": [keys[3]], "validation": [keys[0]], "test": []
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.json", '{"training": ["a"]}', "unknown split 'training'; there are: train, validation"),
        ("s.json", '{"train": ["a"], "test": ["a"]}', "'a' is both in train and in test"),
        ("s.json", '["a"]', "expected"),
        ("s.json", "{", "not JSON"),
        ("s.csv", "a,b\n", "columns file,split"),
        ("s.csv", "file,split\n", "names no clips"),
        ("s.csv", "file,split\nb,train\n", "none of its 1 names is a clip"),
    ],
)
def test_bad_split_files(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        splits.assign_splits(["a.pose"], path)


def test_nothing_to_train_on(tmp_path, capsys):
    paths = clips.write_clips(tmp_path / "in", [4, 5])
    split_file = tmp_path / "splits.json"
    split_file.write_text(json.dumps({"test": [path.stem for path in paths]}))
    build_dataset.main(
        [
            "--corpus",
            "sign_poses",
            "--input",
            str(tmp_path / "in"),
            "--data_dir",
            str(tmp_path),
            "--split_file",
            str(split_file),
        ]
    )
    assert "warning: no clip to train on" in capsys.readouterr().out
    dataset = input_pipeline.open_dataset(tmp_path)
    assert not dataset.statistics.mean.any() and (dataset.statistics.std == 1).all()


def test_wrong_arguments(corpus, tmp_path):
    with pytest.raises(ValueError, match="no corpus 'signs'; there are: .*sign_poses"):
        building.build("signs", tmp_path, options(corpus))
    with pytest.raises(ValueError, match="max_skipped 5"):
        options(corpus, max_skipped=5)
    with pytest.raises(ValueError, match="only .pose files"):
        building.build("sign_poses", tmp_path, options(corpus, stats=str(corpus / "clip_0.pose")))
    with pytest.raises(ValueError, match="no such file or directory"):
        building.build("sign_poses", tmp_path, options(tmp_path / "nothing"))


def test_real_corpus(shared, tmp_path):
    folder, _ = building.build(
        "sign_poses", tmp_path, options(shared / "data/samples/pose", max_skipped=0.3)
    )
    counters = json.loads((folder / "counters.json").read_text())
    assert sum(split["clips"] for split in counters["splits"].values()) >= 39
    frames = sum(split["frames"] for split in counters["splits"].values())
    stored = sum(path.stat().st_size for path in folder.glob("*array_record*"))
    # 543 points of four float32 are 8688 bytes; ArrayRecord pads its files to 64 KiB.
    assert (stored - 3 * 65536) / frames < 0.19 * 8688


def test_schema_is_what_tfds_says():
    features = schema.features(HOLISTIC_178)
    assert features["data"].shape == (None, 178, 3) and features["mask"].shape == (None, 178)


@pytest.mark.parametrize("as_zip", [False, True])
def test_the_input_is_listed_once(corpus, tmp_path, monkeypatch, as_zip):
    source, listed = corpus, []
    if as_zip:
        source = tmp_path / "corpus.zip"
        with zipfile.ZipFile(source, "w") as target:
            for path in corpus.rglob("*.pose"):
                target.write(path, path.relative_to(corpus))
    inner = files.list_poses
    monkeypatch.setattr(files, "list_poses", lambda *a, **k: listed.append(a) or inner(*a, **k))
    for times in (1, 2):  # built, and found already built
        building.build("sign_poses", tmp_path / "data", options(source), fps=12.5)
        assert len(listed) == times


def test_the_layout_is_stated(corpus, tmp_path):
    for changes, fps, expected in (
        ({}, None, layout.Layout("float16")),
        ({"compact": True}, 12.5, layout.Layout("fixed_point", 12.5)),
    ):
        folder, _ = building.build("sign_poses", tmp_path, options(corpus, **changes), fps=fps)
        assert layout.read(folder) == expected
        assert input_pipeline.open_dataset(folder).fps == expected.fps


def test_built_inside_its_input(tmp_path):
    clips.write_clips(tmp_path, [4] * 3)
    for expected in (True, False):
        folder, was_built = building.build("sign_poses", tmp_path / "data", options(tmp_path))
        assert was_built == expected
    assert sum(map(len, contents(folder).values())) == 3


def test_names_that_are_not_unicode(tmp_path):
    (path,) = clips.write_clips(tmp_path, [4])
    path.rename(os.fsdecode(os.fsencode(tmp_path / "clip_") + b"\xff.pose"))
    with pytest.raises(ValueError, match="none of the 1 clips can be used"):
        building.build("sign_poses", tmp_path / "data", options(tmp_path))
    (listed,) = tmp_path.rglob("skipped.jsonl")
    assert json.loads(listed.read_text())["reason"] == "odd name"


def test_every_option_that_changes_content_is_in_the_name(corpus, tmp_path):
    assert recipes.full_name("holistic_178_fps_25", options(corpus)) == "holistic_178_fps_25"
    split_file = tmp_path / "splits.csv"
    names = set()
    for content in ("file,split\na,train\n", "file,split\na,test\n"):
        split_file.write_text(content)
        changed = options(corpus, split_file=str(split_file), compact=True, hand_threshold=0.2)
        names.add(recipes.full_name("holistic_178_fps_25", changed))
    assert len(names) == 2
    for name in names:
        assert name.startswith("holistic_178_fps_25_hands_0.2_compact_splits_")


def test_tables_of_frame_rates_and_hands(built):
    with np.load(built / "lengths.npz") as tables:
        for split, stored in contents(built).items():
            assert tables[f"{split}_fps"].tolist() == [clip["fps"] for clip in stored]
            hands = [
                np.mean([(~clip["mask"][:, HOLISTIC_178.parts[hand]]).any(axis=1).mean()
                         for hand in ("left_hand", "right_hand")]) for clip in stored
            ]  # fmt: skip
            np.testing.assert_allclose(tables[f"{split}_hands"], hands, rtol=1e-6)
