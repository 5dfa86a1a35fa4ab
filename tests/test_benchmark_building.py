"""The benchmark of building prints its table."""

import pytest

from tools import benchmark_building


@pytest.mark.parametrize("layout", [[], ["--compact"]])
def test_table(tmp_path, capsys, layout):
    from tools import make_synthetic_corpus as synthetic

    synthetic.write_corpus(tmp_path, num_clips=3, seed=0)
    benchmark_building.main(
        ["--input", str(tmp_path), "--clips", "6,3", "--frames", "10", "--workers", "1", *layout]
    )
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:7]]
    assert [row[:2] for row in cells[2:]] == [
        ["sign-vq, 1 process", "3"],
        ["its calls alone", "3"],
        ["build_dataset, 1 processes", "3"],
        ["build_dataset, 1 processes", "6"],
        ["build_dataset, 1 processes, steady", "3 more"],
    ]
    assert all(float(row[2].replace(",", "")) >= 0 for row in cells[2:])
    assert float(cells[4][5]) > 50
    assert lines[8].startswith("peak at 6 clips / 3 clips: ")
    assert lines[9].startswith("563,000 clips: ")


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="--clips 0: expected numbers"):
        benchmark_building.main(["--input", str(tmp_path), "--clips", "0"])
    (tmp_path / "bad.pose").write_text("no pose")
    with pytest.raises(ValueError, match="no usable clip"):
        benchmark_building.main(["--input", str(tmp_path)])
