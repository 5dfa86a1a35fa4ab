"""Quantizers: pure functions on arrays, without Flax."""
