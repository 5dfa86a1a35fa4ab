"""Quantizers: pure functions on arrays, and the three types of configs (see base.py)."""

from jaxvq.quantizers import fsq, rfsq, rvq
from jaxvq.quantizers.base import Quantizer

TYPES = ("rvq", "rfsq", "fsq")


def make_quantizer(config) -> Quantizer:
    """The quantizer of the fields `config.quantizer`; see configs/stgcn_rvq.py.

    config: ConfigDict with type, num_quantizers, and levels (fsq, rfsq) or codebook_size, code_dim,
    decay, dead_below and init (rvq).
    """
    q = config.num_quantizers
    if config.type not in TYPES:
        raise ValueError(f"quantizer.type={config.type!r}: choose from {', '.join(TYPES)}")
    if q < 1:
        raise ValueError(f"quantizer.num_quantizers={q}: must be 1 or more")
    if config.type == "fsq":
        return fsq.Fsq(fsq.levels_per_quantizer(config.levels, q))
    if config.type == "rfsq":
        fsq.codebook_size(tuple(config.levels))
        return rfsq.ResidualFsq(tuple(config.levels), q)
    if config.init not in rvq.INITS:
        raise ValueError(f"quantizer.init={config.init!r}: choose from {', '.join(rvq.INITS)}")
    if not 0 <= config.decay < 1:
        raise ValueError(f"quantizer.decay={config.decay}: must be at least 0 and below 1")
    sizes = config.codebook_size
    sizes = (sizes,) * q if isinstance(sizes, int) else tuple(sizes)
    if len(sizes) != q:
        raise ValueError(
            f"quantizer.codebook_size={sizes}: give one size, or one for each of {q} quantizers"
        )
    rvq.make_used(sizes)
    return rvq.ResidualVq(config.code_dim, sizes, config.decay, config.dead_below, config.init)
