"""Flax Linen modules; they take plain fields, never a config."""
