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
    "mpjpe_layers/1": "with the first layer of the tokens only",
    "mse": "mean square of a coordinate's error, in shoulder widths",
    "mae": "mean size of a coordinate's error, in shoulder widths",
    "rmse": "root of mse",
    "mse_standardized": "mean square of a coordinate's error, in standard deviations",
    "compression": "bits of float32 coordinates over bits of tokens",
    "mpjpe_mean_pose/all": "the same if every frame were the mean pose",
    "pck/0.05": "share of points closer than 0.05 shoulder widths",
    "velocity_error": "mean distance of the points' velocities, in shoulder widths per frame",
    "acceleration_error": "of their accelerations, in shoulder widths per frame²",
    "entropy_per_frame": "order-0 entropy of these tokens, in bits",
    "code_utilization": "percent of the codes in use",
    "perplexity": "effective number of codes",
}


KINDS = {".gif": "image/gif", ".png": "image/png", ".svg": "image/svg+xml"}


def write_report(path, *, metrics: dict[str, float], about: dict) -> None:
    """The numbers as Markdown, under what they are about (checkpoint, step, data_dir, split)."""
    lines = [f"# {about['split']} of {about['data_dir']}", ""]
    lines += [f"{about['checkpoint']}, step {about['step']}", "", "| | | |", "|---|---|---:|"]
    lines += [f"| {key} | {MEANING.get(key, '')} | {v:.5g} |" for key, v in metrics.items()]
    temporary = Path(f"{path}.tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def write_page(
    path,
    *,
    title: str,
    metrics: dict[str, float],
    videos: list[Path],
    captions: list[str],
    pictures: list[Path] = (),
) -> None:
    """Writes the page; GIFs and pictures are embedded, so it can be sent as one file."""
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
    figures += "".join(
        f'\n<figure><img alt="{p.stem}" src="data:{KINDS[p.suffix]};base64,'
        f'{base64.b64encode(p.read_bytes()).decode()}"><figcaption>{p.stem}</figcaption></figure>'
        for p in pictures
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
