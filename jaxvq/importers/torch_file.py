"""Reads PyTorch's files without PyTorch, and without running their pickles (see safe_pickle).

    checkpoint = load_torch_zip("model.ckpt")       # since PyTorch 1.6; tensors become Tensor
    checkpoint["state_dict"]["bias"].numpy()

Plain pickles of tensors call torch.storage._load_from_bytes; `load_legacy_storage` does its work.
"""

import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxvq.importers.safe_pickle import Allowed, Global, expect, load_pickle, set_items

# Storage class -> (dtype on disk, bytes of an element). bfloat16 has no numpy dtype.
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

# The first two values in torch.save's format before the zip files.
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MAX_HEADER = 4096  # a few hundred bytes precede the numbers of a storage


@dataclass(frozen=True)
class Storage:
    """A row of elements, read on demand. `kind` is PyTorch's class, e.g. "FloatStorage"."""

    kind: str
    size: int
    read: Callable[[], bytes]
    byteorder: str = "<"

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(_STORAGES[self.kind]).newbyteorder(self.byteorder)

    def numpy(self) -> np.ndarray:
        data = self.read()
        if len(data) < self.size * self.dtype.itemsize:
            raise ValueError(
                f"a {self.kind} of {self.size} elements has {len(data)} bytes: the file is damaged"
            )
        values = np.frombuffer(data, self.dtype, self.size)
        if self.kind == "BFloat16Storage":  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(self.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class Tensor:
    """A view into a storage, checked to lie inside it; numpy() reads it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements

    def numpy(self) -> np.ndarray:
        """A copy in the tensor's shape. bfloat16 becomes float32."""
        values = self.storage.numpy()
        strides = [stride * values.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides)
        return np.array(view)


def torch_storage(kind: Global, size: int, read: Callable[[], bytes], byteorder="<") -> Storage:
    """The storage that a pickle describes. ValueError for an impossible type or size."""
    name = expect(kind, Global).name
    if name not in _STORAGES:
        raise ValueError(f"{kind} is not the type of a storage")
    if expect(size, int) < 0:
        raise ValueError(f"a {name} cannot have {size} elements")
    return Storage(name, size, read, byteorder)


def load_legacy_storage(read: Callable[[int, int], bytes]) -> Storage:
    """The storage that torch.storage._load_from_bytes would return, in torch.save's older format.

    The format is five small pickles (magic number, protocol, system; the storage's kind, key and
    size; the keys of all storages), the size again, then the elements.

    read: (offset, size) -> that part of the bytes, shorter at the end.
    """
    header = io.BytesIO(read(0, _MAX_HEADER))
    magic, protocol, system = (load_pickle(header, {}) for _ in range(3))
    if (magic, protocol) != (LEGACY_MAGIC, LEGACY_PROTOCOL) or not isinstance(system, dict):
        raise ValueError("a tensor is not in the older format of torch.save")
    kinds = {("torch", kind): None for kind in _STORAGES}
    kind, key, size = load_pickle(header, kinds, persistent_load=_legacy_reference)
    keys, count = load_pickle(header, {}), header.read(8)
    if keys != [key] or count != size.to_bytes(8, "little", signed=True):
        raise ValueError(f"a storage of {size} elements, but the file announces another number")
    start = header.tell()
    itemsize = np.dtype(_STORAGES.get(expect(kind, Global).name, "u1")).itemsize
    byteorder = "<" if system.get("little_endian", True) else ">"
    return torch_storage(kind, size, lambda: read(start, size * itemsize), byteorder)


def _legacy_reference(identity) -> tuple:
    what, kind, key, _device, size, view = expect(identity, tuple)
    if what != "storage" or view is not None:
        raise ValueError("a tensor does not refer to a whole storage")
    return kind, expect(key, str), expect(size, int)


def _rebuild_tensor(storage, offset, shape, strides, *_unused) -> Tensor:
    expect(storage, Storage)
    shape, strides = expect(shape, tuple), expect(strides, tuple)
    numbers = (offset, *shape, *strides)
    if not all(type(n) is int and n >= 0 for n in numbers) or len(shape) != len(strides):
        raise ValueError("the offset, shape and strides of a tensor are not whole numbers from 0")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # A stride of 0 repeats elements: a few bytes could stand for terabytes.
    if 0 not in shape and (last >= storage.size or math.prod(shape) > storage.size):
        raise ValueError(
            f"a tensor of shape {shape}, strides {strides}, offset {offset} does not fit into its "
            f"storage of {storage.size} elements"
        )
    return Tensor(storage, min(offset, storage.size), shape, strides)


def _ordered_dict(pairs=()) -> dict:
    return set_items({}, [x for key, value in expect(pairs, tuple | list) for x in (key, value)])


TORCH_GLOBALS: Allowed = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_unused: expect(data, Tensor),
    ("torch", "Size"): lambda dimensions: tuple(expect(dimensions, tuple | list)),
    **{("torch", kind): None for kind in _STORAGES},
}


def load_torch_zip(path, allowed: Allowed = TORCH_GLOBALS, *, set_state=None) -> Any:
    """The content of a file of torch.save. Tensors become Tensor, which read their numbers later.

    `set_state` is that of load_pickle, for objects other than tensors. ValueError for a file that
    asks for something not in `allowed`.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {member.filename: member for member in archive.infolist()}
                pickles = [name for name in members if name.endswith("/data.pkl")]
                if len(pickles) != 1:
                    raise ValueError("it has no data.pkl")
                root = pickles[0].removesuffix("data.pkl")
                order = members.get(root + "byteorder")
                byteorder = ">" if order and _read_stored(archive, order) == b"big" else "<"
                data = _read_stored(archive, members[pickles[0]])
        except Exception as error:  # zipfile raises many kinds of errors
            what = "not a PyTorch file of the zip format, or damaged"
            raise ValueError(f"{path}: {what} ({error})") from error

    def storage(identity):
        what, kind, key, _device, size = expect(identity, tuple)
        member = members.get(f"{root}data/{expect(key, str)}")
        if what != "storage" or member is None:
            raise ValueError(f"the storage {key[:80]} is not in the file")
        return torch_storage(kind, size, lambda: _read_member(path, member), byteorder)

    try:
        return load_pickle(data, allowed, persistent_load=storage, set_state=set_state)
    except ValueError as error:
        raise type(error)(f"{path}: {error}") from error


def _read_member(path, member) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return _read_stored(archive, member)


def _read_stored(archive, member) -> bytes:
    # PyTorch never compresses; a compressed member could expand to any size.
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed, which PyTorch never does")
    try:
        return archive.read(member)
    except Exception as error:  # zipfile raises many kinds of errors
        raise ValueError(f"{member.filename} is damaged ({error})") from error
