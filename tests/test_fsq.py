"""FSQ: codes, tokens and gradients, by hand and against vector-quantize-pytorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDEN

from jaxvq.quantizers import fsq

# Of the paper, but for those of 500 and 2000 codes.
SIZES = {
    (8, 6, 5): 240,
    (4, 5, 5, 5): 500,
    (8, 5, 5, 5): 1000,
    (4, 4, 5, 5, 5): 2000,
    (7, 5, 5, 5, 5): 4375,
    (8, 8, 8, 6, 5): 15360,
    (8, 8, 8, 5, 5, 5): 64000,
}


@pytest.mark.parametrize("levels", SIZES)
def test_the_codes_of_levels_are_counted(levels):
    assert fsq.codebook_size(levels) == SIZES[levels]


@pytest.mark.parametrize(
    "levels",
    [
        "4_4",
        "8_6_5",
        "4_5_5_5",
        "8_5_5_5",
        "4_4_5_5_5",
        "7_5_5_5_5",
        "8_8_8_6_5",
        "8_8_8_5_5_5",
        "3_3_3",
        "3_7_9",
    ],
)
def test_equals_vector_quantize_pytorch(levels):
    golden = np.load(GOLDEN / "fsq.npz")
    z, w, codes, indices, grad_z, decoded = (
        golden[f"{levels}/{name}"]
        for name in ("z", "w", "codes", "indices", "grad_z", "decoded_all")
    )
    levels = tuple(int(n) for n in levels.split("_"))

    def loss(z):
        codes, indices = fsq.quantize(z, levels)
        return jnp.sum(codes * w), (codes, indices)

    differentiate = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, (our_codes, our_indices)), our_grad = differentiate(z)
    np.testing.assert_array_equal(our_indices, indices)
    assert our_indices.dtype == jnp.int32
    np.testing.assert_array_equal(our_codes, codes)
    np.testing.assert_allclose(our_grad, grad_z, atol=2e-6)
    if decoded.size:
        np.testing.assert_array_equal(fsq.lookup(np.arange(len(decoded)), levels), decoded)


def test_by_hand():
    # Odd levels are symmetric: 3 values -1, 0, 1. Even ones have one more below: 4 are -2..1.
    codes, indices = fsq.quantize(jnp.array([[-9.0, -9.0], [0.0, 0.0], [9.0, 9.0]]), (3, 4))
    np.testing.assert_array_equal(codes, [[-1, -1], [0, 0], [1, 0.5]])
    np.testing.assert_array_equal(indices, [0, 1 + 3 * 2, 2 + 3 * 3])


@pytest.mark.parametrize("levels", [*SIZES, (2, 3), (999,)])
def test_every_token_decodes_to_its_own_code(levels):
    size = fsq.codebook_size(levels)
    indices = jnp.arange(size)
    codes = fsq.lookup(indices, levels)
    assert codes.min() == -1 and codes.max() <= 1
    # The inverse of the bound takes each code back to a z that falls into it again.
    half = (np.array(levels) - 1) * 1.001 / 2
    offset = np.where(np.array(levels) % 2 == 0, 0.5, 0)
    grid = np.asarray(codes) * (np.array(levels) // 2)
    z = np.arctanh((grid + offset) / half) - np.arctanh(offset / half)
    again, tokens = fsq.quantize(jnp.asarray(z, jnp.float32), levels)
    np.testing.assert_array_equal(tokens, indices)
    np.testing.assert_array_equal(again, codes)


def test_extreme_inputs_stay_in_range():
    z = jnp.array([[-jnp.inf] * 4, [jnp.inf] * 4, [-1e30] * 4, [1e30] * 4])
    _, indices = fsq.quantize(z, (8, 5, 5, 5))
    np.testing.assert_array_equal(indices, [0, 999, 0, 999])


def test_low_precision_inputs_are_computed_in_float32():
    z = jax.random.normal(jax.random.key(0), (512, 4)).astype(jnp.bfloat16)
    codes, indices = fsq.quantize(z, (8, 5, 5, 5))
    codes_32, indices_32 = fsq.quantize(z.astype(jnp.float32), (8, 5, 5, 5))
    assert codes.dtype == jnp.float32
    np.testing.assert_array_equal(indices, indices_32)
    np.testing.assert_array_equal(codes, codes_32)


def test_a_digit_without_widening_may_have_thousands_of_values():
    z = jnp.arange(-2496, 2496, dtype=jnp.float32)[:, None]
    vectors, indices = fsq.quantize(z, (4992,), "clip")
    np.testing.assert_array_equal(indices, np.arange(4992))
    np.testing.assert_array_equal(jnp.round(vectors * 2496), z)
    assert fsq.Fsq(((4992, 3),), "clip").codebook_sizes == (14976,)
    with pytest.raises(ValueError, match="2..999"):
        _ = fsq.Fsq(((4992, 3),)).codebook_sizes


@pytest.mark.parametrize(
    "levels, message",
    [
        ((), "at least one"),
        ((8, 1), "2..999"),
        ((1000,), "2..999"),
        ((2.5,), "whole numbers"),
        ((999,) * 4, "int32"),
        ((8, 5, 5), "3 features"),
    ],
)
def test_impossible_levels_are_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        fsq.quantize(jnp.zeros((2, 4)), levels)
