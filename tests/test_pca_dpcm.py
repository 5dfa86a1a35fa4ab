"""The floor: what it keeps, what it costs, and that its errors stay where they are."""

import numpy as np
import pytest

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics
from jaxvq.tokens import code_tables, token_file
from tools.rate_distortion import coding, floor, pca_dpcm
from tools.rate_distortion.floor import Setting

SHAPE = (178, 3)


def make_clip(frames: int, seed: int, noise=0.0, hidden=3) -> Pose:
    """Three ways of moving, mixed as slow waves; the right hand is hidden in the first third."""
    directions = np.random.default_rng(99).normal(size=(3, *SHAPE))
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None]
    waves = np.array([3.0, 1.0, 0.3]) * np.sin(time / 9 + rng.uniform(0, 6, 3))
    data = np.einsum("tk,kvc->tvc", waves, directions) + noise * rng.normal(size=(frames, *SHAPE))
    confidence = np.ones((frames, 178), np.float32)
    confidence[: hidden * frames // 9, HOLISTIC_178.parts["right_hand"]] = 0
    data[confidence == 0] = 0
    return Pose(HOLISTIC_178, data.astype(np.float32), confidence, 25.0)


@pytest.fixture(scope="module")
def components():
    statistics = Statistics(np.zeros(SHAPE), np.full(SHAPE, 0.5))
    return pca_dpcm.fit_components(
        [make_clip(60, seed) for seed in range(20)], HOLISTIC_178, statistics
    )


def test_missing_points_stay_where_they_were_seen_last():
    data = np.array([[1.0, 5], [2, 6], [3, 7], [4, 8]])[..., None]
    mask = np.array([[True, False], [False, True], [True, True], [False, False]])
    held = pca_dpcm.hold(data, mask)[..., 0]
    np.testing.assert_array_equal(held, [[0, 5], [2, 5], [2, 5], [4, 8]])


def test_fine_steps_give_back_what_the_components_span():
    clips = [make_clip(60, seed, hidden=0) for seed in range(20)]
    statistics = Statistics(np.zeros(SHAPE), np.full(SHAPE, 0.5))
    fitted = pca_dpcm.fit_components(clips[:-1], HOLISTIC_178, statistics)
    assert fitted.deviation[2] > 100 * fitted.deviation[3], "three directions are in the clips"
    codec = pca_dpcm.PcaDpcm(fitted, size=3, step=0.002)
    np.testing.assert_allclose(codec.decode(codec.encode(clips[-1])), clips[-1].data, atol=0.02)
    assert codec.num_parameters == 5 * 178 * 3


def test_errors_do_not_add_up_over_time(components):
    clip = make_clip(300, seed=5)
    codec = pca_dpcm.PcaDpcm(components, size=3, step=0.1)
    wanted = codec._project(pca_dpcm.hold(clip.data, clip.mask).reshape(300, -1))
    got = np.cumsum(codec.encode(clip).indices[:, 0, :3] - codec.limit, axis=0) * codec._delta
    assert np.abs(got - wanted).max() <= 0.5 * codec._delta * 1.001
    dead = pca_dpcm.PcaDpcm(components, size=3, step=0.1, dead_zone=0.8)
    got = np.cumsum(dead.encode(clip).indices[:, 0, :3] - dead.limit, axis=0) * dead._delta
    assert 0.5 * dead._delta < np.abs(got - wanted).max() <= 0.8 * dead._delta * 1.001


def test_symbols_are_changes_and_flags_of_hands(components):
    clip = make_clip(30, seed=1)
    codec = pca_dpcm.PcaDpcm(components, size=2, step=0.5)
    assert codec.limit == 6 and codec.codebook_sizes == (13, 13, 2, 2)
    tokens = codec.encode(clip)
    assert tokens.indices.shape == (30, 1, 4) and tokens.indices.dtype == np.int32
    assert (tokens.fps, tokens.length) == (25.0, 30)
    symbols = tokens.indices[:, 0]
    assert symbols[:, 2].max() == 0, "the left hand is always seen"
    np.testing.assert_array_equal(symbols[:, 3], np.arange(30) < 10)


def test_a_jump_beyond_the_largest_change_is_made_up_for(components):
    far = make_clip(12, seed=1)
    direction = (components.basis[:, 0] * np.sqrt(2)).reshape(SHAPE)  # weight is sqrt(0.5)
    data = np.broadcast_to(7 * components.deviation[0] * direction, far.data.shape)
    far = Pose(HOLISTIC_178, data.astype(np.float32), np.ones((12, 178), np.float32), 25.0)
    codec = pca_dpcm.PcaDpcm(components, size=2, step=0.25)
    tokens = codec.encode(far)
    assert tokens.indices[:2, 0, 0].tolist() == [2 * codec.limit] * 2
    np.testing.assert_allclose(codec.decode(tokens)[4:], far.data[4:], atol=0.3)


def test_what_never_moves_is_its_mean(components):
    std = np.ones(SHAPE)
    std[8] = 0
    clips = [make_clip(40, seed) for seed in range(3)]
    for clip in clips:
        clip.data[:, 8] = 0
    fitted = pca_dpcm.fit_components(clips, HOLISTIC_178, Statistics(np.zeros(SHAPE), std))
    codec = pca_dpcm.PcaDpcm(fitted, size=3, step=0.1)
    assert not codec.decode(codec.encode(clips[0]))[:, 8].any()


def test_hull_keeps_what_no_line_beats():
    points = [(1, 10.0), (2, 4), (3, 5), (4, 3.9), (5, 1), (6, 1)]
    settings = [Setting(8, 1.0, bits, error) for bits, error in points]
    kept = [(setting.bits_per_frame, setting.error) for setting in floor.hull(settings)]
    assert kept == [(1, 10.0), (2, 4), (5, 1)]
    assert floor.choose(settings, 4.5).error == 3.9
    with pytest.raises(ValueError, match="no floor of 0.5 bits per frame: the least is 1"):
        floor.choose(settings, 0.5)


def test_a_finer_step_costs_more_and_errs_less(components, monkeypatch, tmp_path):
    monkeypatch.setattr(floor, "SIZES", (2, 3))
    monkeypatch.setattr(floor, "STEPS", (0.5, 0.1))
    train = [make_clip(60, seed, noise=0.05) for seed in range(20)]
    test = [make_clip(50, seed, noise=0.05) for seed in (50, 51)]
    scale, path = np.full(SHAPE, 0.5, np.float32), tmp_path / "test.jvq"
    found = floor.sweep(components, 0.5, train, test, scale, 100, path)
    assert [s.error for s in found] == sorted((s.error for s in found), reverse=True)
    coarse, fine = (
        floor.measure(pca_dpcm.PcaDpcm(components, s.size, s.step), train, test, scale, path)
        for s in (found[0], found[-1])
    )
    assert coarse["real_bytes"] < fine["real_bytes"] == path.stat().st_size
    assert coarse["real_bits_per_frame"] == pytest.approx(found[0].bits_per_frame)
    assert coarse["real_bits_per_second"] == pytest.approx(8 * coarse["real_bytes"] / 100 * 25)
    assert coarse["mpjpe/all"] == pytest.approx(found[0].error)
    assert fine["mpjpe/all"] < coarse["mpjpe/all"]


def test_settings_of_many_clips_are_chosen_by_some(monkeypatch):
    clips = [make_clip(50, seed) for seed in range(12)]
    monkeypatch.setattr(floor, "FRAMES", 200)  # a third of them
    chosen = list(map(id, floor.some(clips)))
    assert chosen == [id(clips[number]) for number in (0, 3, 6, 9)]
    assert len(floor.some(clips[:4])) == 4


def test_the_file_gives_back_the_very_tokens(components, tmp_path):
    codec = pca_dpcm.PcaDpcm(components, size=3, step=0.1)
    tokens = [codec.encode(make_clip(40, seed)) for seed in range(6)]
    train = [item.indices for item in tokens[:5]]
    coding.measure(tmp_path / "x.jvq", train, tokens[5:], codec)
    tables = code_tables.fit_code_tables(train, codec, coding.NO_MODEL)
    ((name, back),) = token_file.read(tmp_path / "x.jvq", tables)
    np.testing.assert_array_equal(back.indices, tokens[5].indices)
    assert (name, back.fps, back.length) == ("0", 25.0, 40)
