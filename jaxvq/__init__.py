"""Human and sign language poses to tokens and back; see README.md for the way through."""

__version__ = "0.2.0.dev0"
