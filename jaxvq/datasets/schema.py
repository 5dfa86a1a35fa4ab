"""What one clip looks like in the shards, whichever corpus it came from."""

import struct
from typing import TYPE_CHECKING

import numpy as np

from jaxvq.pose.skeleton import Skeleton

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SPLITS = ("train", "validation", "test")

# Before the byte planes of `data`. It makes the value's size odd, which that of plain numbers never
# is: so a record tells by itself how it is laid out.
PLANES = b"\x01"


def features(skeleton: Skeleton, dtype=np.float16) -> "tfds.features.FeaturesDict":
    """The features of a corpus of clips.

    data: float16, or another dtype (t, v, c), in shoulder widths, hands relative to their wrist, 0
    where missing.
    mask: bool (t, v), True = missing. id: the clip's key, unique. fps: frames a second.
    """
    import tensorflow_datasets as tfds

    v, c = skeleton.num_points, skeleton.num_dims
    # "bytes" keeps two bytes a number (TFDS would widen to eight) and needs no TensorFlow to read.
    return tfds.features.FeaturesDict(
        {
            "data": tfds.features.Tensor(shape=(None, v, c), dtype=dtype, encoding="bytes"),
            "mask": tfds.features.Tensor(shape=(None, v), dtype=np.bool_, encoding="bytes"),
            "id": tfds.features.Text(),
            "fps": tfds.features.Scalar(dtype=np.float32),
        }
    )


def parse(record: bytes, skeleton: Skeleton) -> dict:
    """A record of the shards as {"data", "mask", "id", "fps"}; the arrays are read-only.

    Equal to what TFDS' own parser returns, but several times faster: plain arrays are views of the
    record, and nothing imports TFDS. Raises ValueError for bytes that are no such record.
    """
    try:
        return _parse(record, skeleton)
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"not a record of a clip: {error!r}") from error


def to_planes(data: np.ndarray) -> bytes:
    """data (t, …) as its first bytes, its second bytes, …, in each all times of a number in a row.

    Bytes that are alike become neighbours, so that they compress well: see docs/data.md.
    """
    numbers = np.ascontiguousarray(data.reshape(len(data), -1).T)
    planes = numbers.view(np.uint8).reshape(*numbers.shape, data.dtype.itemsize)
    return PLANES + np.moveaxis(planes, -1, 0).tobytes()


def from_planes(planes: np.ndarray, dtype: np.dtype, numbers: int) -> np.ndarray:
    """The inverse of `to_planes`: planes uint8, without the mark -> dtype (t, numbers)."""
    width = dtype.itemsize
    planes = planes.reshape(width, numbers, -1)
    values = planes[-1].astype(f"<u{width}")
    for plane in planes[-2::-1]:  # whole arrays at a time: fast
        values <<= 8
        values |= plane
    return np.ascontiguousarray(values.T).view(dtype)


def _parse(record: bytes, skeleton: Skeleton) -> dict:
    places = _find_values(record)
    (data, data_size), (mask, mask_size) = places[b"data"], places[b"mask"]
    (name, name_size), (fps, _) = places[b"id"], places[b"fps"]
    # The mask has a byte a point, so its size tells how many bytes a number has.
    width = data_size // max(mask_size * skeleton.num_dims, 1) or 2
    dtype = np.dtype(f"<f{width}")
    if data_size % 2:
        planes = np.frombuffer(record, np.uint8, data_size - 1, data + 1)
        data = from_planes(planes, dtype, skeleton.num_points * skeleton.num_dims)
    else:
        data = np.frombuffer(record, dtype, data_size // width, data)
    mask = np.frombuffer(record, np.bool_, mask_size, mask)
    return {
        "data": data.reshape(-1, skeleton.num_points, skeleton.num_dims),
        "mask": mask.reshape(-1, skeleton.num_points),
        "id": record[name : name + name_size].decode("utf-8"),
        "fps": struct.unpack_from("<f", record, fps)[0],
    }


def _find_values(record: bytes) -> dict[bytes, tuple[int, int]]:
    """Feature name -> (offset, size) of its first value in a serialised tf.train.Example.

    That is a protocol buffer: nested messages, each a tag byte and its size, which is a varint.
    Example { Features { entry { name, Feature { list { value } } } … } }
    """
    places = {}
    _, offset = _read_size(record, 1)
    while offset < len(record):
        size, offset = _read_size(record, offset + 1)
        following = offset + size
        size, offset = _read_size(record, offset + 1)
        name = record[offset : offset + size]
        offset += size
        for _ in range(3):  # into the feature, its list of bytes or floats, and the first value
            size, offset = _read_size(record, offset + 1)
        places[name] = (offset, size)
        offset = following
    return places


def _read_size(record: bytes, offset: int) -> tuple[int, int]:
    """A varint, seven bits a byte with the lowest first, and the offset behind it."""
    value = record[offset]
    offset += 1
    if value < 128:
        return value, offset
    value &= 127
    shift = 7
    while True:
        byte = record[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset
        shift += 7
