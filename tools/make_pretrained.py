"""Trains the models that come with jaxvq, measures them, and writes their cards.

    jaxvq make pretrained sign_corpus.zip --work runs/pretrained

Trains on the clips whose names begin with `fs-` and measures the error on all others, which the
models never see. `make pretrained` in the repository calls this. Each model goes to a folder of
--output: model.npz (float16), code_tables.npz and a card. A folder that exists is replaced, or, if
its recipe's version was raised since, stays as NAME@VERSION.
"""

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from jaxvq import command, pretrained

DATASETS = ("fs", "others")  # to train on; to measure with


@dataclass(frozen=True)
class Recipe:
    """A config and what differs from it; about is the first line of the card. version: one more
    than that of the model which was released under the name and is to stay readable."""

    config: str
    changes: tuple[str, ...]
    about: str
    version: int = 1


RECIPES = {
    "signs": Recipe(
        "fsq_pose:small",
        ("--config.total_steps=600",),
        "Four streams (body, face, two hands); a step of tokens stands for 16 frames.",
    ),
    "signs-lm": Recipe(
        "fsq_pose:lm",
        (
            *("--config.total_steps=600", "--config.batch_size=8", "--config.data.seq_len=256"),
            *("--config.model.hidden_dim=32", "--config.model.num_layers=2"),
            *("--config.model.num_heads=4", "--config.model.ff_dim=128"),
            *("--config.model.window=2", "--config.optim.learning_rate=2e-3"),
            "--config.optim.warmup_steps=30",
        ),
        "For language models: as `signs`, with 32 codes from small codebooks for 16 frames.",
    ),
    "signs-frames": Recipe(
        "fsq_pose:frames",
        (
            *("--config.total_steps=200", "--config.batch_size=8", "--config.data.seq_len=128"),
            *("--config.model.transform=True", "--config.quantizer.bits_per_frame=13.0"),
            *("--config.model.hidden_dim=64", "--config.model.num_layers=2"),
            *("--config.model.num_heads=4", "--config.model.ff_dim=256"),
            *("--config.model.dropout=0.0", "--config.model.window=8"),
            *("--config.model.part_weights.face=0.32", "--config.model.part_weights.hands=1.8"),
            *("--config.loss.type=distance", "--config.loss.hand_weight=1.0"),
            *("--config.optim.learning_rate=2e-3", "--config.optim.weight_decay=0.0"),
            "--config.optim.warmup_steps=20",
        ),
        "One code of about 8,000 for each frame, all points together.",
    ),
    "signs-live": Recipe(
        "fsq_pose:live",
        (
            *("--config.total_steps=300", "--config.batch_size=8", "--config.data.seq_len=256"),
            *("--config.model.hidden_dim=32", "--config.model.num_layers=2"),
            *("--config.model.num_heads=4", "--config.model.ff_dim=128"),
            "--config.optim.warmup_steps=100",
        ),
        "For a camera: a step of tokens stands for 4 frames and never looks ahead.",
    ),
}


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_first("--input", help="folder or zip of .pose files: sign_corpus.zip")
    parser.add_argument("--work", default="runs/pretrained", help="for datasets and runs")
    parser.add_argument("--output", default=str(pretrained.FOLDER), help="(default: %(default)s)")
    parser.add_argument("--names", default=",".join(RECIPES), help="some of %(default)s")
    parser.add_argument("--steps", type=int, help="train shorter, to try it out")
    args = parser.parse_args(argv)
    names = args.names.split(",")
    if unknown := [name for name in names if name not in RECIPES]:
        raise ValueError(f"--names {unknown[0]}: choose from {', '.join(RECIPES)}")
    work = Path(args.work)
    _build(args.input, work)
    for name in names:
        words = [RECIPES[name].config, *RECIPES[name].changes]
        if args.steps:
            words += [f"--config.total_steps={args.steps}"]
        run = work / f"run-{name}"
        _call("train", *words, "--data", work / "fs", "--workdir", run)
        _pack(name, run, work, Path(args.output) / name, words)
    return 0


def _build(source: str, work: Path) -> None:
    """Two datasets: the clips to train on with the usual splits, all others as one test split."""
    from jaxvq.pose.files import list_poses

    clips = list_poses(source, (".pose",))
    for name in DATASETS:
        folder, split = work / f"{name}-clips", work / f"{name}-splits.json"
        folder.mkdir(parents=True, exist_ok=True)
        chosen = [c for c in clips if Path(c.key).name.startswith("fs-") == (name == "fs")]
        if not chosen:
            raise ValueError(
                f"{source} has no clips for {name}: names of the others begin with fs-"
            )
        for clip in chosen:
            path, content = folder / Path(clip.key).name, clip.read()
            # A file that is written anew is another input, which the built dataset is not of.
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        splits = {"train": [], "validation": [], "test": [Path(clip.key).name for clip in chosen]}
        split.write_text(json.dumps(splits))
        words = ("build", folder, "--corpus", "sign_poses", "--data", work / name)
        _call(*words, *(() if name == "fs" else ("--split_file", split)))


def _pack(name: str, run: Path, work: Path, output: Path, words: list[str]) -> None:
    from jaxvq import checkpoint, inference
    from jaxvq.storage import atomic
    from jaxvq.tokens import code_tables

    version, before = RECIPES[name].version, pretrained.newest(output.parent, name)
    if output.is_dir() and 0 < before < version:
        output.rename(output.with_name(f"{name}@{before}"))
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    whole = inference.load(run)
    checkpoint.save_packed(output, whole.model)
    _call("make", "code-tables", output, "--data", work / "fs")
    measured = {}
    for part in DATASETS:
        result = work / f"evaluation-{name}-{part}"
        _call("evaluate", output, "--data", work / part, "--output", result)
        measured[part] = json.loads((result / "metrics.json").read_text())
    packed = inference.load(output)
    changed = _changed(whole, packed, work / "fs")
    size = sum(path.stat().st_size for path in output.iterdir())
    text = card(name, words, measured, changed, size)
    (output / "README.md").write_text(text, encoding="utf-8")
    this = f"{name}@{version}"
    listed = {k: v for k, v in pretrained.versions(output.parent).items() if v != this}
    listed[code_tables.fingerprint(packed.model)[: pretrained.DIGITS]] = this
    in_order = dict(sorted(listed.items(), key=lambda entry: entry[1]))
    atomic.write_json(output.parent / pretrained.VERSIONS, in_order)
    print(f"{output}: {size / 1e6:.2f} MB")


def _changed(whole, packed, data: Path) -> float:
    """The share of codes on the test split that float16 changes."""
    from jaxvq import input_pipeline

    source = input_pipeline.open_dataset(data).source("test")
    both = [
        [tokenizer.encode_clips([tokenizer.from_record(source[i])])[0] for i in range(len(source))]
        for tokenizer in (whole, packed)
    ]
    differ = sum(int((a != b).sum()) for a, b in zip(*both, strict=True))
    return differ / max(1, sum(a.size for a in both[0]))


def card(name: str, words: list[str], measured: dict, changed: float, size: int) -> str:
    """What is known of a model, in Markdown."""
    rows = []
    for part, what in (("fs", "fingerspelling, test split"), ("others", "signing, never seen")):
        found = measured[part]
        parts = [found.get(f"mpjpe/{p}", float("nan")) for p in ("all", "body", "face")]
        parts += [found.get("mpjpe_mean_pose/all", float("nan"))]
        rows.append(
            f"| {what} | {found['clips']} | " + " | ".join(f"{x:.4f}" for x in parts) + " |"
        )
    bits = measured["fs"]["bits_per_frame"]
    return f"""# {name}

{RECIPES[name].about} {bits:.2f} bits per frame.

| clips | number | error, all points | body | face | mean pose, all points |
|---|---|---|---|---|---|
{chr(10).join(rows)}

Errors are mean distances in shoulder widths.

- **Data**: the fingerspelling clips (MediaPipe Holistic, 178 points) of the lexicon of
  sign-language-processing/spoken-to-signed-translation, MIT licence. 80 % of them for training.
- **Licence** of the weights: Apache 2.0, as jaxvq. Say where the data came from when you pass
  them on.
- **Command**: `jaxvq train {shlex.join(map(str, words))} --data DATA`
- **Weights** are float16: {100 * changed:.2f} % of the codes of the test split differ from
  those of the float32 run. The file is the model that its tokens belong to.
- **Not good for**: recordings made in another way, and signing that moves the whole body. The
  second row of the table is the only measurement of these. One person per clip.
- **Size**: {size / 1e6:.2f} MB.
"""


def _call(*words) -> None:
    words = ["jaxvq", *map(str, words)]
    print(f"$ {shlex.join(words)}", flush=True)
    if subprocess.call([sys.executable, "-m", *words]):
        raise ValueError(f"{' '.join(words[:2])} ended with an error")


if __name__ == "__main__":
    command.run(main)
