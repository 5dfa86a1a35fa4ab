"""Files with wrong bytes: each is refused in one line, or read as if nothing had happened."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .counting import OTHER, RIGHT, WRONG, Case, Place


def damage(content: bytes, rng) -> tuple[str, bytes]:
    """What was done, and the bytes after it."""
    size = max(len(content), 1)
    at = int(rng.integers(size if rng.random() < 0.5 else min(size, 3000)))
    kind = rng.choice(["cut", "byte", "bytes", "block", "insert", "ones", "drop"])
    data = bytearray(content)
    if kind == "cut":
        del data[at:]
    elif kind in ("byte", "bytes"):
        for place in rng.integers(size, size=1 if kind == "byte" else 8) if at % 2 else [at]:
            data[place : place + 1] = bytes([rng.integers(256)])
    elif kind == "block":
        data[at : at + 64] = bytes(min(64, size - at))
    elif kind == "insert":
        data[at:at] = rng.bytes(int(rng.integers(1, 9)))
    elif kind == "ones":
        data[at : at + 4] = b"\xff" * min(4, size - at)
    else:
        del data[at : at + int(rng.integers(1, 9))]
    return f"{kind} at {at}", bytes(data)


def pose_files(place: Place, cases: int, rng) -> Iterator[Case]:
    """Damaged .pose files, read and normalised as a build does it."""
    from jaxvq.pose import preprocess
    from jaxvq.pose.reader import read_pose
    from jaxvq.pose.skeleton import HOLISTIC_178

    paths = sorted(place.corpus.rglob("*.pose"))

    def read(content: bytes):
        pose, _ = preprocess.preprocess(read_pose(content, name="clip.pose"), HOLISTIC_178)
        return pose

    whole = {}
    for _ in range(cases):
        path = paths[int(rng.integers(len(paths)))]
        content = path.read_bytes()
        if path not in whole:
            try:
                whole[path] = read(content)
            except ValueError:  # one that was broken before
                whole[path] = None
        what, data = damage(content, rng)

        def check(data=data, expected=whole[path]):
            pose = read(data)
            if expected is None:
                return WRONG
            if pose.data.shape != expected.data.shape or not np.isfinite(pose.data).all():
                return WRONG
            same = pose.fps == expected.fps and np.array_equal(pose.data, expected.data)
            return RIGHT if same and np.array_equal(pose.mask, expected.mask) else OTHER

        yield f"{path.name}, {what}", check


def token_files(place: Place, cases: int, rng) -> Iterator[Case]:
    """Damaged .jvq files."""
    from jaxvq import inference
    from jaxvq.tokens import token_file

    tokenizer = inference.load(place.run)
    tables = tokenizer.code_tables
    books = np.array(tokenizer.task.codebook_sizes)
    path = place.scratch / "tokens.jvq"
    with token_file.Writer(path, tables) as file:
        for number in range(30):
            steps = int(rng.integers(1, 60))
            indices = rng.integers(books, size=(steps, len(books)), dtype=np.int32)
            indices = indices.reshape(steps, *tokenizer.task.token_shape)
            length = steps * tokenizer.task.frames_per_step
            file.write(f"clip {number}", inference.Tokens(indices, 25.0, length))
    content = path.read_bytes()

    def read():
        return [(n, t.fps, t.length, t.indices.tobytes()) for n, t in token_file.read(path, tables)]

    whole = read()
    for _ in range(cases):
        what, data = damage(content, rng)

        def check(data=data):
            path.write_bytes(data)
            return RIGHT if read() == whole else WRONG

        yield what, check


def _damaged_copies(source: Path, copy: Path, cases: int, rng, read: Callable) -> Iterator[Case]:
    """Cases that change or remove one file of a folder; read: folder -> arrays and other values."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source, copy)
    whole = read(copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    for _ in range(cases):
        path = files[int(rng.integers(len(files)))]
        content = path.read_bytes()
        gone = rng.random() < 0.1
        what, data = ("gone", b"") if gone else damage(content, rng)

        def check(path=path, content=content, gone=gone, data=data):
            try:
                path.unlink() if gone else path.write_bytes(data)
                return _compare(read(copy), whole)
            finally:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

        yield f"{path.relative_to(copy)}, {what}", check


def _compare(found: dict, whole: dict) -> str:
    """Both of arrays and other values by name."""
    if found.keys() != whole.keys():
        return WRONG
    outcome = RIGHT
    for name, expected in whole.items():
        value = found[name]
        if not isinstance(expected, np.ndarray):
            if value != expected:
                return WRONG
        elif value.shape != expected.shape or value.dtype != expected.dtype:
            return WRONG
        elif not np.array_equal(value, expected, equal_nan=expected.dtype.kind == "f"):
            outcome = OTHER if np.isfinite(value).all() else WRONG
    return outcome


def datasets(place: Place, cases: int, rng) -> Iterator[Case]:
    """Built datasets with a damaged file: all records, the statistics and the skeleton are read."""
    from jaxvq import input_pipeline

    def read(folder: Path) -> dict:
        dataset = input_pipeline.open_dataset(folder)
        values = {"mean": dataset.statistics.mean, "std": dataset.statistics.std}
        values["skeleton"] = dataset.skeleton.to_json()
        for split, lengths in dataset.lengths.items():
            source = dataset.source(split)
            values[f"{split} lengths"] = lengths
            for i in range(len(source)):
                for name, value in source[i].items():
                    array = isinstance(value, np.ndarray)
                    values[f"{split} {i} {name}"] = value if array else str(value)
        return values

    yield from _damaged_copies(place.data_dir, place.scratch / "dataset", cases, rng, read)


def checkpoints(place: Place, cases: int, rng) -> Iterator[Case]:
    """Trained models with a damaged file: all that inference needs is read."""
    import jax

    from jaxvq import checkpoint
    from jaxvq.tasks import make_task

    def read(folder: Path) -> dict:
        model = checkpoint.load_model(folder)
        make_task(model.config, model.skeleton, model.statistics)
        values = {"mean": model.statistics.mean, "std": model.statistics.std}
        values |= {"skeleton": model.skeleton.to_json(), "config": str(model.config)}
        leaves = jax.tree_util.tree_leaves_with_path((model.params, model.state))
        return values | {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}

    newest = checkpoint.find_checkpoint(place.run)
    source = place.scratch / "one checkpoint"
    shutil.copytree(newest, source / checkpoint.CHECKPOINTS / newest.name, dirs_exist_ok=True)
    yield from _damaged_copies(source, place.scratch / "model", cases, rng, read)


def code_tables(place: Place, cases: int, rng) -> Iterator[Case]:
    """Damaged code_tables.npz."""
    from jaxvq.tokens import code_tables

    source = place.scratch / "tables"
    source.mkdir(exist_ok=True)
    shutil.copy(place.run / code_tables.FILE, source)

    def read(folder: Path) -> dict:
        return {"checksum": code_tables.read(folder / code_tables.FILE).checksum}

    yield from _damaged_copies(source, place.scratch / "damaged tables", cases, rng, read)


def published(place: Place, cases: int, rng) -> Iterator[Case]:
    """Published folders with a damaged file: the manifest notices all of them."""
    from jaxvq.storage import manifests

    source = place.scratch / "published"
    shutil.copytree(place.run, source, dirs_exist_ok=True)
    manifests.write_manifest(source, kind="model", name="soak", version="1.0.0")

    def read(folder: Path) -> dict:
        return {"fingerprint": manifests.check(folder, "model")["fingerprint"]}

    yield from _damaged_copies(source, place.scratch / "altered", cases, rng, read)
