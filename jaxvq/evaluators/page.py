"""One HTML file with the numbers and the videos of an evaluation; opens without a network."""

import base64
import html
import os
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem; text-align: left; }
td:last-child { text-align: right; font-variant-numeric: tabular-nums; }
tr:nth-child(even) { background: #f4f4f4; }
figure { margin: 1.5rem 0; } img { max-width: 100%; border: 1px solid #ddd; }
code { background: #f4f4f4; padding: .1rem .3rem; }
"""

MEANING = {
    "mpjpe/all": "mean distance of a point, in shoulder widths",
    "mpjpe/hands": "hands, relative to their wrist",
    "mpjpe_mean_pose/all": "the same if every frame were the mean pose",
    "pck/0.05": "share of points closer than 0.05 shoulder widths",
    "code_utilization": "percent of the codes in use",
    "perplexity": "effective number of codes",
}


def write_page(
    path, *, title: str, metrics: dict[str, float], videos: list[Path], captions: list[str]
) -> None:
    """Writes the page; the GIFs are embedded, so it can be sent as one file."""
    rows = "\n".join(
        f"<tr><td>{html.escape(key)}</td><td>{html.escape(MEANING.get(key, ''))}</td>"
        f"<td>{value:.4g}</td></tr>"
        for key, value in metrics.items()
    )
    figures = "\n".join(
        f'<figure><img alt="{html.escape(caption)}" src="data:image/gif;base64,'
        f'{base64.b64encode(video.read_bytes()).decode()}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for video, caption in zip(videos, captions, strict=True)
    )
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<table>{rows}</table>
<h2>Left the original, right its reconstruction from tokens</h2>
{figures or "<p>No videos were asked for.</p>"}
</body></html>
"""
    temporary = Path(f"{path}.tmp")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
