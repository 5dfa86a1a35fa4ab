"""Converts epochs of a config to steps. An epoch is one pass over the training clips."""

import logging
import math

from ml_collections import ConfigDict

# Field in epochs -> the field in steps that it replaces if it is above 0.
FIELDS = {
    "num_epochs": "total_steps",
    "warmup_epochs": "optim.warmup_steps",
    "eval_epochs": "eval_every",
    "checkpoint_epochs": "checkpoint_every",
}

log = logging.getLogger("jaxvq")


def give_way(config, given: set[str]) -> None:
    """Turns off epochs whose field in steps is among `given`, the fields of flags."""
    for epochs, steps in FIELDS.items():
        if steps in given and epochs not in given and epochs in config:
            config[epochs] = 0.0


def resolve(config, dataset):
    """The config, with its epochs on a dataset of input_pipeline.open_for_training as steps."""
    epochs = {field: config.get(field, 0) for field in FIELDS}
    for field, value in epochs.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{field}={value}: expected epochs, or 0 to go by {FIELDS[field]}")
    if not any(epochs.values()):
        return config
    align = config.model.get("frames_per_step", 1)
    per_epoch = dataset.rows_per_epoch(config.data.seq_len, align) / config.batch_size
    steps = {FIELDS[f]: max(1, math.ceil(n * per_epoch)) for f, n in epochs.items() if n}
    log.info(
        "%s: an epoch is %.1f steps of %d rows, so %s",
        ", ".join(f"{field}={value:g}" for field, value in epochs.items() if value),
        per_epoch,
        config.batch_size,
        ", ".join(f"{field}={value}" for field, value in steps.items()),
    )
    config = ConfigDict(config.to_dict())
    config.update_from_flattened_dict(steps)
    return config
