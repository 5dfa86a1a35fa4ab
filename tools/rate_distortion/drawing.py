"""Error against rate as a picture: one panel for all points and one for each part of the body."""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from jaxvq.storage import atomic

PANELS = (
    ("mpjpe/all", "all points"),
    ("mpjpe/body", "body"),
    ("mpjpe/face", "face"),
    ("mpjpe/hands", "hands"),
)
WIDTH, HEIGHT, MARGIN, LEGEND = 620, 460, 64, 90
COLORS = (
    (90, 90, 90), (160, 160, 160), (214, 39, 40), (255, 127, 14), (31, 119, 180), (23, 190, 207),
    (148, 103, 189), (188, 189, 34), (0, 120, 40), (227, 119, 194),
)  # fmt: skip
TICKS = (1, 2, 5)


def write_curves(path: Path, curves: dict[str, dict[str, list[tuple[float, float]]]]) -> None:
    """A PNG of four panels, both axes logarithmic.

    curves: error of PANELS -> method -> (bits per second, error) of each rate.
    """
    names = list(dict.fromkeys(name for panel in curves.values() for name in panel))
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    image = Image.new("RGB", (2 * WIDTH, 2 * HEIGHT + LEGEND), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    for i, (error, title) in enumerate(PANELS):
        corner = (i % 2 * WIDTH, i // 2 * HEIGHT)
        _panel(draw, font, corner, title, curves[error], colors)
    for i, name in enumerate(names):
        x, y = 30 + i % 5 * 240, 2 * HEIGHT + 18 + i // 5 * 32
        draw.line((x, y, x + 30, y), colors[name], 3)
        draw.text((x + 40, y), name, "black", font, "lm")
    with atomic.writing(path) as temporary:
        image.save(temporary, "PNG")


def _panel(draw, font, corner, title, curves, colors) -> None:
    points = [point for curve in curves.values() for point in curve]
    points = [point for point in points if all(map(math.isfinite, point))]
    if not points:
        return
    axes = [_range([math.log10(point[k]) for point in points]) for k in (0, 1)]
    left, top = corner[0] + MARGIN, corner[1] + 34
    right, bottom = corner[0] + WIDTH - 20, corner[1] + HEIGHT - 50

    def place(rate, error):
        x, y = (
            (math.log10(value) - low) / (high - low)
            for value, (low, high) in zip((rate, error), axes, strict=True)
        )
        return left + x * (right - left), bottom - y * (bottom - top)

    draw.text(((left + right) / 2, corner[1] + 16), f"mpjpe, {title}", "black", font, "mm")
    draw.text(((left + right) / 2, bottom + 34), "bits per second, written", "black", font, "mm")
    for tick in _ticks(*axes[0]):
        x, _ = place(tick, 10 ** axes[1][0])
        draw.line((x, top, x, bottom), (225, 225, 225))
        draw.text((x, bottom + 12), f"{tick:g}", "black", font, "mm")
    for tick in _ticks(*axes[1]):
        _, y = place(10 ** axes[0][0], tick)
        draw.line((left, y, right, y), (225, 225, 225))
        draw.text((left - 6, y), f"{tick:g}", "black", font, "rm")
    draw.rectangle((left, top, right, bottom), outline=(120, 120, 120))
    for name, curve in curves.items():
        places = [place(*point) for point in sorted(curve) if all(map(math.isfinite, point))]
        if len(places) > 1:
            draw.line(places, colors[name], 2)
        for x, y in places:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colors[name])


def _range(values: list[float]) -> tuple[float, float]:
    return min(values) - 0.05, max(values) + 0.05


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = [digit * 10.0**decade for decade in decades for digit in TICKS]
    return [tick for tick in ticks if low <= math.log10(tick) <= high]
