"""Masked losses: hand-computed values, and gradients over devices with unequal counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq import losses


def test_masked_mean_by_hand():
    values = jnp.array([[1.0, 2.0], [4.0, jnp.nan]])
    weights = jnp.array([[1.0, 3.0], [0.0, 0.0]])
    assert losses.masked_mean(values, weights) == pytest.approx((1 + 3 * 2) / 4)
    assert losses.masked_mean(values, weights * 0) == 0
    # Weights are broadcast, and the count with them.
    assert losses.masked_mean(jnp.ones((3, 4)), jnp.array([[2.0]])) == 1


def test_nothing_visible_gives_no_gradient():
    grad = jax.grad(lambda x: losses.masked_mean(x**2, jnp.zeros((2, 2))))(jnp.ones((2, 2)))
    np.testing.assert_array_equal(grad, 0)


@pytest.mark.skipif(jax.device_count() < 4, reason="needs four devices")
def test_mean_over_devices_is_the_global_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 6)).astype(np.float32)
    # One device sees everything, one almost nothing, one nothing at all.
    weights = (np.arange(6) < np.array([6, 1, 0, 3])[:, None]) * np.float32(2)

    def loss(scale, values, weights, axis_name=None):
        return losses.masked_mean((scale * values) ** 2, weights, axis_name)

    def step(values, weights):
        pair = jax.value_and_grad(loss)(3.0, values, weights, "devices")
        return jax.lax.pmean(pair, "devices")

    several = jax.pmap(step, axis_name="devices", devices=jax.devices()[:4])(values, weights)
    one = jax.value_and_grad(loss)(3.0, values, weights)
    np.testing.assert_allclose([x[0] for x in several], one, rtol=1e-6)


def test_point_error_by_hand():
    predicted, target = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[1.0, 0.0, 0.0]])
    assert losses.point_error(predicted, target) == pytest.approx((4 + 9) / 3)
    assert losses.point_error(predicted, target, "l1") == pytest.approx((2 + 3) / 3)
    with pytest.raises(ValueError, match="choices: l1, l2"):
        losses.point_error(predicted, target, "huber")


def test_differences_stay_inside_a_clip_and_between_seen_frames():
    values = jnp.arange(6.0).reshape(1, 6, 1, 1) ** 2
    visible = jnp.array([1, 1, 1, 0, 1, 1], bool).reshape(1, 6, 1)
    segment = jnp.array([[1, 1, 2, 2, 2, 0]])
    moved, seen = losses.differences(values, visible, segment)
    np.testing.assert_array_equal(moved.ravel(), [1, 3, 5, 7, 9])
    np.testing.assert_array_equal(seen.ravel(), [True, False, False, False, False])
