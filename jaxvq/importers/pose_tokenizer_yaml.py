"""YAML configs with the keys of the original Pose Tokenizer.

Each key sets a field of configs/stgcn_rvq.py, or is ignored with one line that says why. Missing
keys have the original's defaults, which are those of the variant :original. Files may also name
fields of our config, dotted or nested. Nothing in a file can run: `read` accepts text, lists and
sections, and refuses tags and aliases.
"""

import difflib
import logging
import math
from pathlib import Path

import yaml
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from jaxvq.training.epochs import FIELDS as EPOCHS

log = logging.getLogger("jaxvq")

MAX_BYTES = 100_000
MAX_DEPTH = 10

# Other names of a key of FIELDS, or of a field.
ALIASES = {
    "epochs": "num_epochs",
    "val_interval": "eval_epochs",
    "val_every": "eval_epochs",
    "save_interval": "checkpoint_epochs",
    "save_every": "checkpoint_epochs",
    "log_interval": "log_every",
    "optimizer": "optimizer_type",
    "scheduler": "scheduler_type",
    "lr_scheduler": "scheduler_type",
    "gradient_clip": "gradient_clip_norm",
    "grad_clip": "gradient_clip_norm",
    "mixed_precision": "use_amp",
    "compile_model": "compile",
    "keypoint_dims": "keypoint_dim",
    "dropout": "stgcn_dropout",
    "reconstruction": "reconstruction_weight",
    "quantization": "quantization_weight",
    "perceptual": "perceptual_weight",
    "temporal": "temporal_weight",
}

# Key -> the field that it sets. `_translate` changes some of the values first.
FIELDS = {
    "sequence_length": "data.seq_len",
    "data_dir": "data.dir",
    "num_workers": "data.num_workers",
    "hidden_dim": "model.hidden_dim",
    "num_layers": "model.num_layers",
    "stgcn_dropout": "model.dropout",
    "decoder_dropout": "model.dropout",
    "temporal_stride": "model.frames_per_step",
    "gradient_checkpointing": "model.remat",
    "num_quantizers": "quantizer.num_quantizers",
    "codebook_size": "quantizer.codebook_size",
    "commitment_cost": "quantizer.commitment",
    "decay": "quantizer.decay",
    "optimizer_type": "optim.optimizer",
    "scheduler_type": "optim.schedule",
    "learning_rate": "optim.learning_rate",
    "weight_decay": "optim.weight_decay",
    "beta1": "optim.b1",
    "beta2": "optim.b2",
    "momentum": "optim.b1",
    "gradient_clip_norm": "optim.clip_norm",
    "ema_decay": "optim.ema_decay",
    "gradient_accumulation_steps": "accumulate",
    "use_amp": "dtype",
    "wandb_project": "wandb",
    "reconstruction_weight": "loss.reconstruction",
    "quantization_weight": "loss.quantization",
    "temporal_weight": "loss.velocity",
    "perceptual_weight": "loss.perceptual",
    "w_pos": "loss.reconstruction",
    "w_vel": "loss.velocity",
    "w_acc": "loss.acceleration",
    "w_bone": "loss.bone",
    "w_vq": "loss.quantization",
}
# The original's later revision replaced the first terms by the second, which are absolute errors.
FIRST_TERMS = ("reconstruction_weight", "quantization_weight", "temporal_weight")
LATER_TERMS = ("w_pos", "w_vel", "w_acc", "w_bone", "w_vq")

# Keys that set several fields, or one field together with other keys.
TOGETHER = ("augment_data", "min_lr", "step_size", "gamma", "steps_per_epoch")

# Keys without effect -> why.
IGNORED = {
    ("num_keypoints", "keypoint_dim"): "the dataset's skeleton decides",
    ("stgcn_channels", "stgcn_temporal_kernels", "decoder_channels"): "the original does not use "
    "them either; model.graph_dim, temporal_kernel and hidden_dim are the sizes here",
    ("epsilon",): "a code that nothing chooses keeps its vector, so nothing is divided by 0",
    ("dead_code_threshold",): "quantizer.dead_below, relative to the mean use, replaces it",
    ("adversarial_weight",): "there is no discriminator, and the original trains without one too",
    ("normalize_poses", "normalize_by_wh"): "a built dataset is always normalised by the shoulders",
    ("clip_mode", "window_T"): "training crops clips at random to sequence_length",
    ("pin_memory",): "batches are always read ahead",
    ("compile",): "the training step is always compiled",
    ("distributed",): "a run uses all devices, and --coordinator joins several hosts",
    ("checkpoint_dir", "log_dir", "output_dir"): "a run writes to --workdir",
    ("skeleton_def",): "the dataset's skeleton has its bones",
    ("load_log_every",): "jaxvq build shows its progress",
    ("eval_batch_size",): "validation takes batch_size rows",
    ("eval_num_samples",): "validation reads the whole split unless eval_batches limits it",
    ("export_format", "export_dynamic_axes", "export_opset_version"): "jaxvq export model has "
    "flags for them",
}
KNOWN = {*FIELDS, *TOGETHER, *(key for keys in IGNORED for key in keys)}


def get_config(path: str) -> ConfigDict:
    """The original's config with the values of a YAML file. Errors are those of `read`."""
    from jaxvq.configs import stgcn_rvq

    return read(path, stgcn_rvq.get_config("original"))


def read(path: str, config: ConfigDict) -> ConfigDict:
    """`config` with the values of a YAML file. Logs which keys have no effect, and why.

    Raises:
      ValueError: the file is not plain YAML, or it has an unknown key or a value of a wrong type.
    """
    fields = flatten_dict(config.to_dict(), sep=".")
    own, theirs = {}, {}
    for key, value in _load(path).items():
        name = key.rpartition(".")[2]
        name = key if key in fields else ALIASES.get(name, name)
        known = own if name in fields else theirs
        if name in known:
            raise ValueError(f"{path}: {_short(key)} is there twice, in other words or sections")
        if known is theirs and name not in KNOWN:
            near = difflib.get_close_matches(name, [*KNOWN, *ALIASES, *fields], 3, 0.5)
            hint = f"did you mean {', '.join(near)}?" if near else "docs/stgcn_rvq.md lists them"
            raise ValueError(f"{path}: unknown key {_short(key)}; {hint}")
        known[name] = value
    try:
        changes, notes = _translate(own, theirs, config)
        for field, text in changes.items():
            if field == "quantizer.codebook_size" and isinstance(text, list):
                value = tuple(_value(size, 0, field) for size in text)
            else:
                value = _value(text, fields[field], field)
            section, _, last = field.rpartition(".")
            place = config[section] if section else config
            with place.ignore_type():
                place[last] = value
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for note in notes:
        log.warning("%s: %s", path, note)
    return config


def _translate(own: dict, theirs: dict, config) -> tuple[dict, list[str]]:
    """Field -> text of its value, and one line per group of keys without effect.

    own: field -> text. theirs: key of the original -> text. config: has the defaults.
    """
    new, notes = {}, []

    def ignore(why: str, *keys: str) -> None:
        present = [key for key in keys if theirs.pop(key, None) is not None]
        if present:
            verb = "are" if len(present) > 1 else "is"
            notes.append(f"{', '.join(present)} {verb} ignored: {why}")

    for keys, why in IGNORED.items():
        ignore(why, *keys)
    optimizer = theirs.get("optimizer_type", config.optim.optimizer)
    if optimizer == "sgd":
        ignore("sgd has a momentum only", "beta1", "beta2")
    else:
        ignore("only sgd has one", "momentum")
    if optimizer != "adamw":
        ignore("only adamw decays weights here", "weight_decay")
    if any(key in theirs for key in LATER_TERMS):
        ignore("w_pos, w_vel and w_vq of this file replace them", *FIRST_TERMS)
        new["loss.type"] = "l1"
    if theirs.get("decoder_dropout") == theirs.get("stgcn_dropout"):
        theirs.pop("decoder_dropout", None)
    elif "stgcn_dropout" in theirs:
        ignore("the model has one dropout, that of stgcn_dropout", "decoder_dropout")
    if "use_amp" in theirs:
        theirs["use_amp"] = "bfloat16" if _value(theirs["use_amp"], True, "use_amp") else "float32"
    if not _value(theirs.pop("augment_data", "true"), True, "augment_data"):
        new |= {f"augment.{field}": "0" for field in config.augment}
    if "num_layers" in theirs:
        new["model.decoder_layers"] = theirs["num_layers"]
    new |= _schedule(own, theirs, config, ignore)
    for key, text in theirs.items():
        if FIELDS[key] in own:
            raise ValueError(f"{key} and {FIELDS[key]} are the same; give one of them")
        new[FIELDS[key]] = text
    return new | own, notes


def _schedule(own: dict, theirs: dict, config, ignore) -> dict:
    """Field -> text, for the learning rate's schedule and for everything counted in epochs."""

    def positive(key: str, default: float) -> float:
        value = _value(theirs.pop(key, str(default)), 0.0, key)
        if value <= 0:
            raise ValueError(f"{key} is {value}, expected more than 0")
        return value

    scheduler = theirs.get("scheduler_type", config.optim.schedule)
    if scheduler == "cosine":
        theirs["scheduler_type"] = "warmup_cosine"
    new = {epochs: "0" for epochs, steps in EPOCHS.items() if steps in own}
    if scheduler in ("cosine", "step", "exponential"):
        if "warmup_epochs" in own:
            theirs["warmup_epochs"] = own.pop("warmup_epochs")
            ignore(f"scheduler_type {scheduler} has no warm-up, warmup_cosine has", "warmup_epochs")
        new |= {"warmup_epochs": "0", "optim.warmup_steps": "0"}
    epochs = {
        field: _value(own.get(field, new.get(field, str(config[field]))), 0.0, field)
        for field in EPOCHS
    }
    if scheduler in ("step", "exponential"):
        ignore(f"scheduler_type {scheduler} has no lowest learning rate", "min_lr")
        falls = epochs["num_epochs"] or config.num_epochs
        if scheduler == "step":
            falls = (falls - 1) // positive("step_size", 30)
        else:
            ignore("scheduler_type exponential falls all the time", "step_size")
        gamma = min(positive("gamma", 0.1), 1.0)
        new["optim.final_scale"] = str(max(gamma**falls, 1e-30))
    else:
        ignore("only scheduler_type step and exponential have them", "step_size", "gamma")
        if "min_lr" in theirs:
            rate = theirs.get("learning_rate", str(config.optim.learning_rate))
            rate = _value(own.get("optim.learning_rate", rate), 0.0, "learning_rate")
            lowest = _value(theirs.pop("min_lr"), 0.0, "min_lr")
            new["optim.final_scale"] = str(lowest / (rate or 1))
    if "steps_per_epoch" in theirs:
        steps = positive("steps_per_epoch", 0)
        for field, count in epochs.items():
            own.pop(field, None)
            new[field] = "0"
            if count:
                new[EPOCHS[field]] = str(max(1, round(count * steps)))
    return new


# --------------------------------------------------------------------------- the text of the file


def _load(path: str) -> dict:
    """Dotted key -> text or list of texts, from a YAML file."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} is longer than {MAX_BYTES:,} bytes: not a config")
    try:
        depth = 0
        for event in yaml.parse(content, Loader=yaml.BaseLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"{path}: aliases such as *{_short(event.anchor)} are not read")
            if getattr(event, "tag", None):
                raise ValueError(f"{path}: tags such as {_short(event.tag)} are not read")
            if depth > MAX_DEPTH:
                raise ValueError(f"{path} is nested more than {MAX_DEPTH} deep: not a config")
        tree = yaml.load(content, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {_short(error)}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path} holds no keys")
    return flatten_dict(tree, sep=".")


def _value(text, like, what: str):
    """Text, or a list of texts, as a value of the type of `like`."""
    try:
        match like:
            case bool():
                return yaml.SafeLoader.bool_values[text.lower()]
            case int() | float():
                return type(like)(_number(text, whole=isinstance(like, int)))
            case str():
                return "" if text.lower() in ("null", "~") else text
            case tuple() if isinstance(text, list):
                return _item(text)
        raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        expected = type(like).__name__
        raise ValueError(f"{what} is {_short(text)!r}, expected {expected}") from None


def _number(text: str, whole: bool = False) -> int | float:
    """A finite number: an int if its value is whole, which `whole` demands."""
    number = float(text)
    if not math.isfinite(number) or (whole and not number.is_integer()):
        raise ValueError
    if not number.is_integer():
        return number
    return int(text) if text.lstrip("+-").isdecimal() else int(number)


def _item(item):
    if isinstance(item, list):
        return tuple(map(_item, item))
    try:
        return _number(item)
    except ValueError:
        return item


def _short(value) -> str:
    """The value on one line of at most 100 characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else text[:99] + "…"
