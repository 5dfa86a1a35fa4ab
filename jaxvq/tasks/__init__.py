"""A task is a model with its losses: everything that training and inference know of either."""

import importlib
from pathlib import Path

from jaxvq.tasks import streams


def make_task(config, skeleton, statistics):
    """The task that `config.task` names: what `make` of that module in this folder returns; with
    `config.model.parts` one such task for each part of the body.

    Raises:
      ValueError: no such task, or a field that it cannot use.
    """
    known = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__")
    if config.task not in known:
        raise ValueError(f"task={config.task!r} is unknown; choose from {', '.join(known)}")
    make = importlib.import_module(f"jaxvq.tasks.{config.task}").make
    if config.model.get("parts", ""):
        return streams.make(config, skeleton, statistics, make)
    return make(config, skeleton, statistics)
