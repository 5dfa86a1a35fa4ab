"""How fast a corpus is built, against sign-vq's way, and whether memory grows with its size.

    python -m tools.benchmark_building --input DIR_OR_ZIP [--clips 1000,10000] [--workers 2]

Corpora of these sizes are made in a temporary directory: the clips of the input, cut to --frames,
again and again under other names. tools.build_dataset builds each in a process of its own; the peak
is that of the largest of its processes, parent or worker. sign-vq's way is one process that loops
over pose-format (Pose.read, reduce_holistic, correct_wrists, normalize) and stores an npz of
each clip in a zip; the second row leaves the storing out, which our builds always include. Prints a
table in Markdown; hours are for 563,000 such clips, and the first row is what all are compared to.
The last column compares processor time, which a busy machine does not change much: how many times
as fast as sign-vq's way the build is where each of its processes has a core.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools import command
from tools.build_dataset import LARGE_CORPUS


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--input", required=True, help="directory or zip of .pose files")
    add("--clips", default="1000,10000", help="sizes of the corpora (default: %(default)s)")
    add("--frames", type=int, default=120, help="of a clip, at most (default: %(default)s)")
    add("--workers", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    args = parser.parse_args(argv)
    if not all(number.strip().isdigit() and int(number) for number in args.clips.split(",")):
        raise ValueError(f"--clips {args.clips}: expected numbers such as 1000,10000")
    args.clips = sorted(int(number) for number in args.clips.split(","))
    return args


def main(argv=None) -> None:
    """Measures and prints."""
    args = parse_arguments(argv)
    with tempfile.TemporaryDirectory(prefix="jaxvq_building_") as folder:
        originals = write_originals(args.input, args.frames, Path(folder) / "originals")
        theirs, their_ms = their_rate(originals, store=True)
        calls, calls_ms = their_rate(originals, store=False)
        head = "way, clips, clips/s, hours, times as fast, peak MB, CPU ms a clip, times by CPU"
        print("| " + head.replace(", ", " | ") + " |")
        print("|---" + "|---:" * head.count(",") + "|")
        print_row("sign-vq, 1 process", len(originals), theirs, 1.0, "", their_ms, 1.0)
        ratios = calls / theirs, their_ms / calls_ms
        print_row("its calls alone", len(originals), calls, ratios[0], "", calls_ms, ratios[1])
        peaks = []
        for count in args.clips:
            rate, peak, ms = measure(originals, count, args.workers, Path(folder))
            peaks.append(peak)
            name = f"build_dataset, {args.workers} processes"
            by_cpu = args.workers * their_ms / ms
            print_row(name, count, rate, rate / theirs, f"{peak:.0f}", ms, by_cpu)
    print(
        f"\npeak at {args.clips[-1]:,} clips / {args.clips[0]:,} clips: {peaks[-1] / peaks[0]:.3f}"
    )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def print_row(name, count, rate, ratio, peak, ms, by_cpu) -> None:
    hours = LARGE_CORPUS / rate / 3600
    cells = [name, f"{count:,}", f"{rate:,.0f}", f"{hours:.2f}", f"{ratio:.1f}", peak]
    print(f"| {' | '.join(cells)} | {ms:.2f} | {by_cpu:.1f} |", flush=True)


def write_originals(source: str, frames: int, folder: Path) -> list[Path]:
    """The longest 40 usable clips of the input, cut to `frames`."""
    from jaxvq.pose import files, preprocess, reader, writer
    from jaxvq.pose.skeleton import HOLISTIC_178

    folder.mkdir()
    usable = []
    for clip in files.list_poses(source, (".pose",)):
        try:
            content = clip.read()
            pose = reader.read_pose(content, clip.key)
            preprocess.preprocess(reader.read_pose(content, clip.key, HOLISTIC_178))
        except ValueError:
            continue
        cut = slice(frames)
        usable.append(pose.replace(data=pose.data[cut], confidence=pose.confidence[cut]))
    if not usable:
        raise ValueError(f"{source}: no usable clip")
    usable.sort(key=lambda pose: -len(pose.data))
    paths = []
    for number, pose in enumerate(usable[:40]):
        paths.append(folder / f"{number}.pose")
        writer.write_pose(paths[-1], pose)
    return paths


def their_rate(originals: list[Path], store: bool) -> tuple[float, float]:
    """Clips a second of sign-vq's way, after a first clip, and milliseconds of the processor."""
    import io
    import zipfile

    import numpy as np

    from tools.benchmark_preprocessing import _theirs

    contents = [path.read_bytes() for path in originals]
    _theirs(contents[0])
    start, cpu = time.perf_counter(), time.process_time()
    with zipfile.ZipFile(originals[0].with_suffix(".zip"), "w") as archive:
        for number, content in enumerate(contents):
            data = _theirs(content).body.data[:, 0]
            if store:
                member = io.BytesIO()
                np.savez_compressed(member, data=data.filled(0).astype(np.float16), mask=data.mask)
                archive.writestr(f"{number}.npz", member.getvalue())
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return len(contents) / seconds, 1000 * cpu / len(contents)


def measure(originals: list[Path], count: int, workers: int, folder: Path) -> tuple:
    """Clips a second of a build of that many, MB of its largest process, CPU ms a clip of all."""
    corpus = folder / f"corpus_{count}"
    for number in range(count):
        path = corpus / f"{number // 1000}" / f"clip_{number}.pose"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % len(originals)], path)
    words = [sys.executable, "-m", "tools.build_dataset", "--corpus", "sign_poses",
             f"--input={corpus}", f"--data_dir={folder / f'data_{count}'}",
             "--workers", str(workers)]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"the build of {count} clips failed: {output}")
    (counters,) = (folder / f"data_{count}").rglob("counters.json")
    speed = json.loads(counters.read_text())["clips_per_second"]
    ms = 1000 * (usage.ru_utime + usage.ru_stime) / count
    return speed, usage.ru_maxrss / 1024, ms


if __name__ == "__main__":
    command.run(main)
