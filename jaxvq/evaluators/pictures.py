"""Pictures of an evaluation as SVG and PNG, made without a plotting library."""

import html
from collections.abc import Iterator, Sequence

import numpy as np

from jaxvq.inference import PoseTokenizer
from jaxvq.pose import draw, preprocess
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics
from jaxvq.storage import atomic

SIZE = 480
STRIP_FRAMES = 8


def write_point_errors(
    path, errors: np.ndarray, statistics: Statistics, skeleton: Skeleton
) -> None:
    """The mean pose as SVG, each point coloured by its mean error and named where the mouse rests.

    errors: float (v,), shoulder widths, NaN for points that were never seen.
    """
    mean = Pose(skeleton, statistics.mean[None], np.ones((1, len(errors)), np.float32), 1.0)
    pose = preprocess.unshift_hands(mean)
    view = draw.fit_view(pose)
    places = ((draw.plane(pose.data[0]) - view.center) / view.extent + 0.5) * SIZE
    largest = float(np.nanmax(errors)) if np.isfinite(errors).any() else 1.0
    lines = [
        f'<line x1="{places[a, 0]:.1f}" y1="{places[a, 1]:.1f}" '
        f'x2="{places[b, 0]:.1f}" y2="{places[b, 1]:.1f}" stroke="#ccc"/>'
        for a, b in skeleton.limbs
    ]
    for (x, y), error, (component, point) in zip(places, errors, skeleton.names, strict=True):
        seen = np.isfinite(error)
        name = f"{component} {point}: {error:.3f} shoulder widths" if seen else f"{point}: not seen"
        color = _color(error / (largest or 1.0)) if seen else "#fff"
        lines.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}" stroke="#888" '
            f'stroke-width=".3"><title>{html.escape(name)}</title></circle>'
        )
    for step in range(50):
        lines.append(
            f'<rect x="{20 + 4 * step}" y="{SIZE + 6}" width="4" height="10" '
            f'fill="{_color(step / 49)}"/>'
        )
    legend = f"0 to {largest:.3f} shoulder widths, mean over the split"
    lines.append(f'<text x="230" y="{SIZE + 15}" font-size="12">{legend}</text>')
    _write_svg(path, SIZE, SIZE + 26, lines)


def write_code_usage(
    path, counts: np.ndarray, sizes: tuple[int, ...], codebooks: Sequence[str] = ()
) -> None:
    """How often each code was used, the most frequent first, a line per codebook, as SVG.

    counts: int (books, k); both axes are logarithmic, so an even use is a flat line. codebooks:
    their names, see reconstruction.codebook_names.
    """
    width, height, left, bottom = SIZE, 280, 60, 30
    highest = max(float(counts.max()), 2.0)
    lines = []
    for book, size in enumerate(sizes):
        used = np.sort(counts[book, :size])[::-1]
        used = used[used > 0]
        rank = np.log(np.arange(1, len(used) + 1)) / np.log(max(max(sizes), 2))
        x = left + rank * (width - left - 10)
        y = 10 + (1 - np.log(used) / np.log(highest)) * (height - bottom - 10)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        color = _color(book / max(len(sizes) - 1, 1))
        share = 100 * len(used) / size
        name = html.escape(codebooks[book]) if codebooks else f"codebook {book + 1}"
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2">'
            f"<title>{name}: {share:.1f} % of {size} codes used</title></polyline>"
            f'<text x="{left + 10}" y="{height - bottom - 12 * (len(sizes) - book)}" '
            f'font-size="11" fill="{color}">{name}: {share:.1f} % used</text>'
        )
    lines += [
        f'<path d="M{left} 10V{height - bottom}H{width - 10}" fill="none" stroke="#888"/>',
        f'<text x="{left}" y="{height - 10}" font-size="12">rank of the code, 1 to {max(sizes)}'
        "</text>",
        f'<text x="4" y="20" font-size="12">{highest:.0f}</text>',
        f'<text x="4" y="{height - bottom}" font-size="12">1 use</text>',
    ]
    _write_svg(path, width, height, lines)


def write_strip(path, original: Pose, reconstruction: Pose) -> None:
    """Frames spread over a clip as PNG: the original above its reconstruction.

    Both normalised, with the hands at their wrists.
    """
    chosen = np.unique(np.linspace(0, len(original.data) - 1, STRIP_FRAMES).round().astype(int))
    view = draw.fit_view(original if not original.mask.all() else reconstruction)
    rows = []
    for pose in (original, reconstruction):
        part = pose.replace(data=pose.data[chosen], confidence=pose.confidence[chosen])
        rows.append(np.concatenate(list(draw.draw_frames(part, 160, view)), axis=1))
    draw.write_png(path, np.concatenate(rows, axis=0))


def normalised_pairs(tokenizer: PoseTokenizer, clips: list[Pose]) -> Iterator[tuple[Pose, Pose]]:
    """Standardised clips and their reconstructions, both normalised, hands in place; what the
    tokens say is not there is not shown."""
    poses, codes = tokenizer.reconstruct_clips(clips), tokenizer.encode_clips(clips)
    for clip, data, indices in zip(clips, poses, codes, strict=True):
        original = tokenizer.unstandardize(clip.data, clip.fps).replace(confidence=clip.confidence)
        predicted = tokenizer.without_absent(tokenizer.unstandardize(data, clip.fps), indices)
        yield preprocess.unshift_hands(original), preprocess.unshift_hands(predicted)


def _color(share: float) -> str:
    """From blue (0) over yellow to red (1)."""
    stops = np.array(
        [[49, 54, 149], [116, 173, 209], [254, 224, 144], [244, 109, 67], [165, 0, 38]]
    )
    place = float(np.clip(share, 0, 1)) * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    red, green, blue = (stops[low] + (place - low) * (stops[low + 1] - stops[low])).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _write_svg(path, width: int, height: int, lines: list[str]) -> None:
    content = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif">\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(lines) + "\n</svg>\n"
    )
    atomic.write_text(path, content)
