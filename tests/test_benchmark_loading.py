"""The loading benchmark prints one complete row a format."""

import json

import pytest

from tests import clips
from tools import benchmark_loading


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(benchmark_loading, "SECONDS", 0.02)
    monkeypatch.setattr(benchmark_loading, "SEQ_LEN", 32)


def test_table(tmp_path, capsys):
    clips.write_clips(tmp_path, [5, 9, 12, 7])
    (tmp_path / "bad.pose").write_text("no pose")
    numbers = tmp_path / "numbers.json"
    benchmark_loading.main(
        [
            "--input",
            str(tmp_path),
            "--workers",
            "0",
            "--repeats",
            "1",
            "--frames",
            "0",
            "--json",
            str(numbers),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    columns = ["Format", "Size", "cold start", "it/s", "it/s shuffled", "as float32", "first epoch"]
    assert lines[0].startswith(f"| {' | '.join(columns)} | num_workers=")
    rows = {line.split(" | ")[0].strip("| "): line for line in lines[2:7]}
    assert tuple(rows) == benchmark_loading.FORMATS
    assert all(row.count("|") == lines[0].count("|") for row in rows.values())
    assert lines[8].startswith("4 clips; ")
    assert [line.partition(":")[0] for line in lines[9:]] == ["arrayrecord", "arrayrecord_compact"]
    stored = json.loads(numbers.read_text())
    assert stored["clips"] == 4 and len(stored["rows"]) == 5
    assert all(row["rate_workers"]["0"] > 0 for row in stored["rows"])
    assert all(row["rate_first"] > 0 for row in stored["rows"])
    assert all(0 < row["rate_float32"] for row in stored["rows"])
    assert stored["rows"][3]["packed_frames"]["0"] > 0


def test_cut_clips_and_some_formats(tmp_path, capsys):
    clips.write_clips(tmp_path, [5, 9, 12, 7, 8])
    benchmark_loading.main(
        [
            "--input",
            str(tmp_path),
            "--workers",
            "0",
            "--repeats",
            "1",
            "--formats",
            "zip,arrayrecord",
            "--frames",
            "8",
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 and lines[5].startswith("3 clips")
    with pytest.raises(ValueError, match="clip of 13 frames or more; --frames 0 takes all"):
        benchmark_loading.main(["--input", str(tmp_path), "--frames", "13"])


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'hdf5'; there are: pose, npz_dir, zip"):
        benchmark_loading.main(["--input", str(tmp_path), "--formats", "pose,hdf5"])
    with pytest.raises(ValueError, match="expected numbers such as 0,2,4"):
        benchmark_loading.main(["--input", str(tmp_path), "--workers", "two"])
