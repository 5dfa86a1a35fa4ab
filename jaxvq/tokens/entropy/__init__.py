"""Lossless coding of small integers with static tables.

tables = entropy.fit_tables(sequences, sizes)   of int arrays (t, n), column j below sizes[j]
coder = entropy.Encoder()
entropy.put(coder, symbols, tables)             a symbol -1 is missing and not coded
decoder = entropy.Decoder(coder.finish())
symbols = entropy.get(decoder, len(symbols), tables, known=symbols >= 0)
bits = entropy.cost(symbols, tables)
"""

from jaxvq.tokens.entropy.coder import Decoder, Encoder
from jaxvq.tokens.entropy.fitting import fit_tables
from jaxvq.tokens.entropy.tables import Tables, cost, get, put

__all__ = ["Decoder", "Encoder", "Tables", "cost", "fit_tables", "get", "put"]
