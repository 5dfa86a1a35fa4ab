"""Static tables and the range coder: exact, as short as the tables promise, the same everywhere."""

import numpy as np
import pytest

from jaxvq.tokens import entropy
from jaxvq.tokens.entropy.coder import TOTAL


def encode(symbols, tables):
    coder = entropy.Encoder()
    entropy.put(coder, symbols, tables)
    return coder.finish()


def decode(data, length, tables, known=None):
    return entropy.get(entropy.Decoder(data), length, tables, known)


def walks(seed, clips, steps, columns, size, missing=0.0):
    """Clips of symbols that mostly stay or move by one."""
    rng = np.random.default_rng(seed)
    sequences = []
    for _ in range(clips):
        moves = rng.choice([-1, 0, 0, 0, 1], (steps, columns))
        moves[0] = rng.integers(0, size, columns)
        walk = np.clip(np.cumsum(moves, 0), 0, size - 1)
        sequences.append(np.where(rng.random(walk.shape) < missing, -1, walk))
    return sequences


@pytest.mark.parametrize(
    ("columns", "size", "missing"),
    [(5, 8, 0.0), (3, 5, 0.2), (2, 300, 0.0), (1, 2, 0.5), (4, 1, 0.1), (2, 40, 0.05)],
)
def test_exact_and_as_long_as_the_tables_say(columns, size, missing):
    sequences = walks(1, 12, 60, columns, size, missing)
    tables = entropy.fit_tables(sequences, (size,) * columns)
    for symbols in (*sequences[:3], *walks(2, 3, 200, columns, size, missing)):
        data = encode(symbols, tables)
        decoded = decode(data, len(symbols), tables, known=symbols >= 0)
        np.testing.assert_array_equal(decoded, symbols)
        bits = entropy.cost(symbols, tables)
        assert 8 * len(data) <= bits * 1.001 + 10


@pytest.mark.parametrize("seed", range(8))
def test_any_symbols_come_back(seed):
    """Random alphabets, lengths and gaps; most symbols were not seen in training."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1, 2, 3, 7, 33, 500, 4000], rng.integers(1, 6))

    def draw(steps):
        symbols = np.stack([rng.integers(0, size, steps) for size in sizes], 1)
        return np.where(rng.random(symbols.shape) < 0.1, -1, symbols)

    tables = entropy.fit_tables([draw(n) for n in (30, 0, 1, 5)], sizes)
    for steps in (0, 1, 2, 77):
        symbols = draw(steps)
        data = encode(symbols, tables)
        decoded = decode(data, steps, tables, known=symbols >= 0)
        np.testing.assert_array_equal(decoded, symbols)


def test_contexts_save_what_is_predictable():
    """A walk of ±1 costs log2(5) - 3/5 · log2(3) = 1.37 bits per step, and 3 without contexts."""
    sequences = walks(3, 60, 100, 3, 8)
    tables = entropy.fit_tables(sequences, (8,) * 3)
    fresh = walks(4, 20, 100, 3, 8)
    bits = sum(entropy.cost(symbols, tables) for symbols in fresh) / sum(x.size for x in fresh)
    assert bits < 1.45


def test_a_repeated_symbol_of_many_is_cheap():
    """Codes out of 512 without any order, held for 10 steps: 9 bits of 10 steps, and a flag."""
    rng = np.random.default_rng(0)
    sequences = [np.repeat(rng.integers(0, 512, (20, 1)), 10, axis=0) for _ in range(40)]
    tables = entropy.fit_tables(sequences, (512,))
    assert tables.split == (True,)
    bits = np.mean([entropy.cost(symbols, tables) / len(symbols) for symbols in sequences])
    assert bits < 9 / 10 + 0.5


def test_copies_of_a_clip_predict_nothing():
    """What a copy in another fold knows is no context that saves bits of other clips."""
    rng = np.random.default_rng(5)
    clips = [rng.integers(0, 8, (50, 3)) for _ in range(40)]
    copies = [clip for clip in clips for _ in range(4)]
    sizes = (8,) * 3
    taken_for_others = entropy.fit_tables(copies, sizes)
    assert all(column.sources for column in taken_for_others.columns)
    tables = entropy.fit_tables(copies, sizes, np.repeat(range(40), 4))
    assert not any(column.sources for column in tables.columns)


def test_constant_symbols_need_no_bytes():
    symbols = np.full((400, 3), 2)
    tables = entropy.fit_tables([symbols] * 5, (4, 5, 6))
    assert len(encode(symbols, tables)) <= 2
    assert entropy.cost(symbols, tables) / 400 < 0.05
    alone = entropy.fit_tables([np.zeros((50, 2), int)], (1, 1))
    assert encode(np.zeros((1000, 2), int), alone) == b""


def test_bytes_of_a_small_example():
    """Two columns by hand: probabilities 1/2, 1/4, 1/4, then 3/4 and 1/4 after a 0, 1/2 else."""
    half, quarter = TOTAL // 2, TOTAL // 4
    columns = (
        entropy.tables.Column((), np.array([[half, quarter, quarter]]), np.zeros(4, np.uint8)),
        entropy.tables.Column(
            (entropy.tables.Source(0, 0, np.array([0, 1, 1, 1], np.uint16)),),
            np.array([[3 * quarter, quarter], [half, half]]),
            np.zeros(3, np.uint8),
        ),
    )
    tables = entropy.Tables((3, 2), (False, False), columns)
    symbols = np.array([[0, 0], [1, 1], [2, 0], [0, 1], [0, 0], [2, 1], [1, 0], [0, 0]])
    # 4 zeros at 1 bit, 4 others at 2; 3 of .75 and 1 of .25 after them, 4 of .5.
    bits = 4 + 8 + 3 * np.log2(4 / 3) + 2 + 4
    np.testing.assert_allclose(entropy.cost(symbols, tables), bits)
    data = encode(symbols, tables)
    assert data.hex() == "45a0e0"
    np.testing.assert_array_equal(decode(data, 8, tables), symbols)


def test_carries_run_through_the_bytes():
    """The last of equally likely symbols, over and over, keeps the interval below a carry."""
    frequencies = np.array([[1, TOTAL - 2, 1]])
    column = entropy.tables.Column((), frequencies, np.zeros(4, np.uint8))
    tables = entropy.Tables((3,), (False,), (column,))
    for pattern in ([2, 2, 2, 0], [2, 1, 1, 2], [1, 2, 0, 2], [2]):
        symbols = np.resize(pattern, (500, 1))
        data = encode(symbols, tables)
        np.testing.assert_array_equal(decode(data, 500, tables), symbols)


def test_tables_survive_arrays():
    sequences = walks(5, 8, 50, 3, 40, 0.1)
    tables = entropy.fit_tables(sequences, (40,) * 3)
    arrays = tables.to_arrays()
    copy = entropy.Tables.from_arrays(arrays)
    assert all((column.frequencies.sum(1) == TOTAL).all() for column in copy.columns)
    for symbols in sequences:
        assert encode(symbols, copy) == encode(symbols, tables)
    assert arrays.keys() == copy.to_arrays().keys()


def test_several_symbols_in_one_coder():
    first, second = walks(6, 6, 40, 2, 5), walks(7, 6, 30, 3, 9)
    one, two = entropy.fit_tables(first, (5,) * 2), entropy.fit_tables(second, (9,) * 3)
    encoder = entropy.Encoder()
    entropy.put(encoder, first[0], one)
    entropy.put(encoder, second[0], two)
    decoder = entropy.Decoder(encoder.finish())
    np.testing.assert_array_equal(entropy.get(decoder, 40, one), first[0])
    np.testing.assert_array_equal(entropy.get(decoder, 30, two), second[0])


def test_altered_bytes_decode_to_something_of_the_right_shape():
    symbols = walks(8, 6, 50, 3, 7)
    tables = entropy.fit_tables(symbols, (7,) * 3)
    data = bytearray(encode(symbols[0], tables))
    data[3] ^= 255
    for broken in (bytes(data), bytes(data[:4]), b"\xff" * 99):
        decoded = decode(broken, 50, tables)
        assert decoded.shape == (50, 3) and 0 <= decoded.min() <= decoded.max() < 7


def test_refusals():
    symbols = np.zeros((3, 2), int)
    with pytest.raises(ValueError, match="no sequences"):
        entropy.fit_tables([], (2, 2))
    with pytest.raises(ValueError, match=r"are for \(steps, 3\)"):
        entropy.fit_tables([symbols], (2, 2, 2))
    with pytest.raises(ValueError, match="in column . is outside of 0.."):
        entropy.fit_tables([symbols + 2], (2, 2))
    with pytest.raises(ValueError, match="must be 1 to 32768"):
        entropy.fit_tables([symbols], (2, 0))
    tables = entropy.fit_tables([symbols], (2, 2))
    with pytest.raises(ValueError, match="symbol 5 in column 0 is outside of 0..1"):
        encode(symbols + 5, tables)
    with pytest.raises(ValueError, match="these tables are for"):
        encode(np.zeros((3, 1), int), tables)
    with pytest.raises(ValueError, match="known has shape"):
        decode(b"", 3, tables, known=np.ones((2, 2), bool))
