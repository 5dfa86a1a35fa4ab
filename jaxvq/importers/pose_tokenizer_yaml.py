"""Configs written as YAML with the keys of the original Pose Tokenizer.

Its training and export keys are mapped onto the fields of configs/stgcn_rvq.py; keys of that config
itself, dotted or nested, are taken as they are. What has no counterpart here is named in a note.
"""

import logging
import re
from pathlib import Path

from ml_collections import ConfigDict

log = logging.getLogger("jaxvq")

# The original counts epochs; a run here counts steps.
STEPS_PER_EPOCH = 250

# Theirs -> ours. Nested keys are joined by dots; what stands before the last dot is optional.
KEYS = {
    "num_keypoints": None,  # the dataset's skeleton decides
    "keypoint_dim": None,
    "keypoint_dims": None,
    "sequence_length": "data.seq_len",
    "hidden_dim": "model.hidden_dim",
    "num_layers": "model.num_layers",
    "dropout": "model.dropout",
    "temporal_stride": "model.frames_per_step",
    "num_quantizers": "quantizer.num_quantizers",
    "codebook_size": "quantizer.codebook_size",
    "commitment_cost": "quantizer.commitment",
    "decay": "quantizer.decay",
    "epsilon": None,  # codes without a count keep their place instead
    "batch_size": "batch_size",
    "learning_rate": "optim.learning_rate",
    "weight_decay": "optim.weight_decay",
    "optimizer": "optim.optimizer",
    "scheduler": "optim.schedule",
    "lr_scheduler": "optim.schedule",
    "gradient_clip": "optim.clip_norm",
    "grad_clip": "optim.clip_norm",
    "ema_decay": "optim.ema_decay",
    "gradient_accumulation_steps": "accumulate",
    "gradient_checkpointing": "model.remat",
    "seed": "seed",
    "num_workers": "data.num_workers",
    "pin_memory": None,  # grain reads ahead by itself
    "compile": None,  # always
    "compile_model": None,
    "wandb_project": "wandb",
    "reconstruction": "loss.reconstruction",
    "quantization": "loss.quantization",
    "perceptual": "loss.perceptual",
}


def read(path: str, config: ConfigDict) -> ConfigDict:
    """`config` with the values of a YAML file.

    Raises:
      ValueError: no such file, not YAML, an unknown key, or a value of another type than its field.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no keys")
    fields = _flatten(config.to_dict())
    values, epochs, lowest = _flatten(content), {}, None
    steps_per_epoch = int(_take(values, "steps_per_epoch") or STEPS_PER_EPOCH)
    for key, value in values.items():
        name = _last(key)
        if key in fields:
            _set(config, key, value, path)
        elif name in ("epochs", "num_epochs", "warmup_epochs", "save_every", "val_every"):
            epochs[name] = float(value)
        elif name in ("use_amp", "mixed_precision"):
            config.dtype = "bfloat16" if value else "float32"
        elif name == "temporal":
            config.loss.velocity, config.loss.acceleration = float(value), float(value) / 2
        elif name == "min_lr":
            lowest = float(value)
        elif name in KEYS:
            if KEYS[name] is None:
                log.info("%s: %s is accepted and has no effect here", path, key)
            else:
                _set(config, KEYS[name], _schedule(value), path)
        else:
            known = ", ".join(sorted({*KEYS, "epochs", "warmup_epochs", "temporal", "use_amp"}))
            raise ValueError(f"{path}: unknown key {key}; known are {known}, and config fields")
    if lowest is not None:
        config.optim.final_scale = lowest / config.optim.learning_rate
    _set_steps(config, epochs, steps_per_epoch, values)
    return config


def _schedule(value):
    """Our "warmup_cosine" is their "cosine" too; its warm-up is 0 where none is given."""
    return "warmup_cosine" if value == "cosine" else value


def _set_steps(config, epochs: dict, steps_per_epoch: int, values: dict) -> None:
    counted = {
        "epochs": "total_steps",
        "num_epochs": "total_steps",
        "save_every": "checkpoint_every",
        "val_every": "eval_every",
    }
    for name, field in counted.items():
        if name in epochs:
            config[field] = max(1, round(epochs[name] * steps_per_epoch))
    if "warmup_epochs" in epochs:
        config.optim.warmup_steps = round(epochs["warmup_epochs"] * steps_per_epoch)
    elif any(value == "cosine" for value in values.values()):
        config.optim.warmup_steps = 0


def _set(config: ConfigDict, field: str, value, path: str) -> None:
    """Sets a dotted field to a value of its type; PyYAML reads 1e-4 as a string."""
    now = config
    for part in field.split(".")[:-1]:
        now = now[part]
    old = now[_last(field)]
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, str) and not isinstance(old, str):
        if not re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", value):
            raise ValueError(f"{path}: {field} is {value!r}, expected {type(old).__name__}")
        value = float(value)
    if isinstance(old, float) and isinstance(value, int):
        value = float(value)
    if isinstance(old, int) and isinstance(value, float) and value == int(value):
        value = int(value)
    sizes = field == "quantizer.codebook_size" and isinstance(value, tuple)
    if type(old) is not type(value) and not sizes:
        raise ValueError(f"{path}: {field} is {value!r}, expected {type(old).__name__}")
    with now.ignore_type():
        now[_last(field)] = value


def _flatten(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _take(values: dict, name: str):
    """Removes and returns the value of a key, wherever it is nested; None if it is absent."""
    for key in list(values):
        if _last(key) == name:
            return values.pop(key)
    return None


def _last(key: str) -> str:
    return key.rpartition(".")[2]
