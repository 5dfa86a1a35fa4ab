"""Optimizers and learning-rate schedules, from plain config fields."""

import jax
import jax.numpy as jnp
import optax

SCHEDULES = ("constant", "warmup_rsqrt", "warmup_cosine", "step", "exponential")
DECAY_STEPS = 3  # falls of the schedule "step" per run
OPTIMIZERS = ("adamw", "adam", "sgd")


def make_schedule(optim, total_steps: int) -> optax.Schedule:
    """step → learning rate, float32.

    warmup_rsqrt   sign-vq's: linear to `learning_rate` over `warmup_steps`, then
                   learning_rate · max(final_scale, sqrt(warmup_steps / step))
    warmup_cosine  linear warm-up, then half a cosine down to learning_rate · final_scale
    step           linear warm-up, then down to it in three equal falls, evenly spread over the run
    exponential    linear warm-up, then down to it by the same factor in each step
    constant       linear warm-up, then constant

    warmup_steps = 0 leaves out the warm-up.
    """
    peak, warmup, floor = optim.learning_rate, optim.warmup_steps, optim.final_scale
    rest, start = max(total_steps - warmup, 1), max(warmup, 1)

    def inverse_root(step):
        return peak * jnp.maximum(floor, jnp.sqrt(start / jnp.maximum(step + warmup, start)))

    match optim.schedule:
        case "warmup_rsqrt":
            decay = inverse_root
        case "warmup_cosine":
            decay = optax.cosine_decay_schedule(peak, rest, alpha=floor)
        case "step":
            falls = [rest * n / (DECAY_STEPS + 1) for n in range(1, DECAY_STEPS + 1)]
            factor = floor ** (1 / DECAY_STEPS)
            decay = optax.piecewise_constant_schedule(peak, dict.fromkeys(falls, factor))
        case "exponential":
            decay = optax.exponential_decay(peak, rest, floor, end_value=peak * floor)
        case "constant":
            decay = optax.constant_schedule(peak)
        case name:
            raise ValueError(f"optim.schedule={name!r}: choose from {', '.join(SCHEDULES)}")
    # The first step already has a part of the peak rate.
    ramp = optax.linear_schedule(peak / start, peak, warmup - 1)
    return optax.join_schedules([ramp, decay], [warmup])


def make_optimizer(optim, total_steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of `config.optim`, and its schedule for the log.

    Gradients, averaged over devices, are clipped by their global norm if `clip_norm` > 0. Weight
    decay leaves out vectors (biases, scales of norms).
    """
    if optim.schedule in ("step", "exponential") and not optim.final_scale > 0:
        raise ValueError(
            f"optim.final_scale={optim.final_scale}: {optim.schedule} needs more than 0"
        )
    schedule = make_schedule(optim, total_steps)
    if optim.optimizer == "adamw":
        rule = optax.adamw(
            schedule,
            b1=optim.b1,
            b2=optim.b2,
            eps=optim.eps,
            weight_decay=optim.weight_decay,
            mask=decay_mask,
        )
    elif optim.optimizer == "adam":
        rule = optax.adam(schedule, b1=optim.b1, b2=optim.b2, eps=optim.eps)
    elif optim.optimizer == "sgd":
        rule = optax.sgd(schedule, momentum=optim.b1)
    else:
        known = ", ".join(OPTIMIZERS)
        raise ValueError(f"optim.optimizer={optim.optimizer!r}: choose from {known}")
    if optim.clip_norm > 0:
        rule = optax.chain(optax.clip_by_global_norm(optim.clip_norm), rule)
    return rule, schedule


def decay_mask(params):
    """True for the leaves with weight decay: matrices and larger arrays."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
