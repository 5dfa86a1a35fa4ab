"""What tokens cost, in bits of the frames that there are, and how codes are used.

A clip whose last step is partly empty pays for all of it: its bits per frame are more than the
nominal rate. Coded bits are those of the entropy coder (`tokens/code_tables.py`) alone, without the
names, lengths and headers of a `.jvq` file, by tables that were fitted on other clips.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from jaxvq import metrics
from jaxvq.tasks.base import TokenTask
from jaxvq.tokens import code_tables

from .measures import Measure
from .subjects import Probe

FOLDS = 5
NO_MODEL = "00" * 32  # in the place of a fingerprint


def nominal_bits(indices: Sequence[np.ndarray], task: TokenTask) -> np.ndarray:
    """float (n,): log2 of the codebook sizes, summed over all steps of each clip."""
    bits = sum(math.log2(size) for size in task.codebook_sizes)
    return np.array([bits * len(clip) for clip in indices])


def coded_bits(indices: Sequence[np.ndarray], names: Sequence[str], task: TokenTask) -> np.ndarray:
    """float (n,): bits that the entropy coder spends on each clip.

    Tables are fitted on the clips of the other folds; names decide the fold, so it stays the same
    when clips are added.
    """
    # The last digit decides the split (datasets/splits.py), so clips of one split share it.
    fold = np.array([int(hashlib.md5(n.encode()).hexdigest(), 16) // 10 % FOLDS for n in names])
    bits = np.zeros(len(indices))
    for number in np.unique(fold):
        others = [x for x, f in zip(indices, fold, strict=True) if f != number]
        if not others:
            raise ValueError("all clips are in one fold; coded bits need more clips")
        tables = code_tables.fit_code_tables(others, task, NO_MODEL)
        for i in np.flatnonzero(fold == number):
            bits[i] = tables.cost(indices[i])
    return bits


def usage(indices: Sequence[np.ndarray], task: TokenTask) -> dict[str, float]:
    """Of all steps: entropy (order 0, bits per step), utilization (percent of the codes in use,
    mean over codebooks) and perplexity (mean over codebooks)."""
    sizes = task.codebook_sizes
    flat = np.concatenate([clip.reshape(len(clip), len(sizes)) for clip in indices])
    counts = np.zeros((len(sizes), max(sizes)), np.int64)
    for book in range(len(sizes)):
        counts[book] = np.bincount(flat[:, book], minlength=max(sizes))
    return {
        "entropy": float(metrics.entropy(counts).sum()),
        "utilization": metrics.utilization(counts, sizes),
        "perplexity": metrics.perplexity(counts),
    }


# --------------------------------------------------------------------------------- of a card


def measure_codes(probe: Probe) -> list[Measure]:
    """Bits of the codes of each clip, per frame that there is, and how codes are used."""
    if probe.subject.indices is None:
        raise ValueError("a folder of decoded poses has no codes; give --model")
    chosen, tokenizer = np.flatnonzero(probe.measured), probe.subject.tokenizer
    names = [probe.clips.names[i] for i in chosen]
    indices = [probe.subject.indices[i] for i in chosen]
    frames = np.array([len(probe.clips.poses[i].data) for i in chosen], float)
    nominal = nominal_bits(indices, tokenizer.task)
    bits = coded_bits(indices, names, tokenizer.task)
    used = usage(indices, tokenizer.task)
    entropy = used["entropy"] * sum(map(len, indices)) / frames.sum()
    there = "per frame that there is: a partly empty last step counts whole"
    coder = "entropy coder without names and headers, tables of other clips"
    return [
        probe.single(
            "codes/nominal bits, full steps",
            "log2 of the codebook sizes, bits per frame of a full step",
            "low",
            tokenizer.bits_per_frame,
        ),
        probe.measure("codes/nominal bits", f"the same, {there}", "low", nominal, frames),
        probe.measure("codes/real bits", f"{coder}, {there}", "low", bits, frames),
        probe.single("codes/entropy", f"order 0, bits {there}", "", entropy),
        probe.single(
            "codes/utilization", "percent of the codes in use, mean", "", used["utilization"]
        ),
        probe.single("codes/perplexity", "effective number of codes, mean", "", used["perplexity"]),
    ]
