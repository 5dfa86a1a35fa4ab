"""Measures the export to Signformer on made-up corpora: rates, where the time goes, memory.

    jaxvq benchmark signformer

Prints how fast OpenPose's JSON is parsed, what a frame costs in each step of the export and at each
gzip level, the peak memory with few and with many sentences, and what the whole of How2Sign and of
LSFB-CONT would take at these rates. The corpora have the sizes of real files, with random numbers.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxvq import command
from jaxvq.datasets import sentence_corpora
from jaxvq.pose import openpose
from jaxvq.signformer import pami0

from .signformer import export, parts

FRAMES = 160  # of a sentence, about the mean of How2Sign
JSON = "rgb_front/features/openpose_output/json"
# Sentences in all splits (How2Sign's and LSFB-CONT's annotations), mean frames of one, what
# Signformer's exporter needs according to its document, and with how many processes.
WHOLE = {
    "How2Sign": (31_000 + 1_700 + 2_344, 165, "1-2 h"),
    "How2Sign, augmented": (87_000 + 1_700 + 2_344, 165, "1-2 h"),
    "LSFB-CONT": (4_430 + 155 + 804, 175, "10 min"),
    "LSFB-CONT, augmented": (14_446 + 155 + 804, 175, "10 min"),
}


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add("--few", type=int, default=400, help="sentences of the small export (default: %(default)s)")
    add("--many", type=int, default=4000, help="of the large one (default: %(default)s)")
    add("--workers", type=int, default=os.cpu_count(), help="of these (default: %(default)s)")
    return parser.parse_args(argv)


def write_how2sign(root: Path, count: int, frames: int, different: int = 20) -> None:
    """`count` sentences, of which only the first `different` have files of their own."""
    rng = np.random.default_rng(0)
    folder = root / "How2Sign/sentence_level/train" / JSON
    folder.mkdir(parents=True)
    sizes = {"pose": 25, "face": 70, "hand_left": 21, "hand_right": 21}
    person = {part: rng.uniform(100, 900, (size, 3)) for part, size in sizes.items()}
    for n in range(count):
        clip = folder / f"v_{n}-5-rgb_front"
        if n >= different:
            clip.symlink_to(folder / f"v_{n % different}-5-rgb_front")
            continue
        clip.mkdir()
        for t in range(frames):
            numbers = {"person_id": [-1]}
            for part, points in person.items():
                points[:, :2] += rng.normal(size=(len(points), 2))
                points[:, 2] = rng.uniform(0.3, 0.9, len(points))
                numbers[f"{part}_keypoints_2d"] = np.round(points, 3).ravel().tolist()
            text = json.dumps({"version": 1.3, "people": [numbers]}, separators=(",", ":"))
            (clip / f"{clip.name}_{t:012d}_keypoints.json").write_text(text)
    rows = [(f"v_{n}", f"sentence {n}", "train") for n in range(count)]
    _write_table(root / "How2Sign/annotations.csv", [("id", "text", "split"), *rows])


def write_lsfb(root: Path, count: int, frames: int) -> None:
    """`count` segments of four videos."""
    rng = np.random.default_rng(0)
    for part, points in (("pose", 33), ("left_hand", 21), ("right_hand", 21)):
        (root / "LSFB-CONT/poses" / part).mkdir(parents=True)
        for video in range(4):
            data = rng.uniform(size=(1, points, 3)) + rng.normal(size=(9000, points, 3)) / 500
            np.save(root / f"LSFB-CONT/poses/{part}/V{video}.npy", data)
    rows = [("id", "text", "video_id", "start", "end", "split")]
    for n in range(count):
        start = 20 * int(rng.integers(0, 9000 - frames))
        rows.append((f"v_{n}", f"phrase {n}", f"V{n % 4}", start, start + 20 * frames, "train"))
    _write_table(root / "LSFB-CONT/annotations.csv", rows)


def _write_table(path: Path, rows: list) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def measure_parsing(root: Path) -> float:
    """Frames per second of OpenPose's JSON on one core, in CPU time; best of three passes."""
    folders = sorted((root / "How2Sign/sentence_level/train" / JSON).iterdir())[:20]
    rates = []
    for _ in range(3):
        start = time.process_time()
        frames = sum(len(openpose.read_clip(folder, 30)[0].data) for folder in folders)
        rates.append(frames / (time.process_time() - start))
    return max(rates)


def measure_steps(root: Path, dataset: str, level: int) -> tuple[dict[str, float], float]:
    """Microseconds of CPU time a frame of each step, and bytes per frame."""
    corpus = sentence_corpora.CORPORA[dataset]
    seconds, frames, size = {"read": 0.0, "lay out": 0.0, "pickle and gzip": 0.0}, 0, 0
    for sentence in sentence_corpora.list_corpus(corpus, root)["train"][:20]:
        times = [time.process_time()]
        pose, _ = sentence.read()
        times.append(time.process_time())
        sign = export.lay_out(pose, corpus.parts, 1024)
        times.append(time.process_time())
        sample = pami0.Sample(sign, sentence.text, "", sentence.signer, sentence.name)
        size += len(parts.encode_sample(sample, level))
        times.append(time.process_time())
        frames += len(sign)
        for step, took in zip(seconds, np.diff(times), strict=True):
            seconds[step] += took
    return {step: 1e6 * took / frames for step, took in seconds.items()}, size / frames


def measure_export(root: Path, out: Path, dataset: str, workers: int) -> tuple[float, float]:
    """Peak memory in MiB of the largest process of an export, and its seconds."""
    line = [sys.executable, "-m", "jaxvq", "export", "signformer", "--corpus", dataset]
    line += ["--input", str(root), "--output", str(out), "--workers", str(workers)]
    start = time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise ValueError(f"{' '.join(line)} ended with status {status}")
    return usage.ru_maxrss / 1024, time.perf_counter() - start


def main(argv=None) -> None:
    """Measures everything and prints Markdown."""
    args = parse_arguments(argv)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_how2sign(root, 20, FRAMES)
        write_lsfb(root, 20, FRAMES)
        print(f"OpenPose JSON: {measure_parsing(root):,.0f} frames/s on one core\n")
        print("| µs a frame | gzip level | read | lay out | pickle and gzip | bytes per frame |")
        print("|---|---|---|---|---|---|")
        rates = {}
        for dataset in sentence_corpora.CORPORA:
            for level in (1, 6, 9):
                steps, size = measure_steps(root, dataset, level)
                numbers = " | ".join(f"{took:.1f}" for took in steps.values())
                print(f"| {dataset} | {level} | {numbers} | {size:.0f} |")
                rates[dataset, level] = 1e6 / sum(steps.values()), size
    print_whole(rates)
    print_memory(args)


def print_whole(rates: dict) -> None:
    """What the whole corpora would take, with one core at gzip level 6."""
    print("\n| whole corpus | sentences | frames | one core | files | stated by the original |")
    print("|---|---|---|---|---|---|")
    for name, (sentences, frames, stated) in WHOLE.items():
        rate, size = rates[name.partition(",")[0], 6]
        total = sentences * frames
        minutes = total / rate / 60
        took = f"{minutes:.0f} min" if minutes > 2 else f"{60 * minutes:.0f} s"
        files = f"{total * size / 2**30:.1f} GiB"
        print(f"| {name} | {sentences:,} | {total:,} | {took} | {files} | {stated} |")


def print_memory(args: argparse.Namespace) -> None:
    """Peak memory of small and of large exports."""
    print(f"\n| export with {args.workers} workers | sentences | peak RSS | seconds |")
    print("|---|---|---|---|")
    for dataset, write in (("How2Sign", write_how2sign), ("LSFB-CONT", write_lsfb)):
        peaks = []
        for count in (args.few, args.many):
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), count, 50)
                peak, seconds = measure_export(
                    Path(folder), Path(folder) / "out", dataset, args.workers
                )
            print(f"| {dataset} | {count} | {peak:.0f} MiB | {seconds:.1f} |", flush=True)
            peaks.append(peak)
        print(f"| {dataset} | ratio | {peaks[1] / peaks[0]:.2f} | |")


if __name__ == "__main__":
    command.run(main)
