"""Compact token files, `.jvq`: the tokens of one or many clips, coded by a model's tables.

    with token_file.Writer("X.jvq", tokenizer.code_tables) as file:
        file.write("clip", tokens)
    for name, tokens in token_file.read("X.jvq", tokenizer.code_tables): …

docs/formats.md has the layout. Short clips share a block, so that each costs little more than its
codes; long ones have several. Files are read block by block, after one pass for the checksum.
"""

import contextlib
import math
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxvq import pretrained
from jaxvq.storage import atomic
from jaxvq.tokens import csv_file, entropy
from jaxvq.tokens.code_tables import CodeTables
from jaxvq.tokens.tokens import Tokens, another_model

SUFFIX = ".jvq"
MAGIC = b"JVQ"
VERSION = 1
STEPS_PER_PART = 4096
_HEADER = struct.Struct("<3sB8sI")
_TRAILER = struct.Struct("<II")
_FPS = struct.Struct("<d")
USUAL_FPS = 25.0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """Steps [first, first + t') of a clip: indices int32 (t', s, q); length: frames of the clip."""

    name: str
    fps: float
    length: int
    first: int
    indices: np.ndarray


class Writer:
    """Writes clips one after the other; the file appears when the `with` block ends well."""

    def __init__(self, path: str | Path, tables: CodeTables) -> None:
        self._path, self._tables = Path(path), tables
        self._count, self._crc, self._rates, self._rate = 0, 0, [USUAL_FPS], USUAL_FPS
        self._clear()

    def _clear(self) -> None:
        """Begins a block."""
        self._coder, self._steps = entropy.Encoder(), 0
        self._names: list[str] = []
        self._heads: list[bytes] = []

    def __enter__(self) -> "Writer":
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic.writing(self._path))
            self._file = stack.enter_context(temporary.open("wb"))
            self._put(_HEADER.pack(MAGIC, VERSION, _short(self._tables), self._tables.checksum))
            self._ending = stack.pop_all()
        return self

    def write(self, name: str, tokens: Tokens) -> None:
        """Appends a clip. Clips that are named after their places, "0", "1" …, need no names. A
        clip that raises ValueError is left out, and the file is as it was."""
        steps = -(-tokens.length // self._tables.frames_per_step)
        if len(tokens.indices) != steps:
            raise ValueError(f"{name}: {len(tokens.indices)} steps of tokens, expected {steps}")
        try:
            name.encode()
            self._tables.check(tokens.indices)
        except ValueError as error:
            raise ValueError(f"{name!r}: {error}") from None
        self._names.append(name)
        self._heads.append(self._head(tokens))
        for first in range(0, max(steps, 1), STEPS_PER_PART):
            part = tokens.indices[first : first + STEPS_PER_PART]
            self._tables.put(self._coder, part)
            self._steps += len(part)
            if self._steps >= STEPS_PER_PART:
                self._end_block()

    def _head(self, tokens: Tokens) -> bytes:
        """Length and, if it is not that of the clip before, the frame rate."""
        if tokens.fps == self._rate:
            return _varint(2 * tokens.length)
        self._rate, head = tokens.fps, _varint(2 * tokens.length + 1)
        if self._rate in self._rates:
            return head + _varint(1 + self._rates.index(self._rate))
        self._rates.append(self._rate)
        return head + _varint(0) + _FPS.pack(self._rate)

    def _end_block(self) -> None:
        numbers = range(self._count, self._count + len(self._names))
        named = self._names != [str(number) for number in numbers]
        self._put(_varint(2 * len(self._names) + named))
        self._put(b"".join(self._heads))
        before = b""
        for name in self._names if named else ():
            text = name.encode()
            shared = len(os.path.commonprefix([before, text]))
            self._put(_varint(shared) + _varint(len(text) - shared) + text[shared:])
            before = text
        data = self._coder.finish()
        self._put(_varint(len(data)) + data)
        self._count += len(self._names)
        self._clear()

    def _put(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._file.write(data)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is not None:
            self._ending.__exit__(kind, error, traceback)
            return
        with self._ending:
            if self._names or self._steps:
                self._end_block()
            self._put(struct.pack("<I", self._count))
            self._file.write(struct.pack("<I", self._crc))


def read(path: str | Path, tables: CodeTables) -> Iterator[tuple[str, Tokens]]:
    """Names and tokens, clip by clip; errors as `check`."""
    parts = []
    for part in read_parts(path, tables):
        parts.append(part.indices)
        if part.first + len(part.indices) == -(-part.length // tables.frames_per_step):
            yield part.name, Tokens(np.concatenate(parts), part.fps, part.length)
            parts = []


def read_parts(path: str | Path, tables: CodeTables) -> Iterator[Part]:
    """As `read`, in parts of STEPS_PER_PART steps: an hour of signing in little memory."""
    try:
        yield from _parts(path, tables, check(path, tables))
    except (IndexError, OverflowError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} holds what no writer writes: {error}") from error


def _parts(path: str | Path, tables: CodeTables, total: int) -> Iterator[Part]:
    with Path(path).open("rb") as file:
        file.seek(_HEADER.size)
        rates, rate, count, first = [USUAL_FPS], USUAL_FPS, 0, 0
        clips: list[tuple[str, float, int]] = []
        while clips or count < total:
            new, named = divmod(_read_varint(file), 2)
            heads = []
            for _ in range(new):
                rate, length = _read_head(file, rates, rate)
                heads.append((rate, length))
            names = _read_names(file, new) if named else map(str, range(count, count + new))
            clips += [(name, *head) for name, head in zip(names, heads, strict=True)]
            count += new
            coder = entropy.Decoder(_read(file, _read_varint(file)))
            while clips:
                name, fps, length = clips[0]
                steps = -(-length // tables.frames_per_step)
                indices = tables.get(coder, min(STEPS_PER_PART, steps - first))
                yield Part(name, fps, length, first, indices)
                first += len(indices)
                if first < steps:
                    break  # the rest of a long clip is in the next block
                first, clips = 0, clips[1:]


def _read_head(file: BinaryIO, rates: list[float], rate: float) -> tuple[float, int]:
    """Frame rate and length of a clip; a new rate is added to those met before."""
    length, changed = divmod(_read_varint(file), 2)
    if changed:
        place = _read_varint(file)
        if place == 0:
            rates += _FPS.unpack(_read(file, _FPS.size))
            if not 0 < rates[-1] < math.inf:
                raise ValueError(f"{file.name}: {rates[-1]} frames per second; write it again")
        rate = rates[place - 1]
    return rate, length


def _read_names(file: BinaryIO, count: int) -> list[str]:
    names, text = [], b""
    for _ in range(count):
        shared = _read_varint(file)
        text = text[:shared] + _read(file, _read_varint(file))
        names.append(text.decode())
    return names


def first_model(path: str | Path) -> str:
    """The first digits of the fingerprint of the model that wrote a file; "" for another file."""
    with Path(path).open("rb") as file:
        start = file.read(_HEADER.size)
    return _HEADER.unpack(start)[2].hex() if len(start) == _HEADER.size else ""


def pretrained_model(path: str | Path) -> str:
    """What to decode with where nobody names a model: the pretrained one that wrote the CSV or
    `.jvq`, in its version; the default where the file says nothing of one."""
    path, wrote = Path(path), ""
    suffix = path.suffix.lower()
    if path.is_file() and suffix in (".csv", SUFFIX):
        wrote = csv_file.first_model(path) if suffix == ".csv" else first_model(path)
    return pretrained.writer(wrote) or pretrained.DEFAULT


def check(path: str | Path, tables: CodeTables) -> int:
    """The number of clips of a file that is whole and was written by these tables. ValueError for
    all others."""
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_HEADER.size)
        if not start.startswith(MAGIC):
            raise ValueError(f"{path} is no token file: it does not begin with {MAGIC.decode()}")
        if size < _HEADER.size + _TRAILER.size:
            raise ValueError(f"{path} is cut off after {size} bytes; write it again")
        _, version, model, checksum = _HEADER.unpack(start)
        if version != VERSION:
            raise ValueError(
                f"{path} has version {version}, this jaxvq reads version {VERSION}; upgrade, or "
                "write it again"
            )
        if model != _short(tables):
            raise ValueError(f"{path}: {another_model(model.hex(), tables.fingerprint)}")
        if checksum != tables.checksum:
            raise ValueError(
                f"{path} was written with other code tables of this model; give the folder whose "
                "tables wrote it"
            )
        crc, left = zlib.crc32(start), size - _HEADER.size - 4
        while left:
            block = _read(file, min(left, _BLOCK))
            crc, left = zlib.crc32(block, crc), left - len(block)
        file.seek(size - _TRAILER.size)
        count, expected = _TRAILER.unpack(file.read())
    if crc != expected:
        raise ValueError(f"{path} is cut off or was altered: its checksum is wrong; write it again")
    return count


def _short(tables: CodeTables) -> bytes:
    return bytes.fromhex(tables.fingerprint)[:8]


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that there are more."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _read_varint(file: BinaryIO) -> int:
    value = shift = 0
    while True:
        (byte,) = _read(file, 1)
        value |= (byte & 127) << shift
        if byte < 128:
            return value
        shift += 7
        if shift > 56:
            raise ValueError(f"{file.name} holds a number that is too large; write it again")


def _read(file: BinaryIO, size: int) -> bytes:
    # A number that is too large must not become so much memory.
    data = file.read(size) if size <= _BLOCK or size <= os.fstat(file.fileno()).st_size else b""
    if len(data) != size:
        raise ValueError(f"{file.name} ends in the middle of a clip; write it again")
    return data
