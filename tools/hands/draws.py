"""Draws frames of many data sets and deals them to splits.

Each data set has one of three priorities. Each priority has a number of frames to draw, to which
its data sets contribute in proportion to their lengths. The draw depends on the seed and the
lengths alone. It calls Python's generator as the hand prior generator does, so `totals="floor"`
reproduces the published split files number by number.
"""

import bisect
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxvq.hands import SPLITS
from jaxvq.hands.splits import Samples
from jaxvq.storage import atomic

PRIORITIES = ("high", "medium", "low")
log = logging.getLogger("jaxvq")


@dataclass(frozen=True)
class Recipe:
    """What to draw. `configs/hand_splits.py` has the published values.

    datasets: priority -> names. targets: priority -> frames to draw. ratios: train, val, test.
    totals: "exact" meets the targets to the frame. "floor" rounds down for every data set, and
      draws all frames of a priority whose target is too large, as the hand prior generator does.
    split_by: "frame" deals single frames to the splits. "block" deals runs of `block_frames`
      neighbouring frames, and leaves out `gap_frames` at both ends of the held-out runs, so that no
      test frame has a near twin among the training frames.
    cap: lowers a target that is too large to the number of frames, instead of a ValueError.
    """

    datasets: Mapping[str, Sequence[str]]
    targets: Mapping[str, int]
    ratios: Mapping[str, float]
    totals: str = "exact"
    split_by: str = "frame"
    block_frames: int = 1024
    gap_frames: int = 32
    cap: bool = False

    def __post_init__(self):
        if self.totals not in ("exact", "floor"):
            raise ValueError(f"totals {self.totals!r} is not known; choices: exact, floor")
        if self.split_by not in ("frame", "block"):
            raise ValueError(f"split_by {self.split_by!r} is not known; choices: frame, block")
        if self.split_by == "block" and self.totals == "floor":
            raise ValueError("split_by block needs totals exact: there is nothing to reproduce")
        if self.block_frames <= 2 * self.gap_frames or self.gap_frames < 0:
            raise ValueError(
                f"blocks of {self.block_frames} frames with {self.gap_frames} unused "
                "at both ends leave none; give longer blocks or a smaller gap"
            )
        if any(self.targets[p] < 0 for p in PRIORITIES):
            raise ValueError(f"targets must not be negative: {dict(self.targets)}")
        ratios = [self.ratios[s] for s in SPLITS]
        if min(ratios) < 0 or abs(sum(ratios) - 1) > 1e-6:
            raise ValueError(f"ratios must add up to 1: {dict(self.ratios)}")
        names = [name for p in PRIORITIES for name in self.datasets[p]]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"listed twice among the priorities: {', '.join(twice)}")


@dataclass(frozen=True)
class Plan:
    """The frames of each split, and the content of dataset_metadata.json."""

    samples: dict[str, Samples]
    metadata: dict


def plan(frames: Mapping[str, int], recipe: Recipe, seed: int = 42) -> Plan:
    """Draws the frames. frames: data set -> number of frames.

    Raises:
      ValueError: there is nothing to draw from, or its data sets have fewer frames than a target.
    """
    listed = {name: p for p in PRIORITIES for name in recipe.datasets[p]}
    present = {p: {} for p in PRIORITIES}
    for name in sorted(frames):
        if name in listed:
            present[listed[name]][name] = frames[name]
    if not any(present.values()):
        raise ValueError(
            f"none of the {len(frames)} data sets is in a priority list; found "
            f"{', '.join(sorted(frames)[:5]) or 'nothing'}, expected names such as "
            f"{', '.join(list(listed)[:3])}"
        )
    _warn(frames, listed)
    targets = {p: _target(p, present[p], recipe) for p in PRIORITIES}
    generator = random.Random(seed)
    draw = _draw_blocks if recipe.split_by == "block" else _draw_frames
    dealt = draw(present, targets, recipe, generator)
    samples = {split: _by_dataset(dealt[split], generator) for split in SPLITS}
    return Plan(samples, _metadata(samples, present, targets, recipe, seed))


def _warn(frames: Mapping[str, int], listed: Mapping[str, str]) -> None:
    missing = [name for name in listed if name not in frames]
    if missing:
        log.warning("%d listed data sets are missing: %s", len(missing), ", ".join(missing))
    unknown = sorted(set(frames) - set(listed))
    if unknown:
        names = ", ".join(unknown)
        log.warning("%d data sets are in no priority list and not used: %s", len(unknown), names)


def _target(priority: str, present: Mapping[str, int], recipe: Recipe) -> int:
    target, available = recipe.targets[priority], sum(present.values())
    if target <= available:
        return target
    if recipe.totals == "exact" and present and not recipe.cap:
        raise ValueError(
            f"the {priority} priority wants {target} frames, its {len(present)} data "
            f"sets hold {available}; give --config.targets.{priority}={available} or "
            "fewer, or --cap to take what there is"
        )
    log.warning("the %s priority wants %d frames, there are %d", priority, target, available)
    return available


def _draw_frames(present, targets, recipe, generator) -> dict[str, list[tuple[str, int]]]:
    """Split -> (data set, frame) pairs. The order of the random calls determines the result."""
    drawn = {}
    for priority in PRIORITIES:
        drawn[priority] = []
        counts = _counts(present[priority], targets[priority], recipe.totals)
        for name, count in counts.items():
            chosen = generator.sample(range(present[priority][name]), count) if count else []
            drawn[priority].extend((name, frame) for frame in chosen)
    dealt = {split: [] for split in SPLITS}
    for priority in PRIORITIES:
        pairs = drawn[priority]
        generator.shuffle(pairs)
        start = 0
        for split, size in _split_sizes(len(pairs), recipe.ratios, recipe.totals).items():
            dealt[split] += pairs[start : start + size]
            start += size
    return dealt


def _draw_blocks(present, targets, recipe, generator) -> dict[str, list[tuple[str, int]]]:
    dealt = {split: [] for split in SPLITS}
    for priority in PRIORITIES:
        blocks = _deal_blocks(present[priority], recipe, generator)
        if recipe.cap:
            targets[priority] = min(targets[priority], _most(blocks, recipe.ratios))
        sizes = _split_sizes(targets[priority], recipe.ratios, recipe.totals)
        for split in SPLITS:
            ends = [0]
            for _, start, stop in blocks[split]:
                ends.append(ends[-1] + stop - start)
            if sizes[split] > ends[-1]:
                raise ValueError(
                    f"the {priority} priority wants {sizes[split]} frames for {split}, its blocks "
                    f"hold {ends[-1]}; lower --config.targets.{priority}, --block_frames "
                    f"(now {recipe.block_frames}) or --gap_frames (now {recipe.gap_frames}), or "
                    "give --cap"
                )
            for number in generator.sample(range(ends[-1]), sizes[split]):
                block = bisect.bisect_right(ends, number) - 1
                name, start, _ = blocks[split][block]
                dealt[split].append((name, start + number - ends[block]))
    return dealt


def _deal_blocks(present, recipe, generator) -> dict[str, list[tuple[str, int, int]]]:
    """Split -> usable runs (data set, first frame, last + 1). Each block goes to the split that
    lacks most of its share."""
    blocks = [
        (name, start, min(start + recipe.block_frames, count))
        for name, count in present.items()
        for start in range(0, count, recipe.block_frames)
    ]
    generator.shuffle(blocks)
    dealt = {split: [] for split in SPLITS}
    held = dict.fromkeys(SPLITS, 0)
    for name, start, stop in blocks:
        wanting = [split for split in SPLITS if recipe.ratios[split] > 0]
        split = min(wanting, key=lambda s: (held[s] + stop - start) / recipe.ratios[s])
        gap = 0 if split == "train" else recipe.gap_frames
        # The first and the last frame of a data set have no neighbour outside.
        first = start + gap * (start > 0)
        last = stop - gap * (stop < present[name])
        if first < last:
            dealt[split].append((name, first, last))
            held[split] += last - first
    return dealt


def _most(blocks, ratios: Mapping[str, float]) -> int:
    """How many frames can be drawn before the blocks of a split run out."""
    held = {split: sum(stop - start for _, start, stop in blocks[split]) for split in SPLITS}
    # One less per split, because sizes may be rounded up.
    return max(0, min(int((held[s] - 1) / ratios[s]) for s in SPLITS if ratios[s] > 0))


def _counts(present: Mapping[str, int], target: int, totals: str) -> dict[str, int]:
    """Data set -> frames to draw from it."""
    available = sum(present.values())
    if totals == "floor":
        rate = target / available if available else 0.0
        return {name: int(count * rate) for name, count in present.items()}
    return dict(zip(present, _apportion(list(present.values()), target), strict=True))


def _split_sizes(count: int, ratios: Mapping[str, float], totals: str) -> dict[str, int]:
    if totals == "floor":
        train, val = int(count * ratios["train"]), int(count * ratios["val"])
        return {"train": train, "val": val, "test": count - train - val}
    # Ratios as whole millionths: 0.1 is not exact in binary, and ties must not depend on that.
    shares = [round(ratios[split] * 1_000_000) for split in SPLITS]
    return dict(zip(SPLITS, _apportion(shares, count), strict=True))


def _apportion(weights: Sequence[int], total: int) -> list[int]:
    """Shares of `total` in proportion to integer weights, by largest remainder."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def _by_dataset(pairs: list[tuple[str, int]], generator) -> Samples:
    generator.shuffle(pairs)
    samples: Samples = {}
    for name, frame in pairs:
        samples.setdefault(name, []).append(frame)
    return samples


def _metadata(samples, present, targets, recipe: Recipe, seed: int) -> dict:
    sizes = {split: sum(map(len, samples[split].values())) for split in SPLITS}
    available = {p: sum(present[p].values()) for p in PRIORITIES}
    return {
        "dataset_creation_info": {
            "total_samples": sum(sizes.values()),
            "splits": sizes,
            "priority_targets": dict(recipe.targets),
            "split_ratios": dict(recipe.ratios),
            **{f"{p}_priority_datasets": list(recipe.datasets[p]) for p in PRIORITIES},
            "seed": seed,
            "totals": recipe.totals,
            "split_by": recipe.split_by,
        },
        "sampling_info": {
            p: {
                "rate": targets[p] / available[p] if available[p] else 0.0,
                "datasets": present[p],
                "total_available": available[p],
                "target_samples": targets[p],
            }
            for p in PRIORITIES
        },
    }


def save(result: Plan, directory: str | Path) -> None:
    """Writes {train,val,test}_samples.json and dataset_metadata.json."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        atomic.write_json(directory / f"{split}_samples.json", result.samples[split], indent=None)
    atomic.write_json(directory / "dataset_metadata.json", result.metadata)
