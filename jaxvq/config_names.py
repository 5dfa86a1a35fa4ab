"""Old names of config fields, so that old configs still work."""

import logging

# task -> first name of a field -> present name.
RENAMED = {
    "pose_autoencoder": {
        "model.patch": "model.frames_per_step",
        "quantizer.num_codebooks": "quantizer.num_quantizers",
        "loss.velocity_weight": "loss.velocity",
    },
    "pose_tokenizer": {"model.temporal_stride": "model.frames_per_step"},
    "hand_fsq": {"quantizer.num_codebooks": "quantizer.num_quantizers"},
}

# Other names that every config is known by: sign-vq's users type --data-path.
ALIASES = {"data.path": "data.dir"}

log = logging.getLogger("jaxvq")


def to_current_names(config: dict) -> dict:
    """A copy of a nested config with the present field names. Warns once if it had others."""
    renamed = _rename(config, RENAMED.get(config.get("task"), {}))
    old = [
        f"{a} (now {b})" for a, b in RENAMED.get(config.get("task"), {}).items() if _has(config, a)
    ]
    if old:
        log.warning("the config uses old field names: %s", ", ".join(old))
    return renamed


def to_first_names(config: dict) -> dict:
    """A copy of a config as a nested dict, with the first names of its fields.

    Fingerprints of models use these names, so that renaming a field does not change a model.
    """
    names = RENAMED.get(config.get("task"), {})
    return _rename(config, {now: first for first, now in names.items()})


def current_name(dotted: str) -> str:
    """The present dotted name of a field of any task."""
    for names in (*RENAMED.values(), ALIASES):
        if dotted in names:
            return names[dotted]
    return dotted


def _has(config: dict, dotted: str) -> bool:
    section, _, field = dotted.partition(".")
    return field in config.get(section, {})


def _rename(config: dict, names: dict[str, str]) -> dict:
    config = {
        key: dict(value) if isinstance(value, dict) else value for key, value in config.items()
    }
    for before, after in names.items():
        if _has(config, before):
            section, _, field = before.partition(".")
            config[section][after.partition(".")[2]] = config[section].pop(field)
    return config
