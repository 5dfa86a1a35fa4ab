"""Clips in fixed point: half of the bytes of float16, and faster to turn into float32.

A coordinate becomes an integer number of steps of 2^-11 shoulder widths, so that no number is off
by more than 2^-12, which is what float16 costs between 0.5 and 1. Every 8 frames one is kept as it
is; the others are differences from it, a byte each, which is enough for all but a few: those are
listed. No difference builds on another, so numpy undoes everything in whole arrays.
"""

import struct

import numpy as np

STEP = 2.0**-11
# Values of a packed clip begin with one of these marks, and their size is odd, which that of plain
# numbers never is: so a record tells by itself how it is laid out.
FIXED, FLOAT32 = 2, 3
SPAN, KEY = 8, 4  # frames that share a key, and which of them it is
HEAD = struct.Struct("<B3xII")  # mark, frames, listed numbers


def pack(data: np.ndarray) -> bytes:
    """float32 (t, …), in shoulder widths -> bytes; float32 as it is where a number is 16 or more.

    Layout: HEAD; int16 keys; int16 listed numbers; int8 differences of all frames but the keys;
    uint8 steps from one listed number to the next; a byte if the size would be even.
    """
    flat = np.asarray(data, np.float32).reshape(len(data), -1)
    if not np.abs(flat).max(initial=0) < 16 - STEP:  # also what is not a number
        return _odd(HEAD.pack(FLOAT32, len(flat), 0) + flat.astype("<f4").tobytes())
    numbers = np.rint(flat * np.float32(1 / STEP)).astype("<i2")
    at = np.minimum(np.arange(0, len(flat), SPAN) + KEY, len(flat) - 1)
    keys = numbers[at]
    differences = numbers - np.repeat(keys.astype(np.int32), SPAN, axis=0)[: len(flat)]
    listed = np.flatnonzero(np.abs(differences) > 127)
    if listed.size:
        # Some are listed only because a step must fit into a byte.
        listed = np.union1d(listed, np.arange(0, listed[-1], 255))
        differences.reshape(-1)[listed] = 0
    steps = np.diff(listed, prepend=0).astype(np.uint8)
    differences = np.delete(differences.astype(np.int8), at, axis=0)
    parts = keys, numbers.reshape(-1)[listed], differences, steps
    head = HEAD.pack(FIXED, len(flat), len(listed))
    return _odd(head + b"".join(part.tobytes() for part in parts))


def unpack(packed: bytes | memoryview, numbers: int) -> np.ndarray:
    """The inverse of `pack`: float32 (t, numbers). Raises ValueError for other bytes."""
    if len(packed) < HEAD.size:
        raise ValueError(f"{len(packed)} bytes are too few for a packed clip")
    mark, frames, count = HEAD.unpack_from(packed)
    spans, rest = divmod(frames, SPAN)
    num_keys = spans + (rest > 0)
    fixed = (2 * num_keys + frames - num_keys) * numbers + 3 * count
    expected = 4 * frames * numbers if mark == FLOAT32 else fixed
    if mark not in (FIXED, FLOAT32) or len(packed) != (HEAD.size + expected) | 1:
        raise ValueError(f"not a packed clip of {numbers} numbers a frame; build it again")
    if mark == FLOAT32:
        data = np.frombuffer(packed, "<f4", frames * numbers, HEAD.size)
        return data.reshape(frames, numbers).copy()
    at = HEAD.size
    keys = np.frombuffer(packed, "<i2", num_keys * numbers, at).reshape(num_keys, 1, numbers)
    at += keys.nbytes
    listed = np.frombuffer(packed, "<i2", count, at)
    at += listed.nbytes
    differences = np.frombuffer(packed, np.int8, (frames - num_keys) * numbers, at)
    steps = np.frombuffer(packed, np.uint8, count, at + differences.nbytes)
    differences = differences.reshape(-1, numbers)
    whole = np.empty((frames, numbers), np.int16)
    full, others = spans * SPAN, spans * (SPAN - 1)
    _add(keys[:spans], differences[:others], KEY, whole[:full])
    if rest:
        _add(keys[spans:], differences[others:], min(KEY, rest - 1), whole[full:])
    places = steps.astype(np.intp)
    whole.reshape(-1)[np.add.accumulate(places, out=places)] = listed
    data = whole.astype(np.float32)
    data *= np.float32(STEP)
    return data


def _add(keys: np.ndarray, differences: np.ndarray, at: int, whole: np.ndarray) -> None:
    """Fills spans of frames: keys (spans, 1, numbers), which are frame `at` of each, and others."""
    spans, _, numbers = keys.shape
    if not spans:
        return
    whole = whole.reshape(spans, -1, numbers)
    differences = differences.reshape(spans, -1, numbers)
    whole[:, :at] = differences[:, :at]
    whole[:, at] = 0
    whole[:, at + 1 :] = differences[:, at:]
    whole += keys


def pack_mask(mask: np.ndarray) -> bytes:
    """bool (t, v) -> a byte that tells how many bits at the end are none, and the bits."""
    return bytes([-mask.size % 8]) + np.packbits(mask).tobytes()


def unpack_mask(packed: bytes | memoryview) -> np.ndarray:
    """The inverse of `pack_mask`: bool (t * v,)."""
    bits = np.frombuffer(packed, np.uint8)
    return np.unpackbits(bits[1:], count=8 * len(bits) - 8 - int(bits[0])).view(np.bool_)


def _odd(packed: bytes) -> bytes:
    return packed if len(packed) % 2 else packed + b"\0"
