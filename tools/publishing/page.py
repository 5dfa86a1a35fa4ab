"""The page of a dataset: mean pose, lengths, missing hands, animated samples."""

import base64
import html
import os
import tempfile
from pathlib import Path

import numpy as np

from jaxvq.datasets import fixed_point
from jaxvq.hands.skeleton import HAND_ROTATIONS
from jaxvq.pose import draw, preprocess
from jaxvq.pose.reader import Pose

SAMPLES = 10
FRAMES = 100  # shown of each sample
SIZE = 192  # pixels
BINS = 30
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem; text-align: left; }
td:last-child { text-align: right; font-variant-numeric: tabular-nums; }
tr:nth-child(even) { background: #f4f4f4; }
figure { margin: 1.5rem 0; } img { max-width: 100%; border: 1px solid #ddd; }
code { background: #f4f4f4; padding: .1rem .3rem; }
"""


def write(path: Path, dataset, splits: dict, counters: dict) -> None:
    """Writes one HTML file, pictures included. splits: name -> dataset.Split."""
    title = " / ".join(dataset.path.parts[-3:])
    content = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE} .samples img {{ width: {SIZE}px; }}</style></head><body>
<h1>{html.escape(title)}</h1>
{_table(splits, counters)}
<h2>Lengths</h2>
{histogram([row[3] for split in splits.values() for row in split.rows])}
{_drawings(dataset, splits)}
</body></html>
"""
    path.write_text(content, encoding="utf-8")


def _table(splits: dict, counters: dict) -> str:
    """Clips and frames of each split, and shares of missing hands and points."""
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{len(split.rows):,}</td><td>{split.frames:,}</td>"
        f"<td>{_share(split.rows, 6)}</td><td>{_share(split.rows, 7)}</td>"
        f"<td>{_share(split.rows, 5)}</td></tr>"
        for name, split in splits.items()
    ]
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in counters["skipped"].items())
    return (
        "<table><tr><th>split</th><th>clips</th><th>frames</th><th>frames without left hand</th>"
        f"<th>without right hand</th><th>points missing</th></tr>{''.join(rows)}</table>"
        f"<p>Left out: {html.escape(skipped) or 'nothing'}.</p>"
    )


def _share(rows: list[tuple], column: int) -> str:
    """The mean of a column over frames, in percent; "" if the skeleton has no hands."""
    frames = sum(row[3] for row in rows)
    if not frames or rows[0][column] == "":
        return ""
    return f"{sum(row[column] * row[3] for row in rows) / frames:.1%}"


def histogram(values: list[int], value: str = "frames", of: str = "clips") -> str:
    """A histogram as SVG, with the range and the median."""
    if not values:
        return f"<p>No {of}.</p>"
    counts, edges = np.histogram(values, bins=min(BINS, len(set(values))))
    width, height = 640 / len(counts), 160 / max(counts.max(), 1)
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{160 - count * height:.1f}" width="{width * 0.9:.1f}" '
        f'height="{count * height:.1f}" fill="#46a"><title>{value} {edges[i]:.0f} to '
        f"{edges[i + 1]:.0f}: {count} {of}</title></rect>"
        for i, count in enumerate(counts)
    )
    low, middle, high = np.percentile(values, (0, 50, 100))
    return (
        f'<svg viewBox="0 0 640 160" width="640" role="img" aria-label="{value}">{bars}</svg>'
        f"<p>{value} {low:.0f} to {high:.0f}, half of the {of} below {middle:.0f}; the highest "
        f"bar is {counts.max()} {of}.</p>"
    )


def _drawings(dataset, splits: dict) -> str:
    """Mean pose and samples, or a sentence if the points have no places to draw."""
    if not dataset.skeleton.limbs or dataset.skeleton == HAND_ROTATIONS:
        return "<p>The points of this dataset are no places, so none are drawn.</p>"
    with tempfile.TemporaryDirectory() as place:
        mean = Path(place) / "mean.png"
        draw.write_png(mean, draw.draw_mean_pose(dataset.statistics, dataset.skeleton, 384))
        figures = [_figure(mean, "png", "The mean pose of the train split")]
        samples = []
        for split, number in choose(splits):
            record = dataset.source(split)[number]
            video = Path(place) / "sample.gif"
            draw.write_gif(video, _frames(record, dataset.skeleton), record["fps"])
            caption = f"{split} {number}: {record['id']}, {len(record['data'])} frames"
            samples.append(_figure(video, "gif", caption))
            os.unlink(video)
    return (
        f"<h2>Mean pose</h2>{figures[0]}<h2>Samples</h2>"
        f'<div class="samples">{"".join(samples)}</div>'
    )


def choose(splits: dict) -> list[tuple[str, int]]:
    """(split, number) of up to SAMPLES records, spread over all splits."""
    records = [(row[0], row[1]) for split in splits.values() for row in split.rows]
    places = np.linspace(0, len(records) - 1, min(SAMPLES, len(records))).astype(int)
    return [records[i] for i in places]


def _frames(record: dict, skeleton) -> np.ndarray:
    data = fixed_point.to_float32(record["data"][:FRAMES])
    confidence = (~np.asarray(record["mask"][:FRAMES])).astype(np.float32)
    pose = Pose(skeleton, data, confidence, float(record["fps"]))
    return draw.draw_frames(preprocess.arrange(pose), SIZE)


def _figure(path: Path, kind: str, caption: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    caption = html.escape(caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/{kind};base64,{content}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
