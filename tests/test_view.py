"""Pages that play clips: what they hold, and in a browser what they do."""

import base64
import json
import re
from types import SimpleNamespace

import browser
import numpy as np
import pytest

from jaxvq import inference
from jaxvq.evaluators import player
from jaxvq.pose.reader import Pose, read_pose
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.writer import write_pose
from jaxvq.tokens.tokens import Tokens
from tools import poses_to_codes, view

SKELETON = SKELETONS["coco_wholebody_133"]
EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>@DATA@&amp;"
in_browser = pytest.mark.skipif(not browser.PROGRAM, reason="no Chromium is installed")


def make_pose(frames=20, depth=False, seed=0):
    rng = np.random.default_rng(seed)
    skeleton = SKELETON.with_coordinates("XYZ") if depth else SKELETON
    data = rng.normal(size=(frames, 133, skeleton.num_dims)).astype(np.float32)
    confidence = (rng.random((frames, 133)) < 0.9).astype(np.float32)
    return Pose(skeleton, data * confidence[..., None], confidence, 24.0)


def fake_tokenizer(skeleton=SKELETON):
    """What the page asks of a model: two streams of one code per 4 frames."""
    task = SimpleNamespace(
        token_shape=(2, 1),
        stream_parts=(("body", "face"), ("left_hand", "right_hand")),
        codebook_sizes=(100, 1000),
        frames_per_step=4,
    )
    return SimpleNamespace(task=task, model=SimpleNamespace(skeleton=skeleton))


def content(path) -> dict:
    """The data of a page; its places float (t, v, dims), NaN where there is no point."""
    text = path.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    data = json.loads(found)
    for clip in data["clips"]:
        for side in ("original", "decoded"):
            if clip[side]:
                numbers = np.frombuffer(base64.b64decode(clip[side]), "<i2").astype(float)
                numbers[numbers == -(2**15)] = np.nan
                clip[side] = numbers.reshape(clip["length"], -1, clip["dims"]) / 1000
    return data


def test_a_page_holds_poses_tokens_and_errors(tmp_path):
    original, decoded = make_pose(), make_pose(seed=1)
    hands = np.concatenate([SKELETON.parts["left_hand"], SKELETON.parts["right_hand"]])
    decoded.confidence[8:12, hands] = 0
    tokens = Tokens(np.arange(10).reshape(5, 2, 1), 24.0, 20)
    errors = np.linspace(0, 1, 20)
    errors[3] = np.nan
    clip = player.Clip("a", original, decoded, tokens, errors)
    player.write(tmp_path / "a.html", [clip], fake_tokenizer(), title="A")
    data = content(tmp_path / "a.html")
    assert data["books"] == [
        {"name": "body+face 1/1", "size": 100},
        {"name": "left hand+right hand 1/1", "size": 1000},
    ]
    assert data["frames_per_step"] == 4 and len(data["limbs"]) == len(SKELETON.limbs)
    (found,) = data["clips"]
    assert (found["fps"], found["length"], found["dims"], found["invented"]) == (24, 20, 2, True)
    for side, pose in (("original", original), ("decoded", decoded)):
        expected = np.where(pose.mask[..., None], np.nan, pose.data)
        np.testing.assert_allclose(found[side], expected, atol=6e-4)
    assert found["codes"] == [[2 * i, 2 * i + 1] for i in range(5)]
    assert found["absent"] == [[0, 0], [0, 0], [0, 1], [0, 0], [0, 0]]
    assert found["errors"][3] is None and found["errors"][19] == 1
    seen = np.delete(errors, 3).mean()
    assert found["caption"] == f"20 frames at 24 fps, 10 codes, error {seen:.3f} shoulder widths"


def test_flat_poses_do_not_turn(tmp_path):
    pose = make_pose(depth=True)
    flat = pose.replace(data=pose.data * np.float32([1, 1, 0.005]))
    clips = [player.Clip(name, one) for name, one in (("deep", pose), ("flat", flat))]
    player.write(tmp_path / "a.html", clips, fake_tokenizer(pose.skeleton), title="A")
    assert [clip["dims"] for clip in content(tmp_path / "a.html")["clips"]] == [3, 2]


def test_long_clips_are_cut_and_say_so(tmp_path):
    pose = player.first_frames(make_pose(player.MAX_FRAMES + 5))
    assert len(pose.data) == player.MAX_FRAMES
    assert "a page shows up to 2000" in player.caption(player.Clip("a", pose))


def test_errors_are_those_of_the_evaluation(tokenizer, clip):
    from jaxvq.evaluators import reconstruction

    (shown,) = player.clips(tokenizer, [("a", clip)])
    expected = reconstruction.evaluate(tokenizer, iter([clip])).values["mpjpe/all"]
    weights = (~clip.mask).sum(1)
    assert np.average(shown.errors, weights=weights) == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def published(version_0_1):
    return version_0_1 / "published"


@pytest.fixture(scope="module")
def clips(version_0_1):
    return sorted((version_0_1 / "clips").glob("*.pose"))


@pytest.fixture(scope="module")
def tokenizer(published):
    return inference.load(published)


@pytest.fixture(scope="module")
def clip(tokenizer, clips):
    return tokenizer.standardize(read_pose(clips[0]))[0]


def test_view_of_poses_codes_and_runs(published, clips, version_0_1, tokenizer, tmp_path, capsys):
    page, codes = tmp_path / "new" / "page.html", tmp_path / "codes.csv"
    rest = ["--model", str(published), "--output", str(page), "--no-browser"]
    assert view.main([str(clips[0]), *rest]) == 0
    assert f"{page}: open it in a browser" in capsys.readouterr().out
    (one,) = content(page)["clips"]
    tokens = tokenizer.encode(read_pose(clips[0]))
    assert one["codes"] == tokens.indices.reshape(len(tokens.indices), -1).tolist()
    assert one["original"] is not None and "error 0." in one["caption"]

    view.main([str(version_0_1 / "clips"), *rest, "--clips", "2"])
    assert [clip["name"] for clip in content(page)["clips"]] == [path.name for path in clips[:2]]

    arguments = ["--model", str(published), "--data", str(clips[0].parent), "--output", str(codes)]
    poses_to_codes.main(arguments)
    for source in (codes, version_0_1 / "tokens.jvq"):
        view.main([str(source), *rest])
        shown = content(page)["clips"]
        assert len(shown) == 3 and all(clip["original"] is None for clip in shown)
        assert shown[0]["codes"] == one["codes"]
        pose = tokenizer.decode(tokens)
        places = pose.data[..., : shown[0]["dims"]] / 200 - 1.25
        expected = np.where(pose.mask[..., None], np.nan, places)
        np.testing.assert_allclose(shown[0]["decoded"], expected, atol=2e-3)

    view.main([str(published), *rest[2:], "--data_dir", str(version_0_1 / "data")])
    shown = content(page)["clips"]
    assert shown and all(clip["caption"].startswith("test split, ") for clip in shown)


def test_names_from_files_are_text(published, clips, tmp_path):
    name = EVIL.replace("/", "∕")[:120] + ".pose"
    write_pose(tmp_path / name, read_pose(clips[0]))
    page = tmp_path / "page.html"
    view.main([str(tmp_path / name), "--model", str(published), "--output", str(page)])
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text and text.count("<script") == 2
    assert content(page)["clips"][0]["name"] == name


def test_what_cannot_be_shown_is_one_line(published, tmp_path):
    broken = tmp_path / "broken.pose"
    broken.write_bytes(b"no pose")
    for words, message in (
        (["nothing.pose"], "nothing.pose: no such file"),
        ([str(broken), "--model", str(published)], "broken.pose"),
        ([str(published), "--clips", "0"], "--clips 0: expected 1 or more"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            view.main([*words, "--output", str(tmp_path / "page.html")])
        assert "\n" not in str(error.value)
    assert not (tmp_path / "page.html").exists()


# ------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def page(tmp_path_factory, tokenizer, clip):
    path = tmp_path_factory.mktemp("page") / "page.html"
    shown = list(player.clips(tokenizer, [("first", clip), (EVIL, clip)]))
    player.write(path, shown, tokenizer, title=EVIL)
    return path


@in_browser
def test_a_page_plays_and_scrubs_without_a_network(page):
    with browser.Page(page) as shown:
        shown.wait_for("playing && frame > 2")
        shown.run("get('play').click()")
        assert shown.run("playing") is False and shown.run("get('play').textContent") == "Play"
        shown.run("get('time').value = 7; get('time').oninput({target: get('time')})")
        assert shown.run("get('now').textContent").endswith(
            f"frame 8 of {shown.run('clip.length')}"
        )
        place = shown.run("(box => [box.left, box.top, box.width])(strip.getBoundingClientRect())")
        left, top, width = place
        shown.mouse("mouseMoved", left + width - 8, top + 9 + 3 * 18)
        told = shown.run("get('code').textContent")
        code = shown.run("clip.codes.at(-1)[3]")
        assert f"face 2/2: code {code} " in told.replace(" (nothing there)", "")
        shown.mouse("mousePressed", left + width - 8, top + 9)
        shown.mouse("mouseReleased", left + width - 8, top + 9)
        assert shown.run("frame >= clip.length - 2")
        ink = "pen => [...pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height).data]"
        count = f"({ink})(poses.getContext('2d')).filter((v, i) => i % 4 === 3 && v).length"
        assert shown.run(count) > 1000
        shown.run("get('over').click(); get('clip').value = 1")
        shown.run("get('clip').onchange({target: get('clip')})")
        assert shown.run("frame") == 0
        assert shown.run("window.evil === undefined && !document.querySelector('img')")
        assert shown.run("get('clip').selectedOptions[0].text").startswith("</script>")
        assert shown.problems == [] and shown.requests == [page.as_uri()]


@in_browser
def test_a_page_fits_a_phone(page):
    with browser.Page(page, 390, 844, phone=True) as shown:
        assert shown.run("document.documentElement.scrollWidth") == 390
        assert shown.run("innerWidth") == 390
        assert shown.run("poses.getBoundingClientRect().right") <= 390
        assert shown.problems == []


@in_browser
def test_poses_with_depth_turn(tmp_path):
    pose = make_pose(depth=True)
    clips = [player.Clip("deep", pose)]
    player.write(tmp_path / "a.html", clips, fake_tokenizer(pose.skeleton), title="A")
    with browser.Page(tmp_path / "a.html") as shown:
        x, y = shown.run(
            "(b => [b.left + b.width / 2, b.top + b.height / 2])(poses.getBoundingClientRect())"
        )
        shown.mouse("mouseMoved", x, y)
        shown.mouse("mousePressed", x, y)
        shown.mouse("mouseMoved", x + 60, y)
        shown.mouse("mouseReleased", x + 60, y)
        assert shown.run("yaw") == pytest.approx(0.4)
        assert shown.run("get('hint').hidden") is False and shown.problems == []
