"""Pictures and pages of an evaluation: files that parse and hold what they should."""

import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxvq.evaluators import page, reconstruction
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import streams
from tools.evaluation import pictures

SKELETON = SKELETONS["coco_wholebody_133"]
RNG = np.random.default_rng(0)
SVG = "{http://www.w3.org/2000/svg}"


def pose(frames=20):
    data = RNG.normal(size=(frames, 133, 2)).astype(np.float32)
    confidence = (RNG.random((frames, 133)) < 0.9).astype(np.float32)
    return Pose(SKELETON, data * confidence[..., None], confidence, 24.0)


def words(path) -> list[str]:
    return [text.text for text in ElementTree.parse(path).getroot().iter(f"{SVG}text")]


def test_charts_have_units_legends_and_captions(tmp_path):
    pytest.importorskip("matplotlib")
    errors = RNG.random(133)
    errors[7] = np.nan
    statistics = Statistics(RNG.normal(size=(133, 2)), np.ones((133, 2)))
    counts = RNG.integers(1, 50, (3, 64))
    counts[1] = 0
    counts[2, 8:] = 0
    values = {"mpjpe/all": 0.5, "mpjpe/face": 0.25, "mpjpe_mean_pose/all": 1.0, "mse": 3.0}
    names = ("body 1/1", "face 1/1", "left hand 1/1")
    evaluation = reconstruction.Evaluation(values, errors, counts, names)
    charts = pictures.write_charts(tmp_path, evaluation, statistics, SKELETON, (64, 64, 32))
    parts, points, usage = (words(path) for path in charts)
    assert "mean distance of a point (shoulder widths)" in parts
    assert {"all", "face", "0.500", "1.000", "decoded from tokens"} <= set(parts)
    assert "mean distance (shoulder widths)" in points
    assert {"rank of the code", "times used"} <= set(usage)
    shares = {"body 1/1: 100.0 % used", "face 1/1: 0.0 % used", "left hand 1/1: 25.0 % used"}
    assert shares <= set(usage)
    assert all("$" not in word for word in parts + points + usage)
    for chart in charts:  # narrow enough for letters of 8 points to be read on a phone
        assert float(ElementTree.parse(chart).getroot().get("width").removesuffix("pt")) < 340
    assert all(caption.endswith(".") for caption in charts.values())


def test_motion_is_in_metres_and_its_path_in_metres_per_second(tmp_path):
    pytest.importorskip("matplotlib")
    pictures.write_part_errors(tmp_path / "x.svg", {"mpjpe/body": 0.1, "mpjpe/path": 0.3}, "metres")
    assert {"mean distance of a point (metres)", "path (m/s)"} <= set(words(tmp_path / "x.svg"))
    assert page.meaning("mpjpe/body", unit="metres") == "points of the body, in metres"
    assert page.meaning("mpjpe/path", unit="metres") == "points of the path, in m/s and rad/s"


def test_without_matplotlib_there_are_no_charts(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert pictures.write_charts(tmp_path, None, None, None, ()) == {}
    assert not list(tmp_path.iterdir())


def test_strip_shows_both_rows(tmp_path):
    pictures.write_strip(tmp_path / "s.png", pose(), pose())
    assert Image.open(tmp_path / "s.png").size == (8 * 160, 2 * 160)


def test_points_that_the_original_lacks_are_grey(tmp_path):
    original = pose()
    gone = original.replace(confidence=np.zeros_like(original.confidence))

    def inks(first, second):
        pictures.write_strip(tmp_path / "s.png", first, second)
        pixels = np.asarray(Image.open(tmp_path / "s.png").convert("RGB"))[160:].reshape(-1, 3)
        return pixels[(pixels < 250).any(1)].astype(int)

    assert np.ptp(inks(gone, original), axis=1).max() == 0  # grey upon grey
    assert np.ptp(inks(original, original), axis=1).max() > 100


def test_report_is_a_table(tmp_path):
    about = {"split": "test", "data_dir": "DATA", "checkpoint": "RUN", "step": 3}
    page.write_report(tmp_path / "r.md", metrics={"mse": 0.5, "other": 2}, about=about)
    text = (tmp_path / "r.md").read_text()
    assert "# test of DATA" in text and re.search(r"\| mse \| mean square .* \| 0.5 \|", text)


def test_codebooks_are_named_after_their_part_of_the_body():
    statistics = Statistics(RNG.normal(size=(133, 2)), np.ones((133, 2)))
    groups = streams.make_groups("body+face hands", SKELETON, statistics)
    whole = SimpleNamespace(token_shape=(1, 2), stream_parts=((),))
    task = streams.Streams(groups, (whole, whole))
    assert reconstruction.codebook_names(task) == (
        "body+face 1/2",
        "body+face 2/2",
        "left hand 1/2",
        "left hand 2/2",
        "right hand 1/2",
        "right hand 2/2",
    )
    assert reconstruction.codebook_names(whole) == ("codebook 1/2", "codebook 2/2")


def test_every_number_has_a_meaning_and_its_unit(tmp_path):
    names = ("body 1/2", "body 2/2", "face 1/2", "face 2/2")
    assert page.meaning("perplexity/3", names) == "face 1/2: effective number of codes"
    assert page.meaning("code_utilization/3") == "codebook 3: percent of the codes in use"
    assert "the first 2 layer(s) of the tokens, in shoulder" in page.meaning("mpjpe_layers/2")
    for key in ("mpjpe/body", "mpjpe/face", "mpjpe_mean_pose/hands", "mpjpe", "pck/0.02", "mae"):
        assert "shoulder widths" in page.meaning(key), key
    for key in ("loss", "clips", "frames", "bits_per_frame", "bits_per_second", "velocity"):
        assert page.meaning(key), key
    assert page.meaning("of another program") == page.meaning("other/1") == ""
    about = {"split": "test", "data_dir": "DATA", "checkpoint": "RUN", "step": 3}
    metrics = {"mpjpe/body": 0.1, "perplexity/4": 7.0}
    page.write_report(tmp_path / "r.md", metrics=metrics, about=about, codebooks=names)
    report = (tmp_path / "r.md").read_text()
    assert "| mpjpe/body | points of the body, in shoulder widths | 0.1 |" in report
    assert "| perplexity/4 | face 2/2: effective number of codes | 7 |" in report
