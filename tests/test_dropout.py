"""Dropout's masks look random, follow from the key, and are the same on every device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq.models.dropout import Dropout, keep, random_bits


def mask(seed: int, shape=(64, 32, 128), rate=0.1) -> np.ndarray:
    return np.asarray(keep(jax.random.key(seed), shape, rate))


def test_bits_are_those_of_the_hash():
    """The first numbers, by Python's integers."""

    def expected(number, first, second):
        x = (number ^ first) & 0xFFFFFFFF
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        x = (((x ^ (x >> 15)) + second) * 0x846CA68B) & 0xFFFFFFFF
        return x ^ (x >> 16)

    key = jax.random.key(7)
    words = [int(word) for word in jax.random.key_data(key)]
    bits = np.asarray(random_bits(key, (3, 5))).reshape(-1)
    assert bits.tolist() == [expected(n, *words) for n in range(15)]


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_drops_its_share(rate):
    kept = mask(0, rate=rate)
    deviation = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs((1 - kept.mean()) - rate) < 4 * deviation


def test_neighbours_keys_and_steps_are_independent():
    """Correlations of a mask with its neighbours along each axis, and with other keys' masks."""
    kept = mask(0).astype(np.float64) - 0.9
    others = [kept[1:] * kept[:-1], kept[:, 1:] * kept[:, :-1], kept[..., 1:] * kept[..., :-1]]
    keys = [jax.random.fold_in(jax.random.key(0), step) for step in range(3)]
    masks = [np.asarray(keep(key, kept.shape, 0.1)) - 0.9 for key in keys]
    others += [kept * mask for mask in masks] + [masks[0] * masks[1], masks[1] * masks[2]]
    for products in others:
        assert abs(products.mean()) / 0.09 < 4 / np.sqrt(products.size)
    rows = kept.mean((1, 2))
    assert rows.std() == pytest.approx(0.3 / np.sqrt(kept[0].size), rel=0.4)


def test_the_same_alone_jitted_and_on_every_device():
    alone = mask(3, (4, 16))
    draw = jax.pmap(lambda _: keep(jax.random.key(3), (4, 16), 0.1))
    for one in np.asarray(draw(np.zeros(4))):
        np.testing.assert_array_equal(one, alone)
    np.testing.assert_array_equal(jax.jit(lambda: keep(jax.random.key(3), (4, 16), 0.1))(), alone)


def test_keeps_the_mean_and_does_nothing_outside_training():
    x, drop = jnp.ones((64, 512)), Dropout(0.2)
    dropped = np.asarray(drop.apply({}, x, True, rngs={"dropout": jax.random.key(0)}))
    assert set(np.unique(dropped).tolist()) == {0.0, 1.25}
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(drop.apply({}, x, False), x)
