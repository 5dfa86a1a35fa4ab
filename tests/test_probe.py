"""tools.probe: the meaning card of models and folders, comparisons, and wrong input in one line."""

import argparse
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

from jaxvq import inference
from jaxvq.pose import files, preprocess
from jaxvq.pose.reader import Pose, read_pose
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.skeletons import OPENPOSE_67
from jaxvq.pose.writer import write_pose as write_existing
from tools import benchmark_meaning, evaluate, probe, publish_model
from tools.probes import invariance, letters, report, subjects

LETTERS, ALPHABETS = "ABCDEFGH", ("one", "two", "three")


def write_pose(path, pose):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_existing(path, pose)


def spelled(shape, seed):
    """A clip in pixels: still shoulders, and a raised right hand that holds a shape (21, 3)."""
    rng = np.random.default_rng(seed)
    frames = 24 + seed % 5
    data = np.zeros((frames, 178, 3), np.float32)
    confidence = np.zeros((frames, 178), np.float32)
    right, left = HOLISTIC_178.shoulders
    _, (_, wrist, points) = HOLISTIC_178.wrist_pairs
    data[:, right], data[:, left], data[:, wrist] = (200, 200, 0), (300, 200, 0), (220, 180, 0)
    data[:, points] = (220, 180, 0) + 100 * shape + rng.normal(0, 1, (frames, 21, 3))
    data[:, points[0]] = (220, 180, 0)
    confidence[:, [right, left, wrist]] = 1
    confidence[3:, points] = 1
    return Pose(HOLISTIC_178, data, confidence, 25.0, (500, 500, 0))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """8 letters of 3 alphabets as .pose files."""
    folder = tmp_path_factory.mktemp("letters")
    shapes = np.random.default_rng(0).normal(0, 0.2, (len(LETTERS), 21, 3))
    shapes[:, 0] = 0
    for a, alphabet in enumerate(ALPHABETS):
        for i, letter in enumerate(LETTERS):
            pose = spelled(shapes[i], 8 * a + i)
            write_pose(folder / f"{alphabet}-{letter}.pose", pose)
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    rows = [f"{a}-{letter},{a},{letter}" for a in ALPHABETS for letter in LETTERS]
    path.write_text("\n".join(["clip,alphabet,letter", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def measured(run_dir, clips, labels, tmp_path_factory):
    """The card of a run; few changes, for time."""
    output = tmp_path_factory.mktemp("card") / "run"
    chosen = ("tilt 5°", "mirrored, hands swapped", "shift by 1", "points dropped, 20%")
    every = invariance.changes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invariance, "changes", lambda n: [c for c in every(n) if c.name in chosen])
        assert probe.main(
            ["--data", str(clips), "--labels", str(labels), "--checkpoint", str(run_dir),
             "--output", str(output), "--name", "tiny"]
        ) == 0  # fmt: skip
    return output


def values(folder):
    card = json.loads((folder / "card.json").read_text())
    return {name: measure["value"] for name, measure in card["measures"].items()}


def probe_folder(decoded, clips, labels, output, *more):
    arguments = ["--data", clips, "--labels", labels, "--decoded", decoded, "--output", output]
    assert probe.main([str(x) for x in (*arguments, *more)]) == 0
    return values(output)


# ---------------------------------------------------------------------------------- what it shows


def test_a_tokenizer_that_keeps_everything(clips, labels, tmp_path):
    found = probe_folder(clips, clips, labels, tmp_path / "card")
    for name in ("letters/retention", "letters/same answer", "letters/linear probe, retention"):
        assert found[name] == 1
    assert found["letters/raw top-1"] == 1
    lost = [v for name, v in found.items() if name.startswith(("error/", "distances/")) and v]
    assert np.allclose(lost, 0, atol=1e-4)
    assert found["motion/hands shown but absent"] == found["motion/hands lost"] == 0
    assert found["motion/onset error"] == found["motion/onsets not found"] == 0
    assert (
        found["motion/jitter of still hands, raw"] == found["motion/jitter of still hands, decoded"]
    )
    missing = json.loads((tmp_path / "card/card.json").read_text())["missing"]
    assert set(missing) == {"codes", "invariance"}
    assert "no codes" in missing["codes"]


def test_a_tokenizer_that_keeps_nothing(clips, labels, tmp_path):
    """The mean of all clips, in every frame, with all points: letters by chance, an eighth."""
    poses = [read_pose(file.read()) for file in files.list_poses(clips)]
    mean = np.mean([pose.data[5] for pose in poses], axis=0)
    for file, pose in zip(files.list_poses(clips), poses, strict=True):
        data = np.broadcast_to(mean, pose.data.shape).astype(np.float32)
        seen = np.ones_like(pose.confidence)
        write_pose(tmp_path / "mean" / file.key, pose.replace(data=data, confidence=seen))
    found = probe_folder(tmp_path / "mean", clips, labels, tmp_path / "card")
    assert found["letters/retention"] < 0.4
    assert found["letters/linear probe, decoded"] < 0.3
    assert found["motion/hands shown but absent"] == 1
    assert found["motion/onsets not found"] == 1
    assert found["distances/DTWp"] > 0.1


def test_card_of_a_run(measured):
    card = json.loads((measured / "card.json").read_text())
    assert card["missing"] == {}
    assert {name.split("/")[0] for name in card["measures"]} == set(report.TITLES)
    found = values(measured)
    # Steps of one frame are never partly empty.
    assert found["codes/nominal bits"] == pytest.approx(found["codes/nominal bits, full steps"])
    assert 0 < found["codes/real bits"]
    assert found["invariance/shift by 1/equal codes"] is not None
    assert card["about"]["clips"] == 24
    text = (measured / "card.md").read_text()
    assert "| tilt 5° |" in text and "# Meaning card: tiny" in text
    page = (measured / "index.html").read_text()
    assert page.count("data:image/png") == 4 and "<svg" in page and "http" not in page


def test_decoding_equals_the_models_own(run_dir, clips):
    """Batches that are filled up give the codes and poses of those that are not."""
    tokenizer = inference.load(run_dir)
    read = subjects.read_clips(clips, {}, tokenizer.model.skeleton)
    decoded, codes = subjects.decode(tokenizer, read.poses[:3])
    originals = [read_pose(file.read()) for file in files.list_poses(clips)[:3]]
    for tokens, indices in zip(tokenizer.encode(originals), codes, strict=True):
        np.testing.assert_array_equal(tokens.indices, indices)
    poses = tokenizer.reconstruct(originals)
    for pose, original, ours in zip(poses, originals, decoded, strict=True):
        own = preprocess.place(pose, preprocess.find_placement(original))
        ours = preprocess.unshift_hands(ours)
        np.testing.assert_array_equal(ours.mask, own.mask)
        np.testing.assert_allclose(ours.data[~ours.mask], own.data[~own.mask], atol=1e-3)


def test_comparison_with_another_card(measured, clips, labels, tmp_path, run_dir):
    probe_folder(clips, clips, labels, tmp_path / "card", "--against", measured, "--name", "all")
    card = json.loads((tmp_path / "card/card.json").read_text())
    against = card["against"]["tiny"]
    assert against["error/all"]["difference"] < 0 and against["error/all"]["better"] is True
    assert against["letters/retention"]["difference"] >= 0
    assert "minus tiny" in (tmp_path / "card/card.md").read_text()


def test_cards_of_folds_are_combined(clips, labels, tmp_path):
    """One alphabet at a time: together, the card of all."""
    folds = []
    for alphabet in ALPHABETS:
        folds.append(tmp_path / alphabet)
        probe_folder(clips, clips, labels, folds[-1], "--alphabets", alphabet)
        assert json.loads((folds[-1] / "card.json").read_text())["about"]["clips"] == 8
    joined = tmp_path / "joined"
    assert probe.main(["--combine", *map(str, folds), "--output", str(joined)]) == 0
    whole = probe_folder(clips, clips, labels, tmp_path / "whole")
    for name in ("letters/raw top-1", "letters/raw precision", "motion/jitter of still hands, raw"):
        assert values(joined)[name] == pytest.approx(whole[name])


def test_only_what_counts_is_decoded(clips, labels, tmp_path, run_dir, capsys):
    """Clips without labels are in no gallery; with --alphabets they do not count either."""
    more = tmp_path / "clips"
    shutil.copytree(clips, more)
    shutil.copy(next(clips.iterdir()), more / "unlabelled.pose")
    words = ["--data", more, "--labels", labels, "--model", run_dir, "--parts", "error"]
    words += ["--num_pictures", 0, "--output", tmp_path / "card"]
    for alphabets, count in (([], 25), (["--alphabets", "one"], 24)):
        assert probe.main([str(x) for x in (*words, *alphabets)]) == 0
        assert f"encoding and decoding {count} clips" in capsys.readouterr().out


def test_the_baseline_of_the_benchmark(clips, labels, tmp_path):
    """Principal components and differences with fine steps keep the letters and the hands."""
    args = argparse.Namespace(input=clips, labels=labels, output=tmp_path)
    data = benchmark_meaning.build(args, 0, ["one"])
    flags = ["--config.size=8", "--config.step=0.1"]
    benchmark_meaning.measure_baseline(args, tmp_path, flags, data, ["one"])
    found = values(tmp_path / "card")
    assert found["letters/retention"] > 0.9
    assert found["motion/hands shown but absent"] == found["motion/hands lost"] == 0
    assert 0 < found["codes/real bits"] < found["codes/nominal bits"]


def test_letters_of_real_clips(shared):
    """13 alphabets: most of what can be found is, and chance is what it says."""
    known = letters.read_labels(shared / "data/sign_corpus_labels.csv")
    read = subjects.read_clips(shared / "data/sign_corpus.zip", {}, HOLISTIC_178)
    chosen = letters.choose(known, read.names)
    assert len(chosen) == 280 and len({known[name][1] for name in chosen}) == 26
    shapes = letters.hand_shapes([read.poses[read.names.index(name)] for name in chosen])
    found = letters.retrieve(letters.distances(shapes, shapes), letters.labels_of(known, chosen))
    assert found.top1 == pytest.approx(0.55, abs=0.005)
    assert found.mean_average_precision == pytest.approx(0.3256, abs=0.003)
    assert found.chance == pytest.approx(0.0385, abs=0.0005)


# --------------------------------------------------------------------------- cards that go along


def test_evaluation_takes_the_card_along(run_dir, measured, tmp_path):
    arguments = ["--checkpoint", str(run_dir), "--output_dir", str(tmp_path)]
    assert evaluate.main([*arguments, "--card", str(measured)]) == 0
    text = (tmp_path / "evaluation_report.md").read_text()
    assert "letters/retention" in text and "(meaning_card.md)" in text
    assert (tmp_path / "meaning_card.html").is_file()


def test_publishing_takes_the_card_along(run_dir, measured, tmp_path, clips, labels):
    pytest.importorskip("flatbuffers")
    (tmp_path / "LICENSE").write_text("Terms\n")
    arguments = ["--checkpoint", run_dir, "--license", tmp_path / "LICENSE", "--output"]
    arguments = [str(x) for x in (*arguments, tmp_path / "out", "--card")]
    publish_model.main([*arguments, str(measured)])
    text = (tmp_path / "out/README.md").read_text()
    assert "What its tokens keep" in text and "codes/real bits" in text
    assert (tmp_path / "out/meaning_card.json").is_file()
    inference.load(tmp_path / "out")  # its sums cover the card
    probe_folder(clips, clips, labels, tmp_path / "other", "--parts", "error")
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ValueError, match="card of another model"):
        publish_model.main([*arguments, str(tmp_path / "other")])
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------------------------- bad input


def run(*arguments):
    command = [sys.executable, "-m", "tools.probe", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_mistake_ends_in_one_line(clips, tmp_path):
    done = run("--data", clips, "--decoded", tmp_path, "--output", tmp_path / "card")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def fails(match, *arguments):
    with pytest.raises(ValueError, match=match) as caught:
        probe.main([str(x) for x in arguments])
    assert "\n" not in str(caught.value)


def test_labels_that_fit_nothing(clips, tmp_path):
    path, output = tmp_path / "labels.csv", tmp_path / "card"
    flags = ["--data", clips, "--decoded", clips, "--output", output, "--labels", path]
    path.write_text("clip,alphabet,letter\nnobody,one,A\n")
    fails("none of the labels names a clip, for example 'nobody'", *flags)
    path.write_text("clip,alphabet,letter\none-A,one,A\none-B,one,B\n")
    fails("one alphabet; retrieval needs two", *flags)
    path.write_text("file,sign\none-A,A\n")
    fails("expected rows with the columns clip, alphabet, letter", *flags)
    assert not output.exists()


def test_decoded_poses_that_fit_nothing(clips, tmp_path):
    flags = ["--data", clips, "--output", tmp_path / "card", "--decoded"]
    pose = read_pose(clips / "one-A.pose")
    short = pose.replace(data=pose.data[:-1], confidence=pose.confidence[:-1])
    write_pose(tmp_path / "short/one-A.pose", short)
    frames = len(pose.data)
    fails(f"one-A.pose has {frames - 1} frames, the original {frames}", *flags, tmp_path / "short")
    write_pose(tmp_path / "other/name.pose", pose)
    fails("no file has the name of a clip", *flags, tmp_path / "other")


def test_flags_that_fit_nothing(clips, labels, tmp_path, run_dir):
    output = ["--output", tmp_path / "card"]
    fails("nothing to measure: give one of", *output)
    fails("--model and --decoded: give one", *output, "--model", "x", "--decoded", "y")
    fails("--data is missing", *output, "--model", run_dir)
    flags = ["--data", clips, "--labels", labels, "--decoded", clips, *output]
    fails("choose from letters, error", *flags, "--parts", "music")
    fails("there are: one, three, two", *flags, "--alphabets", "four")
    fails("no card.json", *flags, "--against", tmp_path)
    fails("expected 0 or more", *flags, "--num_pictures", "-1")


def test_poses_without_hands(clips, labels, tmp_path):
    """The parts that need hands say so; the rest is written."""
    for file in files.list_poses(clips):
        pose = read_pose(file.read())
        confidence = pose.confidence.copy()
        for name in ("left_hand", "right_hand"):
            confidence[:, HOLISTIC_178.parts[name]] = 0
        data = np.where(confidence[..., None] == 0, 0, pose.data)
        write_pose(tmp_path / "in" / file.key, pose.replace(data=data, confidence=confidence))
    found = probe_folder(tmp_path / "in", tmp_path / "in", labels, tmp_path / "card")
    missing = json.loads((tmp_path / "card/card.json").read_text())["missing"]
    assert "none of the labelled clips shows a whole hand" in missing["letters"]
    assert found["error/all"] == 0 and found["motion/hands lost"] is None
    assert "not computed" not in (tmp_path / "card/card.md").read_text().split("## Not")[0]


def test_another_skeleton(tmp_path):
    """Clips are measured with their own points where they are not MediaPipe's."""
    rng = np.random.default_rng(0)
    for i in range(3):
        data = rng.uniform(0, 100, (20, 67, 2)).astype(np.float32)
        right, left = OPENPOSE_67.shoulders
        data[:, right], data[:, left] = (0, 50), (100, 50)
        pose = Pose(OPENPOSE_67, data, np.ones((20, 67), np.float32), 25.0, (100, 100, 0))
        write_pose(tmp_path / "in" / f"{i}.pose", pose)
    flags = ["--data", tmp_path / "in", "--decoded", tmp_path / "in", "--output", tmp_path / "card"]
    assert probe.main([str(x) for x in flags]) == 0
    card = json.loads((tmp_path / "card/card.json").read_text())
    assert "no labels" in card["missing"]["letters"]
    assert card["measures"]["error/hands"]["value"] == 0
