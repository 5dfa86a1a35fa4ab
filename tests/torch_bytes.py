"""Writes what torch.save writes, without torch, for the tests that read it."""

import pickle
import zipfile

import numpy as np

KINDS = {
    "f4": "FloatStorage",
    "f8": "DoubleStorage",
    "f2": "HalfStorage",
    "i8": "LongStorage",
    "i4": "IntStorage",
    "b1": "BoolStorage",
}


def literal(value) -> bytes:
    """The instructions that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(key: str, kind: str, size: int, offset: int, shape: tuple, strides: tuple) -> bytes:
    """The instructions that push a tensor over storage `key` of `size` elements."""
    storage = (
        b"(" + literal("storage") + f"ctorch\n{kind}\n".encode() + literal(key) + literal("cpu")
        + literal(size) + b"tQ"
    )  # fmt: skip
    hooks = b"ccollections\nOrderedDict\n)R"
    numbers = literal(offset) + literal(shape) + literal(strides) + literal(False)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + numbers + hooks + b"tR"


def mapping(items: dict[str, bytes]) -> bytes:
    """The instructions that push a dict, given those of its values."""
    return b"}(" + b"".join(literal(key) + value for key, value in items.items()) + b"u"


def program(instructions: bytes) -> bytes:
    return b"\x80\x02" + instructions + b"."


def write_zip(path, instructions: bytes, storages: dict[str, bytes], byteorder=b"little") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program(instructions))
        archive.writestr("archive/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)


def write_checkpoint(path, state: dict[str, np.ndarray]) -> None:
    """A file with a state_dict, each tensor in a storage of its own."""
    tensors, storages = {}, {}
    for key, (name, array) in enumerate(state.items()):
        array = np.ascontiguousarray(array)
        strides = tuple(s // array.itemsize for s in array.strides)
        kind = KINDS[array.dtype.str[1:]]
        tensors[name] = tensor(str(key), kind, array.size, 0, array.shape, strides)
        storages[str(key)] = array.tobytes()
    write_zip(path, mapping({"epoch": literal(1), "state_dict": mapping(tensors)}), storages)
