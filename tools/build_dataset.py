"""Builds a corpus into ArrayRecord shards for training: DATA/<corpus>/<config>/<version>.

    jaxvq build --corpus sign_poses --input DIR_OR_ZIP --data DATA
    jaxvq build --corpus how2sign_openpose --input ROOT --data DATA
    jaxvq build --corpus lsfb_cont --input ROOT --data DATA
    jaxvq build --corpus pami0 --input PREFIX --data DATA
    jaxvq build --corpus pose_npz --input DIR --skeleton NAME --data DATA
    jaxvq build --corpus bvh --input DIR_OR_ZIP --data DATA
    jaxvq build --corpus mypackage.my_corpus --input DIR --data DATA
    jaxvq build --corpus hand_prior --input NPZ_DIR --splits_dir SPLITS \\
        --data DATA
    jaxvq build --corpus tokens --input DATA --tokenizer RUN --labels X.csv --data TOKENS

Clips that cannot be used are skipped and listed with the reason in skipped.jsonl beside the shards;
the build fails if they are too many. Built again with the same options, nothing is done. The result
is an ordinary TFDS dataset: `tfds.builder_from_directory(FOLDER).as_data_source()` reads it.
"""

import argparse
import json
import os

from jaxvq import command

LARGE_CORPUS = 563_000  # clips of sign-vq's corpus


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add(
        "--corpus",
        required=True,
        help="a folder of jaxvq/datasets, such as sign_poses, or a module with a class Builder, "
        "such as mypackage.my_corpus",
    )
    parser.add_first(
        "--input",
        help="directory (with subdirectories) or zip of the corpus; of pami0 what comes before "
        ".train, .dev, .val and .test",
    )
    add("--data", "--data_dir", required=True, help="where built datasets live")
    add(
        "--num_shards",
        type=int,
        help="shards a split (default: one for 64 to 1000 clips, of at most 256 MiB)",
    )
    add(
        "--max_skipped",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of the clips that may be unusable (default: %(default)s)",
    )
    add("--fps", type=float, help="resample all clips to this frame rate (default: keep theirs)")
    add(
        "--skeleton",
        metavar="NAME",
        help="of pose_npz, what its points are: coco_wholebody_133, holistic_178, openpose_67, "
        "lsfb_75, a .json file (docs/skeletons.md), or a .bvh file with the same joints "
        "(docs/motion.md); by default 133 points are those of "
        "coco_wholebody_133, and others are joined to their neighbours",
    )
    add(
        "--split_file",
        metavar="FILE",
        help='JSON {"train": [names], …} or CSV with the columns file,split; names are paths or '
        "stems, splits train, validation, test (default: by md5 of the stem)",
    )
    add(
        "--stats",
        metavar="FILE",
        help="pose_normalization.json that .npz clips were standardised with; a zip made by "
        "jaxvq export zip brings its own",
    )
    add(
        "--augmented",
        metavar="AUG",
        help="folder of the augmented texts of how2sign_openpose or lsfb_cont",
    )
    add(
        "--hand_threshold",
        type=float,
        default=0.05,
        help="OpenPose hands below this mean confidence are missing; 0 keeps all "
        "(default: %(default)s)",
    )
    add("--splits_dir", metavar="DIR", help="of hand_prior: what jaxvq make hand-splits wrote")
    add(
        "--compact",
        action="store_true",
        help="little more than half the size, rounded to 2^-11: see docs/data.md",
    )
    add("--tokenizer", metavar="RUN", help=f"of tokens, what makes them: {command.MODEL_HELP}")
    add(
        "--labels",
        metavar="FILE",
        help="of tokens, a CSV: the name of each clip in the first column, what it shows in others",
    )
    add("--label_columns", metavar="A,B", help="the columns to take (default: all but the first)")
    add(
        "--held_out",
        metavar="LABEL,LABEL",
        help="of tokens: leave clips of training with these words out, to ask a prior for what it "
        "has not seen, such as 'content=run style=elderly'",
    )
    add(
        "--shifts",
        type=int,
        default=1,
        help="of tokens: encode a clip of training N times, begun at N frames of its first step "
        "(default: %(default)s)",
    )
    add("--workers", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    add(
        "--beam_pipeline_options",
        metavar="OPTIONS",
        help="build on Apache Beam (pip install 'jaxvq[beam]') with these options, such as "
        "runner=DirectRunner,direct_running_mode=multi_processing; see docs/data.md",
    )
    add("--overwrite", action="store_true", help="replace a dataset that is already built")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Builds the dataset and says what is in it."""
    args = parse_arguments(argv)
    from absl import logging

    logging.set_verbosity(logging.ERROR)  # TFDS warns of every config that is not in its list
    from jaxvq.datasets import building
    from jaxvq.storage import remote

    options = building.Options(
        input=args.input,
        num_shards=args.num_shards,
        max_skipped=args.max_skipped,
        split_file=args.split_file,
        stats=args.stats,
        workers=args.workers,
        augmented=args.augmented,
        hand_threshold=args.hand_threshold,
        splits_dir=args.splits_dir,
        compact=args.compact,
        beam_pipeline_options=args.beam_pipeline_options,
        tokenizer=args.tokenizer,
        labels=args.labels,
        label_columns=args.label_columns,
        held_out=args.held_out,
        shifts=args.shifts,
    )
    only_tokens = ("tokenizer", "labels", "label_columns", "held_out")
    if args.corpus != "tokens" and (given := [name for name in only_tokens if vars(args)[name]]):
        raise ValueError(f"--{given[0]}: {args.corpus} has no use for it, only --corpus tokens")
    with command.stage(f"building {args.corpus}"):
        folder, built = building.build(
            args.corpus,
            args.data,
            options,
            fps=args.fps,
            skeleton=args.skeleton,
            overwrite=args.overwrite,
        )
    counters = json.loads(remote.read_bytes(f"{folder}/counters.json"))
    print(f"{'built' if built else 'already built'}: {folder}")
    print(describe(counters, str(folder)))
    speed = counters.get("clips_per_second", 0)
    # Of a small build it says how long processes take to start.
    if built and sum(split["clips"] for split in counters["splits"].values()) >= 500:
        hours = LARGE_CORPUS / speed / 3600
        print(
            f"  speed:      {speed:,} clips/s; {LARGE_CORPUS:,} clips would take {hours:.1f} hours"
        )


def describe(counters: dict, folder: str) -> str:
    """Clips and frames per split, and the skipped ones by reason."""
    lines = [
        f"  {split + ':':<12}{count['clips']:>9,} clips {count['frames']:>13,} frames"
        for split, count in counters["splits"].items()
    ]
    reasons = ", ".join(f"{count} {reason}" for reason, count in counters["skipped"].items())
    if reasons:
        lines.append(f"  skipped:    {reasons}; listed in {os.path.join(folder, 'skipped.jsonl')}")
    if counters.get("input_changed"):
        lines.append(
            "  warning: the input changed while it was read; build again with --overwrite to be "
            "sure of what is in the dataset"
        )
    if not counters["splits"]["train"]["clips"]:
        lines.append(
            "  warning: no clip to train on, so the statistics are mean 0 and std 1; "
            "--split_file can choose the splits"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main)
