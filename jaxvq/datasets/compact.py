"""Features of TFDS that store clips packed, as `fixed_point` does.

`features.json` names these classes, so that `tfds.builder_from_directory` decodes them if jaxvq is
installed. They are not in `schema`, because they need TFDS, which training never imports.
"""

import numpy as np
import tensorflow_datasets as tfds

from jaxvq.datasets import fixed_point


class Fixed(tfds.features.Tensor):
    """A float32 tensor (t, …), of which only t is unknown, stored by `fixed_point.pack`."""

    def encode_example(self, example_data) -> bytes:
        super().encode_example(example_data)
        return fixed_point.pack(np.asarray(example_data))

    def decode_example_np(self, example_data) -> np.ndarray:
        packed = np.frombuffer(example_data, np.uint8)
        data = fixed_point.unpack(packed, int(np.prod(self.shape[1:])))
        return fixed_point.to_float32(data).reshape(-1, *self.shape[1:])


class Bits(tfds.features.Tensor):
    """A bool tensor (t, …), of which only t is unknown, stored by `fixed_point.pack_mask`."""

    def encode_example(self, example_data) -> bytes:
        super().encode_example(example_data)
        return fixed_point.pack_mask(np.asarray(example_data))

    def decode_example_np(self, example_data) -> np.ndarray:
        mask = fixed_point.unpack_mask(np.frombuffer(example_data, np.uint8))
        return mask.reshape(-1, *self.shape[1:])


def compact(features: tfds.features.FeaturesDict) -> tfds.features.FeaturesDict:
    """The packed features of a corpus. ValueError if its numbers must stay exact."""
    data, mask = features["data"], features["mask"]
    if data.np_dtype != np.float16:
        raise ValueError("--compact rounds, and this corpus keeps its float32 exactly")
    packed = Fixed(shape=data.shape, dtype=np.float32, encoding="bytes")
    bits = Bits(shape=mask.shape, dtype=np.bool_, encoding="bytes")
    return tfds.features.FeaturesDict({**features, "data": packed, "mask": bits})
