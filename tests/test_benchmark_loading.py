"""The loading benchmark prints one complete row a format."""

import pytest

from tests import clips
from tools import benchmark_loading


def test_table(tmp_path, capsys):
    clips.write_clips(tmp_path, [5, 9, 12, 7])
    (tmp_path / "bad.pose").write_text("no pose")
    benchmark_loading.main(["--input", str(tmp_path), "--workers", "0", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| Format | Size | cold start | it/s | it/s shuffled | num_workers=0 |"
    rows = {line.split(" | ")[0].strip("| "): line for line in lines[2:6]}
    assert list(rows) == ["pose", "npz_dir", "zip", "arrayrecord"]
    assert all(row.count("|") == lines[0].count("|") for row in rows.values())
    assert "arrayrecord is" in lines[7]
    assert lines[-1].startswith("  num_workers=0: ") and lines[-1].endswith(" rows/s")


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'hdf5'; there are: pose, npz_dir, zip"):
        benchmark_loading.main(["--input", str(tmp_path), "--formats", "pose,hdf5"])
    with pytest.raises(ValueError, match="expected numbers such as 0,2,4"):
        benchmark_loading.main(["--input", str(tmp_path), "--workers", "two"])
