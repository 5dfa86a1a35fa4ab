"""The programs around poses: statistics, mean pose, copying a bucket, the benchmark."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxvq.pose.preprocess import preprocess
from jaxvq.pose.reader import read_pose
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics, load_statistics, save_statistics
from tools import benchmark_preprocessing, compute_stats, draw_mean_pose, sync_poses
from tools.make_synthetic_corpus import write_corpus


@pytest.fixture
def corpus(tmp_path):
    write_corpus(tmp_path / "corpus", num_clips=3)
    return tmp_path / "corpus"


def test_statistics_and_mean_pose_of_a_corpus(corpus, tmp_path, capsys):
    (corpus / "broken.pose").write_bytes(b"nothing")
    output = tmp_path / "stats" / "pose_normalization.json"
    assert compute_stats.main(["--input", str(corpus), "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert "3 clips, 1 left out" in printed.out
    assert "left out: broken.pose: not a .pose file" in printed.err
    poses = [preprocess(read_pose(p))[0] for p in sorted(corpus.glob("synthetic*"))]
    data = np.concatenate([p.data for p in poses]).astype(np.float64)
    mask = np.repeat(np.concatenate([p.mask for p in poses])[..., None], 3, axis=2)
    masked = np.ma.masked_array(data, mask)
    statistics = load_statistics(output, HOLISTIC_178)
    np.testing.assert_allclose(statistics.mean, masked.mean(axis=0), atol=1e-6)
    content = json.loads(output.read_text())
    assert content["LEFT_HAND_LANDMARKS"]["WRIST"] == {"mean": [0, 0, 0], "std": [0, 0, 0]}
    assert (output.parent / "header.poseheader").stat().st_size > 1000

    picture = tmp_path / "mean.png"
    assert draw_mean_pose.main(["--stats", str(output), "--output", str(picture)]) == 0
    pixels = np.asarray(Image.open(picture))
    assert pixels.shape == (512, 512, 3) and 0.005 < (pixels < 255).any(axis=-1).mean() < 0.5


@pytest.mark.parametrize("name", SKELETONS)
def test_the_mean_pose_of_every_skeleton_is_drawn(name, tmp_path):
    skeleton = SKELETONS[name]
    places = np.random.default_rng(0).normal(size=(skeleton.num_points, skeleton.num_dims))
    stats = tmp_path / "stats.json"
    save_statistics(stats, skeleton, Statistics(places, np.ones_like(places)))
    picture = tmp_path / "mean.png"
    for more in ([], ["--skeleton", name]):
        assert not draw_mean_pose.main(["--stats", str(stats), "--output", str(picture), *more])
        pixels = np.asarray(Image.open(picture))
        assert 0.005 < (pixels < 255).any(axis=-1).mean() < 0.5


def test_the_mean_pose_of_unknown_points_is_one_line(tmp_path):
    stats = tmp_path / "stats.json"
    stats.write_text('{"ME": {"a": {"mean": [0, 0], "std": [1, 1]}}}')
    arguments = ["--stats", str(stats), "--output", str(tmp_path / "x.png")]
    with pytest.raises(ValueError, match="no named skeleton has these points; give --skeleton"):
        draw_mean_pose.main(arguments)
    with pytest.raises(ValueError, match="not statistics of these points"):
        draw_mean_pose.main([*arguments, "--skeleton", "lsfb_75"])
    stats.write_text("no JSON")
    with pytest.raises(ValueError, match="stats.json: not statistics"):
        draw_mean_pose.main(arguments)


def test_statistics_of_nothing_readable(tmp_path):
    (tmp_path / "x.pose").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="none of the 1 files"):
        compute_stats.main(["--input", str(tmp_path), "--output", str(tmp_path / "x.json")])
    assert not (tmp_path / "x.json").exists()


@pytest.fixture
def gsutil(tmp_path, monkeypatch):
    """A gsutil that only notes its arguments."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    script = folder / "gsutil"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {log}\nexit ${{GSUTIL_CODE:-0}}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def test_syncing_never_deletes_unasked(gsutil, tmp_path, monkeypatch):
    folder = str(tmp_path / "poses")
    assert sync_poses.main([folder]) == 0
    assert gsutil.read_text().split() == ["-m", "rsync", "gs://sign-mt-poses", folder]
    assert sync_poses.main([folder, "--delete_extra", "--bucket", "gs://other"]) == 0
    assert gsutil.read_text().split() == ["-m", "rsync", "-d", "gs://other", folder]
    monkeypatch.setenv("GSUTIL_CODE", "3")
    assert sync_poses.main([folder]) == 3
    with pytest.raises(ValueError, match="expected an address such as gs://"):
        sync_poses.main([folder, "--bucket", "http://other"])


def test_syncing_without_gsutil(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="gsutil is not installed"):
        sync_poses.main([str(tmp_path / "poses")])


def test_benchmark_prints_a_table(corpus, tmp_path, capsys):
    output = tmp_path / "table.md"
    arguments = ["--input", str(corpus), "--repeats", "3", "--output", str(output)]
    assert benchmark_preprocessing.main(arguments) == 0
    lines = output.read_text().splitlines()
    assert lines[0].startswith("3 clips") and capsys.readouterr().out == output.read_text()
    ratio = float(lines[-1].split("|")[-2])
    assert lines[-1].startswith("| jaxvq.pose |") and ratio > 2  # far above it on a quiet machine


@pytest.mark.parametrize(
    "tool", ["compute_stats", "draw_mean_pose", "sync_poses", "benchmark_preprocessing"]
)
def test_wrong_arguments_are_one_line(tool, tmp_path):
    arguments = {
        "compute_stats": ["--input", "/nowhere", "--output", "x.json"],
        "draw_mean_pose": ["--stats", "/nowhere", "--output", "x.png"],
        "sync_poses": ["x", "--bucket", "nowhere"],
        "benchmark_preprocessing": ["--input", "/nowhere"],
    }[tool]
    done = subprocess.run(
        [sys.executable, "-m", f"tools.{tool}", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2 and "nowhere" in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
