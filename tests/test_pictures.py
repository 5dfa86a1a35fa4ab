"""Pictures and pages of an evaluation: files that parse and hold what they should."""

import json
import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
from PIL import Image

from jaxvq.evaluators import animation, page, pictures, reconstruction
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import streams

SKELETON = SKELETONS["coco_wholebody_133"]
RNG = np.random.default_rng(0)
SVG = "{http://www.w3.org/2000/svg}"


def pose(frames=20):
    data = RNG.normal(size=(frames, 133, 2)).astype(np.float32)
    confidence = (RNG.random((frames, 133)) < 0.9).astype(np.float32)
    return Pose(SKELETON, data * confidence[..., None], confidence, 24.0)


def test_point_errors_are_drawn_and_named(tmp_path):
    errors = RNG.random(133)
    errors[7] = np.nan
    statistics = Statistics(RNG.normal(size=(133, 2)), np.ones((133, 2)))
    pictures.write_point_errors(tmp_path / "e.svg", errors, statistics, SKELETON)
    root = ElementTree.parse(tmp_path / "e.svg").getroot()
    circles = root.findall(f"{SVG}circle")
    assert len(circles) == 133 and len(root.findall(f"{SVG}line")) == len(SKELETON.limbs)
    titles = [circle.find(f"{SVG}title").text for circle in circles]
    assert titles[0] == f"BODY nose: {errors[0]:.3f} shoulder widths" and "not seen" in titles[7]
    colors = {circle.get("fill") for circle in circles}
    assert "#a50026" in colors and "#fff" in colors  # the largest error, and the unseen point


def test_code_usage_has_a_line_a_codebook(tmp_path):
    counts = RNG.integers(0, 50, (3, 64))
    counts[1] = 0
    pictures.write_code_usage(tmp_path / "u.svg", counts, (64, 64, 32))
    root = ElementTree.parse(tmp_path / "u.svg").getroot()
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 3
    used = (counts[0] > 0).sum()
    assert len(lines[0].get("points").split()) == used
    assert f"{100 * used / 64:.1f} %" in lines[0].find(f"{SVG}title").text
    assert lines[2].find(f"{SVG}title").text.startswith("codebook 3: ")
    names = ("body 1/1", "face 1/1", "left hand 1/1")
    pictures.write_code_usage(tmp_path / "u.svg", counts, (64, 64, 32), names)
    root = ElementTree.parse(tmp_path / "u.svg").getroot()
    titles = [line.find(f"{SVG}title").text for line in root.iter(f"{SVG}polyline")]
    assert [title.split(":")[0] for title in titles] == [*names]


def test_strip_shows_both_rows(tmp_path):
    pictures.write_strip(tmp_path / "s.png", pose(), pose())
    assert Image.open(tmp_path / "s.png").size == (8 * 160, 2 * 160)


def test_animation_is_one_file_with_both_clips(tmp_path):
    original, again = pose(), pose()
    animation.write_animation(tmp_path / "a.html", original, again, "a </script> & b")
    text = (tmp_path / "a.html").read_text()
    assert "http" not in text.replace("http-equiv", "") and "@" not in text
    assert "a &lt;/script&gt; &amp; b" in text
    data = json.loads(re.search(r'application/json">(.*?)</script>', text, re.S)[1])
    assert data["fps"] == 24 and len(data["limbs"]) == len(SKELETON.limbs)
    for clip, source in zip(data["clips"], (original, again), strict=True):
        assert len(clip) == 20
        for point, place, missing in zip(clip[3], source.data[3], source.mask[3], strict=True):
            assert point == (0 if missing else [*np.round(place * 1000).astype(int), 0])


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


def test_the_page_names_codebooks_and_links_what_plays(tmp_path):
    drawn = [tmp_path / f"sequence_test_{i}.png" for i in range(2)]
    for path in drawn:
        pictures.write_strip(path, pose(), pose())
    animation.write_animation(tmp_path / "animation_test_1.html", pose(), pose(), "test 1")
    page.write_page(
        tmp_path / "index.html",
        title="test",
        metrics={"perplexity/2": 3.0},
        videos=[],
        captions=[],
        pictures=drawn,
        codebooks=("body 1/1", "face 1/1"),
    )
    text = (tmp_path / "index.html").read_text()
    assert "<td>perplexity/2</td><td>face 1/1: effective number of codes</td><td>3</td>" in text
    assert re.findall(r'href="([^"]+)"', text) == ["animation_test_1.html"]  # that which is there
