"""How fast a corpus is built, against sign-vq's way, and whether memory grows with its size.

    jaxvq benchmark building --input DIR_OR_ZIP [--clips 1000,10000] [--compact]

Corpora of these sizes are made in a temporary directory ($TMPDIR): the clips of the input, cut to
--frames, again and again under other names. jaxvq build builds each; its time is that of
the whole command, from the start of Python to its end, with the start of its processes. The last
row is the rate between the smallest and the largest corpus, where starting counts no more. The peak
is that of the largest process, parent or worker. sign-vq's way is one process that loops over
pose-format (Pose.read, reduce_holistic, correct_wrists, normalize) and stores an npz of each clip
in a zip, files in memory and all modules imported; it is measured before, between and after our
builds, and the median counts. The second row leaves the storing out, which our builds include.
Prints a table in Markdown; hours are for 563,000 such clips, and the first row is what all are
compared to. The last column compares processor time, which a busy machine does not change much: how
many times as fast as sign-vq's way the build is where each of its processes has a core.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxvq import command

from .build_dataset import LARGE_CORPUS


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = command.parser(__doc__)
    add = parser.add_argument
    parser.add_first("--input", help="directory or zip of .pose files")
    add("--clips", default="1000,10000", help="sizes of the corpora (default: %(default)s)")
    add("--frames", type=int, default=120, help="of a clip, at most (default: %(default)s)")
    add("--workers", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    add("--compact", action="store_true", help="build the compact layout")
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
        passes, builds = [their_pass(originals, store=True)], []
        for count in args.clips:
            builds.append(measure(originals, count, args, Path(folder)))
            passes += [their_pass(originals, store=True) for _ in range(2)]
        calls = their_pass(originals, store=False)
    theirs = tuple(statistics.median(column) for column in zip(*passes, strict=True))
    print_table(len(originals), theirs, calls, args, builds)


def print_table(num_originals: int, theirs: tuple, calls: tuple, args, builds: list) -> None:
    """theirs, calls: (s, CPU s) a clip; builds: (s, CPU s, MB) of the corpora of args.clips."""
    head = "way, clips, clips/s, hours, times as fast, peak MB, CPU ms per clip, times by CPU"
    print("| " + head.replace(", ", " | ") + " |")
    print("|---" + "|---:" * head.count(",") + "|")

    def row(name: str, clips, seconds: float, cpu: float, peak: str = "", processes: int = 1):
        cells = [name, clips, f"{1 / seconds:,.0f}", f"{LARGE_CORPUS * seconds / 3600:.2f}"]
        cells += [f"{theirs[0] / seconds:.1f}", peak, f"{1000 * cpu:.2f}"]
        print("| " + " | ".join([*cells, f"{processes * theirs[1] / cpu:.1f}"]) + " |")

    row("sign-vq, 1 process", f"{num_originals}", *theirs)
    row("its calls alone", f"{num_originals}", *calls)
    name = f"build_dataset, {args.workers} processes"
    for count, (seconds, cpu, peak) in zip(args.clips, builds, strict=True):
        row(name, f"{count:,}", seconds / count, cpu / count, f"{peak:.0f}", args.workers)
    more = args.clips[-1] - args.clips[0]
    if more:
        first, last = builds[0], builds[-1]
        steady, cpu = (max(b - a, 1e-9) / more for a, b in zip(first[:2], last[:2], strict=True))
        row(f"{name}, steady", f"{more:,} more", steady, cpu, "", args.workers)
        ratio = last[2] / first[2]
        print(f"\npeak at {args.clips[-1]:,} clips / {args.clips[0]:,} clips: {ratio:.3f}")
        hours = (last[0] + (LARGE_CORPUS - args.clips[-1]) * steady) / 3600
        print(
            f"{LARGE_CORPUS:,} clips: {hours:.2f} hours with starting, {theirs[0] / steady:.1f} "
            "times as fast as sign-vq's way"
        )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


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


def their_pass(originals: list[Path], store: bool) -> tuple[float, float]:
    """Seconds per clip in sign-vq's way, after a first clip, and CPU seconds."""
    import io
    import zipfile

    import numpy as np

    from .benchmark_preprocessing import _theirs

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
    return seconds / len(contents), cpu / len(contents)


def measure(originals: list[Path], count: int, args, folder: Path) -> tuple:
    """Seconds of a build of that many clips, of the processor, and MB of its largest process."""
    corpus = folder / f"corpus_{count}"
    for number in range(count):
        path = corpus / f"{number // 1000}" / f"clip_{number}.pose"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % len(originals)], path)
    words = [
        *(sys.executable, "-m", "jaxvq", "build", str(corpus), "--corpus", "sign_poses"),
        *("--data", str(folder / f"data_{count}"), "--workers", str(args.workers)),
        *["--compact"] * args.compact,
    ]
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"the build of {count} clips failed: {output}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    command.run(main)
