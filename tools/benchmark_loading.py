"""How fast clips load from each way of storing them; prints a table in Markdown.

    python -m tools.benchmark_loading --input DIR_OR_ZIP

The first clips of the corpus are written in every format to a temporary directory. All formats give
the same, a normalised clip and its mask; pose normalises on the way. Cold start: from nothing open
to the first clip. it/s: clips a second in one process, in order and shuffled; num_workers=…: the
same, shuffled, through Grain (0: threads). Medians of several passes. The files are in the system's
cache, so this is the work of the processor, not of the disk. Below the table: packed rows a second.
"""

import argparse
import contextlib
import functools
import pickle
import statistics as medians
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from tools import command

FORMATS = ("pose", "npz_dir", "zip", "arrayrecord")
ROWS, SEQ_LEN = 8, 512  # of a packed batch
GROUP = 16  # clips that Grain hands over at once


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--input", required=True, help="directory or zip of .pose files")
    add("--formats", default=",".join(FORMATS), help="some of them (default: %(default)s)")
    add("--workers", default="0,2,4", help="numbers of Grain workers (default: %(default)s)")
    add("--num_clips", type=int, default=200, help="clips to use (default: %(default)s)")
    add("--repeats", type=int, default=3, help="passes of each measurement (default: %(default)s)")
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
        dataset, sources = prepare(args.input, args.num_clips, Path(folder))
        head = ["Format", "Size", "cold start", "it/s", "it/s shuffled"]
        print_row(head + [f"num_workers={number}" for number in args.workers])
        print_row(["---"] * (len(head) + len(args.workers)))
        shuffled = {}
        for name in args.formats:
            size, source = sources[name]
            in_order = np.arange(len(source))
            order = np.random.default_rng(0).permutation(len(source))
            shuffled[name] = direct_rate(source, order, args.repeats)
            rates = [direct_rate(source, in_order, args.repeats), shuffled[name]]
            rates += [grain_rate(source, number, args.repeats) for number in args.workers]
            cold = 1000 * medians.median(cold_start(source) for _ in range(args.repeats))
            cells = [name, f"{size / 1e6:.1f} MB", f"{cold:.1f} ms"]
            print_row(cells + [f"{rate:,.0f}" for rate in rates])
        if {"zip", "arrayrecord"} <= shuffled.keys():
            ratio = shuffled["arrayrecord"] / shuffled["zip"]
            print(f"\nShuffled reads: arrayrecord is {ratio:.1f} times as fast as zip.")
        print(f"\nPacked batches of {ROWS} x {SEQ_LEN} frames:")
        for number in args.workers:
            rate = packed_rate(dataset, number, args.repeats)
            print(f"  num_workers={number}: {rate:,.0f} rows/s", flush=True)


def print_row(cells: list[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def cold_start(source) -> float:
    """Seconds from a source with nothing open to its first clip."""
    fresh = pickle.dumps(source)
    _open_zip.cache_clear()
    start = time.perf_counter()
    pickle.loads(fresh)[0]
    return time.perf_counter() - start


def direct_rate(source, order: np.ndarray, repeats: int) -> float:
    """Clips a second in this process; short passes are done more often, to be as sure of them."""
    indices, seconds, start = order.tolist(), [], time.perf_counter()
    while len(seconds) < repeats or time.perf_counter() - start < 0.1 * repeats:
        begin = time.perf_counter()
        for index in indices:
            source[index]
        seconds.append(time.perf_counter() - begin)
    return len(order) / medians.median(seconds)


def grain_rate(source, num_workers: int, repeats: int) -> float:
    """Clips a second, shuffled, through Grain in groups, after one pass to start the workers."""
    from jaxvq import input_pipeline

    grain = input_pipeline.import_grain()
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
    steps = max(len(source) // GROUP, 1)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for _ in range(steps):
            next(groups)
        seconds.append(time.perf_counter() - start)
    groups.close()
    return GROUP * steps / medians.median(seconds[1:])


def packed_rate(dataset, num_workers: int, repeats: int) -> float:
    """Rows a second of packed, standardised training batches, after a start."""
    from jaxvq import input_pipeline

    steps, start_up = 8, 2 * max(num_workers, 2)
    batches = input_pipeline.train_batches(
        dataset, batch_size=ROWS, seq_len=SEQ_LEN, seed=0, num_workers=num_workers,
        num_steps=start_up + repeats * steps,
    )  # fmt: skip
    for _ in range(start_up):
        next(batches)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(steps):
            next(batches)
        seconds.append(time.perf_counter() - start)
    return ROWS * steps / medians.median(seconds)


def prepare(corpus: str, num_clips: int, folder: Path):
    """The built dataset, and format -> (bytes on disk, source of clips)."""
    from jaxvq import input_pipeline
    from jaxvq.datasets import building
    from jaxvq.pose import files
    from tools import zip_dataset

    for clip in files.list_poses(corpus, (".pose",))[:num_clips]:
        path = folder / "pose" / clip.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read())
    poses, archive = str(folder / "pose"), folder / "clips.zip"
    options = building.Options(input=poses, max_skipped=0.999, workers=1)
    built, _ = building.build("sign_poses", folder / "data", options)
    dataset = input_pipeline.open_dataset(built)
    with contextlib.redirect_stdout(None):
        zip_dataset.main(["--input", poses, "--output", str(archive), "--max_skipped", "0.999",
                          "--workers", "1"])  # fmt: skip
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder / "npz")

    splits = [dataset.source(split) for split in dataset.lengths]
    records = Source(_read_record, splits, sum(map(len, splits)))
    clips = [folder / "pose" / records[i]["id"] for i in range(len(records))]
    npz = sorted((folder / "npz").rglob("*.npz"))
    shards = list(built.glob("*.array_record*"))
    return dataset, {
        "pose": (_size(clips), Source(_read_pose, [str(path) for path in clips], len(clips))),
        "npz_dir": (_size(npz), Source(_read_npz, [str(path) for path in npz], len(npz))),
        "zip": (_size([archive]), Source(_read_member, str(archive), len(npz))),
        "arrayrecord": (_size(shards), records),
    }


def _size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


class Source:
    """source[i] = read(content, i); what it opens on the way is not pickled with it."""

    def __init__(self, read, content, length: int):
        self.read, self.content, self.length = read, content, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        return self.read(self.content, int(index))


def _read_record(splits: list, index: int) -> dict:
    for split in splits:
        if index < len(split):
            return split[index]
        index -= len(split)
    raise IndexError(index)


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
