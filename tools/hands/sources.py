"""Reads hands from the formats in which body motion is published.

    read_hands("clip.pkl", "signavatars") -> Hands(left float32 (t, 45), right (t, 45), valid (t,))

The numbers stay as they are in the file. Angles count either from the flat hand or from the mean
hand of MANO (`flat_hand_mean=False` of the SMPL-X package), and no file says which. `add_mean`
converts the second to the first, with the mean of a model file that the user has a licence for.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.hands import HAND, npz, pickles

STILL = 1e-4  # radians: a hand whose angles differ by less does not move


@dataclass(frozen=True)
class Layout:
    """The place of the hands in a matrix of poses.

    suffixes: of the files. keys: names of the matrix in a file of several arrays; the first match
    counts. left: width of the matrix -> first column of the left hand, which the right one follows.
    """

    about: str
    suffixes: tuple[str, ...]
    keys: tuple[str, ...]
    left: Mapping[int, int]


LAYOUTS = {
    "smplh156": Layout("AMASS, SMPL-H: `poses` (t, 156)", (".npz",), ("poses",), {156: 66}),
    "smplx165": Layout(
        "AMASS, BEDLAM, GRAB, SMPL-X: `poses`, `pose_cam`, `fullpose` (t, 165)",
        (".npz",),
        ("poses", "pose_cam", "fullpose"),
        {165: 75},
    ),
    "motionx322": Layout("Motion-X: .npy (t, 322)", (".npy",), (), {322: 66}),
    "signavatars": Layout(
        "SignAvatars: `smplx` (t, 182) or `unsmooth_smplx` (t, 169) in pickles, plain or PyTorch's",
        (".pkl", ".pt"),
        ("smplx", "unsmooth_smplx"),
        {182: 66, 169: 66},
    ),
    "talkshow265": Layout("TalkSHOW: .npy (t, 265)", (".npy",), (), {265: 75}),
}
_WITHOUT_HANDS = {72: "SMPL, which has no hands", 66: "a body without hands", 63: "a body alone"}
_WIDTHS = {width: name for name, layout in LAYOUTS.items() for width in layout.left}


@dataclass(frozen=True)
class Hands:
    """Both hands, float32 (t, 45) each, axis-angle in radians; valid: bool (t,), both were seen."""

    left: np.ndarray
    right: np.ndarray
    valid: np.ndarray

    def __len__(self) -> int:
        return len(self.left)


def read_hands(path: str | Path, layout: str) -> Hands:
    """The hands of a file. `layout` is a name of LAYOUTS.

    Raises:
      ValueError: the layout is unknown, or the file has another layout, no frames, or NaN.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"format {layout!r} is not known; choices: {', '.join(LAYOUTS)}")
    path, known = Path(path), LAYOUTS[layout]
    arrays = _read_arrays(path)
    matrix = _find(arrays, known, path)
    width = matrix.shape[1]
    if width not in known.left:
        wanted = " or ".join(map(str, known.left))
        what = _WITHOUT_HANDS.get(width) or _WIDTHS.get(width)
        hint = f"; {width} is {what}" if what else ""
        raise ValueError(f"{path} has {width} numbers per frame, {layout} has {wanted}{hint}")
    start = known.left[width]
    left, right = (
        np.ascontiguousarray(matrix[:, at : at + HAND], np.float32) for at in (start, start + HAND)
    )
    valid = np.ones(len(matrix), bool)
    for name in ("left_valid", "right_valid"):
        if name in arrays:
            seen = np.asarray(arrays[name]).astype(bool)
            if seen.shape != valid.shape:
                raise ValueError(f"{path}: {name} has {seen.size} values for {len(valid)} frames")
            valid &= seen
    for side, values in (("left", left), ("right", right)):
        npz.check_finite(values, np.arange(len(values)), f"{path}: the {side} hand")
    return Hands(left, right, valid)


def _read_arrays(path: Path) -> dict:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    if path.suffix == ".npz":
        return npz.members(path)
    if path.suffix == ".npy":
        try:
            return {"": np.load(path, mmap_mode="r", allow_pickle=False)}
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{path} is not an array of numbers: {error}") from error
    return pickles.load_arrays(path)


def _find(arrays: dict, known: Layout, path: Path) -> np.ndarray:
    """The matrix of poses, (t, n)."""
    names = known.keys or ("",)
    name = next((name for name in names if name in arrays), None)
    if name is None:
        shape = getattr(arrays.get("left_hand_pose"), "shape", ())
        pca = (
            f"; left_hand_pose has {shape[-1]} numbers, PCA components and no joint angles"
            if len(shape) == 2 and shape[1] < HAND
            else ""
        )
        raise ValueError(
            f"{path} has no {' or '.join(names)}; it has "
            f"{', '.join(map(str, arrays)) or 'nothing'}{pca}"
        )
    matrix = arrays[name]
    if isinstance(matrix, npz.Member):
        if matrix.dtype.hasobject:
            raise ValueError(f"{matrix} holds pickled objects, which are never read here")
        matrix = npz.read_rows(matrix, np.arange(matrix.shape[0] if matrix.shape else 0))
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise ValueError(
            f"{path}: {name or 'the array'} is no matrix of numbers, but "
            f"{getattr(matrix, 'dtype', type(matrix).__name__)} of shape "
            f"{np.shape(matrix)}"
        )
    if not len(matrix):
        raise ValueError(f"{path} has no frames")
    return matrix


def list_files(source: str | Path, layout: str) -> list[Path]:
    """The files with a layout's suffix in a folder and its subfolders, sorted; or the one file."""
    source = Path(source)
    if source.is_file():
        return [source]
    suffixes = LAYOUTS[layout].suffixes
    found = sorted(p for p in source.rglob("*") if p.suffix in suffixes and p.is_file())
    if not found:
        raise ValueError(f"no {' or '.join(suffixes)} files in {source}")
    return found


def never_move(hands: Hands) -> bool:
    """Whether all of several frames show the same pose: a body model's default, no recording."""
    spread = max(np.ptp(hands.left, axis=0).max(), np.ptp(hands.right, axis=0).max())
    return len(hands) > 1 and bool(spread < STILL)


def load_mean(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """`hands_meanl` and `hands_meanr`, float32 (45,), of a SMPL-X model file (.npz)."""
    if not Path(path).is_file():
        raise ValueError(f"no such file: {path}")
    found = npz.members(path)
    means = []
    for name in ("hands_meanl", "hands_meanr"):
        if name not in found or found[name].shape != (HAND,) or found[name].dtype.kind != "f":
            raise ValueError(
                f"{path} has no {name} of {HAND} numbers; a SMPL-X model file "
                "(SMPLX_NEUTRAL.npz) has them"
            )
        means.append(npz.read_rows(found[name], np.arange(HAND)).astype(np.float32))
    return means[0], means[1]


def add_mean(hands: Hands, mean: tuple[np.ndarray, np.ndarray]) -> Hands:
    """Converts angles that count from the mean hand to angles that count from the flat hand."""
    return dataclasses.replace(hands, left=hands.left + mean[0], right=hands.right + mean[1])


def mirror(hands: Hands) -> Hands:
    """The hands in a mirror: left and right change places."""
    return dataclasses.replace(hands, left=mirror_hand(hands.right), right=mirror_hand(hands.left))


def mirror_hand(hand: np.ndarray) -> np.ndarray:
    """Turns a left hand (…, 45) into a right one, and back. Mirrored at the plane x = 0, rotations
    keep their x and change the sign of y and z."""
    return hand * np.tile(np.array([1, -1, -1], hand.dtype), hand.shape[-1] // 3)


def dataset_name(path: str | Path) -> str:
    """The name of the data set that a file NAME.npz holds."""
    path = Path(path)
    if path.suffix != ".npz" or not re.fullmatch(r"[\w.+-]+", path.stem):
        raise ValueError(f"{path}: expected DIR/NAME.npz, with the name of the data set")
    return path.stem
