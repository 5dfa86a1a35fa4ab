"""sign-vq's form of a corpus: a zip of standardised npz files.

A member `<stem>.npz` has `data` float16 (t, v, c), standardised and 0 where missing, and `mask`
bool of the same shape, True = missing (sign-language-processing/sign-vq, `ZipPoseDataset`, which
loads every member of the zip). We add `fps` and, in the comment of the archive, the statistics that
undo the standardisation.
"""

import collections
import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics, statistics_from_json, statistics_to_json
from jaxvq.storage import atomic, reading

FOREIGN_FPS = 25.0  # sign-vq stores no frame rate, and decodes at this one


def member_names(keys: Iterable[str]) -> dict[str, str]:
    """Key -> `<stem>.npz`, or the whole path if several keys share a stem."""
    keys = list(keys)
    stems = collections.Counter(PurePosixPath(key).stem for key in keys)
    names = {}
    for key in keys:
        path = PurePosixPath(key)
        name = path.stem if stems[path.stem] == 1 else str(path.with_suffix(""))
        names[key] = f"{name}.npz"
    return names


def encode_clip(data: np.ndarray, mask: np.ndarray, fps: float, statistics: Statistics) -> bytes:
    """A member of the zip: data (t, v, c) before standardisation, mask bool (t, v)."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        data=statistics.standardize(data, mask).astype(np.float16),
        mask=np.repeat(mask[..., None], data.shape[-1], axis=-1),
        fps=np.float32(fps),
    )
    return content.getvalue()


def decode_clip(content: bytes, name: str, skeleton: Skeleton, statistics: Statistics) -> Pose:
    """The inverse of `encode_clip`, also for members that sign-vq wrote."""
    try:
        arrays = reading.read_npz(content, name)
        data, mask = arrays["data"], arrays["mask"]
        fps = float(arrays.get("fps", FOREIGN_FPS))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}: not an npz with the arrays data and mask: {error}") from error
    shape = (len(data) if data.ndim else 0, skeleton.num_points, skeleton.num_dims)
    if data.shape != shape or mask.shape not in (shape, shape[:2]) or not len(data):
        raise ValueError(
            f"{name}: data of shape {data.shape} and mask of {mask.shape}, expected "
            f"(frames, {skeleton.num_points}, {skeleton.num_dims}) and at least one frame"
        )
    if mask.ndim == 3:
        mask = mask.any(axis=-1)
    mask = mask | ~np.isfinite(data).all(axis=-1)
    data = statistics.unstandardize(data)
    data[mask] = 0
    return Pose(skeleton, data, (~mask).astype(np.float32), fps)


def write_zip(
    path: str | Path,
    members: Iterable[tuple[str, bytes]],
    skeleton: Skeleton,
    statistics: Statistics,
) -> None:
    """Writes (name, bytes) members and the statistics, as a whole file or none."""
    comment = json.dumps(statistics_to_json(statistics, skeleton), separators=(",", ":")).encode()
    with (
        atomic.writing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,  # npz are compressed
    ):
        for name, content in members:
            archive.writestr(name, content)
        archive.comment = comment


def read_statistics(path: str | Path, skeleton: Skeleton) -> Statistics | None:
    """The statistics in a zip; None if there are none, as in sign-vq's own zips."""
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
    try:
        return statistics_from_json(json.loads(comment), skeleton)
    except ValueError:
        return None
