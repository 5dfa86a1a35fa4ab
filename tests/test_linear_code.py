"""The linear code that models start from: patches, coefficients, and how levels are dealt out."""

import itertools
import math

import jax
import numpy as np
import pytest

from jaxvq.models import linear_code, patches
from jaxvq.quantizers import fsq


def test_patches_fall_apart_and_join():
    x = np.arange(7 * 2).reshape(1, 7, 2)
    split = np.asarray(patches.split(x, 3))
    assert split.shape == (1, 3, 3, 2)
    np.testing.assert_array_equal(split[0, 2], [x[0, 6], [0, 0], [0, 0]])
    np.testing.assert_array_equal(patches.join(split, 7), x)


def test_missing_points_lie_between_those_seen():
    pose = np.array([9, 1, 9, 9, 4, 9], np.float32).reshape(1, 6, 1, 1)
    visible = np.array([0, 1, 0, 0, 1, 0], bool).reshape(1, 6, 1)
    filled = np.asarray(patches.fill(pose, visible)).ravel()
    np.testing.assert_allclose(filled, [1, 1, 2, 3, 4, 4])
    assert not np.asarray(patches.fill(pose, np.zeros_like(visible))).any()


def smooth_patches(count=200, size=8, points=5, seed=0):
    """Points that move together, slowly: three directions, three frequencies."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(3, points * 3))
    time = np.arange(size)[None, :, None]
    phase, speed = rng.uniform(0, 6.28, (count, 1, 3)), np.array([0.1, 0.3, 0.6])
    weights = np.sin(time * speed + phase) * rng.normal(1, 0.3, (count, 1, 3)) * [4, 1, 0.3]
    return (weights @ directions).reshape(count, size, points, 3).astype(np.float32)


def fit(poses, scale, levels):
    return jax.jit(lambda x: linear_code.fit_kernels(x, np.ones(len(x), bool), scale, levels))(
        poses
    )


def best_steps(values, levels):
    return jax.jit(lambda x: linear_code.best_steps(x, np.ones(len(x), bool), levels))(values)


def test_coefficients_keep_all_there_is_with_all_components():
    poses, scale = smooth_patches(), np.linspace(0.5, 2, 15).reshape(5, 3).astype(np.float32)
    found = jax.jit(lambda x: linear_code.coefficients(x, scale, 15))(poses)
    basis = np.asarray(found.basis)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8 * 15), atol=1e-5)
    energy = np.square(poses * scale).sum()
    assert float(np.square(found.values).sum()) == pytest.approx(energy, rel=1e-4)


def test_the_best_step_is_the_best_of_many():
    values = np.random.default_rng(1).normal(size=(4000, 1)).astype(np.float32)
    for levels in (3, 7, 15):
        step, error = best_steps(values, np.array([levels]))
        half = levels // 2
        tried = [
            np.square(values - np.clip(np.round(values / s), -half, half) * s).mean()
            for s in np.linspace(0.1, 3, 300)
        ]
        assert float(error[0]) <= min(tried) * 1.02
    # Max 1960, table I: 7 levels of a normal distribution cost 0.0469 with a uniform step.
    _, error = best_steps(values, np.array([7]))
    assert float(error[0]) == pytest.approx(0.0469, rel=0.08)


def test_the_code_gives_back_what_it_was_given():
    poses, scale = smooth_patches(), np.full((5, 3), 0.5, np.float32)
    levels = [31] * 9
    analysis, synthesis = fit(poses, scale, levels)
    flat = poses.reshape(200, -1)
    quantizer = fsq.Fsq((tuple(levels[:5]), (31,) * 4), "clip")
    codes, indices, *_ = quantizer.quantize({}, flat @ analysis)
    assert indices.shape == (200, 2)
    error = np.square(np.asarray(codes @ synthesis) - flat).mean()
    assert error < 0.01 * np.square(flat).mean()


def test_constant_coordinates_do_no_harm():
    poses, scale = smooth_patches(), np.full((5, 3), 0.5, np.float32)
    scale[2] = 0
    analysis, synthesis = fit(poses, scale, [9, 7, 5])
    assert np.isfinite(analysis).all() and np.isfinite(synthesis).all()
    assert not np.asarray(synthesis).reshape(3, 8, 5, 3)[:, :, 2].any()


def test_allocation_is_the_best_there_is_for_one_feature_more():
    """Against all ways to spend the bits on two streams of two coefficients."""
    rng = np.random.default_rng(2)
    streams = [
        (rng.normal(size=(2000, 2)).astype(np.float32) * [4, 1], 1.0, 1),
        (rng.normal(size=(2000, 2)).astype(np.float32) * [2, 0.5], 1.0, 1),
    ]
    tables = [linear_code._distortions(values) for values, _, _ in streams]

    def cost(picked):
        pairs = [picked[:2], picked[2:]]
        return sum(
            math.sqrt(sum(table[i, linear_code.LEVELS.index(n)] for i, n in enumerate(pair)))
            for table, pair in zip(tables, pairs, strict=True)
        )

    bits = 9.0
    chosen = linear_code.allocate(streams, bits)
    assert sum(math.log2(n) for part in chosen for n in part) <= bits
    padded = [n for part in chosen for n in (part + [1, 1])[:2]]
    best = min(
        cost(picked)
        for picked in itertools.product(linear_code.LEVELS, repeat=4)
        if sum(map(math.log2, picked)) <= bits
    )
    assert cost(padded) <= 1.1 * best


def test_codebooks_get_about_as_many_codes():
    books = linear_code.pack([31, 23, 9, 7, 5, 3, 3, 3], 3)
    sizes = [math.prod(book) for book in books]
    assert sorted(n for book in books for n in book) == [3, 3, 3, 5, 7, 9, 23, 31]
    assert max(sizes) / min(sizes) < 4


def test_a_clip_is_rounded_where_tanh_would_bend():
    z = np.array([-9.0, -1.4, 0.2, 1.6, 9.0], np.float32)[:, None]
    codes, indices = jax.jit(lambda z: fsq.quantize(z, (5,), "clip"))(z)
    np.testing.assert_allclose(np.asarray(codes)[:, 0], [-1, -0.5, 0, 1, 1])
    np.testing.assert_array_equal(indices, [0, 1, 2, 4, 4])
    even, _ = fsq.quantize(z, (4,), "clip")  # -2 … 1
    np.testing.assert_allclose(np.asarray(even)[:, 0], [-1, -0.5, 0, 0.5, 0.5])


def test_held_shapes_get_the_levels_that_movement_would_get():
    # Two points: one is held somewhere in each step, the other moves back and forth, by more.
    rng = np.random.default_rng(0)
    time = (np.arange(8) + 0.5)[None, :, None]
    slow = rng.normal(size=(300, 1, 1)) * np.ones_like(time)
    fast = 1.2 * rng.normal(size=(300, 1, 1)) * np.cos(np.pi * 5 / 8 * time)
    poses = np.concatenate([slow, np.sqrt(2) * fast], -1)[..., None].astype(np.float32)
    levels, seen = [9, 3], np.ones(300, bool)
    for hold, point in ((0.0, 1), (1.5, 0)):
        kernel, _ = linear_code.fit_kernels(poses, seen, np.ones((2, 1), np.float32), levels, hold)
        energy = np.square(np.asarray(kernel)[:, 0]).reshape(8, 2).sum(0)  # of the 9 levels
        assert energy.argmax() == point and energy[1 - point] < 0.05 * energy[point]
    np.testing.assert_allclose(linear_code.hold_weights(4, 1.0), [1, 1 / 2, 1 / 3, 1 / 4])


def test_a_held_error_counts_whole_and_one_that_alternates_counts_less():
    held, alternating = np.ones(4), np.array([1, -1, -1, 1])  # 0 and 2 half waves in a step
    errors = np.stack([held, alternating], -1).reshape(1, 4, 2, 1).astype(np.float32)
    counted = np.asarray(linear_code.held(errors, 1.0)).reshape(4, 2)
    np.testing.assert_allclose(counted, np.stack([held, alternating / 3], -1), atol=1e-6)


def test_what_leads_a_codebook_counts_for_its_size_and_is_left_out():
    # 2 · 30 = 60 codes lead the first codebook: 9 · 7 = 63 are put beside them first.
    assert linear_code.pack([9, 7, 5, 3], 2, (2, 30)) == ((5,), (9, 7, 3))
    assert linear_code.pack([9, 7, 5, 3], 2) == ((9, 3), (7, 5))
    # What leads is larger than all levels together, but no codebook goes without a feature.
    assert linear_code.pack([9, 7, 5, 3], 2, (2, 4992)) == ((3,), (9, 7, 5))


def test_one_step_for_all_features_spends_the_bits_of_an_entropy_coder():
    rng = np.random.default_rng(2)
    deviations = 2.0 ** -np.linspace(0, 7, 24)
    streams = [
        (rng.laplace(size=(4000, 24)) * deviations, weight, parts)
        for weight, parts in ((1.0, 1), (4.0, 2))
    ]

    def entropies(values, steps, halves):
        whole = np.round(values[:, : len(halves)] / steps)
        whole = np.clip(whole, -halves, halves).astype(int)
        left = np.square(values[:, : len(halves)] - whole * steps).sum(1).mean()
        left += np.square(values[:, len(halves) :]).sum(1).mean()
        return sum(map(linear_code._entropy, whole.T)), left

    found = linear_code.allocate_uniform(streams, 60.0)
    assert 54 < found[0].bits + 2 * found[1].bits <= 60
    assert found[1].step < found[0].step  # what counts more is coded finer
    for one, (values, _, _) in zip(found, streams, strict=True):
        assert one.levels == sorted(one.levels, reverse=True) and min(one.levels) >= 3
        largest = np.abs(values[:, 0]).max() / one.step
        assert one.levels[0] >= 2 * largest - 2
    # At equal entropy, levels dealt by nominal bits leave more error.
    values = streams[0][0].astype(np.float32)
    for nominal in (30.0, 45.0):
        (levels,) = linear_code.allocate([(values, 1.0, 1)], nominal)
        steps, _ = best_steps(values[:, : len(levels)], np.array(levels))
        bits, error = entropies(values, np.asarray(steps), np.array(levels) // 2)
        (one,) = linear_code.allocate_uniform([(values, 1.0, 1)], bits)
        assert one.bits <= bits and one.error < 0.95 * error
