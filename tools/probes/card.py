"""The meaning card of a tokenizer: all parts, one after the other; one that cannot be says why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .codes import measure_codes
from .distances import measure_distances
from .invariance import measure_invariance
from .letters import measure_letters
from .measures import Measure
from .motion import measure_error, measure_motion
from .subjects import Probe

PARTS: dict[str, Callable[[Probe], list[Measure]]] = {
    "letters": measure_letters,
    "error": measure_error,
    "codes": measure_codes,
    "motion": measure_motion,
    "distances": measure_distances,
    "invariance": measure_invariance,
}


@dataclass(frozen=True)
class Card:
    """about: what was measured, name -> text or number. measures: in order. missing: part -> why it
    could not be computed."""

    about: dict
    measures: list[Measure] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def compute(probe: Probe, about: dict, parts: Sequence[str] = tuple(PARTS)) -> Card:
    """The card of these parts; one that raises ValueError is listed under `missing` instead."""
    card = Card(about)
    for name in parts:
        try:
            card.measures.extend(PARTS[name](probe))
        except ValueError as error:
            card.missing[name] = str(error)
    return card


def combine(cards: Sequence[Card]) -> Card:
    """One card of several over different clips, such as those of cross-validation.

    Sums and counts are joined; measures of all clips together, such as entropy, are averaged.
    """
    names = [measure.name for measure in cards[0].measures]
    by_name = [{measure.name: measure for measure in card.measures} for card in cards]
    joined = []
    for name in names:
        if not all(name in measures for measures in by_name):
            continue
        several = [measures[name] for measures in by_name]
        fields = (
            np.concatenate([getattr(measure, field) for measure in several])
            for field in ("clips", "groups", "totals", "counts")
        )
        joined.append(Measure(name, several[0].meaning, several[0].better, *fields))
    missing = {part: why for card in cards for part, why in card.missing.items()}
    return Card({"combined": [card.about for card in cards]}, joined, missing)
