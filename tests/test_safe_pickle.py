"""The unpickler: it reads what is harmless, refuses the rest by name, and runs nothing."""

import collections
import gzip
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from torch_bytes import literal, mapping, program, tensor, write_checkpoint, write_zip

from jaxvq.importers import safe_pickle
from jaxvq.importers.safe_pickle import Refused, load_pickle
from jaxvq.importers.torch_file import TORCH_GLOBALS, load_torch_zip

PLAIN = {
    "numbers": [0, -1, 255, 65536, 2**40, -(2**70), 1.5, float("inf"), True, False, None],
    "text": ["", "ä€𝄞", "x" * 300, "'\\\n"],
    "bytes": [b"", b"\x00\xff" * 200],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    3: {"nested": {"deep": [[[]]]}, b"k": {}, None: 1, 1.5: 2},
}
PLAIN["again"] = PLAIN["text"]


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(protocol):
    # Below protocol 3 bytes are written as a call of _codecs.encode.
    allowed = {("_codecs", "encode"): str.encode, ("__builtin__", "bytes"): bytes}
    loaded = load_pickle(pickle.dumps(PLAIN, protocol), allowed)
    assert loaded == PLAIN
    assert loaded["again"] is loaded["text"]


def test_pickles_follow_one_another_in_a_file():
    file = io.BytesIO(pickle.dumps([1]) + pickle.dumps("two", 0) + b"rest")
    assert [load_pickle(file, {}), load_pickle(file, {}), file.read()] == [[1], "two", b"rest"]


def test_an_object_gets_its_state_wherever_it_is_mentioned():
    # box = Box(); box.__setstate__(5); [box, box]
    data = program(b"](cm\nBox\n)Rq\x01K\x05bh\x01e")
    loaded = load_pickle(
        data, {("m", "Box"): lambda: {"made": 1}}, set_state=lambda box, n: {**box, "state": n}
    )
    assert loaded == [{"made": 1, "state": 5}] * 2


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class State:
    """An object whose state hides a call."""

    def __reduce__(self):
        return collections.OrderedDict, (), {"x": Call(os.system, "touch harmed")}


HOSTILE = {
    "posix.system": pickle.dumps(Call(os.system, "touch harmed")),
    "builtins.eval": pickle.dumps(Call(eval, "open('harmed', 'w')")),
    "builtins.getattr": pickle.dumps(Call(getattr, "text", "upper")),
    "builtins.exec": program(literal("builtins") + literal("exec") + b"\x93"),
    "os.system": b"(S'touch harmed'\nios\nsystem\n.",
    "posix.system nested": pickle.dumps({"a": [(1, Call(os.system, "touch harmed"))]}),
    "posix.system in a state": pickle.dumps(State()),
    "collections.OrderedDict.__class__": program(
        literal("collections") + literal("OrderedDict.__class__") + b"\x93"
    ),
    "torch._utils._rebuild_tensor": program(b"ctorch._utils\n_rebuild_tensor\n)R"),
    "attributes of a Global": program(b"ccollections\nOrderedDict\n}" + literal("x") + b"K\x01sb"),
    "attributes of a list": program(b"]}b"),
    "calls torch.FloatStorage": program(b"ctorch\nFloatStorage\n)R"),
    "calls a value of type int": program(b"K\x05)R"),
    # Printing or hashing this tuple would take 2 ** 60 steps.
    "calls a value of type tuple": program(b")" + b"2\x86" * 60 + b")R"),
    "instruction EXT1": program(b"\x82\x01"),
    "instruction OBJ": program(b"(ccollections\nOrderedDict\no"),
    "instruction NEWOBJ_EX": program(b"ccollections\nOrderedDict\n)}\x92"),
    "instruction PERSID": b"Pposix\n.",
    "data outside": program(b"K\x01Q"),
    "tuple as the key": program(b"})" + b"2\x86" * 60 + b"Ns"),
    "tuple as the key of an OrderedDict": program(
        b"ccollections\nOrderedDict\n]])" + b"2\x86" * 60 + b"aNaa\x85R"
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_pickles_are_refused_by_name_and_run_nothing(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = what.split(" nested")[0].split(" in a ")[0].split(" of an O")[0]
    if what == "os.system":
        name = "INST"  # the instruction itself is refused
    with pytest.raises(Refused, match=f"^refused: .*{name}"):
        load_pickle(HOSTILE[what], TORCH_GLOBALS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"garbage",
        b"\x80\x02",
        b"\x80\x02K",
        program(b""),
        program(b"("),
        program(b"K\x01K\x02"),
        program(b"t"),
        program(b"0"),
        program(b"h\x07"),
        program(b"R"),
        program(b"K\x01K\x02a"),
        program(b"](K\x01u"),
        program(b"}(K\x01u"),
        program(b"(R"),
        program(b"\x8e" + (2**62).to_bytes(8, "little")),  # bytes of 4 million terabytes
        program(b"\x96" + (2**40).to_bytes(8, "little")),  # a bytearray
        program(b"\x8b\xff\xff\xff\x7f"),  # a number of 2 billion bytes
        program(b"\x8d" + b"\xff" * 8),
        program(b"T\xff\xff\xff\xff"),
        b"I" + b"9" * 100_000 + b"\n.",
        program(b"ccollections\nOrderedDict\nK\x01\x85R"),
        program(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
        program(b"ctorch._utils\n_rebuild_tensor_v2\n(" + (b")" + b"2\x86" * 60) * 4 + b"tR"),
    ],
)
def test_damaged_pickles_are_one_clear_line(data):
    with pytest.raises(ValueError, match="^damaged pickle .*") as error:
        load_pickle(data, TORCH_GLOBALS)
    assert "\n" not in str(error.value)


def test_large_memo_numbers_cost_nothing():
    assert load_pickle(program(b"K\x07r\xff\xff\xff\xff0j\xff\xff\xff\xff"), {}) == 7


BOMBS = {
    "one value": b"\x8e" + (1 << 25).to_bytes(8, "little") + bytes(1 << 25),
    "a line": b"I" + b"1" * (1 << 25),
    "many lists": b"(" + b"]" * (1 << 25),
    "many texts": (b"X\x00\x00\x08\x00" + b"x" * 0x80000) * 64,
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_unfolds_without_end_is_refused_in_little_memory(name, monkeypatch):
    monkeypatch.setattr(safe_pickle, "MAX_INSTRUCTIONS", 1 << 12)
    file = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(program(BOMBS[name]), 1)))
    with pytest.raises(ValueError, match="too large|in one piece|no newline"):
        load_pickle(file, {}, most_bytes=1 << 22)
    assert file.tell() < 1 << 23


def test_any_damage_is_a_value_error():
    good = pickle.dumps(PLAIN, 2) + pickle.dumps(PLAIN, 4)
    rng = np.random.default_rng(0)
    for _ in range(1500):
        data = bytearray(good)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        try:
            load_pickle(bytes(data[: rng.integers(1, len(data))]), TORCH_GLOBALS)
        except ValueError:
            pass


def test_storages_strides_and_offsets(tmp_path):
    floats = np.arange(12, dtype="<f4")
    bfloats = (floats.view(np.uint32) >> 16).astype("<u2")  # exact for small whole numbers
    storages = {
        "f": floats.tobytes(), "b": bfloats.tobytes(), "h": floats.astype("<f2").tobytes(),
        "d": floats.astype("<f8").tobytes(), "l": floats.astype("<i8").tobytes(),
        "i": floats.astype("<i4").tobytes(), "o": (floats > 5).tobytes(),
    }  # fmt: skip
    tensors = {
        "whole": tensor("f", "FloatStorage", 12, 0, (3, 4), (4, 1)),
        "transposed": tensor("f", "FloatStorage", 12, 0, (4, 3), (1, 4)),
        "part": tensor("f", "FloatStorage", 12, 5, (2, 2), (4, 1)),
        "scalar": tensor("f", "FloatStorage", 12, 11, (), ()),
        "empty": tensor("f", "FloatStorage", 12, 0, (0, 4), (4, 1)),
        "bfloat16": tensor("b", "BFloat16Storage", 12, 0, (12,), (1,)),
        "half": tensor("h", "HalfStorage", 12, 0, (12,), (1,)),
        "double": tensor("d", "DoubleStorage", 12, 0, (12,), (1,)),
        "long": tensor("l", "LongStorage", 12, 0, (12,), (1,)),
        "int": tensor("i", "IntStorage", 12, 0, (12,), (1,)),
        "bool": tensor("o", "BoolStorage", 12, 0, (12,), (1,)),
    }
    write_zip(tmp_path / "t.pt", mapping(tensors), storages)
    arrays = {name: t.numpy() for name, t in load_torch_zip(tmp_path / "t.pt").items()}
    np.testing.assert_array_equal(arrays["whole"], floats.reshape(3, 4))
    np.testing.assert_array_equal(arrays["transposed"], floats.reshape(3, 4).T)
    np.testing.assert_array_equal(arrays["part"], [[5, 6], [9, 10]])
    assert arrays["scalar"] == 11 and arrays["empty"].shape == (0, 4)
    for name, dtype in dict(bfloat16="f4", half="f2", double="f8", long="i8", int="i4").items():
        assert arrays[name].dtype == dtype
        np.testing.assert_array_equal(arrays[name], floats)
    np.testing.assert_array_equal(arrays["bool"], floats > 5)
    write_zip(tmp_path / "big.pt", tensors["whole"], {"f": floats.astype(">f4").tobytes()}, b"big")
    np.testing.assert_array_equal(load_torch_zip(tmp_path / "big.pt").numpy(), arrays["whole"])


@pytest.mark.parametrize(
    "size, offset, shape, strides",
    [
        (4, 0, (5,), (1,)),
        (4, 1, (4,), (1,)),
        (4, 0, (2, 2), (3, 1)),
        (4, 0, (2,), (-1,)),
        (4, -1, (2,), (1,)),
        (4, 0, (2,), (1, 1)),
        (4, 0, (10**6, 10**6), (0, 0)),
        (-4, 0, (0,), (1,)),
        (4, 0, (2.0,), (1,)),
        (4, 0, (True,), (1,)),
    ],
)
def test_tensors_outside_of_their_storage_are_refused(tmp_path, size, offset, shape, strides):
    data = {"0": bytes(16)}
    write_zip(tmp_path / "t.pt", tensor("0", "FloatStorage", size, offset, shape, strides), data)
    with pytest.raises(ValueError, match="t.pt: damaged pickle"):
        load_torch_zip(tmp_path / "t.pt")


def test_a_storage_shorter_than_it_claims_is_refused(tmp_path):
    one = tensor("0", "FloatStorage", 10**12, 0, (10**12,), (1,))
    write_zip(tmp_path / "t.pt", one, {"0": bytes(16)})
    with pytest.raises(ValueError, match="1000000000000 elements has 16 bytes"):
        load_torch_zip(tmp_path / "t.pt").numpy()
    write_zip(tmp_path / "t.pt", tensor("1", "FloatStorage", 4, 0, (4,), (1,)), {"0": bytes(16)})
    with pytest.raises(ValueError, match="storage 1 is not in the file"):
        load_torch_zip(tmp_path / "t.pt")


def test_damaged_files_are_one_clear_line(tmp_path):
    path = tmp_path / "model.ckpt"
    write_checkpoint(path, {"w": np.arange(64, dtype=np.float32)})
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    cases = [b"", b"PK", b"garbage" * 9, good[:-1], good[: len(good) // 2]]
    for _ in range(400):
        data = bytearray(good)
        data[rng.integers(len(data))] = rng.integers(256)
        cases.append(bytes(data))
    for data in cases:
        path.write_bytes(data)
        try:
            load_torch_zip(path)["state_dict"]["w"].numpy()
        except KeyError:
            pass  # a letter of one of the two names was changed
        except ValueError as error:
            assert "\n" not in str(error)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(["x" * 10**6]))
    with pytest.raises(ValueError, match="compressed"):
        load_torch_zip(path)


def test_a_hostile_checkpoint_names_the_file_and_the_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_zip("evil.ckpt", pickle.dumps(Call(os.system, "touch harmed"), 2)[2:-1], {})
    with pytest.raises(ValueError, match="^evil.ckpt: refused: .*posix.system"):
        load_torch_zip("evil.ckpt")
    assert os.listdir() == ["evil.ckpt"]
