"""Videos for the eye: left the original, right what is left of it after the tokens."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from jaxvq import checkpoint
from jaxvq.evaluators import player
from jaxvq.evaluators.player import Clip
from jaxvq.inference import PoseTokenizer
from jaxvq.pose import draw
from jaxvq.storage import atomic
from jaxvq.training import parallel

MAX_FRAMES = 512  # of one video: a GIF of a longer clip is too large to look at


def write_videos(shown: Iterable[Clip], directory, name: str) -> list[Path]:
    """Writes `<name>_0.gif`, `<name>_1.gif`, … of clips, at their own frame rates.

    A video has the length of its clip, up to MAX_FRAMES. The folder appears when all are there.
    """
    directory, names = Path(directory), []
    directory.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing_folder(directory) as temporary:
        for i, clip in enumerate(shown):
            pair = (
                pose.replace(data=pose.data[:MAX_FRAMES], confidence=pose.confidence[:MAX_FRAMES])
                for pose in (clip.original, clip.decoded)
            )
            names.append(f"{name}_{i}.gif")
            draw.write_gif(temporary / names[-1], draw.side_by_side(*pair), clip.original.fps)
        shutil.rmtree(directory, ignore_errors=True)
    return [directory / name for name in names]


def write_validation_videos(task, state, dataset, config, directory) -> list[Path]:
    """Videos of the first `config.eval_videos` validation clips with the weights of a run."""
    source = dataset.source("validation")
    count = min(config.eval_videos, len(source))
    if not count:
        return []
    model = checkpoint.Model(
        config=config,
        skeleton=dataset.skeleton,
        statistics=dataset.statistics,
        params=parallel.gather(state.inference_params()),
        state=parallel.gather(state.state),
        step=int(state.step),
        path=Path(directory),
    )
    tokenizer = PoseTokenizer(model=model, task=task)
    clips = [(str(i), tokenizer.from_record(source[i])) for i in range(count)]
    return write_videos(player.clips(tokenizer, clips), directory, "validation")
