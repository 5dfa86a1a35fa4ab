"""Pictures of an evaluation: frames of clips as PNG, and with matplotlib charts as SVG."""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvq.evaluators.reconstruction import Evaluation
from jaxvq.pose import draw, preprocess
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics
from jaxvq.storage import atomic

STRIP_FRAMES = 8


def write_strip(path, original: Pose, reconstruction: Pose) -> None:
    """Frames spread over a clip as PNG: the original above its reconstruction, in which points are
    grey that the original lacks.

    Both normalised, with the hands at their wrists.
    """
    chosen = np.unique(np.linspace(0, len(original.data) - 1, STRIP_FRAMES).round().astype(int))
    view = draw.fit_view(original if not original.mask.all() else reconstruction)
    rows = []
    for pose, grey in ((original, None), (reconstruction, original.mask[chosen])):
        part = pose.replace(data=pose.data[chosen], confidence=pose.confidence[chosen])
        rows.append(np.concatenate(list(draw.draw_frames(part, 160, view, grey)), axis=1))
    draw.write_png(path, np.concatenate(rows, axis=0))


def can_draw_charts() -> bool:
    """Whether matplotlib is installed (the extra `plots`)."""
    return importlib.util.find_spec("matplotlib") is not None


def write_charts(
    folder: Path,
    evaluation: Evaluation,
    statistics: Statistics,
    skeleton: Skeleton,
    sizes: Sequence[int],
) -> dict[Path, str]:
    """Writes the charts of an evaluation; returns their paths and captions, {} without matplotlib.

    sizes: of the codebooks.
    """
    if not can_draw_charts():
        return {}
    drawn = {
        folder / "part_errors.svg": "Mean distance of the points of each part.",
        folder / "point_errors.svg": "Mean distance of each point, drawn on the mean pose.",
    }
    parts, points = drawn
    write_part_errors(parts, evaluation.values, skeleton.unit)
    write_point_errors(points, evaluation.point_errors, statistics, skeleton)
    if evaluation.code_counts.size:
        usage = folder / "code_usage.svg"
        write_code_usage(usage, evaluation.code_counts, sizes, evaluation.codebooks)
        drawn[usage] = (
            "How often each code was used, the most frequent first. An even use is a flat line."
        )
    return drawn


def write_part_errors(path, values: dict[str, float], unit: str) -> None:
    """Bars of mpjpe/… beside those of the mean pose. values: of an Evaluation. unit: Skeleton.unit;
    the path of whole-body motion has a unit of its own."""
    parts = [key.partition("/")[2] for key in values if key.startswith("mpjpe/")]
    measured = [values[f"mpjpe/{part}"] for part in parts]
    mean_pose = [values.get(f"mpjpe_mean_pose/{part}", np.nan) for part in parts]
    with _figure(path, 1.2 + 0.6 * len(parts)) as axes:
        place = np.arange(len(parts))
        for offset, numbers, color, label in (
            (-0.2, measured, "#2166ac", "decoded from tokens"),
            (0.2, mean_pose, "#bbbbbb", "the mean pose in every frame"),
        ):
            bars = axes.barh(place + offset, numbers, 0.36, color=color, label=label)
            axes.bar_label(bars, fmt="%.3f", padding=3, fontsize=8)
        axes.set_yticks(place, ["path (m/s)" if part == "path" else part for part in parts])
        axes.invert_yaxis()
        axes.set_xlabel(f"mean distance of a point ({unit})")
        axes.margins(x=0.12)
        axes.figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)


def write_point_errors(
    path, errors: np.ndarray, statistics: Statistics, skeleton: Skeleton
) -> None:
    """The mean pose, each point coloured by its mean error.

    errors: float (v,), in the skeleton's unit, NaN for points that were never seen.
    """
    mean = Pose(skeleton, statistics.mean[None], np.ones((1, len(errors)), np.float32), 1.0)
    places = draw.plane(preprocess.arrange(mean).data[0])
    seen = np.isfinite(errors)
    with _figure(path, 4.2) as axes:
        for limb in skeleton.limbs:
            axes.plot(*places[list(limb)].T, color="#cccccc", linewidth=0.8, zorder=1)
        if not seen.all():
            axes.scatter(*places[~seen].T, s=8, color="#ffffff", edgecolors="#888888", zorder=2)
        dots = axes.scatter(
            *places[seen].T, s=14, c=errors[seen], cmap="viridis_r", vmin=0, zorder=3
        )
        axes.figure.colorbar(dots, label=f"mean distance ({skeleton.unit})", shrink=0.8)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.axis("off")


def write_code_usage(
    path, counts: np.ndarray, sizes: Sequence[int], codebooks: Sequence[str] = ()
) -> None:
    """How often each code was used, the most frequent first, a curve per codebook.

    counts: int (books, k); both axes are logarithmic. codebooks: see reconstruction.codebook_names.
    """
    with _figure(path, 3.2 + 0.09 * len(sizes)) as axes:
        for (name, share, used), color in zip(
            usage_rows(counts, sizes, codebooks), _colors(codebooks, len(sizes)), strict=True
        ):
            label = f"{name}: {share:.1f} % used"
            axes.plot(np.arange(1, len(used) + 1), used, color=color, linewidth=1.4, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,.0f}")
            axis.set_minor_formatter("")
        axes.set_xlabel("rank of the code")
        axes.set_ylabel("times used")
        axes.grid(alpha=0.3)
        axes.figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)


def usage_rows(
    counts: np.ndarray, sizes: Sequence[int], codebooks: Sequence[str]
) -> list[tuple[str, float, np.ndarray]]:
    """Of each codebook its name, the percentage of its codes in use, and how often these were."""
    rows = []
    for book, size in enumerate(sizes):
        used = np.sort(counts[book, :size])[::-1]
        used = used[used > 0]
        name = codebooks[book] if codebooks else f"codebook {book + 1}"
        rows.append((name, 100 * len(used) / size, used))
    return rows


def _colors(codebooks: Sequence[str], count: int) -> list[Any]:
    """A colour per stream, paler from quantizer to quantizer."""
    from matplotlib import colormaps

    streams = [name.rpartition(" ")[0] for name in codebooks] or [str(i) for i in range(count)]
    hues, seen, colors = list(dict.fromkeys(streams)), {}, []
    for stream in streams:
        layer = seen[stream] = seen.get(stream, -1) + 1
        color = colormaps["tab10"](hues.index(stream) % 10)[:3]
        colors.append((*color, max(1 - 0.2 * layer, 0.3)))
    return colors


@contextlib.contextmanager
def _figure(path, height: float) -> Iterator[Any]:
    """Axes of a figure of so many inches, which is written as SVG when the block ends.

    Its width is that of a phone, where letters of a wider one would shrink.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # The same numbers give the same file, with text as text.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "jaxvq"}):
        figure = Figure((4.6, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        yield axes
        with atomic.writing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
