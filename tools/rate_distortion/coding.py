"""The size of tokens on disk: tables fitted to training clips, test clips in one `.jvq` file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvq.tokens import code_tables, token_file
from jaxvq.tokens.tokens import Tokens

NO_MODEL = "00" * 32  # the fingerprint of a codec without a checkpoint


def measure(
    path: Path,
    train: Sequence[np.ndarray],
    test: Sequence[Tokens],
    task,
    fingerprint: str = NO_MODEL,
) -> dict[str, float]:
    """As `write`, with tables fitted to `train`, indices int (t', s, q) of clips.

    task: an object with the codebook_sizes, levels, token_shape and frames_per_step of a task.
    """
    return write(path, test, code_tables.fit_code_tables(train, task, fingerprint))


def write(path: Path, test: Sequence[Tokens], tables: code_tables.CodeTables) -> dict[str, float]:
    """Writes the test clips to `path` and returns their size.

    Returns:
      real_bytes, the size of the whole file, real_bits_per_frame and real_bits_per_second, its
      means over all clips, and code_bits_per_frame, that of the codes without names and headers.
    """
    with token_file.Writer(path, tables) as file:
        for number, tokens in enumerate(test):
            file.write(str(number), tokens)
    size, frames = path.stat().st_size, sum(tokens.length for tokens in test)
    return {
        "real_bytes": size,
        "real_bits_per_frame": 8 * size / frames,
        "real_bits_per_second": 8 * size / sum(tokens.length / tokens.fps for tokens in test),
        "code_bits_per_frame": sum(tables.cost(tokens.indices) for tokens in test) / frames,
    }
