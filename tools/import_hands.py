"""Collects the hands of a motion data set in one NPZ file, which jaxvq make hand-splits reads.

    jaxvq import hands --format signavatars --input DIR --output NPZ_DIR/NAME.npz

The file has lhand_pose and rhand_pose, float32 (frames, 45), and image_ids "file:frame". Formats:
{formats}

Frames that a file marks as not valid are left out. Nothing is unpickled: a file that asks for more
than arrays is refused. Whether angles count from the flat or from the mean hand differs between
data sets, and files do not tell; --flat_hand_mean converts the latter.
"""

import logging
from pathlib import Path

from jaxvq import command

log = logging.getLogger("jaxvq")


def main(argv=None) -> int:
    import numpy as np
    from tqdm import tqdm

    from jaxvq.hands import npz

    from .hands import sources

    formats = "\n".join(f"  {n:<12} {layout.about}" for n, layout in sources.LAYOUTS.items())
    parser = command.parser(__doc__.format(formats=formats))
    add = parser.add_argument
    add("--format", required=True, choices=sources.LAYOUTS)
    parser.add_first("--input", help="a file, or a folder with subfolders")
    add("--output", required=True, help="NPZ_DIR/NAME.npz")
    add(
        "--flat_hand_mean",
        metavar="SMPLX.npz",
        help="the angles count from the mean hand: add hands_meanl and hands_meanr of this file",
    )
    add("--mirror", action="store_true", help="also every frame as seen in a mirror")
    add("--keep_invalid", action="store_true", help="also frames marked as not valid")
    add("--drop_constant", action="store_true", help="leave out files whose hands never move")
    add(
        "--max_skipped",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of the files that may be unusable (default: %(default)s)",
    )
    args = parser.parse_args(argv)

    name = sources.dataset_name(args.output)
    mean = sources.load_mean(args.flat_hand_mean) if args.flat_hand_mean else None
    paths = sources.list_files(args.input, args.format)
    root = Path(args.input) if Path(args.input).is_dir() else Path(args.input).parent
    left, right, ids, skipped, still, dropped = [], [], [], [], [], 0
    for path in tqdm(paths, unit="file", desc=name):
        try:
            hands = sources.read_hands(path, args.format)
        except ValueError as error:
            skipped.append(str(error))
            continue
        if sources.never_move(hands):
            still.append(path)
            if args.drop_constant:
                continue
        keep = hands.valid | args.keep_invalid
        dropped += int((~keep).sum())
        if mean is not None:
            hands = sources.add_mean(hands, mean)
        stem = path.relative_to(root).as_posix()
        for suffix, one in [("", hands)] + [("#mirrored", sources.mirror(hands))] * args.mirror:
            left.append(one.left[keep])
            right.append(one.right[keep])
            ids += [f"{stem}:{frame}{suffix}" for frame in np.flatnonzero(keep)]
    _report(skipped, still, len(paths), args)
    if not ids:
        raise ValueError(
            f"no frame of {args.input} is left; --keep_invalid and --drop_constant "
            "decide about some"
        )
    npz.write_npz(
        args.output,
        {
            npz.LEFT: np.concatenate(left),
            npz.RIGHT: np.concatenate(right),
            npz.IMAGE_IDS: np.array(ids),
        },
    )
    print(
        f"{args.output}: {len(ids):,} frames of {len(paths) - len(skipped):,} files"
        + (f", without {dropped:,} that are not valid" if dropped else "")
    )
    return 0


def _report(skipped: list[str], still: list[Path], total: int, args) -> None:
    if len(skipped) > args.max_skipped * total:
        raise ValueError(
            f"{len(skipped)} of {total} files cannot be read as {args.format}; "
            f"--max_skipped allows {args.max_skipped:.1%}. The first: {skipped[0]}"
        )
    for line in skipped:
        log.warning("skipped: %s", line)
    if still:
        log.warning(
            "the hands never move in %d of %d files (%s): that is a body model's default "
            "pose, no recording; %s",
            len(still),
            total,
            still[0],
            "left out" if args.drop_constant else "--drop_constant leaves them out",
        )


if __name__ == "__main__":
    command.run(main)
