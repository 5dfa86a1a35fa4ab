"""Counts what becomes of damaged and hostile files, of programs that are killed, and of long use.

    jaxvq benchmark faults --output SOAK                   # an hour on 2 cores
    jaxvq benchmark faults --output SOAK --quick           # what the test suite runs: a few minutes

Makes a synthetic corpus, a dataset and a small model in SOAK, runs every check on them and prints
the table of docs/reliability.md. Ends with 1 where there was a traceback, where something in the
data ran, where a result was wrong without a word, or a file that is not whole was taken for whole.
"""

import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jaxvq import command

from .soaking import counting, damaged, elsewhere, hostile, steady, stopped
from .soaking.counting import Case, Place, Row

# Name -> (check, cases, cases with --quick).
CHECKS: dict[str, tuple[Callable[[Place, int, np.random.Generator], Iterator[Case]], int, int]] = {
    "damaged .pose": (damaged.pose_files, 2000, 200),
    "damaged .jvq": (damaged.token_files, 1000, 100),
    "damaged datasets": (damaged.datasets, 1000, 60),
    "damaged checkpoints": (damaged.checkpoints, 500, 20),
    "damaged code tables": (damaged.code_tables, 500, 40),
    "altered published folders": (damaged.published, 500, 40),
    "hostile pickles": (hostile.pickles, 200, 60),
    "hostile JSON": (hostile.jsons, 225, 225),
    "hostile YAML": (hostile.yamls, 25, 25),
    "hostile archives": (elsewhere.archives, 156, 156),
    "paths that lead out": (elsewhere.traversal, 36, 36),
    "markup in names": (elsewhere.markup, 3, 3),
    "kill -9 and again": (stopped.kills, 50, 0),
    "a full disk": (stopped.full_disks, 69, 16),
    "two on one output": (stopped.twice, 5, 0),
    "memory of passes": (steady.passes, 20, 0),
    "two threads": (steady.threads, 20, 2),
    "alone and together": (steady.alone, 40, 4),
}


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("--output", required=True, help="folder to work in; must not exist")
    parser.add_argument("--quick", action="store_true", help="fewer cases, and no kills")
    parser.add_argument("--checks", help="comma-separated names; default: all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    names = args.checks.split(",") if args.checks else list(CHECKS)
    if unknown := set(names) - CHECKS.keys():
        raise ValueError(f"no check {min(unknown)!r}; there are: {', '.join(CHECKS)}")
    output = Path(args.output)
    if output.exists():
        raise ValueError(f"{output} exists already; give another --output")
    place = prepare(output.resolve())
    rows = []
    for name in names:
        rows.append(run(name, place, args.quick, args.seed))
        print(counting.table(rows[-1:]).splitlines()[-1], flush=True)
        for fault in rows[-1].faults:
            print(f"    {fault}", flush=True)
    print(f"\n{counting.table(rows)}")
    return 1 if any(row.faults for row in rows) else 0


def run(name: str, place: Place, quick: bool, seed: int = 0) -> Row:
    """One row of the table; the same seed does the same damage."""
    check, cases, few = CHECKS[name]
    place.scratch.mkdir()
    try:
        rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
        return counting.count(Row(name), check(place, few if quick else cases, rng))
    finally:
        shutil.rmtree(place.scratch, ignore_errors=True)


def prepare(folder: Path) -> Place:
    """The corpus, dataset and model that the checks need, by the programs that users call."""
    place = Place(folder / "corpus", folder / "data", folder / "run", folder / "scratch")
    _call("make", "clips", "--output", place.corpus, "--num_clips", 40)
    data = ("--data", place.data_dir)
    _call("build", place.corpus, "--corpus", "sign_poses", *data)
    steps = ("--config.total_steps", 20, "--config.eval_every", 10, "--config.checkpoint_every", 10)
    _call("train", "fsq_pose:runlocal", *data, *steps, "--workdir", place.run)
    _call("make", "code-tables", place.run, *data)
    return place


def _call(*words) -> None:
    if subprocess.call([sys.executable, "-m", "jaxvq", *map(str, words)]):
        raise ValueError(f"jaxvq {words[0]} ended with an error")


if __name__ == "__main__":
    command.run(main)
