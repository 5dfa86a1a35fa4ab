"""Compact token files: exact, tiny, read clip by clip, and refused where they do not fit."""

import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np
import pytest

from jaxvq import inference
from jaxvq.inference import Tokens
from jaxvq.quantizers import fsq
from jaxvq.storage import manifests
from jaxvq.tokens import code_tables, entropy, token_file
from tools import codes_to_poses, fit_code_tables, poses_to_codes, publish_model
from tools.soaking.stopped import full_disk


@dataclass(frozen=True)
class Task:
    """What tables need to know of a task."""

    levels: tuple
    token_shape: tuple[int, int]
    frames_per_step: int = 1

    @property
    def codebook_sizes(self):
        return tuple(int(np.prod(book)) for book in self.levels)


TASK = Task(((8, 5, 5, 5), (8, 5, 5, 5), (4, 3), (4, 3)), (2, 2), 2)
MODEL, OTHER = "ab" * 32, "cd" * 32


def draw(seed, steps, task=TASK):
    """Codes that wander digit by digit; the second stream rests in every other clip."""
    rng = np.random.default_rng(seed)
    books = []
    for book in task.levels:
        moves = rng.choice([-1, 0, 0, 1], (steps, len(book)))
        digits = np.clip(np.cumsum(moves, 0) + 2, 0, np.array(book) - 1)
        books.append(code_tables.join_digits(digits, (book,)))
    indices = np.concatenate(books, 1).reshape(steps, *task.token_shape)
    if seed % 2:
        indices[:, 1:] = 7
    return indices


@pytest.fixture(scope="module")
def tables():
    return code_tables.fit_code_tables([draw(seed, 60) for seed in range(20)], TASK, MODEL)


def clips(count, steps=50):
    return [(str(i), Tokens(draw(100 + i, steps), 25.0, 2 * steps)) for i in range(count)]


def write(path, tables, items):
    with token_file.Writer(path, tables) as file:
        for name, tokens in items:
            file.write(name, tokens)
    return path


def same(a: Tokens, b: Tokens) -> bool:
    return (a.fps, a.length) == (b.fps, b.length) and np.array_equal(a.indices, b.indices)


def test_digits_are_those_of_fsq():
    levels = (8, 5, 5, 5)
    indices = np.arange(1000)[:, None]
    digits = code_tables.split_digits(indices, (levels,))
    half = np.array(levels) // 2
    np.testing.assert_allclose((digits - half) / half, fsq.lookup(indices[:, 0], levels), atol=1e-6)
    np.testing.assert_array_equal(code_tables.join_digits(digits, (levels,)), indices)
    with pytest.raises(ValueError, match=r"code 1000 is outside of 0\.\.999"):
        code_tables.split_digits(indices + 1, (levels,))


def test_round_trip_of_names_rates_and_lengths(tables, tmp_path):
    items = [
        ("a/one.pose", Tokens(draw(1, 30), 25.0, 60)),
        ("a/other.pose", Tokens(draw(2, 31), 29.97, 61)),
        ("2", Tokens(draw(3, 1), 29.97, 1)),
        ("empty", Tokens(draw(4, 0), 1e-3, 0)),
        ("Gebärde", Tokens(draw(5, 77), 24.0, 154)),
        ("", Tokens(draw(6, 5), 24.0, 9)),
    ]
    path = write(tmp_path / "x.jvq", tables, items)
    assert token_file.check(path, tables) == 6
    found = list(token_file.read(path, tables))
    assert [name for name, _ in found] == [name for name, _ in items]
    assert all(same(a, b) for (_, a), (_, b) in zip(found, items, strict=True))
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_those_of_the_tables(tables, tmp_path):
    """A clip costs its bits and two for its length; all together end within some bytes."""
    items = clips(40)
    size = write(tmp_path / "x.jvq", tables, items).stat().st_size
    bits = sum(tables.cost(tokens.indices) for _, tokens in items)
    assert bits / 8 < size < 1.001 * bits / 8 + 24 + 5 + 2 * len(items)
    assert write(tmp_path / "none.jvq", tables, []).stat().st_size == 24


def test_a_resting_stream_costs_nothing(tables):
    task = Task(((8, 5, 5, 5),), (1, 1))
    resting = code_tables.fit_code_tables([np.full((100, 1, 1), 3)] * 6, task, MODEL)
    assert resting.cost(np.full((1000, 1, 1), 3)) < 50
    # Both streams, against the first alone: the flag of the second stays what it was.
    moving = draw(101, 200)
    both = moving.copy()
    both[:, 1:] = draw(102, 200)[:, 1:]
    assert tables.cost(moving) < tables.cost(both)
    first = Task(TASK.levels[:2], (1, 2), 2)
    alone = code_tables.fit_code_tables([draw(seed, 60)[:, :1] for seed in range(20)], first, MODEL)
    assert tables.cost(moving) - alone.cost(moving[:, :1]) < 0.05 * 200 + 10


def test_long_clips_come_in_parts(tables, tmp_path):
    steps = 2 * token_file.STEPS_PER_PART + 10
    long = Tokens(draw(1, steps), 50.0, 2 * steps - 1)
    path = write(tmp_path / "x.jvq", tables, [("long", long), *clips(3)[1:]])
    parts = list(token_file.read_parts(path, tables))
    assert [(p.name, p.first, len(p.indices)) for p in parts] == [
        ("long", 0, 4096),
        ("long", 4096, 4096),
        ("long", 8192, 10),
        ("1", 0, 50),
        ("2", 0, 50),
    ]
    assert same(next(token_file.read(path, tables))[1], long)


def test_reading_stops_where_the_reader_stops(tables, tmp_path, monkeypatch):
    path = write(tmp_path / "x.jvq", tables, clips(30))
    decoded = []
    get = code_tables.CodeTables.get
    monkeypatch.setattr(
        code_tables.CodeTables, "get", lambda *args: decoded.append(1) or get(*args)
    )
    reader = token_file.read(path, tables)
    next(reader), next(reader)
    assert len(decoded) == 2


def test_bytes_of_a_small_file(tmp_path):
    """Tables that know one row only: a clip is nothing but its head."""
    known = code_tables.fit_code_tables(
        [np.zeros((9000, 1, 1), int)], Task(((2, 2),), (1, 1)), MODEL
    )
    path = write(tmp_path / "x.jvq", known, [("0", Tokens(np.zeros((5, 1, 1), int), 25.0, 5))])
    data = path.read_bytes()
    assert data[:12] == b"JVQ\x01" + bytes.fromhex("ab" * 8)
    assert data[12:16] == struct.pack("<I", known.checksum)
    # A block of 1 clip without a name, of 5 frames, a byte of codes; 1 clip in the file.
    assert data[16:-4] == bytes([2, 10, 1, 1, 1, 0, 0, 0])


def test_every_cut_and_every_altered_byte_is_refused(tables, tmp_path):
    data = write(tmp_path / "x.jvq", tables, clips(3, 10)).read_bytes()
    broken = tmp_path / "broken.jvq"
    for i in range(len(data)):
        broken.write_bytes(data[:i])
        with pytest.raises(ValueError, match="cut off|no token file"):
            list(token_file.read(broken, tables))
        broken.write_bytes(data[:i] + bytes([data[i] ^ 64]) + data[i + 1 :])
        with pytest.raises(ValueError):
            list(token_file.read(broken, tables))
    broken.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    with pytest.raises(ValueError, match="cut off or was altered"):
        list(token_file.read(broken, tables))


def test_refusals(tables, tmp_path):
    path = write(tmp_path / "x.jvq", tables, clips(2))
    with pytest.raises(
        ValueError, match="the model abababababababab wrote these codes, this is cdcd"
    ):
        list(token_file.read(path, replace(tables, fingerprint=OTHER)))
    others = code_tables.fit_code_tables([draw(seed, 50) for seed in range(9)], TASK, MODEL)
    with pytest.raises(ValueError, match="other code tables"):
        list(token_file.read(path, others))
    path.write_bytes(b"JVQ\x02" + path.read_bytes()[4:])
    with pytest.raises(ValueError, match="has version 2, this jaxvq reads version 1"):
        token_file.check(path, tables)
    path.write_text("file,fps,length,codes\n")
    with pytest.raises(ValueError, match="is no token file"):
        token_file.check(path, tables)
    with pytest.raises(ValueError, match="10 steps of tokens, expected 7"):
        write(path, tables, [("a", Tokens(draw(1, 10), 25.0, 13))])
    with pytest.raises(ValueError, match="these tables are for"):
        tables.check(draw(1, 10)[:, :1])


def test_an_error_leaves_the_old_file(tables, tmp_path):
    path = write(tmp_path / "x.jvq", tables, clips(1))
    before = path.read_bytes()
    with pytest.raises(KeyError), token_file.Writer(path, tables):
        raise KeyError
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_tables_on_disk(tables, tmp_path):
    path = tmp_path / "code_tables.npz"
    code_tables.save(path, tables)
    copy = code_tables.read(path)
    assert copy.checksum == tables.checksum and copy.digits == tables.digits
    indices = draw(7, 90)
    coders = entropy.Encoder(), entropy.Encoder()
    for written, coder in zip((tables, copy), coders, strict=True):
        written.put(coder, indices)
    first, second = (coder.finish() for coder in coders)
    assert first == second
    np.testing.assert_array_equal(copy.get(entropy.Decoder(first), 90), indices)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="cannot be read as code tables"):
        code_tables.read(path)


def test_programs(run_dir, corpus, tmp_path, capsys):
    """Tables beside a trained model, poses to a compact file and back, and a published copy."""
    model = tmp_path / "run"
    model.symlink_to(run_dir)
    single = sorted(corpus.glob("*.pose"))[5]
    compact, table = tmp_path / "x.jvq", tmp_path / "x.csv"
    inputs = ["--model", str(model), "--data", str(single)]
    stored = inference.load(model).model
    code_tables.path_for(stored).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="jaxvq make code-tables --model"):
        poses_to_codes.main([*inputs, "--output", str(compact)])
    fit_code_tables.main(["--checkpoint", str(model)])
    assert "bits per frame" in capsys.readouterr().out
    poses_to_codes.main([*inputs, "--output", str(compact)])
    poses_to_codes.main([*inputs, "--output", str(table)])
    tokenizer = inference.load(model)
    ((name, tokens),) = token_file.read(compact, tokenizer.code_tables)
    row = table.read_text().splitlines()[1].split(",")
    assert name == row[0] == single.name
    assert (str(tokens.fps), str(tokens.length)) == (row[1], row[2])
    assert " ".join(map(str, tokens.flat())) == row[3]

    outputs = [tmp_path / "compact", tmp_path / "csv"]
    for codes, output in zip((compact, table), outputs, strict=True):
        codes_to_poses.main(["--model", str(model), "--codes", str(codes), "--output", str(output)])
    a, b = ((output / single.name).read_bytes() for output in outputs)
    assert a == b

    terms, folder = tmp_path / "LICENSE", tmp_path / "published"
    terms.write_text("# Terms\n\nFor tests only.\n")
    publish_model.main(
        ["--checkpoint", str(model), "--license", str(terms), "--output", str(folder)]
    )
    assert code_tables.FILE in manifests.check(folder)["files"]
    copy = inference.load(folder)
    ((_, again),) = token_file.read(compact, copy.code_tables)
    np.testing.assert_array_equal(again.indices, tokens.indices)

    path = code_tables.path_for(stored)
    code_tables.save(path, replace(code_tables.read(path), fingerprint=OTHER))
    with pytest.raises(ValueError, match="belongs to another checkpoint than step 12"):
        _ = inference.load(model).code_tables
    path.unlink()


def test_a_clip_that_is_refused_leaves_the_file_as_it_was(tables, tmp_path):
    good = clips(2)
    bad = Tokens(np.where(np.arange(50)[:, None, None] == 40, 10**6, good[0][1].indices), 25.0, 100)
    with token_file.Writer(tmp_path / "x.jvq", tables) as file:
        file.write(*good[0])
        for name, tokens, message in (
            ("bad", bad, "'bad': code 1000000"),
            ("caf\udce9", good[0][1], "surrogates not allowed"),
        ):
            with pytest.raises(ValueError, match=message):
                file.write(name, tokens)
        file.write(*good[1])
    again = list(token_file.read(tmp_path / "x.jvq", tables))
    assert [name for name, _ in again] == [name for name, _ in good]
    for (_, one), (_, other) in zip(again, good, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)


def test_a_disk_that_fills_up_at_the_end_leaves_nothing(tables, tmp_path):
    path = tmp_path / "x"
    with (
        full_disk(10),
        pytest.raises(OSError, match=f"File too large: '{path}'$"),
        token_file.Writer(path, tables) as file,
    ):
        file.write(*clips(1)[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "body",
    [
        b"\x02" + b"\xc8\x01" + b"\xff" * 8 + b"\x7f",  # 2^62 bytes of codes
        b"\x02" + b"\xc8\x01" + b"\xff" * 12,  # a number without end
        b"\x02" + b"\xc9\x01" + b"\x09",  # a ninth frame rate, of one
        b"\x02" + b"\xc9\x01" + b"\x00" + struct.pack("<d", np.nan),
        b"\x03" + b"\xc8\x01" + b"\x00\x01\xff",  # a name that is no UTF-8
    ],
)
def test_numbers_that_no_writer_writes_are_refused(tables, tmp_path, body):
    path = write(tmp_path / "x.jvq", tables, clips(1))
    head = path.read_bytes()[:16]
    content = head + body + struct.pack("<I", 1)
    path.write_bytes(content + struct.pack("<I", zlib.crc32(content)))
    with pytest.raises(ValueError, match="x.jvq"):
        list(token_file.read(path, tables))
