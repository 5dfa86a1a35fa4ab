"""Writes and reads Signformer's `.pami0` files without PyTorch.

A file, or each of its parts <base>.part0, <base>.part1, …, is a gzipped pickle of a list of dicts
with sign (a torch.Tensor of float32, (t, features)), text, gloss, signer and name (str). The writer
puts the pickle together instruction by instruction. As in PyTorch's own pickles, a tensor is a call
of torch._utils._rebuild_tensor_v2 on the result of torch.storage._load_from_bytes, whose argument
is in the format of torch.save before PyTorch 1.6. Every sample is a gzip member of its own; readers
of gzip join members, so worker processes can compress samples independently.

The reader goes through safe_pickle, which runs nothing: it refuses a pickle that asks for anything
but such tensors, and names what the pickle asked for.
"""

import glob
import gzip
import io
import os
import pickle
import re
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxvq.importers.safe_pickle import Allowed, expect, load_pickle
from jaxvq.importers.torch_file import (
    LEGACY_MAGIC,
    LEGACY_PROTOCOL,
    TORCH_GLOBALS,
    Storage,
    Tensor,
    load_legacy_storage,
)
from jaxvq.storage import atomic

TEXTS = ("text", "gloss", "signer", "name")
# Signformer's loader adds this number, and then counts frames whose feature 0 is not 0 as visible.
_ADDED_BY_LOADER = np.float32(1e-8)
# Limit of one sentence, and of all texts of a part: 40 minutes of signing, but no bomb's gigabytes.
MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class Sample:
    """One sentence. sign: (t, features); writing takes float32, files may hold other types."""

    sign: np.ndarray
    text: str
    gloss: str
    signer: str
    name: str


# -------------------------------------------------------------------------------------- writing

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


# -------------------------------------------------------------------------------------- reading


def find_parts(prefix: str | Path, split: str) -> list[Path]:
    """[<prefix>.<split>], or its parts in the order of their numbers; [] if there is neither.

    Raises ValueError if both exist: some loaders read the file and some the parts.
    """
    base = Path(f"{prefix}.{split}")
    numbers = {}
    for path in base.parent.glob(f"{glob.escape(base.name)}.part*"):
        if match := re.fullmatch(r"\.part(\d+)", path.name.removeprefix(base.name)):
            numbers[int(match[1])] = path
    parts = [numbers[number] for number in sorted(numbers)]
    if base.is_file() and parts:
        raise ValueError(
            f"{base} and {len(parts)} parts of it ({parts[0].name}, …) exist: remove one or the "
            "other, as some loaders read the file and some the parts"
        )
    return [base] if base.is_file() else parts


def read_samples(path: str | Path) -> Iterator[Sample]:
    """The samples of one file or part: those of the lists and the single dicts in its pickles.

    A pickle is read to its end before its first sample is yielded. The numbers wait in a temporary
    file meanwhile, so memory does not grow with them. Raises ValueError that names the file if the
    file is damaged or empty, or asks for something that is not allowed (safe_pickle.Refused).
    """
    with tempfile.TemporaryFile() as scratch, open(path, "rb") as file:
        try:
            # The buffer makes the many small reads of a pickle cheap.
            buffered = io.BufferedReader(gzip.GzipFile(fileobj=file), 1 << 16)
            if not buffered.peek(1):
                raise ValueError("the file is empty")
            while buffered.peek(1):
                scratch.truncate(0)
                loaded = load_pickle(
                    buffered,
                    _GLOBALS,
                    take_bytes=lambda content: _BytesInFile.of(content, scratch),
                    most_bytes=MOST_BYTES,
                )
                for item in loaded if isinstance(loaded, list) else [loaded]:
                    yield _sample(item)
        except ValueError as error:
            raise type(error)(f"{path}: {error}") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: not a gzip file, or cut short ({error})") from error


@dataclass(frozen=True)
class _BytesInFile:
    """Bytes that are kept in a file instead of in memory."""

    file: BinaryIO
    start: int
    size: int

    @staticmethod
    def of(content: bytes, file: BinaryIO) -> "_BytesInFile":
        start = file.seek(0, os.SEEK_END)
        file.write(content)
        return _BytesInFile(file, start, len(content))

    def read(self, offset: int, size: int) -> bytes:
        self.file.seek(self.start + offset)
        return self.file.read(min(size, self.size - offset))


def _sample(item) -> Sample:
    if not isinstance(item, dict):
        raise ValueError(f"expected samples, which are dicts, got a {type(item).__name__}")
    if missing := {"sign", *TEXTS} - set(item):
        raise ValueError(f"a sample has no {', '.join(sorted(missing))}; it has {list(item)}")
    if not isinstance(item["sign"], Tensor):
        raise ValueError(f"sign is a {type(item['sign']).__name__}, expected a torch.Tensor")
    texts = {key: expect(item[key], str) for key in TEXTS}
    return Sample(item["sign"].numpy(), **texts)


def _load_from_bytes(content) -> Storage:
    return load_legacy_storage(expect(content, _BytesInFile).read)


_GLOBALS: Allowed = TORCH_GLOBALS | {("torch.storage", "_load_from_bytes"): _load_from_bytes}
