"""Tokens, and the compact files that hold them."""
