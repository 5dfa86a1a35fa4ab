"""What a model's tokens cost: tables fitted on the training split, kept beside the model.

An FSQ index is coded digit by digit: digits have few values and depend on their neighbours. Of each
stream one flag is coded first: whether its row is the rest row, the most common one in training. A
hand that is not in the picture rests, and so costs next to nothing.

`jaxvq make code-tables` writes the file; token files (token_file.py) are coded by it.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import numpy as np

from jaxvq import checkpoint, config_names
from jaxvq.storage import atomic, reading
from jaxvq.tasks.base import TokenTask
from jaxvq.tokens import entropy

FILE = "code_tables.npz"
FORMAT = 1
Books = Sequence[Sequence[int]]  # the alphabets of the digits of each codebook


@dataclass(frozen=True, eq=False)
class CodeTables:
    """What compact token files of one model are coded with.

    fingerprint: of the model, see `fingerprint`.
    digits: alphabets of the digits of each of the s·q codebooks.
    streams: s.
    frames_per_step: as the model's.
    rest: int32 (n,), the digits of the rest rows.
    flags, symbols: tables of the streams' flags (t', s), and of all digits (t', n).
    """

    fingerprint: str
    digits: tuple[tuple[int, ...], ...]
    streams: int
    frames_per_step: int
    rest: np.ndarray
    flags: entropy.Tables
    symbols: entropy.Tables

    @property
    def token_shape(self) -> tuple[int, int]:
        """(s, q)."""
        return self.streams, len(self.digits) // self.streams

    def put(self, coder: entropy.Encoder, indices: np.ndarray) -> None:
        """Appends indices int (t', s, q). ValueError for another shape, or a code that the model
        has not."""
        resting, symbols = self._prepare(indices)
        entropy.put(coder, resting, self.flags)
        entropy.put(coder, symbols, self.symbols)

    def get(self, coder: entropy.Decoder, steps: int) -> np.ndarray:
        """The next indices, int32 (steps, s, q)."""
        resting = entropy.get(coder, steps, self.flags)
        known = np.repeat(resting == 0, digits_per_stream(self.digits, self.streams), axis=1)
        symbols = entropy.get(coder, steps, self.symbols, known)
        digits = np.where(known, symbols, self.rest)
        return join_digits(digits, self.digits).reshape(steps, *self.token_shape)

    def check(self, indices: np.ndarray) -> None:
        """The errors of `put`, and nothing else."""
        self._prepare(indices)

    def cost(self, indices: np.ndarray) -> float:
        """Bits by the tables of indices int (t', s, q)."""
        resting, symbols = self._prepare(indices)
        return entropy.cost(resting, self.flags) + entropy.cost(symbols, self.symbols)

    def _prepare(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if indices.ndim != 3 or indices.shape[1:] != self.token_shape:
            raise ValueError(
                f"tokens of shape {indices.shape}: these tables are for (steps, "
                f"{', '.join(map(str, self.token_shape))})"
            )
        digits = split_digits(indices.reshape(len(indices), len(self.digits)), self.digits)
        where = self.rest, self.digits, self.streams
        return rest_flags(digits, *where), moving(digits, *where)

    # ------------------------------------------------------------------------------- on disk

    def to_arrays(self) -> dict[str, np.ndarray]:
        meta = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "digits": self.digits,
            "streams": self.streams,
            "downsample": self.frames_per_step,  # the name in files
        }
        arrays = {"meta": np.array(json.dumps(meta)), "rest": self.rest.astype(np.int32)}
        for name in ("flags", "symbols"):
            tables = getattr(self, name).to_arrays()
            arrays |= {f"{name}_{key}": value for key, value in tables.items()}
        return arrays

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of what the tables hold, so that a file tells which ones it was written by."""
        total = 0
        for name, value in sorted(self.to_arrays().items()):
            if name != "meta":
                total = zlib.crc32(value.astype(value.dtype.newbyteorder("<")).tobytes(), total)
        return total


def fit_code_tables(
    sequences: Sequence[np.ndarray],
    task: TokenTask,
    fingerprint: str,
    clips: Sequence[int] | None = None,
    progress: Callable[[Sequence], Iterable] = iter,
) -> CodeTables:
    """Tables for the tokens of a task, fitted on indices int (t', s, q) of clips.

    clips: the number of the clip that each sequence comes from, see entropy.fit_tables. progress:
    wraps what takes long, to draw a bar.

    Raises:
      ValueError: a task without codes, no clips, or codes that are not the task's.
    """
    if not task.codebook_sizes:
        raise ValueError("this model has no codes, so there is nothing to fit tables for")
    digits, (streams, _) = task.levels, task.token_shape
    rows = [split_digits(x.reshape(len(x), len(digits)), digits) for x in sequences]
    if not sum(map(len, rows)):
        raise ValueError("no tokens to fit tables on")
    counts = digits_per_stream(digits, streams)
    every = np.concatenate(rows)
    parts = np.split(every, np.cumsum(counts)[:-1], axis=1)
    rest = np.concatenate([_most_common(part) for part in parts]).astype(np.int32)
    flags = [rest_flags(x, rest, digits, streams) for x in rows]
    sizes = [size for book in digits for size in book]
    return CodeTables(
        fingerprint=fingerprint,
        digits=digits,
        streams=streams,
        frames_per_step=task.frames_per_step,
        rest=rest,
        flags=entropy.fit_tables(flags, (2,) * streams, clips),
        symbols=entropy.fit_tables(
            [moving(x, rest, digits, streams) for x in rows], sizes, clips, progress
        ),
    )


def _most_common(rows: np.ndarray) -> np.ndarray:
    found, counts = np.unique(rows, axis=0, return_counts=True)
    return found[counts.argmax()]


def rest_flags(digits: np.ndarray, rest: np.ndarray, books: Books, streams: int) -> np.ndarray:
    """int (t', s): 1 where all digits (t', n) of a stream are those of its rest row."""
    ends = np.cumsum(digits_per_stream(books, streams))[:-1]
    parts = np.split(digits == rest, ends, axis=1)
    return np.stack([part.all(1) for part in parts], 1).astype(np.int32)


def moving(digits: np.ndarray, rest: np.ndarray, books: Books, streams: int) -> np.ndarray:
    """Digits int (t', n) with -1 for those of streams that rest."""
    resting = rest_flags(digits, rest, books, streams)
    counts = digits_per_stream(books, streams)
    return np.where(np.repeat(resting == 0, counts, axis=1), digits, -1)


def digits_per_stream(books: Books, streams: int) -> list[int]:
    """How many digits each stream has: books (s·q) of alphabets."""
    each = len(books) // streams
    return [sum(map(len, books[i : i + each])) for i in range(0, len(books), each)]


# ------------------------------------------------------------------------- indices and their digits


def split_digits(indices: np.ndarray, books: Books) -> np.ndarray:
    """The digits int32 (t', n) of indices (t', q), the first of each codebook varying fastest, as
    in quantizers/fsq.py. books: alphabets of the digits of each codebook. ValueError for an index
    that the codebook has not."""
    columns = []
    for i, book in enumerate(books):
        rest, size = np.asarray(indices[:, i], np.int64), int(np.prod(book))
        if len(rest) and not 0 <= rest.min() <= rest.max() < size:
            odd = int(rest.min() if rest.min() < 0 else rest.max())
            raise ValueError(f"code {odd} is outside of 0..{size - 1}, this model's codes")
        for base in book:
            rest, digit = np.divmod(rest, base)
            columns.append(digit)
    return np.stack(columns, 1).astype(np.int32)


def join_digits(digits: np.ndarray, books: Books) -> np.ndarray:
    """Indices int32 (t', q) of digits (t', n); the inverse of `split_digits`."""
    indices, first = [], 0
    for book in books:
        weights = np.cumprod((1, *book[:-1]))
        indices.append(digits[:, first : first + len(book)] @ weights)
        first += len(book)
    return np.stack(indices, 1).astype(np.int32)


# --------------------------------------------------------------------------------- beside a model


def fingerprint(model: checkpoint.Model) -> str:
    """sha256, as hex, of all that decides what tokens mean: parameters, state, skeleton, statistics
    and the parts of the config that describe the network. A published model has that of its run.
    """
    config = config_names.to_first_names(checkpoint.config_to_json(model.config))
    network = {name: config.get(name) for name in ("task", "model", "quantizer")}
    digest = hashlib.sha256(json.dumps(network, sort_keys=True).encode())
    digest.update(json.dumps(model.skeleton.to_json(), sort_keys=True).encode())
    leaves = jax.tree_util.tree_flatten_with_path((model.params, model.state))[0]
    arrays = [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    arrays += [("mean", model.statistics.mean), ("std", model.statistics.std)]
    for name, leaf in arrays:
        array = np.asarray(leaf)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + little.tobytes())
    return digest.hexdigest()


def path_for(model: checkpoint.Model) -> Path:
    """Where the tables of a model lie: in the folder of its run."""
    step = Path(model.path)
    folder = step.parent.parent if step.parent.name == checkpoint.CHECKPOINTS else step
    return folder / FILE


def save(path: Path, tables: CodeTables) -> None:
    """Writes tables to a file (npz, no pickle)."""
    with atomic.writing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **tables.to_arrays())


def load(model: checkpoint.Model) -> CodeTables:
    """The tables that belong to a model. ValueError, which names the command, if there are none or
    they are of another checkpoint."""
    path = path_for(model)
    newest = checkpoint.find_checkpoint(path.parent) == Path(model.path).resolve()
    which = path.parent if newest else model.path
    command = f"jaxvq make code-tables --model {which} --data DATA"
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {FILE}, which compact token files need; {command}")
    tables = read(path)
    if tables.fingerprint != fingerprint(model):
        raise ValueError(
            f"{path} belongs to another checkpoint than step {model.step}; {command} replaces it"
        )
    return tables


def read(path: Path) -> CodeTables:
    """The tables of a file; ValueError where it is damaged or of a newer format."""
    try:
        arrays = reading.read_npz(path, "damaged")
        meta = reading.parse_json(str(arrays["meta"]), "meta")
        if meta["format"] > FORMAT:
            raise ValueError("written by a newer jaxvq: please upgrade")
        parts = {
            name: entropy.Tables.from_arrays(
                {key.removeprefix(f"{name}_"): value for key, value in arrays.items()}
            )
            for name in ("flags", "symbols")
        }
        return CodeTables(
            fingerprint=meta["fingerprint"],
            digits=tuple(map(tuple, meta["digits"])),
            streams=meta["streams"],
            frames_per_step=meta["downsample"],
            rest=arrays["rest"],
            **parts,
        )
    except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as code tables ({error})") from None
