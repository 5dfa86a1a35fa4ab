"""Clips in fixed point: little more than half the size of float16, widened in a third of the time.

A coordinate becomes a whole number of steps of 2^-11 shoulder widths. No number is off by more than
2^-12, the error of float16 between 0.5 and 1. Within 12 frames, a coordinate seldom moves by more
than 255 steps. So each number is a byte above a base that 12 frames share, and the few exceptions
are listed. Decoding has no sequential dependency, so numpy decodes whole arrays.
"""

import struct

import numpy as np

STEP = 2.0**-11
# The first byte of a packed clip. Packed clips have an odd size, which version 0.1 recognises.
FLOAT32, FIXED = 3, 4
SPAN = 12  # frames that share a base
REACH = 256  # values of a byte
HEAD = struct.Struct("<B3xII")  # mark, frames, listed numbers


def pack(data: np.ndarray) -> bytes:
    """Packs float32 (t, …), in shoulder widths. If a number is 16 or more, float32 is kept.

    Layout: HEAD; int16 bases; int16 listed numbers; uint8 offsets from the base, of all numbers;
    uint8 steps from one listed number to the next; one byte if the size would be even.
    """
    flat = np.asarray(data, np.float32).reshape(len(data), -1)
    if not np.abs(flat).max(initial=0) < 16 - STEP:  # also what is not a number
        return _odd(HEAD.pack(FLOAT32, len(flat), 0) + flat.astype("<f4").tobytes())
    numbers = np.rint(flat * np.float32(1 / STEP)).astype("<i2")
    spans = np.pad(numbers, ((0, -len(flat) % SPAN), (0, 0)), "edge")
    bases = _bases(spans.reshape(-1, SPAN, flat.shape[1]))
    # Unsigned, so that numbers below the base are far above a byte.
    offsets = (numbers - np.repeat(bases, SPAN, axis=0)[: len(flat)]).view("<u2").reshape(-1)
    far = offsets >= REACH
    listed = np.flatnonzero(far)
    if listed.size:
        # Additional numbers are listed where a step would not fit into a byte.
        between = np.arange(0, listed[-1], 255)
        gaps = np.diff(listed, prepend=0)[np.searchsorted(listed, between)]
        far[between[gaps > 255]] = True
        listed = np.flatnonzero(far)
        offsets[listed] = 0
    steps = np.diff(listed, prepend=0).astype(np.uint8)
    parts = bases, numbers.reshape(-1)[listed], offsets.astype(np.uint8), steps
    head = HEAD.pack(FIXED, len(flat), len(listed))
    return _odd(head + b"".join(part.tobytes() for part in parts))


def _bases(spans: np.ndarray) -> np.ndarray:
    """int16 (spans, numbers): bases from which a byte reaches most of (spans, SPAN, numbers)."""
    bases = spans.min(axis=1)
    wide = np.nonzero((spans.max(axis=1) - bases).view("<u2") >= REACH)
    numbers = spans[wide[0], :, wide[1]]
    reached = (numbers[:, None, :] - numbers[:, :, None]).view("<u2") < REACH
    best = np.einsum("nij->ni", reached.view(np.uint8)).argmax(axis=1)  # a quarter of sum's time
    bases[wide] = numbers[np.arange(len(numbers)), best]
    return bases


def unpack(packed: np.ndarray, numbers: int) -> np.ndarray:
    """The inverse of `pack`, on uint8: int16 steps (t, numbers), or float32 that was kept.

    `to_float32` widens them, best into their final place. Raises ValueError for other bytes.
    """
    if len(packed) < HEAD.size:
        raise ValueError(f"{len(packed)} bytes are too few for a packed clip")
    mark, frames, count = HEAD.unpack_from(packed)
    size = frames * numbers
    words = -(-frames // SPAN) * numbers + count  # bases and listed numbers
    expected = 4 * size if mark == FLOAT32 else 2 * words + size + count
    if mark not in (FIXED, FLOAT32) or len(packed) != (HEAD.size + expected) | 1:
        raise ValueError(f"not a packed clip of {numbers} numbers per frame; build it again")
    if mark == FLOAT32:
        return packed[HEAD.size : HEAD.size + 4 * size].copy().view("<f4").reshape(frames, numbers)
    at = HEAD.size + 2 * words
    # A copy, because numpy is several times slower on int16 at odd addresses.
    exact = packed[HEAD.size : at].copy().view("<i2")
    whole = packed[at : at + size].astype(np.int16)
    bases = np.repeat(exact[: words - count].reshape(-1, numbers), SPAN, axis=0)
    whole += bases.reshape(-1)[:size]
    places = packed[at + size : at + size + count].astype(np.intp)
    whole[np.add.accumulate(places, out=places)] = exact[words - count :]
    return whole.reshape(frames, numbers)


def to_float32(data: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Stored numbers (int16 steps, float16 or float32) as float32, in shoulder widths; into `out`,
    an array of the same shape, if that is given."""
    out = np.empty(data.shape, np.float32) if out is None else out
    out[...] = data
    if data.dtype == np.int16:
        out *= np.float32(STEP)
    return out


def pack_mask(mask: np.ndarray) -> bytes:
    """bool (t, v) -> one byte, the number of unused bits at the end, and the bits."""
    return bytes([-mask.size % 8]) + np.packbits(mask).tobytes()


def unpack_mask(packed: np.ndarray) -> np.ndarray:
    """The inverse of `pack_mask`, on uint8: bool (t * v,)."""
    return np.unpackbits(packed[1:], count=8 * len(packed) - 8 - int(packed[0])).view(np.bool_)


def _odd(packed: bytes) -> bytes:
    return packed if len(packed) % 2 else packed + b"\0"
