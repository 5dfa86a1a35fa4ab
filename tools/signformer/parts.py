"""Writes Signformer's `.pami0` files, which jaxvq/signformer/pami0.py describes, without PyTorch.

The pickle is put together instruction by instruction. As in PyTorch's own pickles, a tensor is a
call of torch._utils._rebuild_tensor_v2 on the result of torch.storage._load_from_bytes, whose
argument is in the format of torch.save before PyTorch 1.6. Every sample is a gzip member of its
own; readers of gzip join members, so worker processes can compress samples independently.
"""

import gzip
import pickle
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxvq.importers.torch_file import LEGACY_MAGIC, LEGACY_PROTOCOL
from jaxvq.signformer.pami0 import TEXTS, Sample
from jaxvq.storage import atomic

# Signformer's loader adds this number, and then counts frames whose feature 0 is not 0 as visible.
_ADDED_BY_LOADER = np.float32(1e-8)
_LIST_START = pickle.PROTO + b"\x04" + pickle.EMPTY_LIST + pickle.MARK
_LIST_END = pickle.APPENDS + pickle.STOP


def encode_sample(sample: Sample, level: int) -> bytes:
    """A sample as a gzip member for `write_part`; level: of the compression, 0 to 9.

    Raises ValueError for what Signformer's loader cannot read: no frames, another type than
    float32, numbers that are not finite, a text that is no string.
    """
    sign = sample.sign
    if sign.ndim != 2 or not len(sign) or sign.dtype != np.float32:
        raise ValueError(
            f"{sample.name}: sign is {sign.dtype} of shape {sign.shape}, expected float32 "
            "(frames, features) with at least one frame"
        )
    if not np.isfinite(sign).all():
        raise ValueError(f"{sample.name}: sign holds numbers that are not finite")
    invisible = sign[:, 0] == -_ADDED_BY_LOADER
    if invisible.any():
        sign = sign.copy()
        sign[invisible, 0] = 0
    items = [_text("sign"), _tensor(sign)]
    for key in TEXTS:
        value = getattr(sample, key)
        if not isinstance(value, str):
            raise ValueError(f"{sample.name}: {key} is {value!r}, expected a string")
        items += [_text(key), _text(value)]
    content = pickle.EMPTY_DICT + pickle.MARK + b"".join(items) + pickle.SETITEMS
    return gzip.compress(content, level, mtime=0)


def write_part(path: str | Path, members: Iterable[bytes]) -> int:
    """Writes encoded samples as one file, which appears when it is complete; returns its size.

    Until then its name begins with "tmp.", so the loaders' pattern <base>.part* does not match it.
    """
    with atomic.writing(path) as temporary, open(temporary, "wb") as file:
        file.write(gzip.compress(_LIST_START, mtime=0))
        for member in members:
            file.write(member)
        file.write(gzip.compress(_LIST_END, mtime=0))
        return file.tell()


def _text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")  # as pickle does
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content


def _tensor(array: np.ndarray) -> bytes:
    """The instructions that make a tensor of a float32 array (t, d), as PyTorch pickles it."""
    rows, columns = array.shape
    content = _storage_bytes(array)
    return b"".join(
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n" + pickle.MARK,
            b"ctorch.storage\n_load_from_bytes\n",
            pickle.BINBYTES8 + struct.pack("<Q", len(content)),
            content,
            pickle.TUPLE1 + pickle.REDUCE,
            pickle.BININT1 + b"\x00",  # offset into the storage
            _pair(rows, columns),
            _pair(columns, 1),
            pickle.NEWFALSE,  # requires_grad
            b"ccollections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE,  # hooks
            pickle.TUPLE + pickle.REDUCE,
        )
    )


def _pair(first: int, second: int) -> bytes:
    numbers = struct.pack("<cici", pickle.BININT, first, pickle.BININT, second)
    return numbers + pickle.TUPLE2


def _storage_bytes(array: np.ndarray) -> bytes:
    """A torch.FloatStorage in the format of torch.save before PyTorch 1.6."""
    system = {
        "protocol_version": LEGACY_PROTOCOL,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    # The pickle only refers to the storage, whose numbers follow the pickles.
    reference = b"".join(
        (
            pickle.PROTO + b"\x02" + pickle.MARK,
            _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu"),
            pickle.BININT + struct.pack("<i", array.size) + pickle.NONE,
            pickle.TUPLE + pickle.BINPERSID + pickle.STOP,
        )
    )
    return b"".join(
        (
            *(pickle.dumps(value, 2) for value in (LEGACY_MAGIC, LEGACY_PROTOCOL, system)),
            reference,
            pickle.dumps(["0"], 2),
            struct.pack("<q", array.size),
            np.ascontiguousarray(array, "<f4").tobytes(),
        )
    )
