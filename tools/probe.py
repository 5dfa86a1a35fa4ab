"""Measures what tokens keep: letters, movement, presence, invariance; and what they cost.

    jaxvq probe RUN --data CLIPS --labels CSV --output OUT
    jaxvq probe --data CLIPS --labels CSV --decoded FOLDER --output OUT
    jaxvq probe --combine OUT1 OUT2 --output OUT

CLIPS is a folder or zip of `.pose` files. CSV has the columns clip (a file's stem), alphabet,
letter and, if known, signer. --decoded takes `.pose` files of any other system, with the names and
frame counts of the originals. --combine joins cards over different clips, as of cross-validation.

OUT gets card.md, index.html (with pictures), card.json and measures.npz (the sums of each clip),
which --against of another card takes to compare with, clip by clip. docs/meaning.md defines every
number. A part that cannot be computed says why, and the rest is written.
"""

import math
from pathlib import Path

from jaxvq import command

SPLITS = ("all", "train", "validation", "test")


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add("--data", help="folder or zip of the original .pose files")
    add("--labels", metavar="CSV", help="clip, alphabet, letter; without: no letters")
    parser.add_first("--model", "--checkpoint", required=False, help=command.MODEL_HELP)
    add("--decoded", metavar="FOLDER", help="decoded .pose files instead of a model")
    add("--combine", nargs="+", metavar="OUT", help="cards to join instead of measuring")
    add("--output", required=True, type=Path, help="folder of the card")
    add("--name", help="of the system, in the card (default: the model or folder)")
    add("--split", default="all", choices=SPLITS, help="clips that count (default: %(default)s)")
    add("--alphabets", help="only these alphabets count, joined by commas")
    add("--parts", help="some of them, joined by commas (default: all)")
    add("--against", nargs="*", default=[], metavar="OUT", help="cards to compare with")
    add(
        "--effort", type=int, default=0, help="measure codes of jaxvq encode --effort N (default 0)"
    )
    add("--num_pictures", type=int, default=4, metavar="N", help="clips to draw (default: 4)")
    args = parser.parse_args(argv)
    check_sources(args)

    from .probes import card, report

    parts = tuple(card.PARTS) if args.parts is None else tuple(args.parts.split(","))
    for name in parts:
        if name not in card.PARTS:
            raise ValueError(f"--parts {name}: choose from {', '.join(card.PARTS)}")
    others = {}
    for folder in args.against:
        other = report.read(folder)
        others[str(other.about.get("name", folder))] = other
    if args.combine:
        made, pictures = card.combine([report.read(folder) for folder in args.combine]), []
        made.about["name"] = args.name or " + ".join(args.combine)
    else:
        made, pictures = measure(args, parts)
    report.write(args.output, made, others, pictures)
    for name in ("letters/retention", "letters/same answer", "codes/nominal bits"):
        for found in made.measures:
            if found.name == name and not math.isnan(found.value):
                print(f"{name:24} {found.value:.5g}")
    for part, why in made.missing.items():
        print(f"not computed: {part}: {why}")
    print(f"card: {args.output / 'index.html'}")
    return 0


def check_sources(args) -> None:
    """Raises ValueError unless the flags name one thing to measure."""
    given = [name for name in ("model", "decoded", "combine") if getattr(args, name)]
    if len(given) != 1:
        what = " and ".join(f"--{name}" for name in given) or "nothing to measure"
        raise ValueError(f"{what}: give one of --model, --decoded and --combine")
    if not args.combine and not args.data:
        raise ValueError("--data is missing: the folder or zip of the original .pose files")
    for name in ("num_pictures", "effort"):
        if getattr(args, name) < 0:
            raise ValueError(f"--{name} {getattr(args, name)}: expected 0 or more")
    if args.effort and not args.model:
        raise ValueError("--effort is for codes of a model; give --model")


def measure(args, parts):
    """(card, pictures) of the system that the flags name."""
    import numpy as np

    from jaxvq import inference

    from .probes import card, letters, subjects

    labels, groups = {}, {}
    if args.labels:
        labels, groups = letters.read_labels(args.labels), letters.read_groups(args.labels)
    tokenizer = None
    if args.model:
        with command.stage("loading the model"):
            tokenizer = inference.load(args.model)
        tokenizer.require_poses()
    skeleton = tokenizer.model.skeleton if tokenizer else None
    clips = subjects.read_clips(args.data, groups, skeleton)
    if labels:
        letters.choose(labels, clips.names)  # its errors, before anything takes long
    alphabets = args.alphabets.split(",") if args.alphabets else None
    counted = subjects.choose(clips, labels, args.split, alphabets)
    # Clips that neither count nor are in the gallery of the letters are not decoded.
    clips = clips.take(np.flatnonzero(counted | np.isin(clips.names, list(labels))))
    name = args.name or Path(args.model or args.decoded).name  # no folder of this machine
    if tokenizer:
        print(f"encoding and decoding {len(clips.names)} clips", flush=True)
        subject = subjects.from_model(tokenizer, clips, name, args.effort)
    else:
        clips, subject = subjects.from_folder(args.decoded, clips)
    counted = subjects.choose(clips, labels, args.split, alphabets)
    probe = subjects.Probe(clips, subject, labels, counted)
    made = card.compute(probe, about(args, probe), parts)
    return made, draw(args, probe)


def about(args, probe) -> dict:
    """What was measured, for the card."""
    from jaxvq.tokens import code_tables

    clips, tokenizer = probe.clips, probe.subject.tokenizer
    frames = sum(len(original.data) for _, original, _ in probe.of_measured())
    said = {"name": probe.subject.name}
    if tokenizer:
        said |= {"step": tokenizer.model.step, "config": tokenizer.model.config.task}
        said |= {"fingerprint": code_tables.fingerprint(tokenizer.model)}
        said |= {"effort": args.effort} if args.effort else {}
    said |= {"data": Path(args.data).name, "split": args.split}
    said |= {"alphabets": args.alphabets} if args.alphabets else {}
    said |= {"clips": int(probe.measured.sum()), "frames": frames}
    if clips.skipped:
        name, why = next(iter(clips.skipped.items()))
        said["skipped clips"] = f"{len(clips.skipped)}, the first {name}: {why}"
    return said


def draw(args, probe) -> list[Path]:
    """Strips of some clips, spread over those that count."""
    import numpy as np

    from jaxvq.pose import preprocess

    from .evaluation import pictures

    chosen = np.flatnonzero(probe.measured)
    count = min(args.num_pictures, len(chosen))
    chosen = chosen[np.linspace(0, len(chosen) - 1, count).round().astype(int)]
    args.output.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in chosen:
        pair = (probe.clips.poses[i], probe.subject.decoded[i])
        paths.append(args.output / f"{probe.clips.names[i]}.png")
        pictures.write_strip(paths[-1], *(preprocess.arrange(pose) for pose in pair))
    return paths


if __name__ == "__main__":
    command.run(main)
