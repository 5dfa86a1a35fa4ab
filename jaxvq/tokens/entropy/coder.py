"""A range coder on whole numbers (Martin 1979): the same bytes on every machine.

Symbols have frequencies that sum to TOTAL. The tables of packages such as constriction go through
floating point, so that bytes would depend on how a machine rounds. At the end, this coder writes
the shortest number inside of the last interval, without zeros: a short clip loses less than a byte.
"""

from bisect import bisect_right

PRECISION = 16
TOTAL = 1 << PRECISION

# The interval is between 2**32 and 2**48 wide and moves up by words of 16 bits.
_LOW, _HIGH, _WORD = 32, 48, 16
_SHORT = 1 << _LOW
_KEPT = _SHORT - 1


class Encoder:
    """Collects symbols; `finish` gives the bytes."""

    def __init__(self) -> None:
        self._low, self._range = 0, 1 << _HIGH
        self._words: list[int] = []  # each may have one bit too much: a carry

    def put(self, starts: list[int], frequencies: list[int]) -> None:
        """Appends symbols: their frequencies, and the sums of those of the symbols before them."""
        low, wide, words = self._low, self._range, self._words
        for start, frequency in zip(starts, frequencies, strict=True):
            part = wide >> PRECISION
            low += start * part
            wide = frequency * part
            if wide < _SHORT:
                words.append(low >> _LOW)
                low = (low & _KEPT) << _WORD
                wide <<= _WORD
        self._low, self._range = low, wide

    def finish(self) -> bytes:
        """All symbols as bytes; b"" where they were so likely that none is needed."""
        for zeros in range(_HIGH, -1, -8):
            value = -(-self._low >> zeros) << zeros
            if value < self._low + self._range:
                break
        words = [*self._words, value >> _LOW, value >> _WORD & 0xFFFF, value & 0xFFFF]
        carry = 0
        for i in range(len(words) - 1, -1, -1):
            words[i] += carry
            carry = words[i] >> _WORD
            words[i] &= 0xFFFF
        return b"".join(word.to_bytes(2, "big") for word in words).rstrip(b"\0")


class Decoder:
    """Reads what an Encoder wrote. Altered data gives wrong symbols, never an error."""

    def __init__(self, data: bytes):
        data = data + bytes(_HIGH // 8 + len(data) % 2)
        words = (high << 8 | low for high, low in zip(data[::2], data[1::2], strict=True))
        self._words = iter(list(words))
        self._code = 0
        for _ in range(_HIGH // _WORD):
            self._code = self._code << _WORD | next(self._words)
        self._range = 1 << _HIGH

    def get(self, starts: list[int]) -> int:
        """The next symbol; starts[s] is the sum of the frequencies of the symbols before s."""
        part = self._range >> PRECISION
        symbol = bisect_right(starts, self._code // part) - 1
        start = starts[symbol]
        end = starts[symbol + 1] if symbol + 1 < len(starts) else TOTAL
        self._code -= start * part
        self._range = (end - start) * part
        if self._range < _SHORT:
            self._code = self._code << _WORD | next(self._words, 0)
            self._range <<= _WORD
        return symbol
