"""The form of a clip in the shards, for all corpora."""

import contextlib
import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from jaxvq.datasets import fixed_point
from jaxvq.datasets.layout import FIXED_POINT
from jaxvq.pose.reader import Pose
from jaxvq.pose.resample import resample
from jaxvq.pose.skeleton import Skeleton

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SPLITS = ("train", "validation", "test")
_PLAIN = {name: np.dtype(name).newbyteorder("<") for name in ("float16", "float32")}

# An Example is a protocol buffer: nested messages, each with a tag byte and its size, a varint.
# Example { Features { entry { name, Feature { list { value } } } … } }, one value per feature.
_SIZE = rb"[\x80-\xff]*[\x00-\x7f]"
_BEGIN = re.compile(rb"\n" + _SIZE)
_ENTRY = re.compile(
    rb"\n%b\n%b([a-z_]+)\x12%b[\n\x12\x1a]%b\n(%b)" % (_SIZE, _SIZE, _SIZE, _SIZE, _SIZE)
)


class SkippedClip(ValueError):
    """A clip that cannot be used. reason: a short category, for counting."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@contextlib.contextmanager
def skipping(reason: str, key: str = "") -> Iterator[None]:
    """Turns a ValueError into a SkippedClip, whose message begins with `key`."""
    try:
        yield
    except ValueError as error:
        raise SkippedClip(reason, f"{key}: {error}" if key else str(error)) from error


def features(skeleton: Skeleton, dtype=np.float16) -> "tfds.features.FeaturesDict":
    """The features of a corpus of clips; `compact.compact` packs them.

    data: float16 or another dtype (t, v, c), in shoulder widths, hands relative to their wrists, 0
    where missing; of motion as `pose.motion` has it, float32. mask: bool (t, v), True = missing.
    id: the unique key. fps: frames per second.
    """
    import tensorflow_datasets as tfds

    v, c = skeleton.num_points, skeleton.num_dims
    # "bytes" keeps two bytes per number, which TFDS would widen to eight, and needs no TensorFlow.
    return tfds.features.FeaturesDict(
        {
            "data": tfds.features.Tensor(shape=(None, v, c), dtype=dtype, encoding="bytes"),
            "mask": tfds.features.Tensor(shape=(None, v), dtype=np.bool_, encoding="bytes"),
            "id": tfds.features.Text(),
            "fps": tfds.features.Scalar(dtype=np.float32),
        }
    )


def example(pose: Pose, key: str, fps: float | None) -> dict:
    """A clip as an example of `features`, resampled to `fps` if that is given."""
    if fps is not None:
        pose = resample(pose, fps)
    return {"data": pose.data, "mask": pose.mask, "id": key, "fps": pose.fps}


def parse(
    record: bytes | np.ndarray,
    skeleton: Skeleton,
    stored: str = "float16",
    places: tuple | None = None,
) -> dict:
    """The bytes of a record as {"data", "mask", "id", "fps"}, several times as fast as TFDS.

    stored: see `layout.Layout.data`. data stays as it is stored: float16 or float32, as a read-only
    view of the record, or int16 steps of a packed clip. `fixed_point.to_float32` widens each.
    places: find_values(record), if it is known. Raises ValueError for other bytes.
    """
    try:
        data, data_size, mask, mask_size, name, name_size, fps = places or find_values(record)
        record = np.frombuffer(record, np.uint8) if isinstance(record, bytes) else record
        if stored == FIXED_POINT:
            numbers = skeleton.num_points * skeleton.num_dims
            data = fixed_point.unpack(record[data : data + data_size], numbers)
            mask = fixed_point.unpack_mask(record[mask : mask + mask_size])
        else:
            dtype = _PLAIN[stored]
            data = np.frombuffer(record, dtype, data_size // dtype.itemsize, data)
            mask = np.frombuffer(record, np.bool_, mask_size, mask)
        if data.size != mask.size * skeleton.num_dims:
            raise ValueError(f"{data.size} numbers of {mask.size} points of {stored}")
        return {
            "data": data.reshape(-1, skeleton.num_points, skeleton.num_dims),
            "mask": mask.reshape(-1, skeleton.num_points),
            "id": record[name : name + name_size].tobytes().decode("utf-8"),
            "fps": struct.unpack_from("<f", record, fps)[0],
        }
    except (IndexError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"not a record of a clip: {error!r}") from error


def find_values(record: np.ndarray | bytes) -> tuple[int, ...]:
    """Offset and size of data, mask and id, and the offset of fps, in a record, which is a
    serialised tf.train.Example. ValueError for other bytes."""
    places = {}
    try:
        offset = _BEGIN.match(record).end()
        while offset < len(record):
            entry = _ENTRY.match(record, offset)
            size = 0
            for byte in reversed(entry[2]):  # seven bits per byte, the lowest first
                size = size << 7 | byte & 127
            places[entry[1]] = (entry.end(), size)
            offset = entry.end() + size
        return *places[b"data"], *places[b"mask"], *places[b"id"], places[b"fps"][0]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a record of a clip: {error!r}") from error
