"""Lossless coding of small integers with static tables.

tables = entropy.fit_tables(sequences, sizes)   of int arrays (t, n), column j below sizes[j]
data = entropy.encode(symbols, tables)          bytes; a symbol -1 is missing and not coded
symbols = entropy.decode(data, len(symbols), tables, known=symbols >= 0)
bits = entropy.cost(symbols, tables)
"""

from jaxvq.tokens.entropy.coder import Decoder, Encoder
from jaxvq.tokens.entropy.fitting import fit_tables
from jaxvq.tokens.entropy.tables import Tables, cost, decode, encode, get, put

__all__ = ["Decoder", "Encoder", "Tables", "cost", "decode", "encode", "fit_tables", "get", "put"]
