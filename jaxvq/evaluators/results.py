"""The files of an evaluation: metrics and a report."""

from pathlib import Path

from tqdm import tqdm

from jaxvq import command
from jaxvq.datasets.built import Dataset
from jaxvq.evaluators import motion, page, reconstruction
from jaxvq.inference import PoseTokenizer
from jaxvq.storage import atomic


def write(
    tokenizer: PoseTokenizer, dataset: Dataset, split: str, output: Path
) -> reconstruction.Evaluation:
    """Measures a model on a split. Writes metrics.json, evaluation_results.json (also the error of
    each point and the use of each code) and evaluation_report.md into `output`.

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
    if tokenizer.model.skeleton.is_motion:
        with command.stage("measuring the motion"):
            clips = (tokenizer.from_record(source[i]) for i in range(len(source)))
            evaluation.values.update(motion.evaluate(tokenizer, clips))
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
        unit=tokenizer.model.skeleton.unit,
    )
    return evaluation


def _details(tokenizer, evaluation) -> dict:
    names = [" ".join(name) for name in tokenizer.model.skeleton.names]
    errors = [None if error != error else error for error in evaluation.point_errors.tolist()]
    return {
        "point_errors": dict(zip(names, errors, strict=True)),
        "code_counts": evaluation.code_counts.tolist(),
    }
