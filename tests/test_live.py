"""Tokens of frames as they come are those of the whole clip."""

import numpy as np
import pytest
from test_streams import linear_config, made

from jaxvq import checkpoint, inference
from jaxvq.batch import make_batch
from jaxvq.input_pipeline import open_dataset
from jaxvq.live import LiveEncoder
from jaxvq.pose import preprocess
from jaxvq.pose.reader import read_pose
from jaxvq.tasks import bit_allocation


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
