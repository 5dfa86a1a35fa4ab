"""NPZ files with hands, one a data set: `lhand_pose`, `rhand_pose` (n, 45), maybe `image_ids`.

numpy cannot map the members of an NPZ into memory. Here those that are stored as they are can be
(`map_rows`), and compressed ones are read in pieces (`read_rows`), so that a file of five million
frames costs no more memory than a small one. Nothing is ever unpickled.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.hands import HAND
from jaxvq.storage import atomic

LEFT, RIGHT, IMAGE_IDS = "lhand_pose", "rhand_pose", "image_ids"
_PIECE_BYTES = 16 << 20
_LOCAL_HEADER = 30  # bytes before the name of a zip member


@dataclass(frozen=True)
class Member:
    """An array inside of an NPZ file. offset: of its data in the file, None where compressed."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    header: int
    offset: int | None

    def __str__(self):
        return f"{self.path}: {self.name}"


def members(path: str | Path) -> dict[str, Member]:
    """Name -> array of a file, from the headers alone.

    Raises:
      ValueError: not an NPZ file, or one that is damaged.
    """
    path = Path(path)
    found = {}
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    member = _member(path, archive, info, raw)
                    found[member.name] = member
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
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
    """The arrays of a file with hands: left, right and, where usable, image_ids.

    Raises:
      ValueError: no hands, other shapes than (n, 45), two lengths, pickled objects.
    """
    found = members(path)
    for name in (LEFT, RIGHT):
        if name not in found:
            holds = ", ".join(sorted(found)) or "nothing"
            raise ValueError(
                f"{path} has no {name}; it holds {holds}. Other formats: tools.import_hands"
            )
        member = found[name]
        if member.dtype.hasobject:
            raise ValueError(
                f"{member} holds pickled objects, which are never read here; save it "
                "as a float32 array"
            )
        if member.dtype.kind != "f":
            raise ValueError(f"{member} is {member.dtype}, expected float32")
        if len(member.shape) != 2 or member.shape[1] != HAND:
            raise ValueError(f"{member} has the shape {member.shape}, expected (frames, {HAND})")
    left, right = found[LEFT].shape[0], found[RIGHT].shape[0]
    if left != right:
        raise ValueError(f"{path}: {LEFT} has {left} frames, {RIGHT} {right}")
    ids = found.get(IMAGE_IDS)
    usable = ids and ids.dtype.kind in "USiu" and ids.shape == (left,)
    return {name: found[name] for name in (LEFT, RIGHT, *([IMAGE_IDS] if usable else []))}


def count_frames(directory: str | Path) -> dict[str, int]:
    """Data set -> frames, for the NPZ files of a folder, sorted by name; reads headers only.

    Raises:
      ValueError: no NPZ files there, or one without usable hands.
    """
    directory = Path(directory)
    paths = sorted(directory.glob("*.npz")) if directory.is_dir() else []
    if not paths:
        raise ValueError(f"no .npz files in {directory}")
    return {path.stem: hand_members(path)[LEFT].shape[0] for path in paths}


def map_rows(member: Member) -> np.memmap:
    """The rows of a stored (n, …) array as bytes, uint8 (n, bytes a row), mapped into memory.

    Bytes, because members of a zip start anywhere: numpy copies all of an unaligned float array
    to take a few rows of it. `rows.take(…).view(dtype)` is exact and fast.

    Raises:
      ValueError: the member is compressed.
    """
    if member.offset is None:
        raise ValueError(f"{member} is compressed and cannot be mapped into memory")
    width = int(np.prod(member.shape[1:], dtype=np.int64)) * member.dtype.itemsize
    return np.memmap(member.path, np.uint8, "r", member.offset, (member.shape[0], width))


def read_rows(member: Member, rows: np.ndarray) -> np.ndarray:
    """A copy of some rows, in the order given, reading the member once from front to end.

    Raises:
      ValueError: a row that does not exist, or a damaged file.
    """
    rows = np.asarray(rows, np.int64)
    bad = rows[(rows < 0) | (rows >= member.shape[0])]
    if bad.size:
        raise ValueError(f"{member} has {member.shape[0]} frames, there is no frame {bad[0]}")
    result = np.empty((len(rows), *member.shape[1:]), member.dtype)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    for start, piece in pieces(member):
        first, last = np.searchsorted(ordered, (start, start + len(piece)))
        result[order[first:last]] = piece[ordered[first:last] - start]
    return result


def pieces(member: Member) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, rows) from front to end."""
    width = int(np.prod(member.shape[1:], dtype=np.int64)) * member.dtype.itemsize
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
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{member} is damaged: {error}") from error


def check_finite(values: np.ndarray, frames: np.ndarray, what: str) -> None:
    """ValueError that names the first of the frames whose numbers are not all finite."""
    # The sum of a row is finite only if all of it is, and needs no second array of that size.
    with np.errstate(invalid="ignore", over="ignore"):
        odd = np.flatnonzero(~np.isfinite(values.sum(1, dtype=np.float64)))
    if odd.size:
        raise ValueError(
            f"{what} has NaN or infinite numbers in {odd.size} of {len(values)} "
            f"frames, first in frame {frames[odd[0]]}"
        )


@dataclass(frozen=True)
class Column:
    """An array to be written piece by piece, so that it never has to be in memory as a whole."""

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: Iterable[np.ndarray]


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray | Column], note=dict) -> None:
    """Writes an uncompressed NPZ file, so that it can be mapped; it appears when complete.

    note: returns JSON for the zip's comment (at most 64 kB); called when all else is written.
    """
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
        archive.comment = json.dumps(note()).encode()


def _write_column(file, column: Column) -> None:
    descr = np.lib.format.dtype_to_descr(column.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": column.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in column.pieces:
        file.write(np.ascontiguousarray(piece, column.dtype).tobytes())


def read_note(path: str | Path) -> dict:
    """What `write_npz` was given as a note; {} for other files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.comment or "{}")
    except ValueError:
        return {}
