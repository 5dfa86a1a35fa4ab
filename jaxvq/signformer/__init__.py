"""Signformer's `.pami0` files: written and read without PyTorch, exported from corpora on disk."""
