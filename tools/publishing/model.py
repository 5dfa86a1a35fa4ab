"""Publishes a trained model as a folder: weights without training state, and a card."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxvq import checkpoint, inference
from jaxvq.evaluators import page, reconstruction
from jaxvq.pose.statistics import save_statistics
from jaxvq.pose.writer import write_header
from jaxvq.storage import manifests, reading
from jaxvq.tokens import code_tables, vocabulary

from ..probes import report
from . import cards, folder

PLACES = ("checkpoint", "data_dir")  # fields of metrics.json that name local folders


def publish(
    run: str,
    output: Path,
    *,
    name: str,
    version: str,
    license_file: Path,
    metrics: Path | None,
    meaning: Path | None = None,
    export: Callable[[inference.PoseTokenizer, Path], None],
) -> dict:
    """Writes a model to `output`, checks that it loads, and returns its manifest.

    run: a run or model folder. metrics: metrics.json of jaxvq evaluate, by default the last
    validation of the run. meaning: folder of jaxvq probe, whose card goes along. export: adds a
    form for programs without this code to a folder.
    Raises ValueError for a bad input, and then leaves nothing behind.
    """
    license_text = cards.read_license(license_file)
    tokenizer = inference.load(run)
    model = tokenizer.model
    measured = read_metrics(run, metrics, model.step)
    config = model.config.copy_and_resolve_references()
    config.data.dir = ""  # a local folder
    with folder.appearing(output) as new:
        checkpoint.save_model(
            new,
            config=config,
            skeleton=model.skeleton,
            statistics=model.statistics,
            params=model.params,
            state=model.state,
            step=model.step,
        )
        for note in new.rglob("commit_success.txt"):
            note.write_text("complete\n")  # Orbax writes the names of local folders
        write_header(new / "header.poseheader", model.skeleton)
        save_statistics(new / "pose_normalization.json", model.skeleton, model.statistics)
        tables = code_tables.path_for(model)
        if tables.is_file():  # `load` checks that they belong to this checkpoint
            code_tables.save(new / code_tables.FILE, code_tables.load(model))
        export(tokenizer, new)
        (new / "skeleton.json").write_text(json.dumps(model.skeleton.to_json()))
        (new / "metrics.json").write_text(json.dumps(measured, indent=2) + "\n")
        (new / "LICENSE.txt").write_text(license_text, encoding="utf-8")
        kept = report.carry(meaning, new, code_tables.fingerprint(model)) if meaning else []
        (new / "README.md").write_text(
            card(tokenizer, measured, name, version, license_text, kept), encoding="utf-8"
        )
        more = {"step": model.step}
        if tokenizer.task.codebook_sizes:
            more["tokens"] = vocabulary.make(tokenizer.task).to_json()
        manifest = manifests.write_manifest(new, kind="model", name=name, version=version, **more)
        inference.load(new)
    return manifest


def check_same(run: str, output: Path, version: str) -> None:
    """ValueError unless `output` is this version of the model in `run`."""
    manifest = manifests.check(output, "model")
    if manifest["version"] != version:
        raise ValueError(f"{output} is version {manifest['version']}, not {version}")
    now, then = inference.load(run).model, inference.load(output).model
    same = jax.tree.structure(now.params) == jax.tree.structure(then.params) and all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(now.params), jax.tree.leaves(then.params), strict=True)
    )
    if now.step != then.step or not same:
        raise ValueError(
            f"{run} (step {now.step}) changed since {output} (step {then.step}) was published "
            "from it; give another --output and --version"
        )


def read_metrics(run: str, path: Path | None, step: int) -> dict:
    """The measurements of the model of `step`: {"split", "step", name: value …}."""
    if path is None:
        log = Path(run) / "metrics.jsonl"
        lines = log.read_text().splitlines() if log.is_file() else []
        for line in reversed(lines):
            values = json.loads(line)
            if values["step"] == step and any(key.startswith("validation_") for key in values):
                short = {key.removeprefix("validation_"): v for key, v in values.items()}
                return {"split": "validation", **short}
        raise ValueError(
            f"{run} holds no measurement of step {step}; run jaxvq evaluate and give --metrics "
            "metrics.json"
        )
    try:
        values = reading.read_json(path)
        measured = {key: value for key, value in values.items() if key not in PLACES}
        measured_step, split = measured["step"], measured["split"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no metrics.json of jaxvq evaluate ({error!r})") from None
    if measured_step != step:
        raise ValueError(
            f"{path} measured step {measured_step}, but the model is that of step {step}"
        )
    return {"split": split, **measured}


def card(tokenizer, measured: dict, name: str, version: str, license_text: str, kept=()) -> str:
    """The card (README.md) of a model. kept: lines of its meaning card."""
    config, skeleton = tokenizer.model.config, tokenizer.model.skeleton
    names = reconstruction.codebook_names(tokenizer.task)
    rows = [
        f"| {key} | {page.meaning(key, names)} | {value:.4g} |"
        for key, value in measured.items()
        if key not in ("split", "step") and isinstance(value, int | float)
    ]
    sizes = tokenizer.task.codebook_sizes
    points = ", ".join(f"{len(c.points)} {c.name}" for c in skeleton.components)
    codes = (
        f"{len(sizes)} code(s) per {tokenizer.task.frames_per_step} frame(s), from codebooks of "
        f"{', '.join(map(str, sizes))}: {tokenizer.bits_per_frame:.1f} bits per frame"
        if sizes
        else "none: a prior without a codebook"
    )
    newline = "\n"
    keeps = f"\n## What its tokens keep\n\n{newline.join(kept)}\n" if kept else ""
    return f"""{cards.front_matter(name, license_text, ["jax", "pose", "sign-language"])}
# {name}

Turns human poses into tokens and back. Version {version}, step {measured["step"]} of a training
with jaxvq, task `{config.task}`.

- Points: {skeleton.num_points} per frame ({points}), {skeleton.num_dims} coordinates each.
- Tokens: {codes}.

## Measured on the {measured["split"]} split

| measure | meaning | value |
|---|---|---|
{newline.join(rows)}
{keeps}
## Use

```python
from jaxvq import inference
from jaxvq.pose.reader import read_pose
from jaxvq.storage import reading
from jaxvq.pose.writer import write_pose

tokenizer = inference.load("hf://USER/NAME")   # or the path of this folder
tokens = tokenizer.encode(read_pose("X.pose"))
write_pose("Y.pose", tokenizer.decode(tokens))
```

## Files

`checkpoints` has the weights (Orbax, no pickle), config, skeleton and statistics. Other programs
find the last two in `skeleton.json`, `pose_normalization.json` and `header.poseheader`.
`metrics.json` is the table above. `code_tables.npz`, if there is one, codes compact token files
(`poses_to_codes --output X.jvq`). `model.stablehlo`, if there is one, runs with nothing but jax, on
CPU, GPU and TPU; `_metadata.json` says how. `{manifests.MANIFEST}` has the size and sha256 of every
file, which loading compares.

## Licence

{cards.quote(license_text)}
"""
