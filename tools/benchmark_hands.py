"""How fast hand poses are loaded: whole batches from mapped memory against one row at a time.

    jaxvq benchmark hands [--consolidated_dir DIR] [--rows 1200000] [--batch_size 8192]

Without --consolidated_dir random hands are written to a temporary folder. Runs on one CPU core,
with shuffled and standardised batches. The plain loader takes row after row out of arrays in
memory, as a PyTorch data set does, and stacks them; it is timed on a few batches of the same run.
Rates are by the clock, and by the time that the core worked for this process alone. Prints a
Markdown table; --json FILE keeps the numbers.
"""

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add("--consolidated_dir", help="made by jaxvq make hand-npz")
    add("--rows", type=int, default=1_200_000, help="random frames (default: %(default)s)")
    add("--batch_size", type=int, default=8192, help="default: %(default)s")
    add("--batches", type=int, default=1000, help="to time (default: %(default)s)")
    add("--plain_batches", type=int, default=8, help="of the plain loader (default: %(default)s)")
    add("--cores", type=int, default=1, help="CPU cores to run on (default: %(default)s)")
    add("--json", metavar="FILE", help="also write the numbers here")
    args = parser.parse_args(argv)
    if min(args.rows, args.batch_size, args.batches, args.plain_batches, args.cores) < 1:
        raise ValueError("all numbers must be 1 or more")
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_cores(args.cores))
        directory = args.consolidated_dir
        if directory is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            write_random_hands(Path(directory) / "train.npz", args.rows)
        values = measure(Path(directory), args.batch_size, args.batches)
        values["plain_batches_per_second"] = measure_plain(
            Path(directory) / "train.npz", args.batch_size, args.plain_batches
        )
    print(table(values))
    if args.json:
        Path(args.json).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return 0


@contextlib.contextmanager
def on_cores(count: int):
    """Keeps this process to its first `count` cores, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def write_random_hands(path: Path, rows: int) -> None:
    """A consolidated file of random numbers, written piece by piece."""
    import numpy as np

    from jaxvq.hands import HAND, npz

    def pieces(seed):
        rng = np.random.default_rng(seed)
        for start in range(0, rows, 65536):
            yield rng.standard_normal((min(65536, rows - start), HAND), dtype=np.float32)

    columns = {
        name: npz.Column((rows, HAND), np.dtype(np.float32), pieces(seed))
        for seed, name in enumerate((npz.LEFT, npz.RIGHT))
    }
    moments = {"mean": np.zeros(2 * HAND, np.float32), "std": np.ones(2 * HAND, np.float32)}
    npz.write_npz(path, columns | moments)


def measure(directory: Path, batch_size: int, batches: int) -> dict[str, float]:
    """Of ConsolidatedHandDataModule: seconds to the first batch, batches per second, memory."""
    import grain  # noqa: F401  importing is not part of loading

    from jaxvq.hands.data_modules import ConsolidatedHandDataModule

    before, start = resident_bytes(), time.perf_counter()
    module = ConsolidatedHandDataModule(directory, batch_size=batch_size, num_workers=0)
    module.prepare_data()
    module.setup("fit")
    loader = module.train_dataloader()
    next(iter(loader))
    first = time.perf_counter() - start
    for _ in loader:  # the rest of an epoch, after which the file is in memory
        pass
    done, start, worked = 0, time.perf_counter(), time.process_time()
    while done < batches:
        for _ in loader:
            done += 1
            if done == batches:
                break
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    size = (directory / "train.npz").stat().st_size
    return {
        "rows": len(module.rows["train"]),
        "batch_size": batch_size,
        "first_batch_seconds": first,
        "batches_per_second": batches / seconds,
        "batches_per_core_second": batches / worked,
        "resident_growth_over_file": (resident_bytes() - before) / size,
    }


def measure_plain(path: Path, batch_size: int, batches: int) -> float:
    """Batches a second of a loader that handles each row by itself, on arrays in memory."""
    import numpy as np

    with np.load(path) as file:
        left, right = file["lhand_pose"], file["rhand_pose"]
    mean, std = np.zeros(90, np.float32), np.ones(90, np.float32)
    order = np.random.default_rng(0).permutation(len(left))
    start = time.perf_counter()
    for number in range(batches):
        rows = order.take(np.arange(number * batch_size, (number + 1) * batch_size), mode="wrap")
        samples = [(np.concatenate([left[row], right[row]]) - mean) / std for row in rows]
        np.stack(samples)
    return batches / (time.perf_counter() - start)


def resident_bytes() -> int:
    """Memory that this process holds, mapped files included."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def table(values: dict[str, float]) -> str:
    fast, plain = values["batches_per_second"], values["plain_batches_per_second"]
    return (
        f"{values['rows']:,} frames of 90 float32, shuffled batches of {values['batch_size']:,}\n\n"
        "| loader | batches/s | of core time | first batch | resident growth / file |\n"
        "|---|---|---|---|---|\n"
        f"| whole batches, memory map | {fast:.0f} | {values['batches_per_core_second']:.0f} "
        f"| {values['first_batch_seconds']:.2f} s | {values['resident_growth_over_file']:.2f} |\n"
        f"| row by row, in memory | {plain:.1f} | | | |\n\n{fast / plain:.0f} times as fast"
    )


if __name__ == "__main__":
    command.run(main)
