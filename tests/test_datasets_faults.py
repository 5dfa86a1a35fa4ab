"""Builds that meet a full disk, files that change under them, odd names, and very many of them."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxvq.datasets import building, recipes, shards, splits
from jaxvq.pose import files
from tests import clips
from tests.test_datasets_building import contents, options
from tools import build_dataset, zip_dataset

ODD_NAMES = [
    "with space.pose",
    "-dash.pose",
    "Gebärde 手語.pose",
    "a'b\"c;$HOME.pose",
    "-more/%d{x}.pose",
    "x.y.pose",
]


def test_a_full_disk_leaves_what_was_there(tmp_path):
    clips.write_clips(tmp_path / "old", [4] * 3)
    argv = [
        "--corpus",
        "sign_poses",
        "--data_dir",
        str(tmp_path / "data"),
        "--overwrite",
        "--workers",
        "1",
    ]
    build_dataset.main([*argv, "--input", str(tmp_path / "old")])
    folder = tmp_path / "data/sign_poses/holistic_178/1.0.0"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    clips.write_clips(tmp_path / "new", [60] * 8)

    def limit():  # what a file may hold, as the disk were full
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(
        [sys.executable, "-m", "tools.build_dataset", *argv, "--input", str(tmp_path / "new")],
        cwd=Path(__file__).parent.parent,
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("error: ") and "File too large" in error, done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


@pytest.fixture
def meddling(monkeypatch):
    """Does something while a clip is read, once: meddling(action)."""

    def start(action) -> None:
        encode = shards.Encoder.__call__
        actions = [action]

        def call(self, clip):
            encoded = encode(self, clip)
            if actions:
                actions.pop()()
            return encoded

        monkeypatch.setattr(shards.Encoder, "__call__", call)

    return start


def test_a_file_disappears_during_the_build(tmp_path, meddling, capsys):
    paths = clips.write_clips(tmp_path / "in", [4] * 6)
    keys = [str(path.relative_to(tmp_path / "in")) for path in paths]
    order = [key for split in splits.assign_splits(keys, None).values() for key in split]
    meddling((tmp_path / "in" / order[-1]).unlink)
    argv = [
        "--corpus",
        "sign_poses",
        "--input",
        str(tmp_path / "in"),
        "--data_dir",
        str(tmp_path / "data"),
        "--workers",
        "1",
        "--max_skipped",
        "0.2",
    ]
    build_dataset.main(argv)
    assert "warning: the input changed while it was read" in capsys.readouterr().out
    (listed,) = (tmp_path / "data").rglob("skipped.jsonl")
    skipped = json.loads(listed.read_text())
    assert (skipped["file"], skipped["reason"]) == (order[-1], "unreadable")
    with pytest.raises(ValueError, match=r"the input \(6 files then, 5 now\)"):
        build_dataset.main(argv)


def test_a_file_changes_during_the_build(tmp_path, meddling):
    paths = clips.write_clips(tmp_path / "in", [4] * 6)

    def change() -> None:  # a writer that is not done: every file ends too soon
        for path in paths:
            path.write_bytes(path.read_bytes()[:-50])

    meddling(change)
    folder, _ = building.build(
        "sign_poses", tmp_path / "data", options(tmp_path / "in", max_skipped=0.9)
    )
    counters = json.loads((folder / "counters.json").read_text())
    assert counters["input_changed"] and counters["skipped"] == {"malformed": 5}
    assert sum(map(len, contents(folder).values())) == 1
    with pytest.raises(ValueError, match="since then this has changed: the input"):
        building.build("sign_poses", tmp_path / "data", options(tmp_path / "in", max_skipped=0.9))


def test_odd_names(tmp_path):
    for seed, name in enumerate(ODD_NAMES):
        path = tmp_path / "-in put" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        clips.write_pose(path, clips.make_pose(4, seed))
    build_dataset.main(
        [
            "--corpus",
            "sign_poses",
            f"--input={tmp_path / '-in put'}",
            "--data_dir",
            str(tmp_path / "daten ä"),
            "--workers",
            "2",
        ]
    )
    stored = contents(tmp_path / "daten ä")
    assert {clip["id"] for split in stored.values() for clip in split} == set(ODD_NAMES)
    archive = tmp_path / "-out put.zip"
    zip_dataset.main([f"--input={tmp_path / '-in put'}", f"--output={archive}", "--workers", "1"])
    assert {Path(clip.key).stem for clip in files.list_poses(archive)} == {
        Path(name).stem for name in ODD_NAMES
    }


def test_equal_stems_in_several_folders(tmp_path):
    for seed, folder in enumerate("abc"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        clips.write_pose(tmp_path / "in" / folder / "clip.pose", clips.make_pose(3 + seed, seed))
    folder, _ = building.build("sign_poses", tmp_path, options(tmp_path / "in"))
    stored = contents(folder)
    (split,) = (split for split in stored if stored[split])  # the stem decides: all in one
    lengths = {clip["id"]: len(clip["data"]) for clip in stored[split]}
    assert lengths == {"a/clip.pose": 3, "b/clip.pose": 4, "c/clip.pose": 5}


def test_a_hundred_thousand_names(tmp_path):
    for number in range(10):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        handle = os.open(folder, os.O_RDONLY)
        first = f"{folder}/0.pose"
        Path(first).touch()
        for name in range(1, 10_000):
            os.link(first, f"{name}.pose", dst_dir_fd=handle)
        os.close(handle)
    start = time.process_time()
    listed = files.list_poses(tmp_path)
    assigned = splits.assign_splits((clip.key for clip in listed), None)
    recipe = recipes.make_recipe(listed, options(tmp_path))
    assert time.process_time() - start < 8
    assert recipe["files"] == len(listed) == 100_000
    assert 79_000 < len(assigned["train"]) < 81_000
    assert listed[0].read() == b"" and listed[0].key == "0/0.pose"
