"""A model in use for long, by several threads, on clips alone and together."""

import threading
from collections.abc import Iterator

import numpy as np

from .counting import RIGHT, WRONG, Case, Place, memory

ALLOWED = 32  # MiB that the second half of the passes may take beyond the first


def _clips(place: Place, tokenizer=None):
    from jaxvq import inference
    from jaxvq.pose import files
    from jaxvq.pose.reader import read_pose

    tokenizer = tokenizer or inference.load(place.run)
    clips = []
    for file in files.list_poses(place.corpus):
        try:
            clips.append(tokenizer.standardize(read_pose(file.read(), name=file.key))[0])
        except ValueError:  # broken before
            continue
    return tokenizer, clips


def passes(place: Place, cases: int, rng) -> Iterator[Case]:
    """Passes over the corpus in one process: clips read, encoded and decoded."""
    tokenizer, _ = _clips(place)
    sizes = []

    def check():
        _, clips = _clips(place, tokenizer)
        tokenizer.reconstruct_clips(clips)
        tokenizer.encode_clips(clips)
        sizes.append(memory("VmRSS"))
        return RIGHT if sizes[-1] <= max(sizes[: cases // 2]) + ALLOWED else WRONG

    for number in range(cases):
        yield f"pass {number + 1}, {memory('VmRSS'):.0f} MiB", check


def threads(place: Place, cases: int, rng) -> Iterator[Case]:
    """Two threads that encode with one model give the tokens that one gives."""
    tokenizer, clips = _clips(place)
    expected = tokenizer.encode_clips(clips)

    def check():
        results = {}

        def encode(name, order):
            found = tokenizer.encode_clips([clips[i] for i in order])
            results[name] = dict(zip(order, found, strict=True))

        orders = [rng.permutation(len(clips)).tolist() for _ in range(2)]
        both = [threading.Thread(target=encode, args=pair) for pair in enumerate(orders)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        same = all(
            np.array_equal(results[name][i], one)
            for name in range(2)
            for i, one in enumerate(expected)
        )
        return RIGHT if same else WRONG

    for number in range(cases):
        yield f"pair {number}", check


def alone(place: Place, cases: int, rng) -> Iterator[Case]:
    """Each clip alone, with its own padding and batch, against all clips together."""
    tokenizer, clips = _clips(place)
    together = tokenizer.encode_clips(clips)
    for number in rng.permutation(len(clips))[:cases]:

        def check(number=number):
            (tokens,) = tokenizer.encode_clips([clips[number]])
            return RIGHT if np.array_equal(tokens, together[number]) else WRONG

        yield f"clip {number}", check
