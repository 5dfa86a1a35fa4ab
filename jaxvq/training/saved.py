"""Items of Orbax: room for them, their shapes, reading them, their checksums.

Orbax and TensorStore notice some damage, with many kinds of errors; checksums notice the rest.
Orbax takes a third of a second to import, so functions import it where they need it.
"""

import json
import sys
import zlib
from pathlib import Path

import jax
import numpy as np

from jaxvq.storage import atomic

_MOST_METADATA = 1 << 20  # bytes of what Orbax writes beside the numbers


def require_space(directory: Path, trees) -> None:
    """Raises OSError if there is no room for host arrays in a directory, which host 0 writes.

    A full disk that Orbax's threads notice first ends in their tracebacks.
    """
    if jax.process_index() == 0:
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(trees))
        atomic.require_space(directory, size + _MOST_METADATA)


def restore(item: Path, like, expected: int | None):
    """A saved item. like: has its shapes and dtypes. expected: its checksum, None in version 0.1.

    Raises ValueError if the item is damaged.
    """
    import orbax.checkpoint as ocp

    report, sys.unraisablehook = sys.unraisablehook, _report_but_closed_loops
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
            found = reader.restore(item, args=ocp.args.StandardRestore(_as_numpy(like)))
    except Exception as error:  # of many kinds; the hook stays for errors of other threads
        raise damaged(item, error) from None
    sys.unraisablehook = report
    if expected is not None and checksum(found) != expected:
        raise damaged(item, "its numbers are not those that were saved")
    return found


def _report_but_closed_loops(unraisable) -> None:
    """Hides errors of TensorStore's threads after the first one, which closed their loop."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def sealed(meta: dict) -> dict:
    """The fields with a seal, the CRC-32 of their JSON."""
    fields = {name: value for name, value in meta.items() if name != "seal"}
    return fields | {"seal": zlib.crc32(json.dumps(fields, sort_keys=True).encode())}


def damaged(item: Path, why) -> ValueError:
    line = (str(why).strip().splitlines() or [""])[0][:300]
    return ValueError(f"{item}: damaged checkpoint ({line}); take another step, or a copy of it")


def checksum(tree) -> int:
    """The CRC-32 of names, types, shapes and numbers of all leaves."""
    total = 0
    for name, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        about = f"{[_key(part) for part in name]} {array.dtype} {array.shape}".encode()
        total = zlib.crc32(array.reshape(-1).view(np.uint8), zlib.crc32(about, total))
    return total


def check_shapes(item: Path, expected) -> None:
    """ValueError that lists the differences between a saved tree and the expected one."""
    saved, wanted = _shapes(tree(item)), _shapes(expected)
    lacks = [k for k in wanted if k not in saved]
    differs = [k for k in wanted if k in saved and saved[k] != wanted[k]]
    problems = [f"{k}: the run expects {wanted[k]}, the checkpoint lacks it" for k in lacks]
    problems += [f"{k}: only in the checkpoint, {saved[k]}" for k in saved if k not in wanted]
    problems += [
        f"{k}: the run expects {wanted[k]}, the checkpoint holds {saved[k]}" for k in differs
    ]
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise ValueError(f"{item} is of another model: " + "; ".join(problems[:5]) + more)


def tree(item: Path):
    """The tree of a saved item, whose leaves have shapes and dtypes."""
    import orbax.checkpoint as ocp

    try:
        metadata = ocp.StandardCheckpointHandler().metadata(item)
        return getattr(metadata, "tree", metadata)
    except Exception as error:  # Orbax raises many kinds of errors
        raise damaged(item, error) from None


def _shapes(tree) -> dict[str, tuple]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = (("/".join(_key(k) for k in path), leaf) for path, leaf in leaves)
    return {name: tuple(leaf.shape) for name, leaf in names if hasattr(leaf, "shape")}


def _key(entry) -> str:
    return str(next(getattr(entry, a) for a in ("key", "name", "idx") if hasattr(entry, a)))


def _as_numpy(tree):
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
