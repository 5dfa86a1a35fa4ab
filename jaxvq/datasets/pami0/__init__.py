"""The corpus `pami0`."""
