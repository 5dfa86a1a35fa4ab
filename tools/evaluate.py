"""Measures a model on a split of a dataset, and with --visualize draws what it does.

    python -m tools.evaluate --checkpoint RUN --split test --output_dir OUT [--visualize]

OUT gets metrics.json, evaluation_results.json (also the error of each point and the use of each
code) and evaluation_report.md; with --visualize videos, pictures, pages that play the clips, and
index.html, which shows all of it. The dataset is the one that the run was trained on; --data_dir
names another one.
"""

import argparse
from pathlib import Path

from jaxvq.storage import atomic
from tools import command

SPLITS = ("train", "validation", "test")


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        "tools.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True, help="a run, a model, or one checkpoint")
    parser.add_argument("--output_dir", required=True, help="folder for the results")
    parser.add_argument("--split", default="test", choices=(*SPLITS, "val"))
    parser.add_argument("--data_dir", help="another dataset than the one trained on")
    parser.add_argument("--visualize", action="store_true", help="also GIFs and index.html")
    parser.add_argument("--num_videos", type=int, default=5, help="clips to draw (default 5)")
    args = parser.parse_args(argv)
    split = "validation" if args.split == "val" else args.split

    from tqdm import tqdm

    from jaxvq import inference, input_pipeline
    from jaxvq.evaluators import page, reconstruction, video
    from jaxvq.hands.skeleton import HAND_ROTATIONS

    tokenizer = inference.load(args.checkpoint)
    data_dir = args.data_dir or tokenizer.model.config.data.dir
    if not data_dir:
        raise ValueError(f"{args.checkpoint} was not trained on a dataset; give --data_dir")
    dataset = input_pipeline.open_dataset(data_dir).resampled(tokenizer.model.fps)
    if dataset.skeleton == HAND_ROTATIONS:
        raise ValueError(f"{data_dir} holds rotations of hands: tools.sample_hands measures them")
    if dataset.skeleton != tokenizer.model.skeleton:
        raise ValueError(
            f"{data_dir} has {dataset.skeleton.num_points} points a frame, the model "
            f"another set of {tokenizer.model.skeleton.num_points}"
        )
    source = dataset.source(split)
    if not len(source):
        raise ValueError(f"the split {split} of {data_dir} holds no clips")

    progress = tqdm(range(len(source)), unit="clip", desc=split)
    clips = (tokenizer.from_record(source[i]) for i in progress)
    evaluation = reconstruction.evaluate(tokenizer, clips)
    values = evaluation.values
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    result = {
        "checkpoint": str(tokenizer.model.path),
        "step": tokenizer.model.step,
        "data_dir": str(dataset.path),
        "split": split,
        **values,
    }
    atomic.write_json(output / "metrics.json", result)
    atomic.write_json(output / "evaluation_results.json", result | _details(tokenizer, evaluation))
    page.write_report(
        output / "evaluation_report.md",
        metrics=values,
        about=result,
        codebooks=evaluation.codebooks,
    )
    for key, value in values.items():
        print(f"{key:24} {value:.5g}")

    if args.visualize:
        records = [source[i] for i in range(min(args.num_videos, len(source)))]
        clips = [tokenizer.from_record(r) for r in records]
        paths = video.write_videos(tokenizer, clips, output / "videos", split)
        drawn = _draw(tokenizer, evaluation, clips, output, split)
        captions = [f"{r['id']}: {len(r['data'])} frames at {r['fps']:.4g} fps" for r in records]
        page.write_page(
            output / "index.html",
            metrics=values,
            videos=paths,
            captions=captions,
            pictures=drawn,
            codebooks=evaluation.codebooks,
            title=f"{split}: {values['clips']} clips, step {tokenizer.model.step}",
        )
        print(f"videos and page: {output / 'index.html'}")
    return 0


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
    from jaxvq.evaluators import animation, pictures

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


if __name__ == "__main__":
    command.run(main)
