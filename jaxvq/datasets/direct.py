"""Reads records of an ArrayRecord file where they lie, in a third of the reader's time.

An ArrayRecord file is one of Riegeli: chunks one behind the other, each a header and data, with a
block header in between at every multiple of 64 KiB (riegeli/doc/riegeli_records_file_format.md).
Where a chunk is one record, not compressed, its bytes are in the file as they are.
"""

import os
import struct

import numpy as np

BLOCK, BLOCK_HEADER = 1 << 16, 24
# Hash of the header, size and hash of the data, type and number of records, size when decoded.
CHUNK_HEADER = struct.Struct("<QQQQQ")
ONE_RECORD = ord("r") | 1 << 8  # a chunk of a single record, by rows
UNCOMPRESSED = 0
_IGNORED = bytearray(BLOCK_HEADER)  # where block headers go; what it holds means nothing


class DirectFile:
    """file[i] = the bytes of record i, as uint8. Nothing is checked: see `records.RecordSource`."""

    def __init__(self, path: str, places: list[tuple[int, int]]):
        self.places = places  # (first byte in the file, size) of each record
        self.file = os.open(path, os.O_RDONLY)

    def __del__(self):
        if hasattr(self, "file"):
            os.close(self.file)

    def __getitem__(self, index: int) -> np.ndarray:
        return read(self.file, *self.places[index])


def open_direct(path: str, count: int) -> DirectFile | None:
    """A file of `count` records, or None where it is written in another way."""
    file = os.open(path, os.O_RDONLY)
    try:
        places = _find_records(file, count)
    except ValueError:
        return None
    finally:
        os.close(file)
    return DirectFile(path, places) if places else None


def read(file: int, begin: int, size: int) -> np.ndarray:
    """uint8 (size,): what begins at `begin`, without block headers; ValueError if it is short."""
    content = np.empty(size, np.uint8)
    view, buffers = memoryview(content), []
    at, place = 0, begin
    while at < size:
        if place % BLOCK == 0:
            buffers.append(_IGNORED)
            place += BLOCK_HEADER
        count = min(size - at, BLOCK - place % BLOCK)
        buffers.append(view[at : at + count])
        at += count
        place += count
    if os.preadv(file, buffers, begin) != place - begin:
        raise ValueError(f"the file ends before byte {place}")
    return content


def skip(begin: int, size: int) -> int:
    """Where what begins at `begin` and has so many bytes ends: block headers come in between."""
    usable = BLOCK - BLOCK_HEADER
    return begin + size + BLOCK_HEADER * ((size + (begin + usable - 1) % BLOCK) // usable)


def _find_records(file: int, count: int) -> list[tuple[int, int]] | None:
    places = []
    begin = skip(0, CHUNK_HEADER.size)  # behind the chunk that says what file it is
    while len(places) < count:
        # With the few bytes of the data that come before the record.
        start = read(file, begin, CHUNK_HEADER.size + 2).tobytes()
        _, data_size, _, kind, size = CHUNK_HEADER.unpack_from(start)
        compression, sizes = start[-2:]
        # The data: this byte, how long the list of sizes is (one byte for one record), that list.
        if kind != ONE_RECORD or compression != UNCOMPRESSED or data_size != 2 + sizes + size:
            return None
        places.append((skip(begin, CHUNK_HEADER.size + 2 + sizes), size))
        begin = skip(begin, CHUNK_HEADER.size + data_size)
    return places
