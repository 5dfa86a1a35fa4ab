"""Corpora on disk to ArrayRecord shards: one TFDS folder a corpus, one way of building them all."""
