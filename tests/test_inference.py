"""Poses to tokens and back through the API and the commands that users call."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import REPOSITORY

from jaxvq import checkpoint, inference
from jaxvq.pose import preprocess
from jaxvq.pose.reader import read_pose
from jaxvq.pose.resample import resample
from jaxvq.pose.writer import write_pose
from jaxvq.windows import FRAMES_PER_BATCH
from tools import evaluate, fit_code_tables


@pytest.fixture(scope="module")
def tokenizer(run_dir):
    return inference.load(run_dir)


@pytest.fixture(scope="module")
def poses(corpus):
    return [read_pose(path) for path in sorted(corpus.glob("*.pose"))[1:5]]


def test_decode_of_encode_is_the_forward_pass(tokenizer, poses):
    clips = [tokenizer.standardize(pose)[0] for pose in poses]
    whole = tokenizer.reconstruct_clips(clips)
    decoded = list(tokenizer.decode_tokens(tokenizer.encode(poses)))
    for a, b, clip in zip(whole, decoded, clips, strict=True):
        assert a.shape == b.shape == clip.data.shape
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_batching_changes_nothing(tokenizer, poses):
    """One by one, all together, and in another order: the same tokens."""
    together = tokenizer.encode(poses)
    for pose, tokens in zip(poses, together, strict=True):
        alone = tokenizer.encode(pose)
        assert (
            (alone.fps, alone.length) == (tokens.fps, tokens.length) == (pose.fps, len(pose.data))
        )
        np.testing.assert_array_equal(alone.indices, tokens.indices)
    for tokens, reverse in zip(together, tokenizer.encode(poses[::-1])[::-1], strict=True):
        np.testing.assert_array_equal(tokens.indices, reverse.indices)


def test_a_clip_of_15000_frames_is_its_windows(tokenizer, poses):
    pose = poses[0]
    repeats = -(-15_000 // len(pose.data))
    long = pose.replace(
        data=np.tile(pose.data, (repeats, 1, 1))[:15_000],
        confidence=np.tile(pose.confidence, (repeats, 1))[:15_000],
    )
    clip = tokenizer.standardize(long)[0]
    indices = tokenizer.encode_clips([clip])[0]
    assert indices.shape == (15_000, 1, 1)
    start = 7 * tokenizer.window
    part = clip.replace(data=clip.data[start : start + 40], confidence=clip.confidence[start:][:40])
    window = clip.replace(
        data=clip.data[start : start + tokenizer.window],
        confidence=clip.confidence[start : start + tokenizer.window],
    )
    np.testing.assert_array_equal(
        tokenizer.encode_clips([window])[0], indices[start : start + tokenizer.window]
    )
    assert tokenizer.encode_clips([part])[0].shape == (40, 1, 1)


def test_windows_hold_every_frame_once_in_few_shapes(tokenizer, poses):
    clips = [tokenizer.standardize(pose)[0] for pose in poses] * 30
    seen = [np.zeros(len(clip.data), int) for clip in clips]
    shapes = set()
    for windows in tokenizer.windows(clips):
        rows, frames = windows.batch.segment.shape
        assert rows * frames <= FRAMES_PER_BATCH
        shapes.add((rows, frames))
        for row, window in enumerate(windows.rows):
            data = clips[window.clip].data[window.start : window.end]
            seen[window.clip][window.first : window.stop] += 1
            np.testing.assert_array_equal(windows.batch.pose[row, : len(data)], data)
            assert (windows.batch.segment[row] > 0).sum() == len(data)
    assert all((counts == 1).all() for counts in seen)
    assert len(shapes) <= 6


def test_only_masked_keeps_seen_points_bit_for_bit(tokenizer, poses):
    pose = next(pose for pose in poses if pose.mask.any())
    filled = tokenizer.reconstruct(pose, only_masked=True)
    from jaxvq.pose.preprocess import select_points

    original = select_points(pose, filled.skeleton)
    seen = ~original.mask
    assert original.data[seen].tobytes() == filled.data[seen].tobytes()
    assert not filled.mask.any() and np.isfinite(filled.data).all()
    assert (filled.data[~seen] != 0).any()
    # A hand that was missing hangs on the wrist that was seen.
    for at_hand, at_body, _ in filled.skeleton.wrist_pairs:
        lost = original.mask[:, at_hand] & ~original.mask[:, at_body]
        np.testing.assert_allclose(
            filled.data[lost, at_hand], filled.data[lost, at_body], rtol=1e-4
        )


def test_a_model_of_one_frame_rate_sees_every_pose_at_it(tokenizer, poses):
    other = replace(tokenizer, model=replace(tokenizer.model, fps=12.5))
    for pose in poses[:2]:
        normalised = resample(preprocess.preprocess(pose, tokenizer.model.skeleton)[0], 12.5)
        assert pose.fps != 12.5 and len(normalised.data) != len(pose.data)
        data = tokenizer.model.statistics.standardize(normalised.data, normalised.mask)
        tokens = other.encode(pose)
        assert (tokens.fps, tokens.length) == (12.5, len(normalised.data))
        (expected,) = tokenizer.encode_clips([normalised.replace(data=data)])
        np.testing.assert_array_equal(tokens.indices, expected)
        assert other.decode(tokens).fps == 12.5
        for only_masked in (False, True):  # what stands beside the original has its frames
            result = other.reconstruct(pose, only_masked=only_masked)
            assert (result.fps, len(result.data)) == (pose.fps, len(pose.data))
        original = preprocess.select_points(pose, result.skeleton)
        np.testing.assert_array_equal(result.data[~original.mask], original.data[~original.mask])


def test_reconstruction_stands_where_the_input_stood(tokenizer, poses):
    pose = poses[0]
    result = tokenizer.reconstruct(pose)
    right, left = result.skeleton.shoulders
    from jaxvq.pose.preprocess import select_points

    before = select_points(pose, result.skeleton).data
    width = np.linalg.norm(before[:, right] - before[:, left], axis=-1).mean()
    for index in (right, left):
        distance = np.linalg.norm(result.data[:, index] - before[:, index], axis=-1).mean()
        assert distance < 0.5 * width
    assert result.fps == pose.fps and result.canvas == pose.canvas


def test_wrong_tokens_are_explained(tokenizer):
    good = np.zeros((5, 1, 1), np.int32)
    for tokens, message in (
        (inference.Tokens(good + 1000, 25.0, 5), "code 1000 is outside of 0..999"),
        (inference.Tokens(good - 1, 25.0, 5), "code -1 is outside"),
        (inference.Tokens(good, 25.0, 9), "5 steps of tokens cannot be 9 frames"),
        (inference.Tokens(good[:, 0], 25.0, 5), "tokens of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            tokenizer.decode(tokens)


def test_evaluate_writes_numbers_videos_and_a_page(run_dir, tmp_path, tokenizer, data_dir):
    evaluate.main(
        [
            "--checkpoint",
            str(run_dir),
            "--split",
            "train",
            "--output_dir",
            str(tmp_path),
            "--visualize",
            "--num_videos",
            "2",
        ]
    )
    values = json.loads((tmp_path / "metrics.json").read_text())
    for key in (
        "mpjpe/all",
        "mpjpe/body",
        "mpjpe/face",
        "mpjpe/hands",
        "pck/0.05",
        "code_utilization",
        "perplexity",
        "bits_per_frame",
        "bits_per_second",
    ):
        assert np.isfinite(values[key]), key
    assert values["bits_per_frame"] == pytest.approx(np.log2(1000))
    # By hand, clip by clip, in numpy.
    from jaxvq.input_pipeline import open_dataset

    total, count, frames = 0.0, 0, 0
    source = open_dataset(data_dir).source("train")
    for record in (source[i] for i in range(len(source))):
        clip = tokenizer.from_record(record)
        predicted = tokenizer.reconstruct_clips([clip])[0]
        unstandardize = tokenizer.model.statistics.unstandardize
        error = np.linalg.norm(unstandardize(predicted) - unstandardize(clip.data), axis=-1)
        error = error[~clip.mask]
        total, count, frames = total + error.sum(), count + error.size, frames + len(clip.data)
    assert values["mpjpe/all"] == pytest.approx(total / count, rel=1e-4)
    assert (values["clips"], values["frames"]) == (len(source), frames)
    page = (tmp_path / "index.html").read_text()
    assert page.count("train split, ") >= 2 and "http:" not in page and "https:" not in page
    assert page.index("<canvas") < page.index("<details") and 'name="viewport"' in page
    assert (tmp_path / "videos" / "train_1.gif").exists()


def test_a_tokenizer_is_shown_in_one_line(tokenizer):
    shown = repr(tokenizer)
    assert "\n" not in shown and len(shown) < 300
    assert "178 points, 1 x 1 codes per 1 frames, 9.966 bits per frame)" in shown


def test_write_pose_round_trip(tokenizer, poses, tmp_path):
    tokens = tokenizer.encode(poses[0])
    pose = tokenizer.decode(tokens)
    write_pose(tmp_path / "a.pose", pose)
    np.testing.assert_array_equal(read_pose(tmp_path / "a.pose").data, pose.data)


def test_the_page_of_an_evaluation_explains_every_number(run_dir, tmp_path, monkeypatch, caplog):
    """With the flags of the original Pose Tokenizer, and where it writes without --output-dir."""
    config = REPOSITORY / "configs" / "fsq_pose.py:runlocal"
    monkeypatch.chdir(tmp_path)
    words = f"--config {config} --checkpoint {run_dir} --split val --visualize --num-vis-samples 1"
    evaluate.main(words.split())
    output = tmp_path / "evaluation_results"
    text = (output / "index.html").read_text()
    assert "<td>mpjpe/body</td>" in text and "<td></td>" not in text
    (line,) = caplog.messages  # the tests' model is smaller than that config says
    assert line.startswith(f"--config {config} differs in model.")
    assert "model.hidden_dim (64 there, 16 in the checkpoint)" in line


def test_a_dataset_that_is_not_there_is_named_with_its_absolute_path(
    tokenizer, tmp_path, monkeypatch
):
    """Version 0.1 kept data.dir as it was typed, so from elsewhere it leads nowhere."""
    model = tokenizer.model
    config = model.config.copy_and_resolve_references()
    config.data.dir = "DATA"
    checkpoint.save_model(
        tmp_path / "run",
        config=config,
        skeleton=model.skeleton,
        statistics=model.statistics,
        params=model.params,
        state=model.state,
    )
    monkeypatch.chdir(tmp_path)
    for tool in (evaluate, fit_code_tables):
        with pytest.raises(ValueError, match=f"is not at {tmp_path}/DATA; give --data DATA"):
            tool.main(["--checkpoint", "run"])
