"""Programs that are killed, whose disk is full, or that run twice at once."""

import contextlib
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .counting import HALF, REFUSED, RIGHT, TRACEBACK, WRONG, Case, Place

KINDS_OF_LEFTOVERS = ("tmp.", "incomplete.")  # of what was killed; nobody takes them for whole


@dataclass(frozen=True)
class Program:
    """A command line, and how its output is read: {name: value}, {} where there is none.

    arguments: output -> the words after `jaxvq`. read: raises ValueError as any reader does.
    finds: whether a reader may find a part of the whole, as parts of an export appear one by one.
    """

    arguments: Callable[[Path], list]
    read: Callable[[Path], dict]
    finds_parts: bool = False

    def start(self, output: Path, limit: int = 0) -> subprocess.Popen:
        """limit: the size no file may pass, if it is not 0."""
        line = [sys.executable, "-m", "jaxvq", *map(str, self.arguments(output))]
        sizes = (resource.RLIMIT_FSIZE, (limit, limit))
        return subprocess.Popen(
            line,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=(lambda: resource.setrlimit(*sizes)) if limit else None,
        )


def programs(place: Place) -> dict[str, Program]:
    """What writes something large: a build, two exports of tokens, one to Signformer, training."""
    from .. import benchmark_signformer

    signs = place.scratch / "signs"
    if not signs.exists():
        benchmark_signformer.write_lsfb(signs, 60, 40)
    model = ["--model", place.run, "--data", place.corpus]
    field = "--config.data.dir"
    training = ["--config.total_steps", 20, "--config.eval_every", 10]
    training += ["--config.checkpoint_every", 5, "--config.eval_videos", 0]
    return {
        "build": Program(
            lambda out: ["build", "--corpus", "sign_poses", "--input", place.corpus,
                         "--data_dir", out, "--workers", 2],
            _read_dataset,
        ),
        "encode to csv": Program(
            lambda out: ["encode", *model, "--output", out / "codes.csv"],
            _read_files("codes.csv"),
        ),
        "encode to jvq": Program(
            lambda out: ["encode", *model, "--output", out / "codes.jvq"],
            _read_files("codes.jvq"),
        ),
        "export": Program(
            lambda out: ["export", "signformer", "--dataset", "LSFB-CONT", "--input",
                         signs / "LSFB-CONT", "--output_dir", out, "--chunk_size", 4,
                         "--workers", 2],
            _read_files("*.part*"),
            finds_parts=True,
        ),
        "train": Program(
            lambda out: ["train", "--config", "configs/fsq_pose.py:runlocal", field,
                         place.data_dir, *training, "--workdir", out],
            _read_model,
        ),
    }  # fmt: skip


def _read_files(pattern: str) -> Callable[[Path], dict]:
    return lambda out: {path.name: path.read_bytes() for path in sorted(out.glob(pattern))}


def _read_dataset(out: Path) -> dict:
    from jaxvq import input_pipeline

    dataset, values = input_pipeline.open_dataset(out), {}
    for split in dataset.lengths:
        for record in dataset.source(split):
            values[f"{split} {record['id']}"] = record["data"].tobytes() + record["mask"].tobytes()
    return values | {"mean": dataset.statistics.mean.tobytes()}


def _read_model(out: Path) -> dict:
    """The weights of the last step; what a run that goes on replaces is found by nobody."""
    import jax

    from jaxvq import checkpoint

    model = checkpoint.load_model(out)
    leaves = jax.tree_util.tree_leaves_with_path(model.params)
    values = {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}
    return {f"{model.step} {name}": value for name, value in values.items()}


def _finish(process: subprocess.Popen) -> tuple[int, str]:
    """Exit status and the last line of errors; "Traceback" where there was one."""
    _, errors = process.communicate()
    lines = errors.strip().splitlines() or [""]
    return process.returncode, "Traceback" if "Traceback" in errors else lines[-1]


def _whole(program: Program, output: Path) -> tuple[dict, float]:
    """What the program makes when nothing disturbs it, and its seconds."""
    output.mkdir(parents=True)
    started = time.monotonic()
    status, line = _finish(program.start(output))
    if status:
        raise RuntimeError(f"{program.arguments(output)}: {line}")
    return program.read(output), time.monotonic() - started


def kills(place: Place, cases: int, rng) -> Iterator[Case]:
    """kill -9 at any moment, a look at what is there, and the same command once more."""
    known = {}
    for number in range(cases):
        todo = programs(place)
        name = list(todo)[number % len(todo)]
        program, out = todo[name], place.scratch / f"killed {number}"
        if name not in known:
            known[name] = _whole(program, place.scratch / f"whole {name}")
        whole, seconds = known[name]
        delay = float(rng.uniform(0.3, 1) * seconds)

        def check(program=program, out=out, whole=whole, delay=delay):
            out.mkdir()
            process = program.start(out)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(delay)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            if not _is_part(program, out, whole):
                return HALF
            status, line = _finish(program.start(out))
            if status:
                raise RuntimeError(f"cannot be started again: {line}")
            if program.read(out) != whole:
                return WRONG
            shutil.rmtree(out)
            return RIGHT

        yield f"{name} after {delay:.1f} s", check


def _is_part(program: Program, out: Path, whole: dict) -> bool:
    """Whether nothing there is taken for whole that is not."""
    try:
        found = program.read(out)
    except (ValueError, OSError):
        return True
    if program.read is _read_model and found:  # an earlier step, which is whole
        return True
    parts = found.items() <= whole.items()
    return not found or found == whole or (program.finds_parts and parts)


def twice(place: Place, cases: int, rng) -> Iterator[Case]:
    """Two processes with one output: one may be refused, and what is there is whole."""
    for name, program in list(programs(place).items())[:cases]:

        def check(name=name, program=program):
            whole, _ = _whole(program, place.scratch / f"alone {name}")
            out = place.scratch / f"both {name}"
            out.mkdir()
            ended = [_finish(p) for p in [program.start(out), program.start(out)]]
            if any(line == "Traceback" for _, line in ended):
                return TRACEBACK
            if all(status for status, _ in ended):
                return WRONG
            if program.read(out) != whole:
                return WRONG
            return HALF if _leftovers(out) else RIGHT

        yield name, check


def _leftovers(out: Path) -> list[Path]:
    return [path for path in out.rglob("*") if path.name.startswith(KINDS_OF_LEFTOVERS)]


# ---------------------------------------------------------------------------------- full disks


@contextlib.contextmanager
def full_disk(most: int) -> Iterator[None]:
    """No file of this process can grow beyond `most` bytes: a write fails in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def writers(place: Place) -> dict[str, Callable[[Path], None]]:
    """Everything that writes one file."""
    from jaxvq import checkpoint, inference
    from jaxvq.evaluators import page, player
    from jaxvq.hands import npz as hands
    from jaxvq.pose import draw, writer
    from jaxvq.pose.reader import read_pose
    from jaxvq.pose.statistics import save_statistics
    from jaxvq.signformer import pami0
    from jaxvq.storage import atomic
    from jaxvq.tokens import code_tables, csv_file, token_file

    from .. import zip_dataset
    from ..evaluation import pictures
    from ..signformer import parts

    tokenizer = inference.load(place.run)
    model = tokenizer.model
    pose = read_pose(sorted(place.corpus.rglob("*.pose"))[0])
    clip, _ = tokenizer.standardize(pose)
    tokens = tokenizer.encode(pose)
    frames = draw.draw_frames(clip.replace(data=clip.data[:3], confidence=clip.confidence[:3]), 64)
    mask = np.zeros(clip.mask.shape, bool)
    member = zip_dataset.encode_clip(clip.data, mask, 25.0, model.statistics)
    sample = pami0.Sample(np.ones((30, 64), np.float32), "text", "", "signer", "name")

    def token_writer(open_file):
        def write(path):
            with open_file(path) as file:
                for number in range(20):
                    file.write(str(number), tokens)

        return write

    return {
        "pose": lambda path: writer.write_pose(path, pose),
        "header": lambda path: writer.write_header(path, pose.skeleton),
        "statistics": lambda path: save_statistics(path, model.skeleton, model.statistics),
        "gif": lambda path: draw.write_gif(path, frames, 25),
        "png": lambda path: draw.write_png(path, frames[0]),
        "zip of npz": lambda path: zip_dataset.write_zip(
            path, [("a.npz", member), ("b.npz", member)], model.skeleton, model.statistics
        ),
        "jvq": token_writer(lambda path: token_file.Writer(path, tokenizer.code_tables)),
        "csv": token_writer(lambda path: csv_file.writing(path, tokenizer.task, "0" * 64)),
        "code tables": lambda path: code_tables.save(path, tokenizer.code_tables),
        "hands": lambda path: hands.write_npz(path, {"lhand_pose": np.ones((200, 45))}),
        "pami0": lambda path: parts.write_part(path, [parts.encode_sample(sample, 0)] * 3),
        "page": lambda path: player.write(
            path, [player.Clip("x", clip, clip, tokens)], tokenizer, title="x"
        ),
        "report": lambda path: page.write_report(
            path,
            metrics={"mpjpe/all": 1.0},
            about=dict.fromkeys(("split", "data_dir", "checkpoint", "step"), "x" * 99),
        ),
        "strip": lambda path: pictures.write_strip(path, clip, clip),
        "json": lambda path: atomic.write_json(path, list(range(2000))),
        "config": lambda path: checkpoint.write_config(path.parent, model.config),
    }


def full_disks(place: Place, cases: int, rng) -> Iterator[Case]:
    """Each writer of a file runs out of space, somewhere; then whole programs do."""
    todo = writers(place)
    whole_programs = list(programs(place).items()) if cases > len(todo) else []
    for number in range(cases - len(whole_programs)):
        name = list(todo)[number % len(todo)]
        path = place.scratch / f"full {number}" / ("config.json" if name == "config" else "x")

        def check(write=todo[name], path=path):
            path.parent.mkdir()
            write(path)
            before = path.read_bytes()
            try:
                with full_disk(int(rng.integers(len(before)))):
                    write(path)
            except OSError as error:
                if error.filename != str(path):
                    raise RuntimeError(f"the error does not name the file: {error}") from error
            else:
                return WRONG
            whole = [path] == list(path.parent.iterdir()) and path.read_bytes() == before
            return REFUSED if whole else HALF

        yield name, check
    for name, program in whole_programs:

        def check(name=name, program=program):
            whole, _ = _whole(program, place.scratch / f"roomy {name}")
            out = place.scratch / f"full {name}"
            out.mkdir()
            largest = max(p.stat().st_size for p in (place.scratch / f"roomy {name}").rglob("*"))
            status, line = _finish(program.start(out, limit=max(largest // 2, 1000)))
            if line == "Traceback" or status < 0:
                return TRACEBACK
            if status == 0:
                return WRONG
            return REFUSED if _is_part(program, out, whole) and not _leftovers(out) else HALF

        yield name, check
