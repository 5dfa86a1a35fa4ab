"""Deals the bits of a linear code to the parts of the body and to the coefficients of each.

This happens once, before training: the levels of FSQ become part of the config.
"""

import itertools
import logging
import math

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvq.batch import Batch
from jaxvq.losses import HANDS, point_weights
from jaxvq.models import linear_code, presence
from jaxvq.tasks import streams

# Principal components of a frame to choose from; no part of the body needs as many.
COMPONENTS = 48
# Frames of training that a linear code is fitted to.
FRAMES = 20_000
# Share of the bits that may go to features that a stream would not get by what they save.
SHARE_FOR_MISSING = 0.1

log = logging.getLogger("jaxvq")


def prepare(config, dataset, levels=None) -> tuple[ConfigDict, Batch]:
    """The config with `quantizer.levels` chosen, and the batch that the task's `init` fits to.

    levels: those of the run that goes on, which it keeps; None at the start of one.
    """
    log.info("fitting the linear code to %d frames", FRAMES)
    batch = sample_frames(config, dataset)
    if levels is not None:
        return with_levels(config, levels), batch
    return allocate_levels(config, dataset.skeleton, dataset.statistics, batch), batch


def sample_frames(config, dataset) -> Batch:
    """The first rows of training, about FRAMES frames; the same on every host."""
    data, size = config.data, 8
    count = -(-FRAMES // (size * data.seq_len))
    batches = dataset.train_batches(
        batch_size=size,
        seq_len=data.seq_len,
        seed=config.seed,
        num_steps=count,
        align=config.model.frames_per_step,
    )
    rows = list(itertools.islice(batches, count))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *rows)


def allocate_levels(config, skeleton, statistics, batch: Batch) -> ConfigDict:
    """The config with `quantizer.levels` that spend quantizer.bits_per_frame where they help most.

    These are nominal bits, log2 of the codebook sizes, or with quantizer.real_bits about what an
    entropy coder writes; then `quantizer.steps` gets the step of each stream, too.

    The bits go to the parts of the body, and to the coefficients of each, by how much they lower
    the mean distance of the points of `batch` (linear_code.allocate). `model.part_weights` says
    what a distance counts, as in the loss, and `model.part_holds` how much more a shape counts
    that is held (linear_code.hold_weights). The digits of `model.presence_changes` take their bits
    first. ValueError for a part of the body that no frame shows.

    batch: thousands of frames of training, as a task's `init` takes them.
    """
    bits, real = config.quantizer.get("bits_per_frame", 0.0), real_bits(config)
    if not bits:
        return config
    names = config.model.get("parts", "")
    groups = streams.make_groups(names, skeleton, statistics) if names else None
    frames, kinds, firsts = config.model.frames_per_step, [], []
    left = bits * frames
    parts = _parts(config, batch, groups, skeleton, statistics)
    for name, part, points, scale, members in parts:
        first = presence_digits(config, points)
        firsts.append(first)
        if not real:
            left -= members * math.log2(math.prod(first))
        poses, seen = jax.jit(linear_code.seen_steps, static_argnums=1)(part, frames)
        v, c = scale.shape
        fitted = jax.jit(linear_code.coefficients, static_argnums=2)
        components = min(COMPONENTS, v * c)
        values = np.asarray(fitted(poses, scale, components).values)
        weights = linear_code.hold_weights(frames, hold(config, points))
        values = values * np.repeat(weights, components)[None]
        seen = np.asarray(seen)
        if not seen.any():
            raise ValueError(
                f"no frame of training shows {name}, so there is nothing to fit model.transform "
                "to: choose model.parts that join it with others, or other data"
            )
        # Square error is summed over p·v points, distance is wanted per frame: sqrt(p·v) / p.
        weight, share = np.sqrt(v / frames), seen.mean()
        # A part that is not there costs its nominal bits all the same, but hardly any real ones.
        parts_paid = (weight, members * share) if real else (weight * share, members)
        kinds.append((values[seen], *map(float, parts_paid)))
    count, steps = config.quantizer.num_quantizers, ()
    if real:
        uniform = linear_code.allocate_uniform(kinds, left)
        # Each codebook gets a feature: one that stays 0 costs no real bits.
        spare = [[linear_code.LEVELS[1]] * (count - len(one.levels)) for one in uniform]
        chosen = [one.levels + more for one, more in zip(uniform, spare, strict=True)]
        steps = tuple(one.step for one in uniform)
    else:
        chosen = _allocate_nominal(kinds, left, count)
    levels = tuple(
        linear_code.pack(one, count, first) for one, first in zip(chosen, firsts, strict=True)
    )
    codes = [code for stream in levels for code in stream]
    if not all(codes):
        raise ValueError(
            f"quantizer.bits_per_frame={bits} is too little for {config.quantizer.num_quantizers} "
            "codebooks a stream: lower quantizer.num_quantizers"
        )
    largest = max(
        math.prod(first) * math.prod(stream[0])
        for first, stream in zip(firsts, levels, strict=True)
    )
    if max(largest, *map(math.prod, codes)) >= 2**31:
        raise ValueError(
            f"quantizer.bits_per_frame={bits} is too much for {config.quantizer.num_quantizers} "
            "codebooks a stream, whose codes int32 has to number: raise quantizer.num_quantizers"
        )
    config = with_levels(config, levels if names else levels[0])
    config.quantizer.steps = steps
    return config


def _allocate_nominal(kinds, bits: float, count: int) -> list[list[int]]:
    chosen = linear_code.allocate(kinds, bits)
    missing = [max(count - len(one), 0) for one in chosen]
    reserved = sum(few * kind[2] for few, kind in zip(missing, kinds, strict=True))
    reserved *= math.log2(linear_code.LEVELS[1])
    if 0 < reserved <= SHARE_FOR_MISSING * bits:
        # A small stream beside a large one: each of its codebooks gets a feature.
        chosen = linear_code.allocate(kinds, bits - reserved)
        chosen = [one + [linear_code.LEVELS[1]] * (count - len(one)) for one in chosen]
    return chosen


def real_bits(config) -> bool:
    return config.quantizer.get("real_bits", False)


def with_levels(config, levels):
    config = ConfigDict(config.to_dict())  # types of fields would bind tuples of other depths
    config.quantizer.levels = levels
    return config


def hold(config, skeleton) -> float:
    """The largest of `model.part_holds` of the parts of the body that a skeleton has."""
    holds = config.model.get("part_holds", {})
    names = {"hands" if part in HANDS else part for part in getattr(skeleton, "parts", ())}
    return max((holds.get(name, 0.0) for name in names), default=0.0)


def presence_digits(config, skeleton) -> tuple[int, ...]:
    """The levels that `model.presence_changes` puts in front of a stream's first codebook: two
    digits for each hand that the skeleton has (models/presence.py).

    Raises:
      ValueError: model.presence_changes without model.transform, or below 0.
    """
    changes = config.model.get("presence_changes", 0)
    if not changes:
        return ()
    if changes < 0 or not config.model.get("transform", False):
        raise ValueError(
            f"model.presence_changes={changes} must be 0, or above with model.transform"
        )
    hands = [part for part in HANDS if part in skeleton.parts]
    return presence.levels(config.model.frames_per_step, changes) * len(hands)


def _parts(config, batch, groups, skeleton, statistics):
    """(name, batch of its points, skeleton of these, what their units count float32 (v, c), and
    streams that share it) for each group."""
    part_weights = config.model.get("part_weights", {})
    weights = point_weights(skeleton, config.loss.hand_weight, part_weights)[:, None]
    if groups is None:
        yield "a pose", batch, skeleton, statistics.scale * weights, 1
        return
    for group in groups:
        scale = group.statistics.scale * weights[group.members[0].points]
        yield group.name, group.select(batch), group.skeleton, scale, len(group.members)
