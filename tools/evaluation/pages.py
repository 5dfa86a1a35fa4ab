"""An evaluation and its clips as one HTML page that needs no network."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvq.evaluators import player, video
from jaxvq.evaluators.page import meaning
from jaxvq.evaluators.reconstruction import Evaluation
from jaxvq.inference import PoseTokenizer

from . import pictures


def write(
    tokenizer: PoseTokenizer, evaluation: Evaluation, source, output: Path, split: str, count: int
) -> None:
    """Videos and pictures of the first clips of a split, charts of all of it, and index.html, which
    shows them. source: of the split, see Dataset.source."""
    records = [source[i] for i in range(min(count, len(source)))]
    model = tokenizer.model
    shown = list(player.clips(tokenizer, [(r["id"], tokenizer.from_record(r)) for r in records]))
    video.write_videos(shown, output / "videos", split)
    for i, clip in enumerate(shown):
        pictures.write_strip(output / f"sequence_{split}_{i}.png", clip.original, clip.decoded)
    sizes = tokenizer.task.codebook_sizes
    charts = pictures.write_charts(output, evaluation, model.statistics, model.skeleton, sizes)
    measured = f"{split} split, {evaluation.values['clips']} clips"
    write_page(
        output / "index.html",
        title=f"{measured}, step {model.step}",
        shown=shown,
        captions=[f"{split} split, {clip.name}: {player.caption(clip)}" for clip in shown],
        tokenizer=tokenizer,
        evaluation=evaluation,
        charts={path: f"{caption} {measured.capitalize()}." for path, caption in charts.items()},
    )


def write_page(
    path,
    *,
    title: str,
    shown: Sequence[player.Clip],
    captions: Sequence[str],
    tokenizer: PoseTokenizer,
    evaluation: Evaluation,
    charts: dict[Path, str],
) -> None:
    """Writes the page: clips that play, charts below them, and the numbers as folded tables.

    charts: SVG files and their captions, embedded, so that the page can be sent as one file;
    without any, the tables are open.
    """
    skeleton, sizes = tokenizer.model.skeleton, tokenizer.task.codebook_sizes
    figures = "\n".join(
        f'<figure><img alt="{html.escape(caption)}" src="data:image/svg+xml;base64,'
        f'{base64.b64encode(chart.read_bytes()).decode()}">'
        f'<figcaption class="quiet">{html.escape(caption)}</figcaption></figure>'
        for chart, caption in charts.items()
    )
    order = np.argsort(-np.nan_to_num(evaluation.point_errors, nan=-1), kind="stable")
    tables = [
        _table(
            "All metrics",
            [
                (key, meaning(key, evaluation.codebooks, skeleton.unit), v)
                for key, v in evaluation.values.items()
            ],
            bool(charts),
        ),
        _table(
            f"Points, mean distance in {skeleton.unit}",
            [(*skeleton.names[i], evaluation.point_errors[i]) for i in order],
            True,
        ),
    ]
    if evaluation.code_counts.size:
        rows = pictures.usage_rows(evaluation.code_counts, sizes, evaluation.codebooks)
        words = [
            (name, f"of {size} codes, percent in use", share)
            for (name, share, _), size in zip(rows, sizes, strict=True)
        ]
        tables.append(_table("Codebooks", words, bool(charts)))
    hint = "" if charts else "<p class=quiet>With matplotlib installed, this page has charts.</p>"
    below = f"<h2>Errors and codes</h2>\n{hint}{figures}\n" + "\n".join(tables)
    player.write(path, shown, tokenizer, title=title, captions=captions, below=below)


def _table(title: str, rows: list[tuple[str, str, float]], folded: bool) -> str:
    lines = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(words)}</td>"
        f"<td>{'–' if np.isnan(value) else format(value, '.4g')}</td></tr>"
        for name, words, value in rows
    )
    return (
        f"<details{'' if folded else ' open'}><summary>{html.escape(title)}</summary>"
        f'<div class="scroll"><table>{lines}</table></div></details>'
    )
