"""Parts are what PyTorch would have pickled, and nothing in a part is run when it is read."""

import gzip
import io
import os
import pickle
import pickletools
import struct
import sys
from collections import OrderedDict

import numpy as np
import pytest

from jaxvq.importers.safe_pickle import Refused
from jaxvq.importers.torch_file import LEGACY_MAGIC, LEGACY_PROTOCOL
from jaxvq.signformer import pami0
from jaxvq.signformer.pami0 import Sample, find_parts, read_samples
from tools.signformer.parts import encode_sample, write_part


def sample(name="clip", frames=3, features=1024, seed=0, **changes) -> Sample:
    sign = np.random.default_rng(seed).normal(size=(frames, features)).astype(np.float32)
    return Sample(
        sign, **{"text": "ein Satz, ü", "gloss": "", "signer": "s1", "name": name, **changes}
    )


def write(path, samples, level=6):
    write_part(path, [encode_sample(one, level) for one in samples])
    return path


class Loader(pickle.Unpickler):
    """Python's own unpickler with stand-ins for PyTorch's functions: what Signformer would get."""

    def find_class(self, module, name):
        return {
            ("torch._utils", "_rebuild_tensor_v2"): self.tensor,
            ("torch.storage", "_load_from_bytes"): self.storage,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "FloatStorage"): "<f4",
        }[module, name]

    def storage(self, content):
        file = io.BytesIO(content)
        magic, protocol, system = (pickle.load(file) for _ in range(3))
        assert (magic, protocol) == (0x1950A86A20F9469CFC6C, 1001)
        assert system["little_endian"] is True and system["protocol_version"] == 1001
        self.storages = {}
        dtype, key, size = Reference(file).load()
        assert pickle.load(file) == [key]
        assert struct.unpack("<q", file.read(8)) == (size,)
        values = np.frombuffer(file.read(), dtype)
        assert len(values) == size
        return values

    @staticmethod
    def tensor(storage, offset, shape, strides, requires_grad, hooks):
        assert requires_grad is False and hooks == OrderedDict()
        strides = [4 * stride for stride in strides]
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides)


class Reference(Loader):
    def persistent_load(self, identity):
        kind, dtype, key, location, size, view = identity
        assert (kind, location, view) == ("storage", "cpu", None)
        return dtype, key, size


def load_as_signformer(path) -> list[dict]:
    """All pickles of the file, as both loaders read them."""
    samples = []
    with gzip.open(path, "rb") as file:
        while True:
            try:
                loaded = Loader(file).load()
            except EOFError:
                return samples
            samples += loaded if isinstance(loaded, list) else [loaded]


def test_python_reads_what_we_write(tmp_path):
    samples = [sample(f"clip {n}", frames=n, seed=n) for n in (1, 2, 300)]
    path = write(tmp_path / "x.part0", samples)
    loaded = load_as_signformer(path)
    with gzip.open(path) as file:
        assert isinstance(Loader(file).load(), list)  # one list, and then nothing
        assert file.read() == b""
    assert [list(one) for one in loaded] == [["sign", "text", "gloss", "signer", "name"]] * 3
    for one, wanted in zip(loaded, samples, strict=True):
        assert one["sign"].dtype == np.float32 and np.array_equal(one["sign"], wanted.sign)
        assert [one[key] for key in pami0.TEXTS] == ["ein Satz, ü", "", "s1", wanted.name]


def test_instructions_are_those_every_reader_knows(tmp_path):
    path = write(tmp_path / "x.part0", [sample()])
    content = gzip.open(path).read()
    opcodes = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(content)]
    assert opcodes[0] == ("PROTO", 4) and opcodes[1][0] == "EMPTY_LIST"
    assert [argument for name, argument in opcodes if name == "GLOBAL"] == [
        "torch._utils _rebuild_tensor_v2",
        "torch.storage _load_from_bytes",
        "collections OrderedDict",
    ]
    pickletools.dis(content, io.StringIO())  # checks the stack


def test_we_read_what_we_write(tmp_path):
    samples = [sample(f"c{n}", frames=n + 1, features=150, seed=n, gloss="A B") for n in range(5)]
    loaded = list(read_samples(write(tmp_path / "x.part0", samples)))
    for one, wanted in zip(loaded, samples, strict=True):
        assert np.array_equal(one.sign, wanted.sign) and one.gloss == "A B"
        assert (one.text, one.signer, one.name) == (wanted.text, wanted.signer, wanted.name)


@pytest.mark.parametrize("level", [0, 1, 9])
def test_bytes_depend_on_nothing_but_the_samples_and_the_level(tmp_path, level):
    a = write(tmp_path / "a", [sample()], level).read_bytes()
    assert a == write(tmp_path / "b", [sample()], level).read_bytes()


def test_files_of_pytorch_read_back_equal(shared):
    expected = np.load(shared / "golden/pami0_expected.npz")
    for name, dtype in (("phoenix14t.pami0.train", "f4"), ("phoenix14t_half.pami0.dev", "f2")):
        samples = list(read_samples(shared / "golden" / name))
        assert [one.name for one in samples] == [f"train/clip_{n}" for n in range(3)]
        assert [one.text for one in samples] == [f"satz {n} ü" for n in range(3)]
        assert samples[1].signer == "Signer01" and samples[1].gloss == "A B"
        for one in samples:
            assert one.sign.dtype == dtype
            wanted = expected[one.name.replace("/", "_")].astype(dtype)
            assert np.array_equal(one.sign, wanted)


def test_our_bytes_of_a_tensor_are_those_of_pytorch(shared):
    """All but the names of the storages (addresses), instruction by instruction."""

    def operations(content: bytes) -> list:
        skipped = ("PROTO", "FRAME", "MEMOIZE", "BINPUT", "PUT")
        renamed = {"BINBYTES8": "BINBYTES", "BININT": "INT", "BININT1": "INT", "BININT2": "INT"}
        found = []
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name not in skipped:
                found.append((renamed.get(opcode.name, opcode.name), argument))
        return found

    def storage(content: bytes) -> tuple[list, bytes]:
        file = io.BytesIO(next(a for n, a in operations(content) if n == "BINBYTES"))
        headers = []
        for _ in range(5):
            start = file.tell()
            list(pickletools.genops(file))
            headers.append(operations(file.getvalue()[start : file.tell()]))
        return headers, file.read()

    golden = shared / "golden/phoenix14t.pami0.train"
    theirs = gzip.open(golden).read()
    first = next(read_samples(golden))
    ours = gzip.decompress(encode_sample(first, 6)) + pickle.STOP
    (their_headers, their_numbers), (our_headers, our_numbers) = storage(theirs), storage(ours)
    assert their_numbers == our_numbers
    key = next(a for n, a in their_headers[4] if n == "BINUNICODE")
    text = repr(their_headers).replace(repr(key), repr("0"))
    assert text == repr(our_headers)


def test_frames_of_zeros_stay_visible_to_signformer(tmp_path):
    one = sample(frames=4)
    one.sign[0] = 0
    one.sign[1, 0] = -1e-8  # what Signformer adds would make it 0, and the frame invisible
    one.sign[2, 0] = 1e-8
    loaded = load_as_signformer(write(tmp_path / "x.part0", [one]))[0]["sign"]
    visible = (loaded + np.float32(1e-8) != 0)[:, 0]
    assert visible.all()
    assert loaded[1, 0] == 0 and np.array_equal(loaded[1:, 1:], one.sign[1:, 1:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sign": np.zeros((0, 8), np.float32)}, "at least one frame"),
        ({"sign": np.zeros((2, 8), np.float16)}, "float16"),
        ({"sign": np.zeros(8, np.float32)}, r"\(8,\)"),
        ({"sign": np.full((1, 8), np.nan, np.float32)}, "not finite"),
        ({"text": float("nan")}, "text is nan"),
        ({"gloss": None}, "gloss is None"),
        ({"signer": 3}, "signer is 3"),
    ],
)
def test_what_signformer_cannot_take_is_not_written(changes, message):
    values = {"sign": np.ones((2, 8), np.float32), "text": "t", "gloss": "", "signer": "s"}
    with pytest.raises(ValueError, match=f"clip: .*{message}"):
        encode_sample(Sample(**{**values, "name": "clip", **changes}), 6)


def test_single_dicts_and_several_pickles(tmp_path):
    part = gzip.open(write(tmp_path / "x.part0", [sample("a"), sample("b")])).read()
    single = pickle.PROTO + b"\x04" + gzip.decompress(encode_sample(sample("c"), 6)) + pickle.STOP
    (tmp_path / "y").write_bytes(gzip.compress(single + part + single))
    assert [one.name for one in read_samples(tmp_path / "y")] == ["c", "a", "b", "c"]


class Hostile:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("deep", [False, True])
def test_a_hostile_pickle_runs_nothing(tmp_path, deep):
    target = tmp_path / "owned"
    content = [Hostile(os.system, (f"touch {target}",))]
    if deep:  # inside the bytes that torch.load would unpickle
        numbers = (LEGACY_MAGIC, LEGACY_PROTOCOL)
        header = b"".join(pickle.dumps(value, 2) for value in (*numbers, content))
        load = (
            b"ctorch.storage\n_load_from_bytes\n" + pickle.BINBYTES + struct.pack("<I", len(header))
        )
        bad = pickle.PROTO + b"\x04" + load + header + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP
    else:
        bad = pickle.dumps(content)
    path = tmp_path / "x.part0"
    path.write_bytes(gzip.compress(bad))
    with pytest.raises(
        ValueError, match=rf"{path}.*asks for {os.system.__module__}.system"
    ) as error:
        list(read_samples(path))
    assert deep or isinstance(error.value, Refused)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"not gzip at all", "not a gzip file"),
        (gzip.compress(b"", mtime=0), "empty"),
        (gzip.compress(pickle.dumps([1]), mtime=0), "samples, which are dicts, got a int"),
        (
            gzip.compress(pickle.dumps([{"sign": 1, "name": "x"}]), mtime=0),
            "no gloss, signer, text",
        ),
        (
            gzip.compress(pickle.dumps({**dict.fromkeys(pami0.TEXTS, "t"), "sign": 1}), mtime=0),
            "torch.Tensor",
        ),
        (gzip.compress(pickle.dumps([np.zeros(3)]), mtime=0), "asks for numpy"),
        (gzip.compress(pickle.dumps([1])[:-2], mtime=0), "damaged"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    path = tmp_path / "x.part0"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        list(read_samples(path))


def test_truncated_anywhere(tmp_path):
    whole = write(tmp_path / "x.part0", [sample(frames=2)]).read_bytes()
    path = tmp_path / "cut"
    tail = whole.rindex(b"\x1f\x8b\x08")  # between members the rest is a gzip file, too
    for size in (*range(0, len(whole) - 1, 97), whole.index(b"\x1f\x8b\x08", 1), tail):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=str(path)):
            list(read_samples(path))


def test_damaged_storages(tmp_path):
    content = gzip.open(write(tmp_path / "x", [sample(frames=2, features=8)])).read()
    path = tmp_path / "y"
    for old, new in (
        (struct.pack("<q", 16), struct.pack("<q", 17)),  # the number of elements
        (pickle.BININT + struct.pack("<i", 2), pickle.BININT + struct.pack("<i", 3)),  # frames
        (b"FloatStorage", b"EvilsStorage"),
        (pickle.dumps(1001, 2), pickle.dumps(1002, 2)),
    ):
        assert content.count(old) >= 1
        path.write_bytes(gzip.compress(content.replace(old, new, 1)))
        with pytest.raises(ValueError, match=str(path)):
            list(read_samples(path))


def test_parts_are_found_in_the_order_of_their_numbers(tmp_path):
    prefix = tmp_path / "How2Sign-1024.pami0"
    for end in (".part10", ".part2", ".part0", ".part1.tmp", ".parts", ".part"):
        (tmp_path / f"{prefix.name}.train{end}").touch()
    (tmp_path / f"tmp.{prefix.name}.train.part5").touch()
    (tmp_path / f"{prefix.name}.training.part7").touch()
    (tmp_path / "a[b].dev.part0").touch()
    names = [path.name.rpartition(".")[2] for path in find_parts(prefix, "train")]
    assert names == ["part0", "part2", "part10"]
    assert len(find_parts(tmp_path / "a[b]", "dev")) == 1
    assert find_parts(prefix, "test") == [] and find_parts(tmp_path / "absent/x", "train") == []
    (tmp_path / f"{prefix.name}.train").touch()
    with pytest.raises(ValueError, match="3 parts .*remove one"):
        find_parts(prefix, "train")


def test_a_part_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "base.part0"

    def members():
        yield encode_sample(sample(), 6)
        assert [file.name[:14] for file in tmp_path.iterdir()] == ["tmp.base.part0"]
        assert not list(tmp_path.glob("base.part*"))
        raise RuntimeError("a reader fails")

    with pytest.raises(RuntimeError):
        write_part(path, members())
    assert not list(tmp_path.iterdir())


def test_no_torch_is_needed():
    assert "torch" not in sys.modules
