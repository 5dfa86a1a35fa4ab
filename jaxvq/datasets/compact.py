"""A feature of TFDS that stores numbers as byte planes, which compress to half of the raw size.

`features.json` names this class, so `tfds.builder_from_directory` decodes it wherever jaxvq is
installed. Apart from `schema` because it needs TFDS, which training never imports.
"""

import numpy as np
import tensorflow_datasets as tfds

from jaxvq.datasets import schema


class Planes(tfds.features.Tensor):
    """A tensor (t, …) with only t unknown, stored as `schema.to_planes`."""

    def encode_example(self, example_data) -> bytes:
        """The planes; super's checks of dtype and shape come first."""
        super().encode_example(example_data)
        return schema.to_planes(np.asarray(example_data))

    def decode_example_np(self, example_data) -> np.ndarray:
        """The tensor again."""
        planes = np.frombuffer(example_data, np.uint8, offset=len(schema.PLANES))
        numbers = int(np.prod(self.shape[1:]))
        return schema.from_planes(planes, np.dtype(self.np_dtype), numbers).reshape(self.np_shape)

    @property
    def np_shape(self) -> tuple[int, ...]:
        """As numpy writes it."""
        return (-1, *self.shape[1:])


def compact(features: tfds.features.FeaturesDict) -> tfds.features.FeaturesDict:
    """The features of a corpus, with `data` in planes."""
    data = features["data"]
    planes = Planes(shape=data.shape, dtype=data.np_dtype, encoding="bytes")
    return tfds.features.FeaturesDict({**features, "data": planes})
