"""Draws hands from a trained prior, and measures and pictures what a model of hands keeps of data.

    jaxvq sample --model RUN --output OUT

Writes samples.png and samples.npz (lhand_pose, rhand_pose; only models of the task hand_vae have
a prior to draw from), reconstructions.png (left the original, right its reconstruction) and
metrics.json: the error in degrees over the split, for each joint too. The dataset is the one that
the model was trained on; --data names another one.
"""

import dataclasses
import json
from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    parser.add_first("--model", "--checkpoint", help=command.MODEL_HELP)
    add("--output", "--output_dir", required=True, help="folder for the results")
    add("--num", type=int, default=24, help="hands to draw and to picture (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    add(
        "--temperature",
        type=float,
        default=1.0,
        help="below 1: nearer to the mean pose (default: %(default)s)",
    )
    add("--split", default="test", choices=("train", "validation", "val", "test"))
    add("--data", "--data_dir", help="another dataset than the one trained on")
    add("--size", type=int, default=128, help="pixels of a hand (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.num < 1:
        raise ValueError(f"--num {args.num}: expected 1 or more")

    from jaxvq import checkpoint, input_pipeline
    from jaxvq.hands.skeleton import check_hands
    from jaxvq.tasks import make_task

    model = checkpoint.load_model(args.model)
    check_hands(model.skeleton)
    task = make_task(model.config, model.skeleton, model.statistics)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    if hasattr(task, "sample"):
        write_samples(task, model.params, args, output)
    else:
        print(f"{model.config.task} has no prior to draw from")
    dataset = input_pipeline.open_for_model(model, args.data)
    split = "validation" if args.split == "val" else args.split
    write_reconstructions(task, model, dataset, split, args, output)
    return 0


def write_samples(task, params, args, output: Path) -> None:
    """samples.png and samples.npz."""
    import jax

    from jaxvq.hands import HAND, npz
    from jaxvq.pose.draw import write_png

    from .hands import drawing

    hands = task.sample(params, jax.random.key(args.seed), args.num, args.temperature)
    npz.write_npz(output / "samples.npz", {npz.LEFT: hands[:, :HAND], npz.RIGHT: hands[:, HAND:]})
    write_png(output / "samples.png", drawing.grid(drawing.draw_pairs(hands, args.size), 4))
    print(f"{args.num} pairs of hands from the prior: {output / 'samples.png'}, samples.npz")


def write_reconstructions(task, model, dataset, split: str, args, output: Path) -> None:
    """reconstructions.png and metrics.json."""
    import jax
    import numpy as np

    from jaxvq.pose.draw import write_png

    from .hands import drawing, evaluation

    # The model's own statistics count, also for another dataset.
    dataset = dataclasses.replace(dataset, statistics=model.statistics)
    values = evaluation.evaluate(task, model.params, model.state, dataset, split)
    rows = dataset.rows(split)
    chosen = np.random.default_rng(args.seed).choice(len(rows), min(args.num, len(rows)), False)
    batch = dataset.standardized_batch(rows[np.sort(chosen)])
    predicted = np.asarray(jax.jit(task.reconstruct)(model.params, model.state, batch))
    both = [
        drawing.draw_pairs(task.space.angles(pose).reshape(len(chosen), -1), args.size)
        for pose in (batch.pose, predicted)
    ]
    rule = np.full((len(chosen), args.size, 2, 3), 200, np.uint8)
    pictures = np.concatenate([both[0], rule, both[1]], axis=2)
    write_png(output / "reconstructions.png", drawing.grid(pictures, 2))
    result = {
        "checkpoint": str(model.path),
        "step": model.step,
        "data_dir": str(dataset.path),
        "split": split,
        **values,
    }
    (output / "metrics.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(
        f"{split}: {values['frames']:,} frames, {values['degrees']:.2f} degrees a joint (the "
        f"mean pose is {values['degrees_mean_pose']:.2f} off)\n"
        f"pictures and numbers: {output / 'reconstructions.png'}, metrics.json"
    )


if __name__ == "__main__":
    command.run(main)
