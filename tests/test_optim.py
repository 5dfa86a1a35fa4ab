"""Schedules and optimizers against their formulas."""

import jax
import numpy as np
import pytest

from configs.stgcn_rvq import get_config
from jaxvq.training import optim


def optim_config(**changes):
    config = get_config().optim
    config.update(learning_rate=1e-3, warmup_steps=10, final_scale=0.001, **changes)
    return config


def test_step_falls_three_times_by_the_same_factor():
    schedule = optim.make_schedule(optim_config(schedule="step"), 410)
    assert float(schedule(4)) == pytest.approx(0.5e-3)  # the fifth of ten steps of warm-up
    values = [float(schedule(step)) for step in (10, 109, 111, 209, 211, 309, 311, 410)]
    np.testing.assert_allclose(values, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6], rtol=1e-4)


def test_exponential_is_a_straight_line_of_logarithms():
    schedule = optim.make_schedule(optim_config(schedule="exponential"), 310)
    values = [float(schedule(step)) for step in (10, 110, 210, 310, 400)]
    np.testing.assert_allclose(values, [1e-3, 1e-4, 1e-5, 1e-6, 1e-6], rtol=1e-4)


@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize("name", optim.SCHEDULES)
def test_schedules_are_their_formulas(name, warmup):
    config = optim_config(schedule=name)
    config.update(warmup_steps=warmup, final_scale=0.2)
    steps = np.arange(0, 260, dtype=np.float64)
    schedule = jax.jit(jax.vmap(optim.make_schedule(config, 200)))
    ramp = np.minimum(1, (steps + 1) / max(warmup, 1))
    done = np.clip((steps - warmup) / (200 - warmup), 0, 1)
    start = max(warmup, 1)
    after = {
        "warmup_rsqrt": np.maximum(0.2, np.sqrt(start / np.maximum(steps, start))),
        "warmup_cosine": 0.2 + 0.8 * 0.5 * (1 + np.cos(np.pi * done)),
        "step": 0.2 ** (np.floor(done * 4).clip(0, 3) / 3),
        "exponential": 0.2**done,
        "constant": 1,
    }[name]
    found = schedule(steps.astype(np.int32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1e-3 * ramp * after, rtol=2e-6)


def test_cosine_without_warm_up_starts_at_its_peak():
    config = optim_config(schedule="warmup_cosine")
    config.warmup_steps = 0
    schedule = optim.make_schedule(config, 100)
    expected = [1e-3 * (0.001 + 0.999 * (1 + np.cos(np.pi * n / 100)) / 2) for n in (0, 25, 100)]
    np.testing.assert_allclose([float(schedule(n)) for n in (0, 25, 100)], expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_optimizer_takes_the_first_step_of_its_formula(name):
    config = optim_config(optimizer=name, schedule="constant")
    config.update(warmup_steps=0, clip_norm=0.0, weight_decay=0.1)
    optimizer, _ = optim.make_optimizer(config, 10)
    params, grads = {"w": np.full((2, 2), 2.0)}, {"w": np.full((2, 2), 0.3)}
    updates, _ = jax.jit(lambda: optimizer.update(grads, optimizer.init(params), params))()
    # Adam's first step is the sign of the gradient; AdamW also pulls to 0; SGD follows it.
    expected = {"adam": -1e-3, "adamw": -1e-3 * (1 + 0.1 * 2), "sgd": -1e-3 * 0.3}[name]
    np.testing.assert_allclose(updates["w"], expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["step", "exponential"])
def test_a_fall_to_zero_is_refused(name):
    config = optim_config(schedule=name)
    config.final_scale = 0.0
    with pytest.raises(ValueError, match=f"final_scale=0.0: {name} needs more than 0"):
        optim.make_optimizer(config, 10)
