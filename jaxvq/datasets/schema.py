"""What one clip looks like in the shards, whichever corpus it came from."""

import struct
from typing import TYPE_CHECKING

import numpy as np

from jaxvq.datasets import fixed_point
from jaxvq.pose.skeleton import Skeleton

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SPLITS = ("train", "validation", "test")


def features(skeleton: Skeleton, dtype=np.float16) -> "tfds.features.FeaturesDict":
    """The features of a corpus of clips; `compact.compact` are the same, packed.

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


def parse(record: bytes | np.ndarray, skeleton: Skeleton) -> dict:
    """A record of the shards, its bytes, as {"data", "mask", "id", "fps"}; not to be written to.

    Equal to what TFDS' own parser returns, but several times faster: plain arrays are views of the
    record, and nothing imports TFDS. Packed clips are float32. Raises ValueError for bytes that are
    no such record.
    """
    try:
        return _parse(record, skeleton)
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"not a record of a clip: {error!r}") from error


def _parse(record: bytes | np.ndarray, skeleton: Skeleton) -> dict:
    record = memoryview(record)
    places = _find_values(record)
    (data, data_size), (mask, mask_size) = places[b"data"], places[b"mask"]
    (name, name_size), (fps, _) = places[b"id"], places[b"fps"]
    numbers = skeleton.num_points * skeleton.num_dims
    if data_size % 2:
        data = fixed_point.unpack(record[data : data + data_size], numbers)
        mask = fixed_point.unpack_mask(record[mask : mask + mask_size])
    else:
        # The mask has a byte a point, so its size tells how many bytes a number has.
        width = data_size // max(mask_size * skeleton.num_dims, 1) or 2
        data = np.frombuffer(record, f"<f{width}", data_size // width, data)
        mask = np.frombuffer(record, np.bool_, mask_size, mask)
    return {
        "data": data.reshape(-1, skeleton.num_points, skeleton.num_dims),
        "mask": mask.reshape(-1, skeleton.num_points),
        "id": bytes(record[name : name + name_size]).decode("utf-8"),
        "fps": struct.unpack_from("<f", record, fps)[0],
    }


def _find_values(record: memoryview) -> dict[bytes, tuple[int, int]]:
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
        name = bytes(record[offset : offset + size])
        offset += size
        for _ in range(3):  # into the feature, its list of bytes or floats, and the first value
            size, offset = _read_size(record, offset + 1)
        places[name] = (offset, size)
        offset = following
    return places


def _read_size(record: memoryview, offset: int) -> tuple[int, int]:
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
