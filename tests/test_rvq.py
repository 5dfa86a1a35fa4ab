"""Quantizers: residual VQ against the public implementation's output, its learning by hand, FSQ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDEN
from ml_collections import ConfigDict

from jaxvq.quantizers import TYPES, fsq, make_quantizer, rfsq, rvq
from jaxvq.quantizers.base import draw_active

SIZES = (4, 4, 4)
USED = rvq.make_used(SIZES)


def vectors(count=40, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def test_equals_vector_quantize_pytorch():
    golden = np.load(GOLDEN / "rvq.npz")
    books = jnp.asarray(golden["codebooks"])
    used = rvq.make_used((books.shape[1],) * len(books))
    result = jax.jit(lambda x: rvq.quantize(x, books, used))(golden["x"])
    np.testing.assert_array_equal(result.indices, golden["indices"])
    np.testing.assert_allclose(result.vectors, golden["quantized"], atol=1e-5)
    np.testing.assert_array_equal(rvq.lookup(result.indices, books), result.vectors)


def test_each_layer_takes_the_nearest_code_of_what_is_left():
    x, books = vectors(), np.stack([vectors(4, seed=s) for s in range(3)])
    result = rvq.quantize(x, jnp.asarray(books), USED)
    residual, commitment = x.copy(), 0
    for layer, book in enumerate(books):
        index = np.square(residual[:, None] - book[None]).sum(-1).argmin(1)
        np.testing.assert_array_equal(result.indices[:, layer], index)
        residual = residual - book[index]
        commitment = commitment + np.square(residual).mean(-1) / 3
    np.testing.assert_allclose(result.vectors, x - residual, atol=1e-5)
    np.testing.assert_allclose(result.commitment, commitment, rtol=1e-4)


def test_gradient_passes_straight_through_once_and_commitment_moves_the_input():
    x, books = vectors(), jnp.asarray(np.stack([vectors(4, seed=s) for s in range(3)]))
    through = jax.grad(lambda x: rvq.quantize(x, books, USED).vectors.sum())(x)
    np.testing.assert_array_equal(through, np.ones_like(x))
    pull = jax.grad(lambda x: rvq.quantize(x, books, USED).commitment.sum())(x)
    residuals, full = [], rvq.quantize(x, books, USED)
    for layers in range(1, 4):
        shown = np.where(np.arange(3) < layers, full.indices, -1)
        residuals.append(x - np.asarray(rvq.lookup(shown, books)))
    np.testing.assert_allclose(pull, 2 / 5 / 3 * sum(residuals), atol=1e-5)


def test_layers_that_are_not_active_are_left_out():
    x, books = vectors(), jnp.asarray(np.stack([vectors(4, seed=s) for s in range(3)]))
    full = rvq.quantize(x, books, USED)
    active = np.arange(3)[None] < np.array([1, 3] * 20)[:, None]
    dropped = rvq.quantize(x, books, USED, jnp.asarray(active))
    np.testing.assert_array_equal(dropped.indices, full.indices)
    expected = rvq.lookup(jnp.where(active, full.indices, -1), books)
    np.testing.assert_array_equal(dropped.vectors, expected)


def update(state, x, valid, used, **options):
    """A step as a task makes it: quantize, then learn from the codes that were chosen."""
    indices = rvq.quantize(x, state["codes"], used).indices
    return rvq.update(state, x, indices, valid, used, **options)[0]


def test_layers_of_other_sizes_never_use_codes_they_lack():
    used = rvq.make_used((2, 4, 3))
    state = rvq.init(jax.random.key(0), used, 5)

    @jax.jit
    def step(state, x):
        return update(state, x, jnp.ones(40, bool), used, decay=0.9, dead_below=0.1)

    for seed in range(3):
        state = step(state, vectors(seed=seed))
    indices = rvq.quantize(vectors(400, seed=9), state["codes"], used).indices
    np.testing.assert_array_equal(indices.max(0), [1, 3, 2])


def learner(x, valid, state, **options):
    options = dict(decay=0.75, dead_below=0.0, start="data") | options
    return update(state, x, valid, USED[:1], **options)


def test_moving_averages_by_hand():
    x, valid = vectors(), np.arange(40) < 30
    first = learner(x, valid, rvq.init(jax.random.key(0), USED[:1], 5))
    assert int(first["steps"]) == 1 and float(first["counts"].sum()) == 30
    np.testing.assert_allclose(first["sums"][0].sum(0), x[:30].sum(0), rtol=1e-4, atol=1e-5)

    y = vectors(seed=1)
    second = learner(y, valid, first)
    index = np.asarray(rvq.nearest(y, first["codes"][0], jnp.ones(4, bool)))[:30]
    chosen = np.eye(4)[index]
    counts = 0.75 * first["counts"][0] + 0.25 * chosen.sum(0)
    sums = 0.75 * first["sums"][0] + 0.25 * chosen.T @ y[:30]
    np.testing.assert_allclose(second["counts"][0], counts, rtol=1e-5)
    np.testing.assert_allclose(second["sums"][0], sums, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second["codes"][0], sums / counts[:, None], rtol=1e-4, atol=1e-5)


def test_padding_teaches_nothing():
    x, valid = vectors(), np.arange(40) < 30
    other = np.where(valid[:, None], x, 100)
    start = rvq.init(jax.random.key(0), USED[:1], 5)
    for options in (dict(start="kmeans"), dict(dead_below=0.9)):
        a, b = (learner(y, valid, start, **options) for y in (x, other))
        np.testing.assert_array_equal(a["codes"], b["codes"])
    nothing = learner(x, np.zeros(40, bool), start)
    assert int(nothing["steps"]) == 0
    np.testing.assert_array_equal(nothing["codes"], start["codes"])


def test_dead_codes_revive_on_vectors_of_the_batch():
    x, valid = vectors(), np.ones(40, bool)
    state = learner(x, valid, rvq.init(jax.random.key(0), USED[:1], 5))
    # Two codes far from everything have not been chosen for long.
    far = state["codes"].at[0, :2].set(1e3)
    state = state | {"codes": far, "counts": state["counts"].at[0, :2].set(0.01)}
    state = learner(x, valid, state, dead_below=0.1)
    for code, count, total in zip(
        state["codes"][0], state["counts"][0], state["sums"][0], strict=True
    ):
        np.testing.assert_allclose(total, count * code, rtol=1e-4, atol=1e-4)
    revived = np.asarray(state["codes"][0, :2])
    assert all((np.abs(x - code).max(1) < 1e-6).any() for code in revived)
    assert len(np.unique(np.asarray(rvq.nearest(x, state["codes"][0], jnp.ones(4, bool))))) == 4
    np.testing.assert_allclose(state["counts"][0, 0], state["counts"][0, 1])


def test_kmeans_starts_in_the_clusters():
    centers = 10 * vectors(4, seed=5)
    x = np.repeat(centers, 10, 0) + 0.1 * vectors(40)
    state = learner(
        x,
        np.ones(40, bool),
        rvq.init(jax.random.key(0), USED[:1], 5),
        start="kmeans",
        dead_below=0.1,
    )
    for _ in range(3):
        state = learner(x, np.ones(40, bool), state, dead_below=0.1)
    distance = np.linalg.norm(x[:, None] - np.asarray(state["codes"][0])[None], axis=-1).min(1)
    assert distance.max() < 1


@pytest.mark.skipif(jax.device_count() < 4, reason="needs four devices")
def test_four_devices_learn_what_one_learns():
    start = rvq.init(jax.random.key(0), USED, 5)

    def step(state, x, valid, axis_name=None):
        return update(state, x, valid, USED, decay=0.9, dead_below=0.3, axis_name=axis_name)

    one = jax.jit(step)
    four = jax.pmap(
        lambda *a: step(*a, "d"),
        axis_name="d",
        in_axes=(None, 0, 0),
        out_axes=0,
        devices=jax.devices()[:4],
    )
    a = b = start
    for seed in range(3):
        x, valid = vectors(seed=seed), np.random.default_rng(seed).random(40) < 0.6
        a = one(a, x, valid)
        copies = four(b, x.reshape(4, 10, 5), valid.reshape(4, 10))
        b = jax.tree.map(lambda leaf: leaf[0], copies)
        for name in a:
            copy = copies[name]
            np.testing.assert_array_equal(np.broadcast_to(b[name], copy.shape), copy)
            np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5)


def test_residual_fsq_refines_and_round_trips():
    z = 2 * vectors(200, 4)
    levels, bounded = (8, 5, 5, 5), np.tanh(z)
    vectors_, indices, *_ = rfsq.quantize(z, levels, 3)
    assert indices.shape == (200, 3) and indices.min() >= 0
    assert indices.max() < fsq.codebook_size(levels)
    np.testing.assert_array_equal(rfsq.lookup(indices, levels), vectors_)
    for layers in (1, 2, 3):
        shown = np.where(np.arange(3) < layers, indices, -1)
        error = np.abs(bounded - np.asarray(rfsq.lookup(jnp.asarray(shown), levels)))
        limit = (1 / (np.array(levels) - 1.0)) ** layers
        assert (error <= limit * 1.001 + 1e-6).all()
    slope = jax.grad(lambda z: rfsq.quantize(z, levels, 3).vectors.sum())(z)
    np.testing.assert_allclose(slope, 1 - bounded**2, atol=1e-5)


def quantizer(**changes) -> ConfigDict:
    fields = dict(
        type="rvq",
        num_quantizers=3,
        codebook_size=8,
        code_dim=4,
        decay=0.9,
        dead_below=0.1,
        init="kmeans",
        levels=(5, 5),
    )
    return ConfigDict(fields | changes)


@pytest.mark.parametrize("kind", TYPES)
def test_all_quantizers_have_one_interface(kind):
    made = make_quantizer(quantizer(type=kind))
    state = made.init(jax.random.key(0))
    z = vectors(24, made.latent_dim)
    state, _ = made.update(state, z, made.quantize(state, z).indices, jnp.ones(24, bool))
    result = made.quantize(state, z.astype(jnp.bfloat16).reshape(2, 12, -1))
    assert result.indices.shape == (2, 12, 3) and result.indices.dtype == jnp.int32
    assert result.vectors.dtype == jnp.float32 and result.commitment.shape == (2, 12)
    assert (np.asarray(result.indices).max((0, 1)) < made.codebook_sizes).all()
    np.testing.assert_allclose(made.lookup(state, result.indices), result.vectors, atol=1e-6)


@pytest.mark.parametrize("kind", TYPES)
def test_quantization_errors_are_what_is_left_before_and_after_each_quantizer(kind):
    made = make_quantizer(quantizer(type=kind))
    state = made.init(jax.random.key(0))
    z = vectors(24, made.latent_dim)
    result = made.quantize(state, z)
    assert result.errors.shape == (24, 3, 2)
    # The space of the code vectors: FSQ bounds its latents first.
    bounded = {"rvq": z, "rfsq": np.tanh(z), "fsq": None}[kind]
    if kind == "fsq":
        parts = [np.asarray(fsq.bound(p, (5, 5))) / 2 for p in np.split(z, 3, axis=1)]
        chosen = np.split(np.asarray(result.vectors), 3, axis=1)
        expected = [[p, p - c] for p, c in zip(parts, chosen, strict=True)]
    else:
        left = [bounded]
        for layers in (1, 2, 3):
            kept = np.where(np.arange(3) < layers, result.indices, -1)
            left.append(bounded - np.asarray(made.lookup(state, jnp.asarray(kept))))
        expected = [[left[i], left[i + 1]] for i in range(3)]
    expected = np.square(np.array(expected)).mean(-1).transpose(2, 0, 1)
    np.testing.assert_allclose(result.errors, expected, rtol=1e-4, atol=1e-6)


def test_the_number_of_revived_codes_is_told():
    x, valid = vectors(), np.ones(40, bool)
    state = rvq.init(jax.random.key(0), USED[:1], 5)
    state = state | {"steps": jnp.ones((), jnp.int32), "codes": state["codes"].at[0, 2:].set(1e3)}
    indices = rvq.quantize(x, state["codes"], USED[:1]).indices
    _, revived = rvq.update(state, x, indices, valid, USED[:1], decay=0.5, dead_below=0.1)
    assert int(revived) == 2


def test_quantizer_dropout_keeps_the_first_layers_of_some_rows():
    active = np.asarray(draw_active(jax.random.key(0), 1000, 4, 0.5))[:, 0]
    assert (np.diff(active.astype(int)) <= 0).all() and active[:, 0].all()
    # Half of the rows draw 1..4 layers, a quarter of them all four.
    assert 0.55 < active.all(1).mean() < 0.7


@pytest.mark.parametrize(
    "change, match",
    [
        (dict(type="vq"), "rvq, rfsq, fsq"),
        (dict(init="zeros"), "kmeans, data"),
        (dict(codebook_size=(8, 8)), "one for each of 3 quantizers"),
        (dict(codebook_size=1), "2 codes"),
        (dict(num_quantizers=0), "1 or more"),
        (dict(decay=1.0), "below 1"),
        (dict(type="fsq", levels=(1, 5)), "2..999"),
    ],
)
def test_wrong_fields_are_named(change, match):
    with pytest.raises(ValueError, match=match):
        make_quantizer(quantizer(**change))
