"""Reads Signformer's `.pami0` files without PyTorch.

A file, or each of its parts <base>.part0, <base>.part1, …, is a gzipped pickle of a list of dicts
with sign (a torch.Tensor of float32, (t, features)), text, gloss, signer and name (str). The reader
goes through safe_pickle, which runs nothing: it refuses a pickle that asks for anything but such
tensors, and names what the pickle asked for.
"""

import glob
import gzip
import io
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxvq.importers.safe_pickle import Allowed, expect, load_pickle
from jaxvq.importers.torch_file import TORCH_GLOBALS, Storage, Tensor, load_legacy_storage

TEXTS = ("text", "gloss", "signer", "name")
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
