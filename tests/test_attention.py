"""Attention in blocks equals attention over a whole row, and costs time in proportion to steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq.models import attention
from jaxvq.models.blocks import Attention

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
    mixed = np.asarray(attention.attend(*qkv, seen))
    real, expected = segment > 0, reference(*qkv, segment, window, causal)
    np.testing.assert_allclose(mixed[real], expected[real], atol=2e-6)


def test_gradients_are_those_of_the_whole_row(monkeypatch):
    *qkv, segment = inputs(STEPS)

    def gradients(block):
        monkeypatch.setattr(attention, "BLOCK", block)
        seen = attention.seen(segment, 5, True)
        assert (seen.block > 0) == (block < STEPS)

        def total(q, k, v):
            mixed = attention.attend(q, k, v, seen)
            return jnp.where((segment > 0)[..., None, None], jnp.sin(mixed), 0).sum()

        return jax.grad(total, (0, 1, 2))(*qkv)

    for blocks, whole in zip(gradients(64), gradients(STEPS), strict=True):
        np.testing.assert_allclose(blocks, whole, atol=2e-6)


@pytest.mark.parametrize("window, growth", [(8, 4), (0, 16)])
def test_the_cost_grows_with_steps_times_window(window, growth):
    def operations(steps):
        def mix(q, k, v, segment):
            seen = attention.seen(segment, window, False)
            return attention.attend(q, k, v, seen)

        return jax.jit(mix).lower(*inputs(steps)).cost_analysis()["flops"]

    assert operations(2048) / operations(512) == pytest.approx(growth, rel=0.05)


@pytest.fixture
def by_jax(monkeypatch):
    """Where cuDNN would run on a GPU, JAX's own formula with the same arguments."""
    fused = attention.fused
    monkeypatch.setattr(attention, "cudnn_runs", lambda *_: True)
    monkeypatch.setattr(attention, "fused", lambda *x: fused(*x[:-1], "xla"))


@pytest.mark.parametrize("window, causal", [(0, False), (0, True), (5, False), (80, True)])
def test_fused_attention_is_the_same_formula(window, causal, by_jax):
    *qkv, segment = inputs(STEPS)
    mixed = np.asarray(attention.attend(*qkv, attention.seen(segment, window, causal)))
    real, expected = segment > 0, reference(*qkv, segment, window, causal)
    np.testing.assert_allclose(mixed[real], expected[real], atol=2e-6)


def test_fused_attention_has_the_gradients_of_the_network(request):
    """Of a block in bfloat16, with the rounding of 8 bits."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 96, 32)), jnp.float32)
    segment = np.repeat([[1, 2, 0]], [40, 50, 6], axis=1).repeat(2, 0)
    angles = attention.angles(jnp.arange(96)[None], 16)
    layer = Attention(num_heads=2, dropout=0.1, dtype=jnp.bfloat16)
    seen = attention.seen(segment, 0, False)
    variables = jax.jit(lambda *x: layer.init(*x, seen, angles, False))(jax.random.key(0), x)

    def gradients():
        def total(variables, x):
            mixed = layer.apply(variables, x, seen, angles, False).astype(jnp.float32)
            return jnp.where((segment > 0)[..., None], jnp.sin(mixed), 0).sum()

        return jax.tree.leaves(jax.jit(jax.grad(total, (0, 1)))(variables, x))

    plain = gradients()
    request.getfixturevalue("by_jax")
    for fused, ours in zip(gradients(), plain, strict=True):
        assert float(jnp.abs(fused - ours).max()) < 0.03 * float(jnp.abs(ours).max())


def test_cudnn_runs_where_it_can(monkeypatch):
    shapes = (2, 64, 2, 16), (2, 64, 2, 16), (2, 64, 64)
    assert not attention.cudnn_runs(*shapes, np.dtype(jnp.bfloat16))  # a CPU
    attention.cudnn_runs.cache_clear()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    asked = []

    def compiles(*arguments):
        asked.append(arguments[0].shape)
        return fused(*arguments[:-1], "xla")

    fused = attention.fused
    monkeypatch.setattr(attention, "fused", compiles)
    assert attention.cudnn_runs(*shapes, np.dtype(jnp.bfloat16))
    assert not attention.cudnn_runs(*shapes, np.dtype(np.float32))
    symbolic = jax.export.symbolic_shape("b, 64, 2, 16")
    assert not attention.cudnn_runs(symbolic, symbolic, (2, 64, 64), np.dtype(jnp.bfloat16))
    assert asked == [shapes[0]]
    attention.cudnn_runs.cache_clear()
    monkeypatch.setattr(attention, "fused", fused)  # here, JAX finds no cuDNN
    assert not attention.cudnn_runs(*shapes, np.dtype(jnp.bfloat16))
    attention.cudnn_runs.cache_clear()


def test_dropout_of_the_weights_is_never_left_out(by_jax):
    *qkv, segment = inputs(STEPS)
    mixed = attention.attend(*qkv, attention.seen(segment, 0, False), jnp.zeros_like)
    assert not np.asarray(mixed).any()
