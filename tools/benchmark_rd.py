"""Compares tokenizers by the bits that they write and the error that is left.

    jaxvq benchmark rd --data DATA --output OUT [--methods sign_vq,fsq,best]

DATA is of signing, or of whole-body motion, which has methods of its own.

Each method is trained or fitted on the train split, tuned on validation, and measured on test, at
each of its rates and for each seed. tools/rate_distortion/methods.py lists methods and rates.

OUT gets cells/ (one JSON file per method, rate and seed, as soon as it is done), runs/ (the
trainings), table.md, table.json, curves.png and commands.sh. All methods of the first seed come
first. The same command resumes an interrupted comparison and never repeats a finished cell.
--jobs N runs N trainings at once, each on its share of the cores. Give a GPU one job.
"""

import os
from pathlib import Path

from jaxvq import command
from jaxvq.storage import atomic, reading


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("--data", "--data_dir", required=True, help="made by jaxvq build")
    parser.add_argument("--output", "--output_dir", required=True, help="folder of the comparison")
    parser.add_argument("--methods", help="some of them, joined by commas (default: all)")
    parser.add_argument("--rates", help="names of rates, joined by commas (default: all)")
    parser.add_argument("--steps", type=int, default=600, help="of every training (default 600)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings a rate (default 3)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once (default 1)")
    parser.add_argument(
        "--effort", type=int, default=1, help="also codes of jaxvq encode --effort N (default 1)"
    )
    args = parser.parse_args(argv)
    for name, least in {"steps": 1, "seeds": 1, "jobs": 1, "effort": 0}.items():
        if getattr(args, name) < least:
            raise ValueError(f"--{name} {getattr(args, name)}: expected {least} or more")

    from jaxvq import input_pipeline

    from .rate_distortion import cells, methods, report

    dataset = input_pipeline.open_dataset(args.data)
    names = methods.names(dataset.skeleton.is_motion)
    chosen = names if args.methods is None else args.methods.split(",")
    for name in chosen:
        if name not in names:
            raise ValueError(f"--methods {name}: choose from {', '.join(names)}")
    only = None if args.rates is None else args.rates.split(",")
    known = {rate for name in chosen for rate in methods.rates(name)}
    for rate in only or ():
        if rate not in known:
            raise ValueError(f"--rates {rate}: choose from {', '.join(sorted(known))}")
    output = Path(args.output)
    if output.is_file():
        raise ValueError(f"--output {output} is a file; give a folder")
    settings = cells.Settings(str(dataset.path), args.steps, args.effort)
    check_settings(output / "settings.json", settings)

    with atomic.locked(output, "comparison"):
        jobs = cells.missing(output, chosen, args.seeds, only)
        failed = run_all(jobs, settings, output, args.jobs)
    print(report.write(output, settings))
    print(f"{output / 'table.md'}, {output / 'curves.png'}")
    for job, error in failed:
        print(f"failed: {job.name}: {error}")
    return 1 if failed else 0


def check_settings(path: Path, settings) -> None:
    """Writes the settings of a new folder. ValueError if an old folder has other settings."""
    now = vars(settings)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path, now)
        return
    before = reading.read_json(path)
    for name, value in now.items():
        then = before.get(name, getattr(type(settings), name, None))  # a folder of before has none
        if then != value:
            raise ValueError(
                f"{path.parent} was made with {name}={then}, not {value}: "
                "give another --output, or the same value"
            )


def run_all(jobs: list, settings, output: Path, at_once: int) -> list:
    """Runs each job in a process of its own. Returns (job, error) for each job that failed."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    from tqdm import tqdm

    from .rate_distortion import report

    context = multiprocessing.get_context("spawn")
    places = context.Queue()
    for cores in split_cores(at_once):
        places.put(cores)
    # A new process per job: the job before it leaves nothing on the device.
    options = {"mp_context": context, "max_tasks_per_child": 1}
    failed = []
    with ProcessPoolExecutor(at_once, initializer=_take_place, initargs=(places,), **options) as p:
        waiting = {p.submit(_run, job, settings, output): job for job in jobs}
        with tqdm(total=len(jobs), unit="training") as bar:
            for done in as_completed(waiting):
                job, error = waiting[done], done.exception()
                bar.update()
                if error is not None:
                    failed.append((job, f"{type(error).__name__}: {error}"))
                    bar.write(f"failed: {job.name}: {error}")
                else:
                    report.write(output, settings)  # a stopped comparison has one, too
    return failed


def split_cores(count: int) -> list[list[int]]:
    """The cores of this process in `count` shares. A share is empty if the cores are unknown or
    fewer than the shares."""
    if not hasattr(os, "sched_getaffinity"):
        return [[]] * count
    cores = sorted(os.sched_getaffinity(0))
    return [cores[i::count] for i in range(count)]


_places = None


def _take_place(places) -> None:
    global _places
    _places = places


def _run(job, settings, output: Path) -> None:
    from .rate_distortion import cells

    cores = _places.get()
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        cells.run(job, settings, output)
    finally:
        _places.put(cores)


if __name__ == "__main__":
    command.run(main)
