"""The files of an evaluation: metrics, a report, and pictures of clips on request."""

from pathlib import Path

from tqdm import tqdm

from jaxvq import command
from jaxvq.datasets.built import Dataset
from jaxvq.evaluators import animation, page, pictures, reconstruction, video
from jaxvq.inference import PoseTokenizer
from jaxvq.storage import atomic


def write(
    tokenizer: PoseTokenizer, dataset: Dataset, split: str, output: Path, *, draw: int = 0
) -> dict[str, float]:
    """Measures a model on a split and returns the metrics (name → value).

    Writes metrics.json, evaluation_results.json (also the error of each point and the use of each
    code) and evaluation_report.md into `output`. draw: so many clips also become videos, pictures,
    pages that play them, and index.html.

    Raises:
      ValueError: no such split, or one without clips.
    """
    source = dataset.source(split)
    if not len(source):
        raise ValueError(f"the split {split} of {dataset.path} holds no clips")
    progress = tqdm(range(len(source)), unit="clip", desc=split)
    with command.stage(f"measuring {len(source)} clips"):
        clips = (tokenizer.from_record(source[i]) for i in progress)
        evaluation = reconstruction.evaluate(tokenizer, clips)
    output.mkdir(parents=True, exist_ok=True)
    result = {
        "checkpoint": str(tokenizer.model.path),
        "step": tokenizer.model.step,
        "data_dir": str(dataset.path),
        "split": split,
        **evaluation.values,
    }
    atomic.write_json(output / "metrics.json", result)
    atomic.write_json(output / "evaluation_results.json", result | _details(tokenizer, evaluation))
    page.write_report(
        output / "evaluation_report.md",
        metrics=evaluation.values,
        about=result,
        codebooks=evaluation.codebooks,
    )
    if draw:
        records = [source[i] for i in range(min(draw, len(source)))]
        with command.stage(f"drawing {len(records)} clips"):
            _write_page(tokenizer, evaluation, records, output, split)
    return evaluation.values


def _write_page(tokenizer, evaluation, records: list[dict], output: Path, split: str) -> None:
    clips = [tokenizer.from_record(r) for r in records]
    paths = video.write_videos(tokenizer, clips, output / "videos", split)
    drawn = _draw(tokenizer, evaluation, clips, output, split)
    page.write_page(
        output / "index.html",
        metrics=evaluation.values,
        videos=paths,
        captions=[f"{r['id']}: {len(r['data'])} frames at {r['fps']:.4g} fps" for r in records],
        pictures=drawn,
        codebooks=evaluation.codebooks,
        title=f"{split}: {evaluation.values['clips']} clips, step {tokenizer.model.step}",
    )


def _details(tokenizer, evaluation) -> dict:
    """What the pictures show, as numbers."""
    names = [" ".join(name) for name in tokenizer.model.skeleton.names]
    errors = [None if error != error else error for error in evaluation.point_errors.tolist()]
    return {
        "point_errors": dict(zip(names, errors, strict=True)),
        "code_counts": evaluation.code_counts.tolist(),
    }


def _draw(tokenizer, evaluation, clips, output: Path, split: str) -> list[Path]:
    """Pictures of the whole split and of each clip; returns them for the page."""
    model = tokenizer.model
    drawn = [output / "point_errors.svg"]
    pictures.write_point_errors(drawn[0], evaluation.point_errors, model.statistics, model.skeleton)
    if evaluation.code_counts.size:
        drawn.append(output / "code_usage.svg")
        sizes, names = tokenizer.task.codebook_sizes, evaluation.codebooks
        pictures.write_code_usage(drawn[1], evaluation.code_counts, sizes, names)
    for i, pair in enumerate(pictures.normalised_pairs(tokenizer, clips)):
        drawn.append(output / f"sequence_{split}_{i}.png")
        pictures.write_strip(drawn[-1], *pair)
        animation.write_animation(output / f"animation_{split}_{i}.html", *pair, f"{split} {i}")
    return drawn
