"""A task is a model with its losses: everything that training and inference know of either."""

import importlib

from jaxvq.batch import Batch, empty_batch
from jaxvq.tasks import streams
from jaxvq.tasks.base import Task

TASKS = ("pose_autoencoder", "pose_tokenizer", "hand_vae", "hand_fsq", "token_prior")


def make_task(config, skeleton, statistics) -> Task:
    """The task that `config.task` names; with `config.model.parts` one for each part of the body.

    The name is one of TASKS, or that of any module that can be imported and has
    `make(config, skeleton, statistics)`, such as mypackage.my_tokenizer.

    Raises:
      ValueError: no such task, or a field that it cannot use.
    """
    make = _module(config).make
    if config.model.get("parts", ""):
        return streams.make(config, skeleton, statistics, make)
    return make(config, skeleton, statistics)


def prepare(config, dataset, levels=None) -> tuple[object, Batch]:
    """What a config leaves to the data: the complete config, and the batch that Task.init needs.

    A task's module may have `prepare(config, dataset, levels)`, which returns both, or None as the
    batch; every task else leaves the config as it is and needs shapes only.

    levels: `quantizer.levels` of the run that goes on, None at the start of one.
    """
    batch = None
    if hasattr(_module(config), "prepare"):
        config, batch = _module(config).prepare(config, dataset, levels)
    if batch is None:
        skeleton = dataset.skeleton
        batch = empty_batch(1, 8, skeleton.num_points, skeleton.num_dims)
    return config, batch


def _module(config):
    name = f"jaxvq.tasks.{config.task}" if config.task in TASKS else config.task
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not name.startswith(error.name or name):
            raise  # the task's module is there, but something that it imports is not
        module = None
    if not hasattr(module, "make"):
        raise ValueError(
            f"task={config.task!r} is unknown; choose from {', '.join(TASKS)}, or name a module "
            "that can be imported and has make(config, skeleton, statistics)"
        )
    return module
