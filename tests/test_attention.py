"""Attention in blocks equals attention over a whole row, and costs time in proportion to steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq.models import attention

STEPS, HEADS, DIM = 300, 2, 8


def inputs(steps: int):
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, steps, HEADS, DIM)).astype(np.float32) for _ in range(3))
    segment = np.zeros((2, steps), np.int32)
    segment[0, :] = 1 + (np.arange(steps) >= 90) + (np.arange(steps) >= 97)
    segment[1, : steps - 20] = 1
    return q, k, v, segment


def reference(q, k, v, segment, window: int, causal: bool) -> np.ndarray:
    """The formula in float64, step by step."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    ahead = np.arange(q.shape[1])[None, :] - np.arange(q.shape[1])[:, None]
    allowed = segment[:, :, None] == segment[:, None, :]
    if window:
        allowed &= (np.abs(ahead) <= window)[None]
    if causal:
        allowed &= (ahead <= 0)[None]
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(np.where(allowed[:, None], scores, -np.inf))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, v)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [0, 1, 5, 80, 299])
def test_is_the_formula_with_and_without_blocks(window, causal):
    *qkv, segment = inputs(STEPS)
    seen = attention.seen(segment, window, causal)
    assert (seen.block > 0) == (0 < window < 299)
    mixed = np.asarray(attention.attend(*qkv, seen, lambda weights: weights))
    real, expected = segment > 0, reference(*qkv, segment, window, causal)
    np.testing.assert_allclose(mixed[real], expected[real], atol=2e-6)


def test_gradients_are_those_of_the_whole_row(monkeypatch):
    *qkv, segment = inputs(STEPS)

    def gradients(block):
        monkeypatch.setattr(attention, "BLOCK", block)
        seen = attention.seen(segment, 5, True)
        assert (seen.block > 0) == (block < STEPS)

        def total(q, k, v):
            mixed = attention.attend(q, k, v, seen, lambda weights: weights)
            return jnp.where((segment > 0)[..., None, None], jnp.sin(mixed), 0).sum()

        return jax.grad(total, (0, 1, 2))(*qkv)

    for blocks, whole in zip(gradients(64), gradients(STEPS), strict=True):
        np.testing.assert_allclose(blocks, whole, atol=2e-6)


@pytest.mark.parametrize("window, growth", [(8, 4), (0, 16)])
def test_the_cost_grows_with_steps_times_window(window, growth):
    def operations(steps):
        def mix(q, k, v, segment):
            seen = attention.seen(segment, window, False)
            return attention.attend(q, k, v, seen, lambda weights: weights)

        return jax.jit(mix).lower(*inputs(steps)).cost_analysis()["flops"]

    assert operations(2048) / operations(512) == pytest.approx(growth, rel=0.05)
