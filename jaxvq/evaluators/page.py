"""One HTML file with the numbers and the videos of an evaluation; opens without a network."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from jaxvq.storage import atomic

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem; text-align: left; }
td:last-child { text-align: right; font-variant-numeric: tabular-nums; }
tr:nth-child(even) { background: #f4f4f4; }
figure { margin: 1.5rem 0; } img { max-width: 100%; border: 1px solid #ddd; }
code { background: #f4f4f4; padding: .1rem .3rem; }
"""

LOSS_TERM = "a term of the loss, before its weight"
MEANING = {
    "loss": "the sum of terms that training lowers; comparable within one config only",
    "quantization_error": "mean square of what quantization leaves of a latent's feature",
    "mpjpe": "mean distance of a point, in shoulder widths",
    "mpjpe/all": "mean distance of a point, in shoulder widths",
    "mpjpe/hands": "hands, relative to their wrist, in shoulder widths",
    "mse": "mean square of a coordinate's error, in shoulder widths²",
    "mae": "mean size of a coordinate's error, in shoulder widths",
    "rmse": "root of mse, in shoulder widths",
    "mse_standardized": "mean square of a number's error, in standard deviations²",
    "confidence_error": "mean size of a confidence's error",
    "compression": "bits of the pose's numbers as float32 over bits of tokens",
    "velocity_error": "mean distance of the points' velocities, in shoulder widths per frame",
    "acceleration_error": "of their accelerations, in shoulder widths per frame²",
    "bits_per_frame": "log2 of the codebooks' sizes, in bits per frame",
    "bits_per_second": "the same at the clips' own frame rates",
    "entropy_per_frame": "order-0 entropy of these tokens, in bits per frame",
    "code_utilization": "percent of the codes in use",
    "perplexity": "effective number of codes",
    "clips": "clips measured",
    "frames": "frames of these",
    "reconstruction": LOSS_TERM,
    "quantization": LOSS_TERM,
    "velocity": LOSS_TERM,
    "acceleration": LOSS_TERM,
    "bone": LOSS_TERM,
    "perceptual": LOSS_TERM,
}


def meaning(key: str, codebooks: Sequence[str] = ()) -> str:
    """What a metric says and its unit, in a few words; "" for one that is not known.

    codebooks: names of the codebooks that "perplexity/1" … number, see
    reconstruction.codebook_names.
    """
    family, _, last = key.rpartition("/")
    if key in MEANING:
        return MEANING[key]
    if family in ("code_utilization", "perplexity") and last.isdigit():
        number = int(last)
        name = codebooks[number - 1] if number <= len(codebooks) else f"codebook {number}"
        return f"{name}: {MEANING[family]}"
    if family.startswith("quantization_error/"):
        number = int(family.rpartition("/")[2])
        name = codebooks[number - 1] if number <= len(codebooks) else f"codebook {number}"
        return f"{name}: mean square of a feature {last} quantization, in the latent space"
    if family == "mpjpe_layers":
        return f"mpjpe/all from the first {last} layer(s) of the tokens, in shoulder widths"
    known = {
        "mpjpe": f"points of the {last}, in shoulder widths",
        "mpjpe_mean_pose": f"mpjpe/{last} if every frame were the mean pose, in shoulder widths",
        "pck": f"share (0 to 1) of points closer than {last} shoulder widths",
    }
    return known.get(family, "")


KINDS = {".gif": "image/gif", ".png": "image/png", ".svg": "image/svg+xml"}


def write_report(
    path, *, metrics: dict[str, float], about: dict, codebooks: Sequence[str] = ()
) -> None:
    """The numbers as Markdown, under what they are about (checkpoint, step, data_dir, split).

    codebooks: as `meaning` takes them.
    """
    lines = [f"# {about['split']} of {about['data_dir']}", ""]
    lines += [f"{about['checkpoint']}, step {about['step']}", "", "| | | |", "|---|---|---:|"]
    lines += [f"| {key} | {meaning(key, codebooks)} | {v:.5g} |" for key, v in metrics.items()]
    atomic.write_text(path, "\n".join(lines) + "\n")


def write_page(
    path,
    *,
    title: str,
    metrics: dict[str, float],
    videos: list[Path],
    captions: list[str],
    pictures: list[Path] = (),
    codebooks: Sequence[str] = (),
) -> None:
    """Writes the page; GIFs and pictures are embedded, so it can be sent as one file.

    A picture `sequence_X.png` has a link to the `animation_X.html` that lies beside it. codebooks:
    as `meaning` takes them.
    """
    rows = "\n".join(
        f"<tr><td>{html.escape(key)}</td><td>{html.escape(meaning(key, codebooks))}</td>"
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
        f'{base64.b64encode(p.read_bytes()).decode()}"><figcaption>{p.stem}{_player(p)}</figcaption>'
        "</figure>"
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
    atomic.write_text(path, page)


def _player(picture: Path) -> str:
    """A link to the page that plays what a picture shows, "" where there is none."""
    name = picture.stem.replace("sequence_", "animation_", 1) + ".html"
    if name.startswith("animation_") and picture.with_name(name).is_file():
        return f' <a href="{html.escape(name)}">play and turn it</a>'
    return ""
