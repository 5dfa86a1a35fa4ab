"""Measures a model on a split of a dataset, and with --visualize draws what it does.

    jaxvq evaluate --model RUN --split test --output OUT [--visualize]

OUT gets metrics.json, evaluation_results.json (also the error of each point and the use of each
code) and evaluation_report.md; with --visualize videos, pictures, pages that play the clips, and
index.html, which shows all of it. With --card FOLDER, what jaxvq probe measured of this model goes
along as meaning_card.*, its first lines in the report. The dataset is the one that the run was
trained on; --data names another one.
"""

from pathlib import Path

from jaxvq import command

SPLITS = ("train", "validation", "test")


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    parser.add_first("--model", "--checkpoint", help=command.MODEL_HELP)
    add("--config", metavar="FILE", help=command.CONFIG_HELP)
    add("--split", default="test", choices=(*SPLITS, "val"), help="(default: %(default)s)")
    add(
        "--output",
        "--output_dir",
        default="evaluation_results",
        help="folder (default: %(default)s)",
    )
    add("--data", "--data_dir", help="another dataset than the one trained on")
    add("--visualize", action="store_true", help="also videos, pictures and index.html")
    add(
        "--num_videos",
        "--num_vis_samples",
        type=int,
        default=5,
        metavar="N",
        help="clips to draw (default: %(default)s)",
    )
    add("--card", type=Path, metavar="FOLDER", help="of jaxvq probe: its card goes along")
    args = parser.parse_args(argv)
    if args.num_videos < 1:
        raise ValueError(f"--num_videos {args.num_videos}: expected 1 or more")
    split = "validation" if args.split == "val" else args.split

    from jaxvq import inference, input_pipeline
    from jaxvq.evaluators import results
    from jaxvq.training import command_line

    with command.stage("loading the model"):
        tokenizer = inference.load(args.model)
    tokenizer.require_poses()
    if args.config:
        command_line.compare(args.config, tokenizer.model)
    dataset = input_pipeline.open_for_model(tokenizer.model, args.data)
    output = Path(args.output)
    evaluation = results.write(tokenizer, dataset, split, output)
    if args.visualize:
        from .evaluation import pages

        with command.stage("drawing clips"):
            source = dataset.source(split)
            pages.write(tokenizer, evaluation, source, output, split, args.num_videos)
    if args.card:
        add_card(args.card, output, tokenizer.model)
    for key, value in evaluation.values.items():
        print(f"{key:24} {value:.5g}")
    print(f"results: {output / ('index.html' if args.visualize else 'metrics.json')}")
    return 0


def add_card(folder: Path, output: Path, model) -> None:
    """Copies the model's meaning card into the evaluation, and its first lines into the report."""
    from jaxvq.storage import atomic
    from jaxvq.tokens import code_tables

    from .probes import report

    lines = report.carry(folder, output, code_tables.fingerprint(model))
    path = output / "evaluation_report.md"
    text = "\n".join(["", "## What the tokens keep", "", *lines, ""])
    atomic.write_text(path, path.read_text(encoding="utf-8") + text)


if __name__ == "__main__":
    command.run(main)
