"""Copies the frames of the splits out of all data sets, into one file per split that loads at once.

    jaxvq make hand-npz --input NPZ_DIR --splits_dir dataset_splits \\
        --output consolidated_splits

Writes {train,val,test}.npz (lhand_pose, rhand_pose, and where each row comes from) for
ConsolidatedHandDataModule, and {split}_metadata.json, a table of all rows.
"""

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add("--input", "--data_dir", default="../data", help="NPZ files (default: %(default)s)")
    add("--splits_dir", default="dataset_splits", help="drawn splits (default: %(default)s)")
    add("--output", "--output_dir", default="consolidated_splits", help="(default: %(default)s)")
    add("--no_metadata", action="store_true", help="no {split}_metadata.json (90 bytes per frame)")
    args = parser.parse_args(argv)

    from tqdm import tqdm

    from jaxvq.hands import consolidated

    counts = consolidated.consolidate(
        args.input, args.splits_dir, args.output, metadata=not args.no_metadata, progress=tqdm
    )
    for split, count in counts.items():
        print(f"{args.output}/{split}.npz: {count:,} frames")
    return 0


if __name__ == "__main__":
    command.run(main)
