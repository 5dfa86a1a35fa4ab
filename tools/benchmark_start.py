"""How long programs take from the shell's view: to start, for one clip, for thousands.

    jaxvq benchmark start --input clips [--model MODEL] [--theirs "CMD {input} {output}"]

Every number is the wall time of a whole process, the median of --repeats, and how much time of the
processor it took. First: compiled programs are forgotten before each repeat. Again: they are kept
(JAXVQ_CACHE). --theirs is another program that makes the same tokens, started the same way.
"""

import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxvq import command, pretrained


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_first("--input", help="folder or zip of .pose files")
    parser.add_argument("--clips", type=int, default=4400, help="to encode (default: %(default)s)")
    parser.add_argument(
        "--model", "--checkpoint", help="that encodes the many clips (default: as the one)"
    )
    parser.add_argument("--theirs", metavar="COMMAND", help="with {input} and {output}")
    parser.add_argument("--repeats", type=int, default=5, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    if args.clips < 1 or args.repeats < 1:
        raise ValueError("--clips and --repeats: expected 1 or more")
    from jaxvq.pose.files import list_poses

    rows = []
    with tempfile.TemporaryDirectory(prefix="jaxvq_start_") as temporary:
        folder = Path(temporary)
        clips = list_poses(args.input, (".pose",))
        one, many = folder / "one.pose", folder / "many"
        one.write_bytes(clips[0].read())
        write_many(clips, args.clips, many)
        cache, codes = folder / "cache", str(folder / "codes.csv")
        model = ["--model", args.model] if args.model else []
        jaxvq = [sys.executable, "-m", "jaxvq"]
        lines = {
            "jaxvq --help": [*jaxvq, "--help"],
            f"jaxvq encode X.pose ({pretrained.DEFAULT})": [
                *(*jaxvq, "encode", str(one), "--output", codes)
            ],
            f"jaxvq encode, {args.clips} clips": [
                *(*jaxvq, "encode", str(many), *model, "--output", codes)
            ],
        }
        for name, words in lines.items():
            first = [_time(words, cache, forget=True) for _ in range(args.repeats)]
            again = [_time(words, cache) for _ in range(args.repeats)]
            rows += [(f"{name}, first", first), (f"{name}, again", again)]
        if args.theirs:
            words = shlex.split(args.theirs.format(input=many, output=codes))
            rows.append(
                (f"theirs, {args.clips} clips", [_time(words, cache) for _ in range(args.repeats)])
            )
    print(table(rows))
    return 0


def write_many(clips: list, count: int, folder: Path) -> None:
    """`count` files, the clips again and again under other names."""
    folder.mkdir()
    originals = folder.parent / "originals"
    originals.mkdir()
    for number, clip in enumerate(clips[:count]):
        (originals / str(number)).write_bytes(clip.read())
    for number in range(count):
        os.link(originals / str(number % len(clips)), folder / f"{number}.pose")


def _time(words: list[str], cache: Path, forget: bool = False) -> tuple[float, float]:
    """Seconds of the wall clock, and of the processor."""
    if forget:
        shutil.rmtree(cache, ignore_errors=True)
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    before, start = used.ru_utime + used.ru_stime, time.perf_counter()
    done = subprocess.run(
        words, env=environment | {"JAXVQ_CACHE": str(cache)}, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise ValueError(f"{shlex.join(words)} ended with {done.returncode}: {done.stderr[-300:]}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, used.ru_utime + used.ru_stime - before


def table(rows: list[tuple[str, list[tuple[float, float]]]]) -> str:
    """Medians, in Markdown."""
    lines = ["| what | seconds | of the processor |", "|---|---|---|"]
    for name, times in rows:
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        lines.append(f"| {name} | {wall:.2f} | {cpu:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main)
