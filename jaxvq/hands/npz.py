"""NPZ files of hands, one per data set: `lhand_pose`, `rhand_pose` (n, 45), maybe `image_ids`.

numpy cannot map the arrays of an NPZ file into memory. `map_rows` maps arrays that are not
compressed, and `read_rows` reads others piece by piece, so that a file of five million frames takes
no more memory than a small one. Arrays of objects are pickles: only `read_texts` reads them, and it
runs nothing.
"""

import io
import logging
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.hands import HAND, pickles
from jaxvq.storage import atomic

log = logging.getLogger("jaxvq")
LEFT, RIGHT, IMAGE_IDS = "lhand_pose", "rhand_pose", "image_ids"
_PIECE_BYTES = 16 << 20
_LOCAL_HEADER = 30  # bytes before the name of a zip member


@dataclass(frozen=True)
class Member:
    """An array in an NPZ file.

    header: bytes before its numbers. offset: place of its numbers in the file; None if compressed.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    header: int
    offset: int | None

    def __str__(self):
        return f"{self.path}: {self.name}"

    @property
    def row_bytes(self) -> int:
        """Bytes per row, which is everything at one first index."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize


def members(path: str | Path) -> dict[str, Member]:
    """Name -> array of a file, from its headers. ValueError if the file is damaged or no NPZ."""
    path = Path(path)
    found = {}
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    member = _member(path, archive, info, raw)
                    found[member.name] = member
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, tokenize.TokenError) as error:
        raise ValueError(f"{path} is not an NPZ file, or damaged: {error}") from error
    return found


def _member(path: Path, archive, info, raw) -> Member:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"{info.filename} is of npy version {version}")
        shape, fortran, dtype = read(file)
        header = file.tell()
    if fortran and len(shape) > 1:
        raise ValueError(f"{info.filename} is stored column by column; save it in C order")
    offset = None
    if info.compress_type == zipfile.ZIP_STORED:
        raw.seek(info.header_offset + _LOCAL_HEADER - 4)
        name, extra = np.frombuffer(raw.read(4), "<u2")
        offset = info.header_offset + _LOCAL_HEADER + int(name) + int(extra) + header
    return Member(path, info.filename.removesuffix(".npy"), shape, dtype, header, offset)


def hand_members(path: str | Path) -> dict[str, Member]:
    """The arrays of a file of hands; `image_ids` only if there is one per frame. ValueError unless
    both hands are (n, 45) numbers."""
    found = members(path)
    for name in (LEFT, RIGHT):
        if name not in found:
            holds = ", ".join(sorted(found)) or "nothing"
            raise ValueError(
                f"{path} has no {name}; it holds {holds}. Other formats: jaxvq import hands"
            )
        member = found[name]
        if member.dtype.kind != "f":
            raise ValueError(f"{member} is {member.dtype}, expected float32")
        if len(member.shape) != 2 or member.shape[1] != HAND:
            raise ValueError(f"{member} has the shape {member.shape}, expected (frames, {HAND})")
    left, right = found[LEFT].shape[0], found[RIGHT].shape[0]
    if left != right:
        raise ValueError(f"{path}: {LEFT} has {left} frames, {RIGHT} {right}")
    ids = found.get(IMAGE_IDS)
    if ids and not (ids.dtype.kind in "USiuO" and ids.shape == (left,)):
        del found[IMAGE_IDS]
    return found


def count_frames(directory: str | Path) -> dict[str, int]:
    """Data set -> frames, for the NPZ files of a folder, sorted by name. Reads headers only."""
    directory = Path(directory)
    paths = sorted(directory.glob("*.npz")) if directory.is_dir() else []
    if not paths:
        raise ValueError(f"no .npz files in {directory}")
    return {path.stem: hand_members(path)[LEFT].shape[0] for path in paths}


def map_rows(member: Member) -> np.memmap:
    """The rows of an array that is not compressed, mapped as bytes: uint8 (n, bytes per row).

    Arrays in a zip are not aligned, and numpy would copy a whole float array to take a few rows.
    `rows.take(…, axis=0).view(dtype)` is exact and fast.
    """
    return np.memmap(member.path, np.uint8, "r", member.offset, (member.shape[0], member.row_bytes))


def check_rows(member: Member, rows: np.ndarray) -> None:
    """ValueError that names the first missing row."""
    bad = rows[(rows < 0) | (rows >= member.shape[0])]
    if bad.size:
        raise ValueError(f"{member} has {member.shape[0]} frames, there is no frame {bad[0]}")


def read_rows(member: Member, rows: np.ndarray) -> np.ndarray:
    """A copy of some rows, in the given order. Reads the array once, from front to end."""
    rows = np.asarray(rows, np.int64)
    check_rows(member, rows)
    result = np.empty((len(rows), *member.shape[1:]), member.dtype)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    for start, piece in pieces(member):
        first, last = np.searchsorted(ordered, (start, start + len(piece)))
        result[order[first:last]] = piece[ordered[first:last] - start]
    return result


def read_hand(member: Member, frames: np.ndarray) -> np.ndarray:
    """Some frames of one hand, float32 (len(frames), 45). ValueError for NaN and infinity."""
    hand = read_rows(member, frames).astype(np.float32, copy=False)
    check_finite(hand, frames, str(member))
    return hand


def read_texts(member: Member, rows: np.ndarray) -> np.ndarray:
    """Some rows of image_ids as text, U (len(rows),); "" for None.

    All are "", with a warning, if an array of objects has more than text and numbers.
    """
    if member.dtype.kind == "S":
        return np.char.decode(read_rows(member, rows), "utf-8", "replace")
    if not member.dtype.hasobject:
        return read_rows(member, rows).astype(np.str_)
    try:
        with zipfile.ZipFile(member.path) as archive, archive.open(f"{member.name}.npy") as file:
            file.read(member.header)
            texts = pickles.load_texts(io.BufferedReader(file, 1 << 16), member.shape[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        log.warning("%s is left out: %s", member, error)
        return np.full(len(rows), "")
    return np.array([texts[row] for row in rows.tolist()], dtype=np.str_)


def pieces(member: Member) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (number of the first row, rows), from front to end."""
    width = member.row_bytes
    step = max(1, _PIECE_BYTES // max(width, 1))
    try:
        with zipfile.ZipFile(member.path) as archive, archive.open(f"{member.name}.npy") as file:
            file.read(member.header)
            for start in range(0, member.shape[0], step):
                count = min(step, member.shape[0] - start)
                data = file.read(count * width)
                if len(data) < count * width:
                    raise ValueError("it ends too early")
                yield start, np.frombuffer(data, member.dtype).reshape(count, *member.shape[1:])
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ValueError(f"{member} is damaged: {error}") from error


def check_finite(values: np.ndarray, frames: np.ndarray, what: str) -> None:
    """ValueError that names the first frame with a number that is not finite."""
    # A sum is finite only if all terms are. Unlike isfinite, it needs no array of their size.
    with np.errstate(invalid="ignore", over="ignore"):
        odd = np.flatnonzero(~np.isfinite(values.sum(1, dtype=np.float64)))
    if odd.size:
        raise ValueError(
            f"{what} has NaN or infinite numbers in {odd.size} of {len(values)} "
            f"frames, first in frame {frames[odd[0]]}"
        )


@dataclass(frozen=True)
class Column:
    """An array that is written piece by piece, and never in memory as a whole."""

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: Iterable[np.ndarray]


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray | Column]) -> None:
    """Writes an NPZ file without compression, so that its arrays can be mapped."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic.writing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, array in arrays.items():
            if not isinstance(array, Column):
                array = Column(array.shape, array.dtype, [array])
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write_column(file, array)


def _write_column(file, column: Column) -> None:
    descr = np.lib.format.dtype_to_descr(column.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": column.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in column.pieces:
        file.write(np.ascontiguousarray(piece, column.dtype).tobytes())
