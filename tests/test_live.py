"""Tokens of frames as they come are those of the whole clip."""

import io
import json

import numpy as np
import pytest
from test_streams import linear_config, made

from jaxvq import checkpoint, inference
from jaxvq.batch import make_batch
from jaxvq.input_pipeline import open_dataset
from jaxvq.live import LiveDecoder, LiveEncoder
from jaxvq.pose import preprocess
from jaxvq.pose.reader import read_pose
from jaxvq.pose.writer import write_pose
from jaxvq.tasks import bit_allocation
from tools import live as live_program


def untrained(data_dir, folder, **changes):
    """A saved model whose transformer has a say at once: what it starts from is random, not 0."""
    dataset = open_dataset(data_dir)
    config = linear_config(data_dir, **changes)
    batch = bit_allocation.sample_frames(config, dataset)
    task, params, state = made(config, dataset, batch)
    rng = np.random.default_rng(0)
    for part in params.values():
        for name, size in (("project_in", 3.0), ("project_back", 0.3)):
            shape = part[name]["kernel"].shape
            part[name]["kernel"] = rng.normal(0, size / shape[0] ** 0.5, shape).astype(np.float32)
    config = bit_allocation.allocate_levels(config, dataset.skeleton, dataset.statistics, batch)
    about = dict(config=config, skeleton=dataset.skeleton, statistics=dataset.statistics)
    checkpoint.save_model(folder, **about, params=params, state=state)
    return inference.load(folder)


@pytest.fixture(scope="module", params=["causal", "both sides"])
def tokenizer(request, data_dir, tmp_path_factory):
    causal = request.param == "causal"
    return untrained(data_dir, tmp_path_factory.mktemp("live"), **{"model.causal": causal})


@pytest.fixture(scope="module")
def long_pose(corpus):
    """2,000 frames: several windows of inference."""
    sound = sorted(corpus.glob("*.pose"))[1:]
    pose = read_pose(max(sound, key=lambda path: path.stat().st_size))
    order = np.abs((np.arange(2_000) + 60) % (2 * len(pose.data) - 2) - len(pose.data) + 1)
    return pose.replace(data=pose.data[order], confidence=pose.confidence[order])


def cut(pose, first, stop):
    return pose.replace(data=pose.data[first:stop], confidence=pose.confidence[first:stop])


def assert_same(tokens, expected):
    """Equal, but for features that lie half way between two levels: products of other sizes are
    added up in another order, and a difference in the seventh digit decides these."""
    assert tokens.shape == expected.shape
    assert (tokens != expected).mean() < 0.002


@pytest.fixture(scope="module")
def whole(tokenizer, long_pose):
    """Tokens of all frames in one computation, without windows."""
    clip, placement = tokenizer.standardize(long_pose)
    batch = make_batch(clip.data[None], ~clip.mask[None])
    return np.asarray(tokenizer.encode_batch(batch))[0], placement


def test_windows_change_nothing(tokenizer, long_pose, whole):
    assert tokenizer.window < 2_000
    clip, _ = tokenizer.standardize(long_pose)
    np.testing.assert_array_equal(tokenizer.encode_clips([clip])[0], whole[0])


def test_neighbours_matter(tokenizer, long_pose, whole):
    """Else the other tests would show nothing."""
    _, placement = whole
    alone = LiveEncoder(tokenizer, placement)
    first = np.concatenate([alone.push(cut(long_pose, 400, 480)), alone.finish()])
    assert (first[:3] != whole[0][100:103]).any()


@pytest.mark.parametrize("pieces", [(1,), (3, 50, 7), (2_000,)])
def test_pushed_frames_give_the_tokens_of_the_whole(tokenizer, long_pose, whole, pieces):
    stop = 333 if pieces == (1,) else 2_000
    tokens, placement = whole
    live, at, out = LiveEncoder(tokenizer, placement), 0, []
    held = 0
    while at < stop:
        size = pieces[len(out) % len(pieces)]
        out.append(live.push(cut(long_pose, at, min(at + size, stop))))
        at += size
        held = max(held, len(live._pose))
    sure = np.concatenate(out)
    assert_same(sure, tokens[: len(sure)])
    assert len(sure) >= (stop - live.latency) // 4 - 1
    if stop == 2_000:
        rest = live.finish()
        assert_same(np.concatenate([sure, rest]), tokens)
    if pieces == (1,):
        assert held <= live._size  # memory does not grow


def test_a_causal_model_answers_with_the_last_frame_of_a_step(tokenizer, long_pose, whole):
    live = LiveEncoder(tokenizer, whole[1])
    causal = tokenizer.model.config.model.causal
    assert live.latency == 3 if causal else live.latency > tokenizer.task.encoder_context
    given = [len(live.push(cut(long_pose, i, i + 1))) for i in range(8)]
    assert given == ([0, 0, 0, 1] * 2 if causal else [0] * 8)


def test_the_signer_is_placed_by_the_first_shoulders(tokenizer, long_pose):
    hidden = cut(long_pose, 0, 5)
    hidden = hidden.replace(data=hidden.data * 0, confidence=hidden.confidence * 0)
    live = LiveEncoder(tokenizer)
    assert len(live.push(hidden)) == 0
    live.push(cut(long_pose, 5, 200))
    expected = preprocess.find_placement(preprocess.select_points(cut(long_pose, 5, 6)))
    assert live._placement.scale == pytest.approx(expected.scale)
    nobody = LiveEncoder(tokenizer)
    nobody.push(hidden)
    with pytest.raises(ValueError, match="none of the 5 frames shows both shoulders"):
        nobody.finish()


def test_a_model_of_whole_clips_is_refused(run_dir):
    with pytest.raises(ValueError, match="model.window"):
        LiveEncoder(inference.load(run_dir))


def test_a_bad_frame_is_left_out_and_nothing_comes_twice(tokenizer, long_pose, whole):
    live = LiveEncoder(tokenizer, whole[1])
    live.push(cut(long_pose, 0, 5))
    bad = cut(long_pose, 5, 6)
    elbow = (np.arange(543) == 13)[:, None]
    confidence = np.where(elbow[:, 0], 1, bad.confidence).astype(np.float32)
    bad = bad.replace(data=np.where(elbow, 1e9, bad.data), confidence=confidence)
    with pytest.raises(ValueError, match="shoulder widths"):
        live.push(bad)
    live.push(cut(long_pose, 5, 8))
    assert len(live._pose) == 8


def test_after_the_end_nothing_follows(tokenizer, long_pose):
    live = LiveEncoder(tokenizer)
    assert len(live.push(cut(long_pose, 0, 6))) + len(live.finish()) == 2
    with pytest.raises(ValueError, match="make another LiveEncoder"):
        live.push(cut(long_pose, 6, 7))


def test_hands_that_are_not_there_stay_away(tokenizer, long_pose):
    """A code says so, and neither decoding nor reconstructing puts a hand in its place."""
    pose = preprocess.select_points(cut(long_pose, 0, 40), tokenizer.model.skeleton)
    left = pose.skeleton.parts["left_hand"]
    confidence = np.ones_like(pose.confidence)
    confidence[:20, left] = 0
    pose = pose.replace(data=pose.data + 1e-3, confidence=confidence)
    decoded = tokenizer.decode(tokenizer.encode(pose))
    for result in (decoded, tokenizer.reconstruct(pose)):
        assert result.mask[:20, left].all() and not result.data[:20, left].any()
        others = np.ones(178, bool)
        others[left] = False
        assert not result.mask[:, others].any() and not result.mask[20:].any()
    assert not tokenizer.reconstruct(pose, only_masked=True).mask.any()


# ------------------------------------------------------------------------------- decoding


def decoded_in_pieces(tokenizer, tokens, pieces, length):
    """The pose of pieces, and the most steps that were held at once."""
    live, at, poses, held = LiveDecoder(tokenizer, tokens.fps), 0, [], 0
    while at < len(tokens.indices):
        size = pieces[len(poses) % len(pieces)]
        poses.append(live.push(tokens.indices[at : at + size]))
        at, held = at + size, max(held, len(live._indices))
    poses.append(live.finish(length))
    parts = [np.concatenate([getattr(p, name) for p in poses]) for name in ("data", "confidence")]
    return poses[0].replace(data=parts[0][:length], confidence=parts[1][:length]), held


@pytest.mark.parametrize("pieces", [(1,), (1, 9, 40), (1_000,)])
def test_pushed_tokens_give_every_frame_of_the_whole(tokenizer, long_pose, whole, pieces):
    tokens = inference.Tokens(whole[0], long_pose.fps, 1_998)
    expected = tokenizer.decode(tokens)
    pose, held = decoded_in_pieces(tokenizer, tokens, pieces, 1_998)
    assert pose.fps == expected.fps and pose.canvas == expected.canvas
    # Pixels of a canvas of 500: a thousandth is the float32 of other sums.
    np.testing.assert_allclose(pose.data, expected.data, atol=2e-3)
    np.testing.assert_array_equal(pose.confidence, expected.confidence)
    if pieces == (1,):
        live = LiveDecoder(tokenizer)
        assert held <= live._context + live._block + live._ahead  # memory does not grow


def test_the_tokens_around_matter_to_a_frame(tokenizer, whole):
    """Else the test above would show nothing."""
    tokens = inference.Tokens(whole[0][100:140], 25.0, 160)
    alone, _ = decoded_in_pieces(tokenizer, tokens, (1,), 160)
    expected = tokenizer.decode(inference.Tokens(whole[0], 25.0, 2_000))
    assert np.abs(alone.data[:4] - expected.data[400:404]).max() > 0.1


def test_a_causal_model_decodes_each_step_at_once(tokenizer, whole):
    live = LiveDecoder(tokenizer)
    given = [len(live.push(whole[0][i : i + 1]).data) for i in range(5)]
    if tokenizer.model.config.model.causal:
        assert live.latency == 0 and given == [4] * 5
        encoder = LiveEncoder(tokenizer)
        assert (encoder.latency + 1 + live.latency) / 25 <= 0.2  # seconds of delay, there and back
    else:
        late = live.latency // 4
        assert late > 0 and not any(given[:late]) and given[late]


def test_convolutions_decode_in_pieces_to_the_very_end(version_0_1):
    """Two frames to a step, and a clip that ends in the middle of one."""
    tokenizer = inference.load(version_0_1 / "stgcn")
    pose = read_pose(sorted((version_0_1 / "clips").glob("*.pose"))[0])
    tokens = tokenizer.encode(pose)
    length = 2 * len(tokens.indices) - 1
    tokens = inference.Tokens(tokens.indices, tokens.fps, length)
    decoded, _ = decoded_in_pieces(tokenizer, tokens, (3, 1), length)
    assert len(decoded.data) == length
    np.testing.assert_allclose(decoded.data, tokenizer.decode(tokens).data, atol=2e-3)


def test_wrong_tokens_are_left_out(tokenizer, whole, run_dir):
    live = LiveDecoder(tokenizer)
    with pytest.raises(ValueError, match="is outside of 0"):
        live.push(whole[0][:1] + 10**6)
    with pytest.raises(ValueError, match="codes a step"):
        live.push(whole[0][:1, :1])
    assert len(live.push(whole[0][:5]).data) + len(live.finish().data) == 20
    with pytest.raises(ValueError, match="make another LiveDecoder"):
        live.push(whole[0][:1])
    with pytest.raises(ValueError, match="cannot decode them in pieces"):
        LiveDecoder(inference.load(run_dir))


# ------------------------------------------------------------------------------- the command


@pytest.fixture
def live_tool(monkeypatch, capsys, tokenizer):
    def run(arguments, lines=()):
        """Lines that `tools.live` writes, as JSON, and what it reports."""
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        assert live_program.main([str(word) for word in arguments]) == 0
        out, reported = capsys.readouterr()
        return [json.loads(line) for line in out.splitlines()], reported

    return run


def test_frames_become_lines_of_tokens_and_frames_again(live_tool, tokenizer, long_pose, tmp_path):
    pose, model = cut(long_pose, 0, 42), ["--model", tokenizer.model.path]
    write_pose(tmp_path / "a.pose", pose)
    frames, _ = live_tool(["--frames", tmp_path / "a.pose"])
    assert len(frames) == 43 and frames[0]["fps"] == pose.fps
    missing = [point is None for point in frames[1]["points"]]
    assert missing == pose.mask[0].tolist()

    tokens, reported = live_tool(model, map(json.dumps, frames))
    live = LiveEncoder(tokenizer)
    expected = np.concatenate([live.push(read_pose(tmp_path / "a.pose")), live.finish()])
    assert_same(np.array([line["codes"] for line in tokens[1:]]), expected)
    assert [line["frames"] for line in tokens[1:]] == [4] * 10 + [2] and not reported

    again, _ = live_tool([*model, "--decode"], map(json.dumps, tokens))
    indices = np.array([line["codes"] for line in tokens[1:]])
    decoded = tokenizer.decode(inference.Tokens(indices, pose.fps, 42))
    assert len(again) == 43 and again[0]["fps"] == pose.fps
    for line, points, mask in zip(again[1:], decoded.data, decoded.mask, strict=True):
        assert [point is None for point in line["points"]] == mask.tolist()
        given = np.array([point for point in line["points"] if point])
        np.testing.assert_allclose(given, points[~mask], atol=3e-3)


def test_a_line_that_is_no_frame_is_reported_and_time_goes_on(live_tool, tokenizer, long_pose):
    pose = preprocess.select_points(cut(long_pose, 0, 8), tokenizer.model.skeleton)
    good = [json.dumps({"points": frame}) for frame in pose.data.tolist()]
    bad = ["{", "[]", '{"points": [[1, 2, 3]]}', '{"points": ' + "[[1],".ljust(5) + "2]}"]
    lines = ['{"fps": 25}', *good[:4], *bad, *good[4:]]
    tokens, reported = live_tool(["--model", tokenizer.model.path], lines)
    assert sum(line["frames"] for line in tokens[1:]) == 12
    told = reported.splitlines()
    told = [line for line in told if "nothing is seen" in line]
    assert [line.split(":")[0] for line in told] == [f"line {n}" for n in (6, 7, 8, 9)]


def test_wrong_streams_are_one_line(live_tool, tokenizer):
    model = ["--model", tokenizer.model.path]
    for arguments, lines, message in (
        (model, [], "line 1 is no"),
        (model, ['{"fps": 0}'], "line 1: fps 0 must be above 0"),
        ([*model, "--decode"], ['{"model": "0123"}'], "the model 0123 wrote these codes"),
        ([*model, "--decode"], ["{}", '{"codes": 3}'], "codes a step|no step"),
        ([*model, "--decode"], ["{}", "x"], "line 2 is no step"),
    ):
        with pytest.raises(ValueError, match=message):
            live_tool(arguments, lines)
