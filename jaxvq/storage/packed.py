"""A model in one small file: its arrays as float16, and its JSON.

Reading takes milliseconds and needs only numpy; a checkpoint needs Orbax. Numbers come back as
float32. They are rounded once, when the file is written: the file is the rounded model.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxvq.storage import atomic, reading

FILE = "model.npz"
MOST_BYTES = 1 << 30
_META = "meta"  # no array has this name: theirs begin with params/ or state/


def write(folder: Path, meta: dict, tree: dict[str, Any]) -> None:
    """Writes `tree` (nested dicts of arrays) and `meta` into a folder.

    Raises ValueError for numbers that are too large for float16.
    """
    arrays = {}
    for name, array in _flat(tree):
        array = np.asarray(array)
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):
                array = array.astype(np.float16)
            if not np.isfinite(array).all():
                raise ValueError(f"{name} has numbers that are too large for float16")
        arrays[name] = array
    arrays[_META] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with atomic.writing(folder / FILE) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read(folder: Path) -> tuple[dict, dict[str, Any]]:
    """(meta, tree) as `write` got them, rounded; ValueError for a damaged file."""
    arrays = reading.read_npz(folder / FILE, most=MOST_BYTES)
    meta = reading.parse_json(arrays.pop(_META, np.zeros(0)).tobytes(), folder / FILE)
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        place = tree
        *parents, last = name.split("/")
        for parent in parents:
            place = place.setdefault(parent, {})
        if last:
            place[last] = array.astype(np.float32) if array.dtype == np.float16 else array
    return meta, tree


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves = []
    for name, value in tree.items():
        if isinstance(value, dict) and not value:
            leaves.append((f"{prefix}{name}/", np.zeros(0, np.float16)))
        elif isinstance(value, dict):
            leaves += _flat(value, f"{prefix}{name}/")
        else:
            leaves.append((prefix + name, value))
    return leaves
