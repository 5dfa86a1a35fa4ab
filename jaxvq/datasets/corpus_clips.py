"""The clips of a corpus, read for a trained model without building a dataset."""

import functools
import tempfile
from collections.abc import Callable, Iterator

from jaxvq.datasets import building
from jaxvq.datasets.recipes import Options
from jaxvq.pose.skeletons import SKELETONS

Clip = tuple[str, Callable]  # key, and a function that reads and standardises it


def read(corpus: str, source: str, tokenizer, stats: str | None) -> tuple[int, Iterator[Clip]]:
    """How many clips there are, and the clips; reading one raises ValueError or OSError.

    corpus, source, stats: as --corpus, --input and --stats of `jaxvq build`. tokenizer: an
    inference.PoseTokenizer.
    Raises ValueError for an unknown corpus, and for one with other points than the model.
    """
    wanted = tokenizer.model.skeleton
    names = {name for name, one in SKELETONS.items() if one.names == wanted.names}
    configs = [config.name for config in building.find_builder(corpus).BUILDER_CONFIGS]
    builder = building.make_builder(
        corpus,
        f"{tempfile.gettempdir()}/jaxvq-never-written",
        Options(input=source, stats=stats),
        skeleton=next((name for name in configs if name in names), None),
    )
    if builder.skeleton != wanted:
        raise ValueError(
            f"{source}, read as {corpus}, has {builder.skeleton.num_points} points per frame, the "
            f"model another set of {wanted.num_points}"
        )
    reader = builder.make_reader(builder.clips)

    def read_one(clip):
        return tokenizer.from_record(reader(clip))

    return len(builder.clips), ((c.key, functools.partial(read_one, c)) for c in builder.clips)
