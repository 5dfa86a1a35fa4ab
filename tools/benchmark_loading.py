"""How fast clips load from each way of storing them; prints a table in Markdown.

    jaxvq benchmark loading --input DIR_OR_ZIP [--json FILE]

The first clips of the corpus are written in every format to a temporary directory. All formats give
the same, a normalised clip and its mask, in the numbers they store: float16, but float32 for pose,
which normalises on the way, and int16 for arrayrecord_compact, which jaxvq build --compact
makes. Cold start: from nothing open to the first clip. it/s: clips per second in one process, in
order and shuffled; as float32: shuffled, and widened for a model; first epoch: shuffled, while
arrayrecord verifies checksums, which it does once; num_workers=…: shuffled, through Grain (0:
threads). The formats take turns, and numbers are medians or over a while. The files are in the
system's cache, so this is the work of the processor, not of the disk. Packed frames: what training
reads, frames per second of packed and standardised batches.
"""

import argparse
import contextlib
import functools
import json
import os
import pickle
import statistics as medians
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvq import command

FORMATS = ("pose", "npz_dir", "zip", "arrayrecord", "arrayrecord_compact")
ROWS, SEQ_LEN = 8, 512  # of a packed batch
GROUP = 16  # clips that Grain hands over at once
SECONDS = 0.5  # of a measurement through Grain, for each repeat


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = command.parser(__doc__)
    add = parser.add_argument
    parser.add_first("--input", help="directory or zip of .pose files")
    add("--formats", default=",".join(FORMATS), help="some of them (default: %(default)s)")
    add("--workers", default="0,2,4,8", help="numbers of Grain workers (default: %(default)s)")
    add("--num_clips", type=int, default=200, help="clips to use (default: %(default)s)")
    add(
        "--repeats",
        type=int,
        default=3,
        help="of each measurement; direct reading takes five times as many (default: %(default)s)",
    )
    add(
        "--frames",
        type=int,
        default=120,
        metavar="N",
        help="only clips of N frames or more, cut to N; 0: all as they are (default: %(default)s, "
        "as sign-vq's 563,000 clips have 104 on average)",
    )
    add("--json", metavar="FILE", help="write the numbers to this file too")
    args = parser.parse_args(argv)
    if args.num_clips < 1 or args.repeats < 1:
        raise ValueError("--num_clips and --repeats: expected 1 or more")
    if not all(number.strip().isdigit() for number in args.workers.split(",")):
        raise ValueError(f"--workers {args.workers}: expected numbers such as 0,2,4")
    args.workers = [int(number) for number in args.workers.split(",")]
    args.formats = args.formats.split(",")
    if unknown := set(args.formats) - set(FORMATS):
        raise ValueError(f"unknown format {min(unknown)!r}; there are: {', '.join(FORMATS)}")
    return args


def main(argv=None) -> None:
    """Writes the clips in every format, measures, prints."""
    args = parse_arguments(argv)
    with tempfile.TemporaryDirectory(prefix="jaxvq_loading_") as folder:
        stored = prepare(args, Path(folder))
        rows = measure(stored, args)
    result = {
        "clips": len(next(iter(stored.values())).source),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "rows": rows,
    }
    head = ["Format", "Size", "cold start", "it/s", "it/s shuffled", "as float32", "first epoch"]
    numbers = [f"num_workers={number}" for number in args.workers]
    packed = [f"packed frames/s, {number}" for number in numbers]
    print_row(head + numbers + packed)
    print_row(["---"] + ["---:"] * (len(head + numbers + packed) - 1))
    for row in rows:
        cells = [row["format"], f"{row['bytes'] / 1e6:.1f} MB", f"{row['cold_start_ms']:.1f} ms"]
        rates = [row[c] for c in ("rate", "rate_shuffled", "rate_float32", "rate_first")]
        rates += row["rate_workers"].values()
        rates += row["packed_frames"].values() or [None] * len(packed)
        print_row(cells + [f"{rate:,.0f}" if rate else "" for rate in rates])
    print(f"\n{result['clips']} clips; {result['cores']} cores, load {result['load']:.1f}")
    print(compare(rows), end="")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")


def compare(rows: list[dict]) -> str:
    """A line for each format of ours: times the speed and size of the zip."""
    by_name = {row["format"]: row for row in rows}
    if "zip" not in by_name:
        return ""
    zipped, lines = by_name["zip"], ""
    for name in FORMATS[3:]:
        if name in by_name:
            ours = by_name[name]
            columns = "rate_shuffled", "rate_float32", "bytes"
            speed, widened, size = (ours[column] / zipped[column] for column in columns)
            lines += f"{name}: {speed:.1f} x the zip's shuffled rate ({widened:.1f} x as float32), "
            lines += f"{size:.2f} x its size\n"
    return lines


def measure(stored: dict, args) -> list[dict]:
    """A row a format, with the numbers of the table."""
    columns = "rate", "rate_shuffled", "rate_float32"
    times = {name: {column: [] for column in columns} for name in stored}
    for _ in range(5 * args.repeats):  # so many that a moment of other work changes no median
        for name, format_ in stored.items():
            order = np.random.default_rng(0).permutation(len(format_.source))
            times[name]["rate"].append(read_times(format_.source, np.sort(order)))
            times[name]["rate_shuffled"].append(read_times(format_.source, order))
            times[name]["rate_float32"].append(read_times(Widened(format_.source), order))
    rows = []
    for name, (size, source, dataset) in stored.items():
        cold = 1000 * medians.median(cold_start(source) for _ in range(args.repeats))
        packed = {}
        if dataset:
            packed = {str(n): packed_rate(dataset, n, args.repeats) for n in args.workers}
        rows.append(
            {
                "format": name,
                "bytes": size,
                "cold_start_ms": cold,
                **{column: direct_rate(passes) for column, passes in times[name].items()},
                "rate_first": first_rate(source, args.repeats),
                "rate_workers": {str(n): grain_rate(source, n, args.repeats) for n in args.workers},
                "packed_frames": packed,
            }
        )
    return rows


def print_row(cells: list[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def cold_start(source) -> float:
    """Seconds from a source with nothing open to its first clip."""
    fresh = pickle.dumps(source)
    _open_zip.cache_clear()
    start = time.perf_counter()
    pickle.loads(fresh)[0]
    return time.perf_counter() - start


def read_times(source, order: np.ndarray) -> np.ndarray:
    """Seconds to read each clip, by its index, in this order and this process."""
    seconds = np.empty(len(order))
    for index in order.tolist():
        start = time.perf_counter()
        source[index]
        seconds[index] = time.perf_counter() - start
    return seconds


def direct_rate(passes: list[np.ndarray]) -> float:
    """Clips per second, from the median over the passes of each clip's time: the times are shorter
    than what a busy machine's other work takes at once, so that most of them are not disturbed."""
    return passes[0].size / float(np.median(passes, axis=0).sum())


def first_rate(source, repeats: int) -> float:
    """Clips per second, shuffled, of sources that have not read any before."""
    order = np.random.default_rng(0).permutation(len(source))
    fresh = pickle.dumps(source)
    return direct_rate([read_times(pickle.loads(fresh), order) for _ in range(repeats)])


def grain_rate(source, num_workers: int, repeats: int) -> float:
    """Clips per second, shuffled, through Grain in groups."""
    from jaxvq.datasets import loading

    grain = loading.import_grain()
    clips = grain.MapDataset.source(source).shuffle(seed=0).repeat()
    # A clip alone is too little work to be worth handing from process to process.
    groups = clips.batch(GROUP, batch_fn=list)
    threads = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    if num_workers:
        options = grain.MultiprocessingOptions(num_workers=num_workers)
        groups = groups.to_iter_dataset(threads).mp_prefetch(options)
    else:
        groups = groups.to_iter_dataset(threads)
    groups = iter(groups)
    for _ in range(4 * max(num_workers, 2)):  # the workers start, and fill what lies ready
        next(groups)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS * repeats:
        next(groups)
        count += 1
    rate = GROUP * count / (time.perf_counter() - start)
    groups.close()
    return rate


def packed_rate(dataset, num_workers: int, repeats: int) -> float:
    """Frames per second of packed, standardised training batches, after a start."""
    steps, start_up = 8, 2 * max(num_workers, 2)
    batches = dataset.train_batches(
        batch_size=ROWS,
        seq_len=SEQ_LEN,
        seed=0,
        num_workers=num_workers,
        num_steps=start_up + repeats * steps,
    )
    for _ in range(start_up):
        next(batches)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(steps):
            next(batches)
        seconds.append(time.perf_counter() - start)
    return ROWS * SEQ_LEN * steps / medians.median(seconds)


class Stored(NamedTuple):
    """A format: bytes on disk, source of clips, and what makes batches of it, if anything does."""

    size: int
    source: "Source"
    dataset: object = None


def prepare(args, folder: Path) -> dict[str, Stored]:
    """Format -> how it is stored, for the wanted formats."""
    from . import zip_dataset

    poses, wanted = str(folder / "pose"), args.formats
    keys = write_poses(args, folder / "pose")
    options = ["--max_skipped", "0.999", "--workers", "1"]
    stored = {}
    for name in FORMATS[3:]:
        if name in wanted:
            stored[name] = build(poses, folder / name, compact=name == "arrayrecord_compact")
    if "pose" in wanted:
        clips = [f"{poses}/{key}" for key in keys]
        stored["pose"] = Stored(_size(clips), Source(_read_pose, clips, len(clips)))
    if {"npz_dir", "zip"} & set(wanted):
        archive = folder / "clips.zip"
        with contextlib.redirect_stdout(None):
            zip_dataset.main(["--input", poses, "--output", str(archive), *options])
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder / "npz")
        npz = [str(path) for path in sorted((folder / "npz").rglob("*.npz"))]
        stored["npz_dir"] = Stored(_size(npz), Source(_read_npz, npz, len(npz)))
        stored["zip"] = Stored(_size([archive]), Source(_read_member, str(archive), len(npz)))
    return {name: stored[name] for name in FORMATS if name in wanted}


def write_poses(args, folder: Path) -> list[str]:
    """Copies the clips to a folder; returns the keys of those that can be used."""
    from jaxvq.pose import files, preprocess, reader, writer
    from jaxvq.pose.skeleton import HOLISTIC_178

    keys = []
    for clip in files.list_poses(args.input, (".pose",)):
        if len(keys) == args.num_clips:
            break
        content, path = clip.read(), folder / clip.key
        try:
            pose = reader.read_pose(content, clip.key, HOLISTIC_178)
            preprocess.preprocess(pose)
        except ValueError:
            continue
        if len(pose.data) < args.frames:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if args.frames:
            whole = reader.read_pose(content, clip.key)
            cut = slice(args.frames)
            cropped = whole.replace(data=whole.data[cut], confidence=whole.confidence[cut])
            writer.write_pose(path, cropped)
        keys.append(clip.key)
    if not keys:
        raise ValueError(
            f"{args.input}: no usable clip of {max(args.frames, 1)} frames or more; "
            "--frames 0 takes all clips as they are"
        )
    return keys


def build(poses: str, data_dir: Path, compact: bool) -> Stored:
    """Our shards of the clips."""
    from jaxvq import input_pipeline
    from jaxvq.datasets import building

    options = building.Options(input=poses, max_skipped=0.999, workers=1, compact=compact)
    built, _ = building.build("sign_poses", data_dir, options)
    dataset = input_pipeline.open_dataset(built)
    splits = [dataset.source(split) for split in dataset.lengths]
    places = [(split, number) for split in splits for number in range(len(split))]
    source = Source(_read_record, places, len(places))
    dataset = dataset if len(dataset.lengths["train"]) else None
    return Stored(_size(built.glob("*.array_record*")), source, dataset)


def _size(paths) -> int:
    return sum(os.path.getsize(path) for path in paths)


class Source:
    """source[i] = read(content, i); what it opens on the way is not pickled with it."""

    def __init__(self, read, content, length: int):
        self.read, self.content, self.length = read, content, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        try:
            return self.read(self.content, int(index))
        except SystemError:  # np.load in several threads of CPython 3.11: python/cpython#106905
            return self.read(self.content, int(index))


class Widened:
    """A source whose clips are float32, in shoulder widths."""

    def __init__(self, source: Source):
        self.source = source

    def __getitem__(self, index: int) -> np.ndarray:
        from jaxvq.datasets import fixed_point

        return fixed_point.to_float32(self.source[index]["data"])


def _read_record(places: list, index: int) -> dict:
    split, number = places[index]
    return split[number]


def _read_pose(paths: list[str], index: int) -> dict:
    from jaxvq.pose import preprocess, reader
    from jaxvq.pose.skeleton import HOLISTIC_178

    pose, _ = preprocess.preprocess(reader.read_pose(paths[index], skeleton=HOLISTIC_178))
    return {"data": pose.data, "mask": pose.mask}


def _read_npz(paths: list[str], index: int) -> dict:
    with np.load(paths[index]) as member:
        return {"data": member["data"], "mask": member["mask"]}


def _read_member(path: str, index: int) -> dict:
    """As sign-vq's ZipPoseDataset: one open zip, and np.load of a member."""
    archive, names = _open_zip(path)
    with archive.open(names[index]) as file:
        member = np.load(file)
        return {"data": member["data"], "mask": member["mask"]}


@functools.lru_cache(maxsize=1)
def _open_zip(path: str) -> tuple[zipfile.ZipFile, list[str]]:
    archive = zipfile.ZipFile(path)
    return archive, archive.namelist()


if __name__ == "__main__":
    command.run(main)
