"""Augmentation against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq.batch import Batch, make_batch
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics
from jaxvq.training import augment
from jaxvq.training.augment import Augment

MEAN = np.tile(np.float32([0.5, -1.0, 2.0]), (178, 1))
STATISTICS = Statistics(MEAN, np.full((178, 3), 2.0))


def two_clips(seed=0, rows=2, frames=48):
    """Two clips and padding a row; a tenth of the points is missing."""
    rng = np.random.default_rng(seed)
    segment = np.repeat([[1] * 20 + [2] * 20 + [0] * (frames - 40)], rows, 0).astype(np.int32)
    visible = (rng.random((rows, frames, 178)) < 0.9) & (segment > 0)[..., None]
    pose = np.where(visible[..., None], rng.normal(size=(rows, frames, 178, 3)), 0)
    position = np.concatenate([np.arange(20), np.arange(20), np.zeros(frames - 40)])
    position = np.repeat(position[None], rows, 0).astype(np.int32)
    return Batch(*map(jnp.asarray, (pose.astype(np.float32), visible, segment, position)))


def apply(options, seed=0, batch=None):
    step = jax.jit(lambda rng, batch: augment.apply(options, rng, batch, HOLISTIC_178, STATISTICS))
    return step(jax.random.key(seed), two_clips() if batch is None else batch)


def points(pose):
    return np.asarray(pose) * 2 + MEAN


def of_target(batch):
    """A batch whose encoder sees what it is to reconstruct."""
    pose, visible = batch.target
    return batch._replace(pose=pose, visible=visible, target_pose=None, target_visible=None)


def test_nothing_asked_is_nothing_done():
    batch = two_clips()
    result = apply(Augment(), batch=batch)
    jax.tree.map(np.testing.assert_array_equal, result[:4], batch[:4])
    jax.tree.map(np.testing.assert_array_equal, of_target(result), batch)


def test_a_quarter_turn_and_a_quarter_tilt_by_hand():
    point = np.float32([1, 2, 3])
    batch = make_batch(jnp.asarray((point - MEAN[0]) / 2)[None, None, None].repeat(178, 2))
    right, none, one = jnp.full((1, 1), np.pi / 2), jnp.zeros((1, 1)), jnp.ones((1, 1))
    turned = points(augment.transform(batch, right, none, one, STATISTICS).pose)
    np.testing.assert_allclose(turned[0, 0, 7], [-2, 1, 3], atol=1e-5)
    tilted = points(augment.transform(batch, none, right, one, STATISTICS).pose)
    np.testing.assert_allclose(tilted[0, 0, 7], [3, 2, -1], atol=1e-5)
    larger = points(augment.transform(batch, none, none, 1.5 * one, STATISTICS).pose)
    np.testing.assert_allclose(larger[0, 0, 7], [1.5, 3, 4.5], atol=1e-5)


def test_clips_are_turned_as_a_whole_and_each_in_its_own_way():
    batch = two_clips()
    result = apply(Augment(turn=10, tilt=5), batch=batch)
    target, _ = result.target
    np.testing.assert_array_equal(result.pose, target)
    visible = np.asarray(batch.visible)
    before, after = points(batch.pose), points(target)
    lengths = [np.linalg.norm(x, axis=-1)[visible] for x in (before, after)]
    np.testing.assert_allclose(*lengths, rtol=1e-4)
    assert not np.asarray(target)[~visible].any()
    turns = []
    for frames in (slice(0, 20), slice(20, 40)):
        at = visible[0, frames]
        turn, *_ = np.linalg.lstsq(before[0, frames][at], after[0, frames][at], rcond=None)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-4)
        turns.append(turn)
    assert np.abs(turns[0] - turns[1]).max() > 0.01


def test_double_and_half_speed_by_hand():
    # Two clips of four and three frames and one frame of padding; one point at 10, 11, 12 …
    pose = jnp.arange(10.0, 18.0).reshape(1, 8, 1, 1)
    segment = jnp.array([[1, 1, 1, 1, 2, 2, 2, 0]])
    visible = (segment > 0)[..., None]
    batch = make_batch(jnp.where(visible[..., None], pose, 0), visible, segment)
    fast = augment.change_speed(batch, jnp.full((1, 8), 2.0))
    assert fast.segment.tolist() == [[1, 1, 0, 0, 2, 2, 0, 0]]
    assert fast.pose.ravel().tolist() == [10, 12, 0, 0, 14, 16, 0, 0]
    slow = augment.change_speed(batch, jnp.full((1, 8), 0.5))
    assert slow.segment.tolist() == segment.tolist()
    assert slow.pose.ravel().tolist() == [10, 10.5, 11, 11.5, 14, 14.5, 15, 0]
    # A point that is hidden in one of two frames cannot be seen in between.
    hidden = batch._replace(visible=batch.visible.at[0, 1].set(False))
    assert augment.change_speed(hidden, jnp.full((1, 8), 0.5)).visible.ravel().tolist() == [
        True, False, False, False, True, True, True, False
    ]  # fmt: skip


def test_speed_one_changes_nothing():
    batch = two_clips()
    result = augment.change_speed(batch, jnp.ones((2, 48)))
    jax.tree.map(np.testing.assert_array_equal, result, batch)


def test_noise_and_hiding_leave_the_target_alone():
    batch = two_clips(rows=8)
    seen = apply(Augment(noise=0.04, hidden_hands=0.3, hidden_points=0.1), batch=batch)
    jax.tree.map(np.testing.assert_array_equal, of_target(seen), batch)
    shown, there = np.asarray(seen.visible), np.asarray(batch.visible)
    assert not (shown & ~there).any()
    assert not np.asarray(seen.pose)[~shown].any()
    assert (points(seen.pose) - points(batch.pose))[shown].std() == pytest.approx(0.04, rel=0.05)
    face = HOLISTIC_178.parts["face"]
    assert shown[..., face].sum() / there[..., face].sum() == pytest.approx(0.9, abs=0.01)
    hand = HOLISTIC_178.parts["left_hand"]
    gone = ~shown[:, :40, hand].any(-1)
    assert 0.1 < gone.mean() < 0.5
    changes = (gone[:, 1:] != gone[:, :-1]).sum(1)
    assert changes.max() <= 4, "hands are gone for stretches, not for frames"


def test_mirrored_rows_are_flips_of_the_right_hand_onto_the_left():
    batch = two_clips()
    target, _ = apply(Augment(mirror=1.0), batch=batch).target
    left, right = (HOLISTIC_178.parts[name] for name in ("left_hand", "right_hand"))
    expected = points(batch.pose)[:, :, right] * [-1, 1, 1]
    at = np.asarray(batch.visible)[:, :, right]
    np.testing.assert_allclose(points(target)[:, :, left][at], expected[at], atol=1e-5)


def test_the_same_key_draws_the_same():
    options = Augment(
        mirror=0.5,
        speed=0.3,
        turn=5,
        tilt=5,
        scale=0.1,
        noise=0.01,
        hidden_hands=0.1,
        hidden_points=0.02,
    )
    first, again, other = apply(options, 1), apply(options, 1), apply(options, 2)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.pose, other.pose)
    assert np.isfinite(first.pose).all() and np.isfinite(first.target_pose).all()


def test_values_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"augment.mirror=1.5: a share is from 0 to 1"):
        Augment(mirror=1.5)
    with pytest.raises(ValueError, match=r"augment.noise=-1: must be 0 or more"):
        Augment(noise=-1)
