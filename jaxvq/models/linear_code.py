"""The best linear code for steps of poses, for a network to start from.

It takes principal components over the points of a frame and a cosine transform over the frames of a
step. Most of these coefficients hardly ever leave 0; the others get the levels of FSQ in the order
of their variance. This alone is a strong tokenizer: transform coding (Goyal 2001,
https://doi.org/10.1109/79.952802) explains why. All of it is pure jnp, so that a task's `init` can
be compiled with it.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.batch import Batch
from jaxvq.models import patches
from jaxvq.quantizers import fsq

# Steps of a uniform quantizer, in standard deviations between its outermost values, to choose from.
_LOADINGS = np.linspace(0.6, 5.1, 31)
# Steps of all features of a stream to choose from, in deviations of the one that varies most.
_STEPS = 2.0 ** (1 - np.arange(64) / 8)
# How many bits an error of one step squared is worth: at high rates, a bit more per feature divides
# its mean square error, a twelfth of a step squared, by 4.
BITS_PER_SQUARE = 6 / math.log(2)
# Levels a coefficient may get: odd, so that 0 is one of them.
LEVELS = (1, 3, 5, 7, 9, 11, 13, 15, 19, 23, 27, 31, 39, 47, 63, 79, 95, 127)
# Largest digit on either side of 0 where codes are entropy coded and rare ones are cheap.
LARGEST = 255


class Coefficients(NamedTuple):
    """basis: float32 (p·v·c, p·k), orthonormal columns. values: float32 (n, p·k), of each step."""

    basis: jax.Array
    values: jax.Array


def seen_steps(batch: Batch, frames: int) -> tuple[jax.Array, jax.Array]:
    """The steps of a batch one after the other: float32 (n, frames, v, c), missing points filled
    in (patches.fill), and bool (n,), in which of them anything was seen."""
    visible = batch.visible & batch.frames[..., None]
    visible = patches.split(jnp.asarray(visible), frames)
    filled = patches.fill(patches.split(jnp.asarray(batch.pose), frames), visible)
    return filled.reshape(-1, *filled.shape[2:]), visible.any((2, 3)).reshape(-1)


def coefficients(poses: jax.Array, scale, components: int) -> Coefficients:
    """Coefficients of filled steps.

    Args:
      poses: float32 (n, p, v, c), standardised; 0 where nothing was seen.
      scale: float32 (v, c), what a standardised unit counts: shoulder widths, by the weight of the
        point.
      components: k, at most v·c.
    """
    n, size = poses.shape[:2]
    scaled = poses * jnp.asarray(scale)[None, None]
    frames = scaled.reshape(n * size, -1)
    _, vectors = jnp.linalg.eigh(frames.T @ frames)
    vectors = vectors[:, ::-1][:, :components]
    basis = jnp.einsum("fg,dk->fdgk", _cosines(size), vectors).reshape(size * frames.shape[1], -1)
    return Coefficients(basis, scaled.reshape(n, -1) @ basis)


def _cosines(size: int) -> np.ndarray:
    """The orthonormal DCT-II, float32 (frames, frequencies)."""
    frame, frequency = np.arange(size)[:, None], np.arange(size)[None]
    matrix = np.cos(np.pi * (2 * frame + 1) * frequency / (2 * size)) * math.sqrt(2 / size)
    matrix[:, 0] /= math.sqrt(2)
    return matrix.astype(np.float32)


def best_steps(values: jax.Array, seen, levels: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """For each coefficient the step of a uniform quantizer that loses least, float32 (m,), and the
    mean squared errors with them, float32 (m,).

    values: float32 (n, m). seen: bool (n,), which of them count. levels: int (m,), odd.
    """
    seen = jnp.asarray(seen)[:, None] / jnp.maximum(jnp.sum(seen), 1)
    deviation = jnp.sqrt((jnp.square(values) * seen).sum(0)) + 1e-9
    half = jnp.asarray(np.maximum(levels // 2, 1), jnp.float32)
    most = jnp.asarray(levels // 2, jnp.float32)

    def error(loading):
        step = loading * deviation / half
        rounded = jnp.clip(jnp.round(values / step[None]), -most[None], most[None]) * step[None]
        return (jnp.square(values - rounded) * seen).sum(0)

    loadings = jnp.asarray(_LOADINGS, jnp.float32)
    errors = jax.lax.map(error, loadings)
    return loadings[errors.argmin(0)] * deviation / half, errors.min(0)


def hold_weights(frames: int, hold: float) -> np.ndarray:
    """The factors (1 + k)^-hold, float32 (frames,), of errors of k half waves per step.

    A shape that a hand holds then counts more than shapes on the way. With hold = 0, all
    frequencies count alike.

    Signs are told apart by the shapes that hands hold; what lies between is movement from one to
    the next (Liddell and Johnson 1989, American Sign Language: The Phonological Base).
    """
    return ((1.0 + np.arange(frames)) ** -hold).astype(np.float32)


def held(errors: jax.Array, hold: float) -> jax.Array:
    """Errors (..., p, v, c) of steps with each frequency multiplied by its `hold_weights`."""
    size = errors.shape[-3]
    cosines = _cosines(size)
    smooth = (cosines * hold_weights(size, hold)[None]) @ cosines.T
    return jnp.einsum("fg,...gvc->...fvc", jnp.asarray(smooth), errors)


def fit_kernels(
    poses, seen, scale, levels, hold: float = 0.0, step: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Kernels of the linear code: analysis float32 (p·v·c, n), which turns a standardised step into
    n features in units of 1, and synthesis (n, p·v·c), which takes FSQ's codes in [-1, 1] back.

    Args:
      poses, seen: from `seen_steps`; at least n steps.
      scale: see `coefficients`.
      levels: the FSQ levels of the n features; the larger go to coefficients that vary more.
      hold: see `hold_weights`, by which they vary.
      step: of all features, see `allocate_uniform`; 0 for the best one of each.
    """
    levels = np.asarray(levels)
    size, (v, c) = poses.shape[1], np.shape(scale)
    components = min(len(levels), v * c)
    found = coefficients(poses, scale, components)
    worth_of = np.repeat(hold_weights(size, hold), components)
    counted = found.values * worth_of[None]
    order = jnp.argsort(-jnp.square(counted).mean(0))
    # Feature i is the coefficient at the place that its levels have among all.
    place = np.argsort(np.argsort(-levels, kind="stable"), kind="stable")
    chosen = order[place]
    if step:
        steps = step / jnp.asarray(worth_of)[chosen]
    else:
        steps, _ = best_steps(found.values[:, chosen], seen, levels)
    basis = found.basis[:, chosen]
    worth = jnp.tile(jnp.asarray(scale).reshape(-1), size)
    analysis = basis * worth[:, None] / steps[None]
    half = jnp.asarray(levels // 2, jnp.float32)
    inverse = jnp.where(worth > 0, 1 / jnp.where(worth > 0, worth, 1), 0)
    return analysis, (basis * (half * steps)[None]).T * inverse[None]


def allocate(streams, bits: float) -> list[list[int]]:
    """Levels of the features of each stream, so that all cost `bits` per step and the sum of the
    streams' mean distances is small: the next bits go where they lower it most.

    Args:
      streams: for each, (values float32 (n, m), weight, parts): coefficients of steps in which it
        is seen, what a unit of the root of their summed square error costs, and how many parts of
        the body share its levels, each as often as it pays for them.
    Returns:
      For each stream the levels above 1, from the largest variance to the smallest.
    """
    tables = [_distortions(np.asarray(values)) for values, _, _ in streams]
    chosen = [np.zeros(len(table), int) for table in tables]
    price = np.log2(LEVELS)
    while True:
        best, take = 0.0, None
        for stream, (table, (_, weight, parts)) in enumerate(zip(tables, streams, strict=True)):
            now = table[np.arange(len(table)), chosen[stream]]
            saved = np.maximum(now[:, None] - table, 0)
            cost = parts * (price[None] - price[chosen[stream]][:, None])
            total = now.sum()
            gain = parts * weight * (math.sqrt(total) - np.sqrt(np.maximum(total - saved, 0)))
            rate = np.where((cost > 0) & (cost <= bits), gain / np.maximum(cost, 1e-9), 0)
            if rate.max() > best:
                best = rate.max()
                take = stream, *np.unravel_index(rate.argmax(), rate.shape), cost
        if take is None:
            break
        stream, feature, level, cost = take
        bits -= cost[feature, level]
        chosen[stream][feature] = level
    return [[LEVELS[i] for i in np.sort(picked)[::-1] if i] for picked in chosen]


def _distortions(values: np.ndarray) -> np.ndarray:
    """Mean squared error of each coefficient with each of LEVELS, float (m, len(LEVELS))."""
    columns = [np.square(values).mean(0)]
    for count in LEVELS[1:]:
        columns.append(np.asarray(_all_best(values, count)))
    # More levels never hurt: those that search did not find to help are not taken.
    return np.minimum.accumulate(np.stack(columns, 1), 1)


class Uniform(NamedTuple):
    """Levels of a stream's features, the one that varies most first, and the step of all of them;
    bits: order-0 entropy of its codes per step of frames. error: mean of their square errors."""

    levels: list[int]
    step: float
    bits: float
    error: float


def allocate_uniform(streams, bits: float) -> list[Uniform]:
    """As `allocate`, for codes that are entropy coded: one step size for all features of a stream,
    and levels for whatever values there are.

    Where rare codes are cheap, square error is best spread evenly over the features, and those that
    it swallows get no levels (reverse water-filling; Goyal 2001, see above). Contexts of previous
    codes save about another tenth of `bits`.
    """
    tried = [[_uniform(np.asarray(values), step) for step in _STEPS] for values, _, _ in streams]

    def cheapest(price: float) -> list[Uniform]:
        return [
            min(steps, key=lambda one: weight * math.sqrt(one.error) + price * one.bits)
            for steps, (_, weight, _) in zip(tried, streams, strict=True)
        ]

    low, high = 1e-9, 1e9
    for _ in range(60):
        price = math.sqrt(low * high)
        found = zip(cheapest(price), streams, strict=True)
        spent = sum(parts * one.bits for one, (_, _, parts) in found)
        low, high = (price, high) if spent > bits else (low, price)
    return cheapest(high)


def _uniform(values: np.ndarray, step: float) -> Uniform:
    """step: in deviations of the feature that varies most."""
    values = np.asarray(values, np.float64)
    power = np.square(values).mean(0)
    order = np.argsort(-power, kind="stable")
    values, power = values[:, order], power[order]
    step = float(np.sqrt(power[0]) * step)
    whole = np.asarray(fsq.shrink(values / step))
    whole = np.clip(np.round(whole), -LARGEST, LARGEST).astype(np.int64)
    errors = np.square(values - step * whole).mean(0)
    bits = np.array([_entropy(column) for column in whole.T])
    count = int(((power - errors) * BITS_PER_SQUARE > bits * step**2).sum())
    largest = np.abs(whole[:, :count]).max(0, initial=0)
    # fit_kernels gives the most levels to the feature that varies most.
    largest = np.maximum.accumulate(largest[::-1])[::-1]
    count = int((largest > 0).sum())
    error = errors[:count].sum() + power[count:].sum()
    levels = [2 * int(half) + 1 for half in largest[:count]]
    return Uniform(levels, step, float(bits[:count].sum()), float(error))


def _entropy(column: np.ndarray) -> float:
    shares = np.bincount(column - column.min()) / len(column)
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def pack(
    levels: list[int], num_quantizers: int, first: tuple[int, ...] = ()
) -> tuple[tuple[int, ...], ...]:
    """Deals levels to codebooks so that these have about as many codes, the most varying feature
    first; a codebook that gets none has one code.

    first: levels of digits that lead the first codebook; the result leaves them out.
    """
    packed: list[list[int]] = [list(first), *([] for _ in range(num_quantizers - 1))]
    for level in levels:
        min(packed, key=math.prod).append(level)
    fullest = max(packed, key=len)
    if len(packed[0]) == len(first) and fullest is not packed[0] and len(fullest) > 1:
        packed[0].append(fullest.pop())  # digits that fill the first codebook leave it one feature
    return (tuple(packed[0][len(first) :]), *(tuple(one) for one in packed[1:]))


@functools.partial(jax.jit, static_argnums=1)
def _all_best(values, count: int) -> jax.Array:
    """The errors of `best_steps` when each coefficient has `count` levels."""
    return best_steps(values, np.ones(len(values), bool), np.full(values.shape[1], count))[1]
