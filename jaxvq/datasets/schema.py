"""What one clip looks like in the shards, whichever corpus it came from."""

from typing import TYPE_CHECKING

import numpy as np

from jaxvq.pose.skeleton import Skeleton

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SPLITS = ("train", "validation", "test")


def features(skeleton: Skeleton) -> "tfds.features.FeaturesDict":
    """The features of a corpus of clips.

    data: float16 (t, v, c), in shoulder widths, hands relative to their wrist, 0 where missing.
    mask: bool (t, v), True = missing. id: the clip's key, unique. fps: frames a second.
    """
    import tensorflow_datasets as tfds

    v, c = skeleton.num_points, skeleton.num_dims
    # "bytes" keeps two bytes a number (TFDS would widen to eight) and needs no TensorFlow to read.
    return tfds.features.FeaturesDict(
        {
            "data": tfds.features.Tensor(shape=(None, v, c), dtype=np.float16, encoding="bytes"),
            "mask": tfds.features.Tensor(shape=(None, v), dtype=np.bool_, encoding="bytes"),
            "id": tfds.features.Text(),
            "fps": tfds.features.Scalar(dtype=np.float32),
        }
    )


def parse(record: bytes, skeleton: Skeleton) -> dict:
    """A record of the shards as {"data", "mask", "id", "fps"}; the arrays are read-only.

    Equal to what TFDS' own parser returns, five times faster: the arrays are views of the record.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    values = tf_example_pb2.Example.FromString(record).features.feature
    data = np.frombuffer(values["data"].bytes_list.value[0], np.float16)
    mask = np.frombuffer(values["mask"].bytes_list.value[0], np.bool_)
    return {
        "data": data.reshape(-1, skeleton.num_points, skeleton.num_dims),
        "mask": mask.reshape(-1, skeleton.num_points),
        "id": values["id"].bytes_list.value[0].decode("utf-8"),
        "fps": float(values["fps"].float_list.value[0]),
    }
