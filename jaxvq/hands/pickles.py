"""Reads pickles of numpy arrays and PyTorch tensors without running them.

Motion data is published as pickled dicts of arrays, plain or in PyTorch's zip files, and numpy
pickles arrays of objects. `safe_pickle` reads them and refuses everything that is not listed below.
"""

import re
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxvq.importers.safe_pickle import MAX_INSTRUCTIONS, Allowed, expect, load_pickle
from jaxvq.importers.torch_file import (
    TORCH_GLOBALS,
    Storage,
    Tensor,
    load_legacy_storage,
    load_torch_zip,
)

_PLAIN_DTYPE = re.compile(r"[fiub][1248]")
_TEXT_VALUES = (str, int, float, np.generic, type(None))


class _EmptyArray:
    """An array before the pickle gives it a shape and numbers."""


def load_arrays(path: str | Path) -> dict:
    """The dict in a pickle or a PyTorch zip file. Tensors become numpy arrays. ValueError for a
    file that asks for more than arrays."""
    path = Path(path)
    if zipfile.is_zipfile(path):
        content = load_torch_zip(path, _NUMPY_GLOBALS | TORCH_GLOBALS, set_state=_set_state)
    else:
        try:
            content = load_pickle(path.read_bytes(), _GLOBALS, set_state=_set_state)
        except ValueError as error:
            raise type(error)(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict of arrays")
    return {
        key: value.numpy() if isinstance(value, Tensor) else value for key, value in content.items()
    }


def load_texts(source: bytes | BinaryIO, count: int) -> list[str]:
    """The `count` texts or numbers of a pickled array of objects, as text; "" for None. ValueError
    for a pickle that asks for more than these."""
    # numpy.str_ takes 15 instructions, and str two.
    most = MAX_INSTRUCTIONS + 15 * count
    values = load_pickle(source, _TEXT_GLOBALS, set_state=_set_state, most_instructions=most)
    if not isinstance(values, list) or not all(isinstance(v, _TEXT_VALUES) for v in values):
        raise ValueError("expected an array of texts")
    if len(values) != count:
        raise ValueError(f"{len(values)} values, expected {count}")
    return ["" if value is None else str(value) for value in values]


def _dtype(code, *_flags) -> np.dtype:
    if not _PLAIN_DTYPE.fullmatch(expect(code, str)):
        raise ValueError(f"an array of type {code[:20]!r}, expected numbers")
    return np.dtype(code)


def _text_dtype(code, *_flags) -> np.dtype:
    """Also objects, and the text of fixed length that numpy.str_ is pickled as."""
    return np.dtype(code) if re.fullmatch(r"O8|U\d{1,4}", expect(code, str)) else _dtype(code)


def _scalar(dtype, data):
    return np.frombuffer(_bytes(data), expect(dtype, np.dtype), 1)[0]


def _encode(text, encoding) -> bytes:
    """Bytes, which older pickles write as text."""
    return expect(text, str).encode(expect(encoding, str))


def _bytes(data) -> bytes | bytearray:
    return data.encode("latin1") if isinstance(data, str) else expect(data, bytes | bytearray)


def _from_buffer(data, dtype, shape, order) -> np.ndarray:
    array = np.frombuffer(_bytes(data), expect(dtype, np.dtype))
    return array.reshape(expect(shape, tuple), order="F" if order == "F" else "C")


def _set_state(target, state):
    """Gives an array its numbers, and a type its byte order (the instruction BUILD)."""
    if isinstance(target, dict):
        return target
    state = expect(state, tuple)
    if isinstance(target, np.dtype):
        return target.newbyteorder(state[1]) if state[1] in ("<", ">") else target
    expect(target, _EmptyArray)
    _version, shape, dtype, fortran, data = state
    if isinstance(data, list):  # of an array of objects
        return data
    return _from_buffer(data, dtype, shape, "F" if fortran else "C")


def _load_from_bytes(content) -> Storage:
    """The numbers of a tensor in a plain pickle of PyTorch."""
    content = expect(content, bytes)
    return load_legacy_storage(lambda offset, size: content[offset : offset + size])


_NUMPY_GLOBALS: Allowed = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _NUMPY_GLOBALS[f"{_core}.multiarray", "_reconstruct"] = lambda *_: _EmptyArray()
    _NUMPY_GLOBALS[f"{_core}.multiarray", "scalar"] = _scalar
    _NUMPY_GLOBALS[f"{_core}.numeric", "_frombuffer"] = _from_buffer
_GLOBALS: Allowed = (
    _NUMPY_GLOBALS | TORCH_GLOBALS | {("torch.storage", "_load_from_bytes"): _load_from_bytes}
)
_TEXT_GLOBALS: Allowed = _NUMPY_GLOBALS | {("numpy", "dtype"): _text_dtype}
