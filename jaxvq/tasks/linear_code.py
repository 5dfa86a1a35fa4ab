"""What a config leaves to the data: how many levels of FSQ each feature of a linear code gets."""

import itertools
import math

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvq import checkpoint, input_pipeline
from jaxvq.models import transform
from jaxvq.tasks import streams

# Principal components of a frame to choose from; no part of the body needs as many.
COMPONENTS = 48
# Frames of training that a linear code is fitted to.
FRAMES = 20_000


def start(config, dataset, workdir):
    """The config with everything in it, and the batch that a task's `init` needs.

    The batch holds real frames where there is a linear code to fit, else 0s of the right shapes. A
    run that goes on keeps the levels it has.
    """
    if not config.model.get("transform", False):
        spec = input_pipeline.batch_spec(dataset.skeleton)
        zeros = {key: np.zeros((1, 8, *shape), dtype) for key, (shape, dtype) in spec.items()}
        return config, zeros
    batch, levels = sample(config, dataset), _levels_of_run(workdir)
    if levels is not None:
        return _with_levels(config, levels), batch
    return fit(config, dataset.skeleton, dataset.statistics, batch), batch


def _levels_of_run(workdir):
    """The levels in the newest checkpoint of a run, None where there is none."""
    if not (workdir / checkpoint.CHECKPOINTS).is_dir():
        return None
    try:
        meta = checkpoint.load_meta(checkpoint.find_checkpoint(workdir))
    except ValueError:  # stopped before its first checkpoint
        return None
    return checkpoint.with_tuples(meta["config"]["quantizer"]["levels"])


def sample(config, dataset) -> dict[str, np.ndarray]:
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
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def fit(config, skeleton, statistics, batch):
    """The config with `quantizer.levels` that spend quantizer.bits_per_frame where they help most.

    The bits go to the parts of the body, and to the coefficients of each, by how much they lower
    the mean distance of the points of `batch` (transform.allocate).

    Args:
      batch: thousands of frames of training, as a task's `init` takes them.
    Raises:
      ValueError: too few or too many bits for `quantizer.num_quantizers` codebooks a stream, or a
        part of the body that no frame shows.
    """
    bits = config.quantizer.get("bits_per_frame", 0.0)
    if not bits:
        return config
    names = config.model.get("parts", "")
    groups = streams.split(names, skeleton, statistics) if names else None
    patch, kinds = config.model.frames_per_step, []
    for name, part, scale, members in _parts(batch, groups, statistics):
        poses, seen = jax.jit(transform.seen_patches, static_argnums=1)(part, patch)
        v, c = scale.shape
        fitted = jax.jit(transform.coefficients, static_argnums=2)
        values = np.asarray(fitted(poses, scale, min(COMPONENTS, v * c)).values)
        seen = np.asarray(seen)
        if not seen.any():
            raise ValueError(
                f"no frame of training shows {name}, so there is nothing to fit model.transform "
                "to: choose model.parts that join it with others, or other data"
            )
        # Square error is summed over p·v points, distance is wanted a frame: sqrt(p·v) / p.
        weight = seen.mean() * np.sqrt(v / patch)
        kinds.append((values[seen], float(weight), members))
    levels = transform.allocate(kinds, bits * patch)
    books = tuple(transform.pack(part, config.quantizer.num_quantizers) for part in levels)
    if not all(book for part in books for book in part):
        raise ValueError(
            f"quantizer.bits_per_frame={bits} is too little for {config.quantizer.num_quantizers} "
            "codebooks a stream: lower quantizer.num_quantizers"
        )
    if max(math.prod(book) for part in books for book in part) >= 2**31:
        raise ValueError(
            f"quantizer.bits_per_frame={bits} is too much for {config.quantizer.num_quantizers} "
            "codebooks a stream, whose codes int32 has to number: raise quantizer.num_quantizers"
        )
    return _with_levels(config, books if names else books[0])


def _with_levels(config, levels):
    config = ConfigDict(config.to_dict())  # types of fields would bind tuples of other depths
    config.quantizer.levels = levels
    return config


def _parts(batch, groups, statistics):
    """(name, batch of its points, their scale, streams that share it) for each group."""
    if groups is None:
        yield "a pose", batch, statistics.scale, 1
    else:
        for group in groups:
            yield group.name, group.take(batch), group.statistics.scale, len(group.members)
