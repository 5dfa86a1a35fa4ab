"""Logs the metrics of a run to `metrics.jsonl`, and on request to TensorBoard and W&B."""

import json
import math
import os
from pathlib import Path

from jaxvq.storage import atomic


class MetricWriter:
    """Appends one JSON object per line, each with `step`. Numbers that are not finite become null.

    Args:
      workdir: folder of `metrics.jsonl`.
      resume_step: later lines are dropped, because a resumed run writes them again.
      tensorboard, wandb: also log there. ValueError if the package is missing.
      config: for W&B.
    """

    def __init__(self, workdir, *, resume_step=0, tensorboard=False, wandb="", config=None):
        self.path = Path(workdir) / "metrics.jsonl"
        _drop_lines_after(self.path, resume_step)
        self._file = self.path.open("a", encoding="utf-8")
        self._tensorboard = _open_tensorboard(workdir) if tensorboard else None
        self._wandb = _open_wandb(wandb, workdir, config) if wandb else None

    def write(self, step: int, values: dict[str, float]) -> None:
        values = {key: float(value) for key, value in values.items()}
        line = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        self._file.write(json.dumps({"step": step, **line}) + "\n")
        self._file.flush()
        if self._tensorboard:
            for key, value in values.items():
                self._tensorboard.add_scalar(key, value, step)
        if self._wandb:
            self._wandb.log(values, step=step)

    def write_videos(self, step: int, paths: list[Path]) -> None:
        """Logs GIF files to W&B, named by their stem."""
        if self._wandb:
            import wandb

            videos = {path.stem: wandb.Video(str(path), format="gif") for path in paths}
            self._wandb.log(videos, step=step)

    def close(self) -> None:
        self._file.close()
        if self._tensorboard:
            self._tensorboard.close()
        if self._wandb:
            self._wandb.finish()


def _drop_lines_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):  # a killed run may leave a part of a line
            continue
    atomic.write_text(path, "".join(kept))


def _open_tensorboard(workdir):
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ValueError(
            "tensorboard=True needs the package tensorboardX: pip install 'jaxvq[tensorboard]'"
        ) from None
    return SummaryWriter(str(workdir))


def _open_wandb(project, workdir, config):
    try:
        import wandb
    except ImportError:
        raise ValueError(
            f"wandb={project!r} needs the package wandb: pip install 'jaxvq[wandb]'"
        ) from None
    # One id per workdir: a resumed run continues its curves.
    key = Path(workdir).resolve().name
    name = os.environ.get("WANDB_NAME", key)
    return wandb.init(
        project=project, dir=str(workdir), id=key, name=name, config=config, resume="allow"
    )
