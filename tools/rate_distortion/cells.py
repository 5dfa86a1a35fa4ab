"""The cells of the table: one training or fit, measured at its rates. Each cell is a JSON file."""

import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from jaxvq.storage import atomic, reading

from . import methods
from .methods import METHODS, Floor


@dataclass(frozen=True)
class Settings:
    """What all cells of one folder share.

    effort: passes over the digits that look for cheaper codes (jaxvq/tokens/effort.py); the table
      has codes without any, too.
    """

    data_dir: str
    steps: int
    effort: int = 1


@dataclass(frozen=True)
class Job:
    """The cells (method, rate, seed) that share one training: one cell per rate."""

    method: str
    rates: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """Name of the job's folder in runs/."""
        entry = METHODS[self.method]
        together = isinstance(entry, Floor) or entry.layers
        return cell_name(self.method, "all" if together else self.rates[0], self.seed)


def cell_name(method: str, rate: str, seed: int) -> str:
    """The stem of a cell's file."""
    return f"{method}-{rate.replace('/', 'per')}-{seed}"


def cell_path(output: Path, method: str, rate: str, seed: int) -> Path:
    """The file of a cell, which exists as soon as the cell is done."""
    return output / "cells" / f"{cell_name(method, rate, seed)}.json"


def missing(output: Path, chosen: list[str], seeds: int, only: list[str] | None) -> list[Job]:
    """The jobs with unfinished cells: all jobs of the first seed, then all of the next.

    A floor does not depend on a seed, so it is computed once.

    only: names of the rates to take; None takes all.
    """
    jobs = []
    for seed in range(seeds):
        for method in chosen:
            floor = isinstance(METHODS[method], Floor)
            if floor and seed:
                continue
            rates = [rate for rate in methods.rates(method) if only is None or rate in only]
            todo = [r for r in rates if not cell_path(output, method, r, seed).exists()]
            together = floor or METHODS[method].layers
            groups = [todo] if together else [[rate] for rate in todo]
            jobs += [Job(method, tuple(group), seed) for group in groups if group]
    return jobs


def run(job: Job, settings: Settings, output: Path) -> None:
    """Writes the cells of a job. An interrupted training is resumed."""
    from jaxvq import input_pipeline

    folder = output / "runs" / job.name
    for place in (folder, output / "cells"):
        place.mkdir(parents=True, exist_ok=True)
    dataset = input_pipeline.open_dataset(settings.data_dir)
    floor = isinstance(METHODS[job.method], Floor)
    for rate, values in (_floor if floor else _trained)(job, settings, dataset, folder):
        path = cell_path(output, job.method, rate, job.seed)
        about = {"method": job.method, "rate": rate, "seed": job.seed}
        atomic.write_json(path, about | values)


def token_path(folder: Path, rate: str) -> Path:
    """The file with the tokens of the test split at one rate."""
    return folder / f"test-{rate.replace('/', 'per')}.jvq"


def standardised(dataset, split: str) -> list:
    """The clips of a split, standardised. ValueError if the split is empty."""
    import numpy as np

    from jaxvq.datasets import fixed_point
    from jaxvq.pose.reader import Pose

    clips, source = [], dataset.source(split)
    for i in range(len(source)):
        record = source[i]
        mask = np.asarray(record["mask"])
        data = dataset.statistics.standardize(fixed_point.to_float32(record["data"]), mask)
        seen = (~mask).astype(np.float32)
        clips.append(Pose(dataset.skeleton, data, seen, float(record["fps"])))
    if not clips:
        raise ValueError(f"the split {split} of {dataset.path} holds no clips")
    return clips


# ---------------------------------------------------------------------------------------- the floor


def _floor(job: Job, settings: Settings, dataset, folder: Path):
    from . import floor, pca_dpcm

    entry, scale = METHODS[job.method], dataset.statistics.scale
    train, validation, test = (standardised(dataset, s) for s in ("train", "validation", "test"))
    started = time.monotonic()
    components = pca_dpcm.fit_components(train, dataset.skeleton, dataset.statistics)
    seconds = time.monotonic() - started
    kept = folder / "sweep.json"
    if kept.exists():
        found = [floor.Setting(**values) for values in reading.read_json(kept)]
    else:
        most = 1.1 * max(map(float, entry.rates))
        clips = (floor.some(train), floor.some(validation), scale)
        path = folder / "validation.jvq"
        found = floor.sweep(components, entry.dead_zone, *clips, most, path)
        atomic.write_json(kept, [vars(setting) for setting in found])
    for rate in job.rates:
        setting = floor.choose(found, float(rate))
        codec = pca_dpcm.PcaDpcm(components, setting.size, setting.step, entry.dead_zone)
        values = floor.measure(codec, train, test, scale, token_path(folder, rate))
        yield rate, values | {"chosen": vars(setting), "training_seconds": seconds}


# ----------------------------------------------------------------------------------- trained models


def _trained(job: Job, settings: Settings, dataset, folder: Path):
    from jaxvq import inference
    from jaxvq.train import train

    from .first_layers import FirstLayers

    options = {"steps": settings.steps, "seed": job.seed + 1, "data_dir": settings.data_dir}
    config = methods.make_config(job.method, job.rates[0], **options)
    _log_to(folder / "train.log")
    train(config, folder)
    clips = {split: standardised(dataset, split) for split in ("train", "validation", "test")}
    steps = sorted(int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit())
    if steps[-1:] != [config.total_steps]:
        raise ValueError(f"{folder} stopped at step {steps[-1]} of {config.total_steps}")
    models = [inference.load(folder, step) for step in steps]
    for rate in job.rates:
        tokenizers = models
        if METHODS[job.method].layers:
            tokenizers = [replace(m, task=FirstLayers(m.task, int(rate))) for m in models]
        path = token_path(folder, rate)
        values = _measure(tokenizers, clips, dataset.statistics.scale, path, settings.effort)
        values["training_seconds"] = training_seconds(folder / "metrics.jsonl")
        command = methods.command(job.method, rate, **options, workdir=folder)
        yield rate, values | {"command": command}


def _log_to(path: Path) -> None:
    log = logging.getLogger("jaxvq")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers = [handler]


def _measure(tokenizers: list, clips: dict, scale, path: Path, effort: int) -> dict:
    """Values on test of the tokenizer that is best on validation, and of the file that it writes.

    Validation reconstructs whole clips. The values on test are those of jaxvq evaluate.
    """
    from jaxvq.evaluators import motion, reconstruction

    from . import coding, floor

    validation, test = clips["validation"], clips["test"]
    errors = [
        floor.distortion(validation, tokenizer.reconstruct_clips(validation), scale)["mpjpe/all"]
        for tokenizer in tokenizers
    ]
    best = tokenizers[errors.index(min(errors))]
    values = reconstruction.evaluate(best, iter(test)).values
    if best.model.skeleton.is_motion:
        values |= motion.evaluate(best, iter(test))
    tokens = _tokens(best.encode_clips(test), test)
    list(best.decode_tokens(tokens))  # both have compiled now
    started = time.monotonic()
    best.encode_clips(test)
    encoded = time.monotonic()
    list(best.decode_tokens(tokens))
    decoded = time.monotonic()
    values["encode_frames_per_second"] = values["frames"] / (encoded - started)
    values["decode_frames_per_second"] = values["frames"] / (decoded - encoded)
    tables = _fit_tables(best, clips["train"], 0)
    values |= coding.write(path, tokens, tables)
    if effort and best.model.config.model.get("transform", False):
        values |= _with_effort(best, clips, tables, scale, path, effort)
    values["parameters"] = count_parameters(best.model)
    return values | {"chosen": {"step": best.model.step, "error": min(errors)}}


def _fit_tables(tokenizer, train: list, effort: int):
    """Tables as `jaxvq make code-tables` fits them."""
    from .. import fit_code_tables

    lengths = [len(clip.data) for clip in train]
    tables, _ = fit_code_tables.fit(tokenizer, train.__getitem__, lengths, effort)
    return tables


def _with_effort(tokenizer, clips: dict, tables, scale, path: Path, effort: int) -> dict:
    """effort/… -> the size and the errors of codes that `jaxvq encode --effort N` finds, by tables
    fitted to such codes."""
    from jaxvq.tokens import code_tables

    from . import coding, floor

    test, place = clips["test"], code_tables.path_for(tokenizer.model)
    code_tables.save(place, tables)
    tables = _fit_tables(replace(tokenizer), clips["train"], effort)  # a copy reads its tables anew
    code_tables.save(place, tables)
    tokens = _tokens(replace(tokenizer).encode_clips(test, effort), test)
    values = coding.write(path.with_suffix(".effort.jvq"), tokens, tables)
    decoded = list(tokenizer.decode_tokens(tokens))
    values |= floor.distortion(test, decoded, scale)
    return {f"effort/{name}": value for name, value in values.items()}


def _tokens(indices: list, clips: list) -> list:
    from jaxvq import inference

    pairs = zip(indices, clips, strict=True)
    return [inference.Tokens(found, clip.fps, len(clip.data)) for found, clip in pairs]


def count_parameters(model) -> int:
    """Parameters of a checkpoint.Model, including codebooks that learn without gradients."""
    import jax

    state = jax.tree_util.tree_leaves_with_path(model.state)
    books = [x for path, x in state if getattr(path[-1], "key", None) == "codes"]
    return sum(x.size for x in (*jax.tree.leaves(model.params), *books))


def training_seconds(path: Path) -> float:
    """Seconds of all training steps, from the speeds in metrics.jsonl; without validation."""
    seconds, last = 0.0, 0
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "steps_per_second" in entry:
            seconds += (entry["step"] - last) / max(entry["steps_per_second"], 1e-9)
            last = entry["step"]
    return seconds
