"""The split of each clip, and the order in which clips are stored."""

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from jaxvq.datasets.schema import SPLITS
from jaxvq.storage import reading

# Names of splits in corpora -> ours.
NAMES = {name: "validation" for name in ("val", "valid", "dev")} | {name: name for name in SPLITS}


def record_order(key: str) -> bytes:
    """The sort key of records: a hash, so that neighbours on disk are unrelated."""
    return hashlib.md5(key.encode("utf-8", "surrogateescape")).digest()


def default_split(key: str) -> str:
    """A split by the md5 of the stem: 80 % train, 10 % validation, 10 % test."""
    stem = PurePosixPath(key).stem.encode("utf-8", "surrogateescape")
    digit = int(hashlib.md5(stem).hexdigest(), 16) % 10
    return "train" if digit < 8 else "validation" if digit == 8 else "test"


def by_first_folder(keys: Iterable[str]) -> dict[str, list[str]]:
    """Split -> keys in record order, for keys <split>/<name>."""
    keys = sorted(keys, key=record_order)
    return {split: [key for key in keys if key.startswith(f"{split}/")] for split in SPLITS}


def assign_splits(keys: Iterable[str], split_file: str | Path | None) -> dict[str, list[str]]:
    """Split -> keys in record order.

    split_file: JSON {split: [key or stem, …]} or CSV with the columns file,split. Keys that it does
    not name are left out. Raises ValueError for unknown splits, names in two splits, and a file
    whose names match no clip.
    """
    keys = sorted(keys, key=record_order)
    assigned = {split: [] for split in SPLITS}
    if split_file is None:
        for key in keys:
            assigned[default_split(key)].append(key)
        return assigned
    split_of = _read_split_file(Path(split_file))
    unused = set(split_of)
    for key in keys:
        path = PurePosixPath(key)
        names = [n for n in (key, str(path.with_suffix("")), path.stem) if n in split_of]
        unused.difference_update(names)
        if names:
            assigned[split_of[names[0]]].append(key)
    if len(unused) == len(split_of):
        raise ValueError(
            f"{split_file}: none of its {len(unused)} names is a clip of the input, "
            f"for example {min(unused)!r}; expected names such as {keys[0]!r}"
        )
    return assigned


def _read_split_file(path: Path) -> dict[str, str]:
    text = path.read_text("utf-8-sig")
    pairs = _json_pairs if path.suffix.lower() == ".json" else _csv_pairs
    split_of: dict[str, str] = {}
    for name, given in pairs(path, text):
        if given not in NAMES:
            raise ValueError(f"{path}: unknown split {given!r}; there are: {', '.join(SPLITS)}")
        split = NAMES[given]
        if split_of.setdefault(name, split) != split:
            raise ValueError(f"{path}: {name!r} is both in {split_of[name]} and in {split}")
    if not split_of:
        raise ValueError(f"{path}: names no clips")
    return split_of


def _json_pairs(path: Path, text: str) -> Iterable[tuple[str, str]]:
    content = reading.parse_json(text, path)
    lists = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(names, list) for names in lists):
        raise ValueError(f'{path}: expected {{"train": [names], "validation": [names], …}}')
    return ((str(name), split) for split, names in content.items() for name in names)


def _csv_pairs(path: Path, text: str) -> Iterable[tuple[str, str]]:
    reader = csv.DictReader(text.splitlines())
    if not {"file", "split"} <= set(reader.fieldnames or ()):
        raise ValueError(
            f"{path}: expected a .json file, or CSV with the columns file,split; "
            f"the first line is {text.partition(chr(10))[0][:80]!r}"
        )
    return ((row["file"] or "", row["split"] or "") for row in reader)
