"""Runs and models on disk, through Orbax.

    RUN/config.json                    the config at the start of the run
    RUN/metrics.jsonl
    RUN/checkpoints/<step>/
        model    {"params", "state"}: the weights to use (averaged if EMA is on)
        train    only for training: the optimizer, and the raw weights if EMA is on
        meta     JSON: step, config, skeleton, statistics, frame rate and fingerprint of the data

Each of the three loads alone, so that inference reads nothing of the optimizer. A model without
training state, such as an imported one, is the same folder without `train`. The step determines the
position in the data.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from jaxvq import config_names, pretrained
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics, statistics_from_json, statistics_to_json
from jaxvq.storage import atomic, packed, reading, remote
from jaxvq.training import saved

if TYPE_CHECKING:
    from jaxvq.training import parallel

CHECKPOINTS = "checkpoints"
FORMAT = 1


@dataclass(frozen=True)
class Model:
    """A trained model for inference and evaluation, with numpy arrays. fps: the frame rate of its
    poses; 0 if each clip of the training data had its own."""

    config: ConfigDict
    skeleton: Skeleton
    statistics: Statistics
    params: Any
    state: Any
    step: int
    path: Path
    fps: float = 0.0


def make_meta(config, skeleton, statistics, *, fps: float = 0.0, fingerprint: str = "") -> dict:
    """The part of `meta` that is the same for a whole run."""
    return {
        "format": FORMAT,
        "config": config_to_json(config),
        "skeleton": skeleton.to_json(),
        "statistics": statistics_to_json(statistics, skeleton),
        "fps": fps,
        "data_fingerprint": fingerprint,
    }


class Checkpointer:
    """Saves asynchronously, and keeps the last `keep_last` and the best `keep_best` checkpoints.

    The best checkpoint has the lowest `best_metric` among the metrics given to `save`. A checkpoint
    appears under its step when it is complete.
    """

    def __init__(
        self,
        directory,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        best_metric: str = "validation_loss",
    ):
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers

        self._best_metric = best_metric
        policies = [checkpoint_managers.LatestN(max(keep_last, 1))]
        if keep_best > 0:
            policies.append(
                checkpoint_managers.BestN(
                    # Infinite for checkpoints from before a change of the metric.
                    get_metric_fn=lambda metrics: metrics.get(best_metric, math.inf),
                    reverse=True,
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                )
            )
        self._manager = ocp.CheckpointManager(
            Path(directory).resolve(),
            item_names=("model", "train", "meta"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                enable_async_checkpointing=True,
            ),
        )

    def save(
        self, state: "parallel.TrainState", meta: dict, metrics: Mapping | None = None
    ) -> None:
        """Copies the state to host memory and writes it in the background.

        Raises OSError, before anything is written, if the disk has no room for it.
        """
        import orbax.checkpoint as ocp

        from jaxvq.training import parallel

        state = parallel.gather(state)
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        if metrics and self._best_metric not in metrics:
            raise ValueError(
                f"best_metric={self._best_metric!r} is not measured; choose from "
                f"{', '.join(metrics)}"
            )
        train = {"opt_state": state.opt_state}
        if state.ema_params:
            train["params"] = state.params
        model = {"params": state.inference_params(), "state": state.state}
        sums = {"checksum": saved.checksum(model), "train_checksum": saved.checksum(train)}
        self.wait()  # for the checkpoint before, which takes room too
        saved.require_space(self._manager.directory, (model, train))
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model),
                train=ocp.args.StandardSave(train),
                meta=ocp.args.JsonSave(saved.sealed({**meta, **sums, "step": step})),
            ),
            metrics={self._best_metric: metrics[self._best_metric]} if metrics else None,
        )

    def restore(self, state: "parallel.TrainState", step: int) -> "parallel.TrainState":
        """The state of `step`. state: has the structure and shapes that this run expects.

        ValueError lists the parameters that differ, with both shapes.
        """
        target = {"opt_state": state.opt_state}
        if state.ema_params:
            target["params"] = state.params
        model_target = {"params": state.params, "state": state.state}
        directory = Path(self._manager.directory) / str(step)
        saved.check_shapes(directory / "model", model_target)
        saved.check_shapes(directory / "train", target)
        meta = load_meta(directory)
        model = saved.restore(directory / "model", model_target, meta.get("checksum"))
        train = saved.restore(directory / "train", target, meta.get("train_checksum"))
        return state.replace(
            step=np.int32(step),
            params=train.get("params", model["params"]),
            state=model["state"],
            opt_state=train["opt_state"],
            ema_params=model["params"] if state.ema_params else {},
        )

    def wait(self) -> None:
        """Blocks until everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def save_model(directory, *, config, skeleton, statistics, params, state, step: int = 0) -> None:
    """Writes a model without training state, for `load_model` and all programs."""
    import orbax.checkpoint as ocp

    directory = Path(directory)
    if (directory / CHECKPOINTS).exists():
        raise ValueError(f"{directory} holds a model already; give another --output")
    directory.mkdir(parents=True, exist_ok=True)
    saved.require_space(directory, (params, state))
    model, meta = {"params": params, "state": state}, make_meta(config, skeleton, statistics)
    meta |= {"checksum": saved.checksum(model), "step": step}
    with ocp.CheckpointManager(
        (directory / CHECKPOINTS).resolve(), item_names=("model", "meta")
    ) as manager:
        args = {
            "model": ocp.args.StandardSave(model),
            "meta": ocp.args.JsonSave(saved.sealed(meta)),
        }
        manager.save(step, args=ocp.args.Composite(**args))
    write_config(directory, config)


def save_packed(folder: Path, model: Model) -> None:
    """Writes a model as one file (storage/packed.py), rounded to float16, and nothing of the
    machine that it was trained on."""
    config = model.config.copy_and_resolve_references()
    config.data.dir = ""
    if "mixture" in config.data:
        config.data.mixture = ()
    meta = make_meta(config, model.skeleton, model.statistics, fps=model.fps)
    meta = saved.sealed(meta | {"step": model.step})
    packed.write(folder, meta, {"params": model.params, "state": model.state})


def load_model(path, step: int | None = None) -> Model:
    """Reads the newest checkpoint, or that of `step`, of a run or model folder."""
    step_directory = find_checkpoint(path, step)
    item = step_directory / "model"
    if (step_directory / packed.FILE).is_file():
        meta, model = packed.read(step_directory)
        _check_meta(meta, step_directory / packed.FILE)
    else:
        meta = load_meta(step_directory)
        model = saved.restore(item, saved.tree(item), meta.get("checksum"))
    skeleton = Skeleton.from_json(meta["skeleton"])
    return Model(
        config=_config_of(meta),
        skeleton=skeleton,
        statistics=statistics_from_json(meta["statistics"], skeleton),
        params=model["params"],
        state=model.get("state", {}),
        step=int(meta["step"]),
        path=step_directory,
        fps=float(meta.get("fps", meta["config"].get("data", {}).get("fps", 0.0))),
    )


def load_config(path, step: int | None = None) -> ConfigDict:
    """The config of the newest checkpoint, or that of `step`, with everything fitted to data."""
    return _config_of(load_meta(find_checkpoint(path, step)))


def _config_of(meta: dict) -> ConfigDict:
    return ConfigDict(with_tuples(config_names.to_current_names(meta["config"])))


def load_meta(step_directory: Path) -> dict:
    """The JSON of one checkpoint; ValueError where it is damaged or of a newer format."""
    if (step_directory / packed.FILE).is_file():
        item, (meta, _) = step_directory / packed.FILE, packed.read(step_directory)
    else:
        item = step_directory / "meta"
        try:
            meta = reading.read_json(item / "metadata")  # as Orbax writes JSON
        except (OSError, ValueError) as error:
            raise saved.damaged(item, error) from None
    _check_meta(meta, item)
    return meta


def _check_meta(meta, item: Path) -> None:
    try:
        newer = meta.get("format", 0) > FORMAT
    except (AttributeError, TypeError) as error:
        raise saved.damaged(item, error) from None
    if newer:
        raise ValueError(f"{item.parent} was written by a newer jaxvq: please upgrade")
    if not meta.keys() >= {"config", "skeleton", "statistics", "step"}:
        raise saved.damaged(item, "fields are missing")
    if "seal" in meta and meta != saved.sealed(meta):
        raise saved.damaged(item, "it is not what was saved")


def find_checkpoint(path, step: int | None = None) -> Path:
    """The folder of one complete checkpoint, of a run, a model, `checkpoints` or itself."""
    path = Path(path)
    if not path.exists():
        raise ValueError(
            f"{path} does not exist; give a run or model folder, or the name of a pretrained "
            f"model: {', '.join(pretrained.names()) or 'none is installed'}"
        )
    if (path / "meta").is_dir() or (path / packed.FILE).is_file():
        return path.resolve()
    root = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
    steps = _list_steps(root)
    if not steps:
        # As deep as input_pipeline looks for a dataset.
        if any(any(path.glob("*/" * depth + "dataset_info.json")) for depth in range(4)):
            raise ValueError(
                f"{path} is a dataset, not a model; give the --workdir of a training run"
            )
        raise ValueError(f"no checkpoint in {path}; give the --workdir of a training run")
    if step is not None and step not in steps:
        raise ValueError(f"no checkpoint of step {step} in {path}; there are {steps}")
    return (root / str(steps[-1] if step is None else step)).resolve()


def latest_step(path) -> int:
    """The step of the newest complete checkpoint of a run, or 0."""
    return max(_list_steps(Path(path) / CHECKPOINTS), default=0)


def _list_steps(root: Path) -> list[int]:
    return sorted(int(p.name) for p in root.iterdir() if p.name.isdigit()) if root.is_dir() else []


def config_to_json(config) -> dict:
    return json.loads(
        config.to_json_best_effort()
        if hasattr(config, "to_json_best_effort")
        else json.dumps(config)
    )


def write_config(workdir, config) -> None:
    atomic.write_json(Path(workdir) / "config.json", config_to_json(config))


def with_tuples(value):
    """Turns lists into tuples: JSON has no tuples, and configs have no lists."""
    if isinstance(value, dict):
        return {key: with_tuples(item) for key, item in value.items()}
    return tuple(with_tuples(item) for item in value) if isinstance(value, list) else value


# Fields that may differ between a run and its continuation.
MAY_CHANGE = (
    "total_steps",
    "num_epochs",
    "eval_epochs",
    "checkpoint_epochs",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "eval_videos",
    "eval_batches",
    "keep_last",
    "keep_best",
    "best_metric",
    "wandb",
    "tensorboard",
    "data.dir",
    "data.num_workers",
    "data.skip_damaged",
)


def check_same_config(workdir, config) -> None:
    """ValueError if another config started a workdir; it names the different fields."""
    path = Path(workdir) / "config.json"
    if not path.exists():
        return
    before, now = (
        _with_absolute_mixture(flatten_dict(fields, sep="."))
        for fields in (
            config_names.to_current_names(reading.read_json(path)),
            config_to_json(config),
        )
    )
    differ = [
        key
        for key in sorted(before.keys() | now.keys())
        if _set_value(before, key) != _set_value(now, key) and key not in MAY_CHANGE
    ]
    if differ:
        changes = ", ".join(f"{k}: {before.get(k)!r} there, {now.get(k)!r} now" for k in differ[:5])
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        raise ValueError(
            f"{workdir} was started with another config ({changes}{more}); "
            "give another --workdir, or the same config to continue it"
        )


def _set_value(fields: dict, key: str):
    """The value of a field, or None if it is off: missing, 0, "" or False; a part's weight is off
    at 1."""
    if key.startswith("model.part_weights."):
        return None if fields.get(key, 1) == 1 else fields[key]
    return fields.get(key) or None


def _with_absolute_mixture(fields: dict) -> dict:
    """Version 0.1 stored the paths as they were typed."""
    mixture = fields.get("data.mixture")
    paths = [[remote.absolute(path), weight] for path, weight in mixture or ()]
    return fields | {"data.mixture": paths} if mixture else fields


def check_same_data(workdir, step: int, fingerprint: str) -> None:
    """ValueError if a run started on another dataset."""
    before = load_meta(find_checkpoint(workdir, step))["data_fingerprint"]
    if before != fingerprint:
        raise ValueError(
            f"{workdir} was trained on another dataset than data.dir now names (its "
            "clips, points or statistics differ); give another --workdir"
        )
