"""`make demo` as a whole; a minute long."""

import json

import pytest

from tools import demo


@pytest.mark.slow
def test_demo_goes_all_the_way(tmp_path):
    output = tmp_path / "demo"
    demo.main(["--output", str(output), "--num_clips", "40", "--steps", "60"])
    metrics = json.loads((output / "evaluation" / "metrics.json").read_text())
    assert metrics["mpjpe/all"] < metrics["mpjpe_mean_pose/all"]
    assert (output / "evaluation" / "index.html").stat().st_size > 10_000
    assert len((output / "codes.csv").read_text().splitlines()) == 41
    assert len(list((output / "decoded").glob("*.pose"))) == 40


def test_demo_does_not_empty_a_folder_of_others(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        demo.main(["--output", str(tmp_path)])
    assert (tmp_path / "thesis.tex").exists()
