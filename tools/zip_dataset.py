"""Writes a corpus as sign-vq's zip of npz files: a training set that its `ZipPoseDataset` reads.

    jaxvq export zip DIR_OR_ZIP --output X.zip

Each clip becomes <stem>.npz with `data` (float16, standardised, 0 where missing), `mask` (bool,
True = missing) and `fps`: the clips as jaxvq build normalises them, standardised by the
moments of the train split. Those travel in the comment of the zip, so the zip is itself an input of
jaxvq build, and of training: --config.data.dir X.zip. Clips that cannot be used are listed
in X.zip.skipped.jsonl.
"""

import argparse
import collections
import functools
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from jaxvq import command
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics, statistics_to_json
from jaxvq.storage import atomic, reading


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = command.parser(__doc__)
    add = parser.add_argument
    parser.add_first("--input", "--dir", help="directory or zip of .pose files")
    add("--output", "--out", required=True, metavar="X.zip", help="the zip to write")
    add("--stats", metavar="FILE", help="standardise with this pose_normalization.json instead")
    add(
        "--max_skipped",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of the clips that may be unusable (default: %(default)s)",
    )
    add("--workers", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Builds the dataset in a folder beside the zip, packs it, and says what is in the zip."""
    args = parse_arguments(argv)
    output = Path(args.output)
    if not output.parent.is_dir():
        raise ValueError(f"no such directory: {output.parent}")
    data_dir = Path(f"{output}.incomplete")  # a fixed name: the next run removes it
    shutil.rmtree(data_dir, ignore_errors=True)
    try:
        clips, counters = _write(args, output, data_dir, Path(f"{output}.skipped.jsonl"))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    print(f"{output}: {clips} clips, {output.stat().st_size / 1e6:.1f} MB")
    if counters["skipped"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counters["skipped"].items())
        print(f"skipped: {reasons}; listed in {output}.skipped.jsonl")


def _write(args, output: Path, data_dir: Path, skipped_list: Path) -> tuple[int, dict]:
    from jaxvq import input_pipeline
    from jaxvq.datasets import building
    from jaxvq.pose.statistics import load_statistics

    options = building.Options(
        input=args.input, max_skipped=args.max_skipped, workers=args.workers, exact=True
    )
    folder, _ = building.build("sign_poses", data_dir, options, skipped_list=skipped_list)
    dataset = input_pipeline.open_dataset(folder)
    statistics = dataset.statistics
    if args.stats:
        statistics = load_statistics(args.stats, dataset.skeleton)
    sources = [dataset.source(split) for split in dataset.lengths]
    names = member_names(source[i]["id"] for source in sources for i in range(len(source)))
    members = ((names[key], content) for key, content in _encode(dataset, statistics, args.workers))
    write_zip(output, members, dataset.skeleton, statistics)
    counters = reading.read_json(folder / "counters.json")
    if counters["skipped"]:
        os.replace(folder / "skipped.jsonl", skipped_list)
    return sum(map(len, dataset.lengths.values())), counters


def _encode(dataset, statistics, num_workers: int) -> Iterator[tuple[str, bytes]]:
    """Key and npz of every clip."""
    from tqdm import tqdm

    from jaxvq.datasets import workers

    sources = {split: dataset.source(split) for split in dataset.lengths}
    places = [(split, index) for split, source in sources.items() for index in range(len(source))]
    encode = functools.partial(_encode_clip, sources, statistics)
    encoded = workers.map_ordered(encode, places, num_workers)
    yield from tqdm(encoded, total=len(places), unit="clip", desc="zip", dynamic_ncols=True)


def _encode_clip(sources: dict, statistics, place: tuple[str, int]) -> tuple[str, bytes]:
    split, index = place
    example = sources[split][index]
    content = encode_clip(example["data"], example["mask"], example["fps"], statistics)
    return example["id"], content


def member_names(keys: Iterable[str]) -> dict[str, str]:
    """Key -> `<stem>.npz`, or the whole path if several keys share a stem."""
    keys = list(keys)
    stems = collections.Counter(PurePosixPath(key).stem for key in keys)
    names = {}
    for key in keys:
        path = PurePosixPath(key)
        name = path.stem if stems[path.stem] == 1 else str(path.with_suffix(""))
        names[key] = f"{name}.npz"
    return names


def encode_clip(data: np.ndarray, mask: np.ndarray, fps: float, statistics: Statistics) -> bytes:
    """A member of the zip: data (t, v, c) before standardisation, mask bool (t, v)."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        data=statistics.standardize(data, mask).astype(np.float16),
        mask=np.repeat(mask[..., None], data.shape[-1], axis=-1),
        fps=np.float32(fps),
    )
    return content.getvalue()


def write_zip(
    path: str | Path,
    members: Iterable[tuple[str, bytes]],
    skeleton: Skeleton,
    statistics: Statistics,
) -> None:
    """Writes (name, bytes) members and the statistics, as a whole file or none."""
    comment = json.dumps(statistics_to_json(statistics, skeleton), separators=(",", ":")).encode()
    with (
        atomic.writing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,  # npz are compressed
    ):
        for name, content in members:
            archive.writestr(name, content)
        archive.comment = comment


if __name__ == "__main__":
    command.run(main)
