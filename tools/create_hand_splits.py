"""Draws balanced hand poses from many data sets and deals them to train, val and test.

    jaxvq make hand-splits --input NPZ_DIR --output dataset_splits

NPZ_DIR holds one file per data set, with lhand_pose and rhand_pose of (frames, 45); its name is the
data set's (jaxvq import hands makes such files from other formats). Only headers are read. Writes
{train,val,test}_samples.json and dataset_metadata.json. What to draw is in configs/hand_splits.py;
--config.targets.high=1050000 changes one number, --config FILE takes another file.

By default frames are dealt one by one, as the hand prior generator does; a frame for testing then
has neighbours among those for training. --split_by block keeps runs of frames together.
"""

from pathlib import Path

from jaxvq import command

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "hand_splits.py"


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add("--input", "--data_dir", default="../data", help="NPZ files (default: %(default)s)")
    add("--output", "--output_dir", default="dataset_splits", help="(default: %(default)s)")
    add("--seed", type=int, default=42, help="of the draw (default: %(default)s)")
    add(
        "--config",
        default=str(CONFIG),
        metavar="FILE[:VARIANT]",
        help="what to draw (default: configs/hand_splits.py); --config.FIELD=VALUE changes a field",
    )
    add(
        "--totals",
        default="exact",
        choices=("exact", "floor"),
        help="floor: round every data set down, as the hand prior generator does; then its own "
        "split files come out again, number by number (default: %(default)s)",
    )
    add(
        "--split_by",
        default="frame",
        choices=("frame", "block"),
        help="deal single frames or runs of neighbours (default: %(default)s)",
    )
    add("--block_frames", type=int, default=1024, help="length of a run (default: %(default)s)")
    add(
        "--gap_frames",
        type=int,
        default=32,
        help="unused frames at both ends of a run for val or test (default: %(default)s)",
    )
    add("--cap", action="store_true", help="lower targets to what the data sets hold")
    args, changes = parser.parse_known_args(argv)

    from jaxvq.hands import npz
    from jaxvq.training import command_line

    from .hands import draws

    config = command_line.read_config(args.config, changes)
    recipe = draws.Recipe(
        datasets=config.datasets.to_dict(),
        targets=config.targets.to_dict(),
        ratios=config.ratios.to_dict(),
        totals=args.totals,
        split_by=args.split_by,
        block_frames=args.block_frames,
        gap_frames=args.gap_frames,
        cap=args.cap,
    )
    frames = npz.count_frames(args.input)
    result = draws.plan(frames, recipe, args.seed)
    draws.save(result, args.output)
    print(describe(result.metadata, args.output))
    return 0


def describe(metadata: dict, output_dir: str) -> str:
    """What was drawn: one line per priority, and one for the splits."""
    lines = [
        f"{priority + ':':<8} {info['target_samples']:>9,} of {info['total_available']:>11,} "
        f"frames ({info['rate']:6.2%}) from {len(info['datasets'])} data sets"
        for priority, info in metadata["sampling_info"].items()
    ]
    sizes = metadata["dataset_creation_info"]["splits"]
    splits = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
    return "\n".join([*lines, f"{output_dir}: {splits}"])


if __name__ == "__main__":
    command.run(main)
