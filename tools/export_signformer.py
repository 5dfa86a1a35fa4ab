"""Exports How2Sign or LSFB-CONT to Signformer's .pami0 files, ready for its loader.

    jaxvq export signformer --corpus How2Sign --input ROOT --output OUT
    jaxvq export signformer --corpus LSFB-CONT --input ROOT --augmented AUG \\
        --output OUT

ROOT holds annotations.csv, or a folder of the dataset's name that does; AUG the augmented
annotations, which take the place of the train split. OUT receives the parts,
<dataset>-1024.pami0.<split>.part0, .part1, … (with --augmented <dataset>-aug-1024…), the settings
for Signformer's loader as YAML, which are also printed, and a list of the skipped sentences.

The same command again replaces the parts of the splits it exports, also after it was killed. It
ends with 1 if nothing could be written, or more was skipped than --max_skipped allows.
"""

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

from jaxvq import command
from jaxvq.datasets.sentence_corpora import CORPORA, SPLITS
from jaxvq.storage import atomic

NAMED = 20  # recordings without a row that are named in the log; skipped.jsonl names all


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add("--corpus", "--dataset", required=True, choices=CORPORA)
    parser.add_first("--input", metavar="ROOT", help="folder of the corpus; only read")
    add("--augmented", metavar="AUG", help="folder of the augmented annotations; only read")
    add("--output", "--output_dir", required=True, metavar="OUT", help="made if it is not there")
    add(
        "--features",
        type=int,
        default=1024,
        help="numbers per frame, padded by zeros (default: %(default)s)",
    )
    add(
        "--chunk_size",
        type=int,
        default=200,
        help="samples a part; 0: all of a split in one (default: %(default)s)",
    )
    add(
        "--all_recordings",
        action="store_true",
        help="also export How2Sign's recordings without a row, with the text of their sentence",
    )
    add("--splits", default=",".join(SPLITS), help="some of %(default)s")
    add(
        "--workers",
        type=int,
        default=os.cpu_count(),
        help="processes; they change nothing of the content (default: %(default)s)",
    )
    add("--gzip_level", type=int, default=6, help="1 fast … 9 small (default: %(default)s)")
    add(
        "--hand_threshold",
        type=float,
        default=0.05,
        help="OpenPose hands below this mean confidence are missing; 0 keeps all "
        "(default: %(default)s)",
    )
    add(
        "--max_skipped",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the sentences that may be skipped without ending with 1 "
        "(default: %(default)s)",
    )
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Raises ValueError for a setting that cannot be."""
    limits = {
        "features": (2, 1 << 20),
        "chunk_size": (0, 1 << 40),
        "workers": (1, 1024),
        "gzip_level": (0, 9),
        "hand_threshold": (0, 1),
        "max_skipped": (0, 1),
    }
    for name, (low, high) in limits.items():
        if not low <= getattr(args, name) <= high:
            raise ValueError(f"--{name} {getattr(args, name)}: expected {low} to {high}")
    points = sum(len(CORPORA[args.corpus].skeleton.parts[p]) for p in CORPORA[args.corpus].parts)
    if args.features < 2 * points:
        raise ValueError(
            f"--features {args.features}: {args.corpus} has {points} points, so {2 * points} or "
            "more"
        )
    args.splits = args.splits.split(",")
    if unknown := set(args.splits) - set(SPLITS):
        raise ValueError(f"--splits: no split {min(unknown)!r}; there are: {', '.join(SPLITS)}")


def main(argv=None) -> int:
    """Exports the splits one after another and says what became of them."""
    args = parse_arguments(argv)
    check(args)
    from jaxvq.datasets import sentence_corpora

    from .signformer import export

    corpus = CORPORA[args.corpus]
    sentences = sentence_corpora.list_corpus(
        corpus, args.input, args.augmented, all_recordings=True
    )
    for split in sentences.keys() - set(SPLITS):
        print(f"warning: {len(sentences[split])} sentences of an unknown split {split!r} ignored")
    encoder = export.Encoder(corpus.parts, args.features, args.hand_threshold, args.gzip_level)
    folder = Path(args.output)
    base = export.base_name(corpus, args.features, args.augmented is not None)
    reports = {}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.locked(folder, "export"):
        export.remove_parts(folder, [f"{base}.{split}" for split in args.splits])
        for split in args.splits:
            reports[split] = export_split(encoder, sentences[split], folder, base, split, args)
        stem = base.removesuffix(".pami0")
        atomic.write_text(folder / f"{stem}.skipped.jsonl", export.list_skipped(reports))
        settings = export.loader_settings(folder, base, args.features)
        atomic.write_text(folder / f"{stem}.yaml", settings)
        settings_of_parts = export.original_loader_settings(folder, base, args.features)
        atomic.write_text(folder / f"{stem}.original-loader.yaml", settings_of_parts)
    return conclude(reports, settings, folder / f"{stem}.skipped.jsonl", args.max_skipped)


def export_split(encoder, sentences, folder: Path, base: str, split: str, args):
    """Exports one split, with a line for each part."""
    from tqdm import tqdm

    from .signformer import export

    extra = [sentence for sentence in sentences if not sentence.has_row]
    if not args.all_recordings:
        sentences = [sentence for sentence in sentences if sentence.has_row]
    report = export.Report(len(sentences))
    if not sentences:
        print(f"No samples for split '{split}'")
        return report
    print(f"{split}: {len(sentences)} sentences", flush=True)
    start = time.monotonic()
    parts = export.export_split(
        encoder,
        sentences,
        folder / f"{base}.{split}",
        chunk_size=args.chunk_size,
        workers=args.workers,
        report=report,
    )
    with tqdm(total=len(sentences), unit="sentence", desc=split, dynamic_ncols=True) as bar:
        for part in parts:
            bar.update(part.done - bar.n)
            processes = [os.getpid(), *(p.pid for p in multiprocessing.active_children())]
            tqdm.write(
                f"  Chunk {part.number} saved ({part.samples} samples): {part.path.name}, "
                f"{part.size / 2**20:.1f} MiB; {report.frames / (time.monotonic() - start):,.0f} "
                f"frames/s; RSS {export.resident_mib(processes):.0f} MiB",
                file=sys.stdout,
            )
            sys.stdout.flush()
        bar.update(len(sentences) - bar.n)
    seconds = time.monotonic() - start
    print(f"{split}: {report}; {report.frames:,} frames in {export.duration(seconds)}")
    for what, count in sorted(report.found.items()):
        if count and what != "frames":
            print(f"  {count:,} {what}")
    if report.long:
        print(
            f"  {report.long:,} samples of more than {export.MAX_SENT_LENGTH} frames, which "
            "Signformer leaves out of training unless max_sent_length is raised"
        )
    if extra:
        print(f"  {describe_without_row(extra, args.all_recordings)}")
        report.without_row = [] if args.all_recordings else [one.folder for one in extra]
    return report


def describe_without_row(recordings: list, exported: bool) -> str:
    """How many there are, their names (of many the first), and what happens to them."""
    names = [Path(recording.folder).name for recording in recordings]
    listed = ", ".join(names[:NAMED])
    if len(names) > NAMED:
        listed += f" and {len(names) - NAMED:,} more"
    if exported:
        what = "exported with the text of their sentence"
    else:
        what = "left out (--all_recordings exports them)"
    return f"{len(names):,} recordings without a row of their own, {what}: {listed}"


def conclude(reports: dict, settings: str, skipped_file: Path, max_skipped: float) -> int:
    """Prints the settings of the loader and what was skipped; returns the exit code."""
    total = sum(report.sentences for report in reports.values())
    skipped = sum(len(report.skipped) for report in reports.values())
    if total == skipped:
        print(f"error: nothing was written; {skipped} of {total} skipped", file=sys.stderr)
        return 1
    print(f"\nSettings for Signformer's loader:\n\n{settings}")
    if skipped:
        print(f"{skipped} of {total} sentences were skipped: {skipped_file}", file=sys.stderr)
    if skipped > max_skipped * total:
        print(f"error: --max_skipped allows {max_skipped:.1%}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    command.run(main)
