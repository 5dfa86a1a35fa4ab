"""How good a prior over tokens is: bits of unseen clips, and its samples.

Everything is compared with something simple on the same clips: bits with code tables, samples with
real and with merely reconstructed clips. tools/priors/gaps.py measures gaps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from jaxvq.datasets.built import Dataset
from jaxvq.generation import ROWS, Draw, Prior
from jaxvq.pose.reader import Pose
from jaxvq.tokens import code_tables
from jaxvq.tokens.code_tables import CodeTables
from jaxvq.tokens.rows import Rows
from jaxvq.tokens.tokens import Tokens

COMPONENTS = 32  # of the features that the Fréchet distance compares
PENALTY = 10.0  # of the classifier's squared weights, of features of variance 1
Labelled = tuple[str, Tokens, str]  # name, tokens, label


def read_tokens(dataset: Dataset, rows: Rows, split: str) -> list[Labelled]:
    """The clips of a split of a dataset of tokens; ValueError where there are none."""
    source, count, clips = dataset.source(split), len(rows.digits), []
    for number in range(len(source)):
        record = source[number]
        data = record["data"][..., 0].astype(int)
        tokens = Tokens(rows.indices(data[:, :count]), record["fps"], int(data[:, count].sum()))
        label = bytes(data[0, count + 1 :].astype(np.uint8)).rstrip(b"\0").decode()
        clips.append((record["id"], tokens, label))
    if not clips:
        raise ValueError(f"{dataset.path}: no clips in {split}")
    return clips


def with_poses(
    prior: Prior, dataset: Dataset, split: str, clips: Sequence[Labelled]
) -> list[tuple[Pose, str]]:
    """The standardised poses of a split with the labels of their tokens; clips without tokens are
    left out, and so are shifted copies."""
    labels = {name: label for name, _, label in clips}
    source, found = dataset.source(split), []
    for number in range(len(source)):
        record = source[number]
        name = str(PurePosixPath(record["id"]).with_suffix(""))
        if name in labels:
            found.append((prior.tokenizer.from_record(record), labels[name]))
    if not found:
        raise ValueError(f"{dataset.path} has none of the clips that the tokens were made of")
    return found


# ----------------------------------------------------------------------------------------- bits


def fit_tables(prior: Prior, train: Sequence[Labelled]) -> CodeTables:
    """Code tables of the clips that the prior was trained on, but for shifted copies."""
    whole = [clip.indices for name, clip, _ in train if "@" not in name]
    return code_tables.fit_code_tables(whole, prior.tokenizer.task, prior.task.rows.fingerprint)


def likelihood(prior: Prior, clips: Sequence[Labelled], tables: CodeTables) -> dict:
    """Bits per frame of clips: of the prior, with and without label, of code tables, nominal, and
    of the prior by stream."""
    tokens, labels = [clip for _, clip, _ in clips], [label for *_, label in clips]
    frames = sum(clip.length for clip in tokens)
    bits = np.concatenate(prior.bits(tokens, labels)).sum(0) / frames
    unlabelled = sum(one.sum() for one in prior.bits(tokens, [""] * len(tokens))) / frames
    rows = prior.task.rows
    result = {
        "clips": len(tokens),
        "frames": frames,
        "bits_per_frame": float(bits.sum()),
        "bits_per_frame_without_label": float(unlabelled),
        "nominal_bits_per_frame": prior.tokenizer.bits_per_frame,
    }
    cost = sum(tables.cost(clip.indices) for clip in tokens) / frames
    result["tables_bits_per_frame"] = cost
    result["relative_to_tables"] = float(bits.sum()) / cost
    quantizers, first = rows.token_shape[1], 0
    for number, name in enumerate(rows.streams):
        books = rows.levels[number * quantizers : (number + 1) * quantizers]
        count = sum(map(len, books))
        result[f"bits_per_frame/{name}"] = float(bits[first : first + count].sum())
        first += count
    return result


# -------------------------------------------------------------------------------------- samples


def features(clip: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What a clip looks like, whatever its length, float64 (3 v c,): mean and standard deviation of
    each number over the frames, and its mean change from frame to frame.

    clip: float (t, v, c), standardised; seen: bool (t, v).
    """
    clip = np.where(seen[..., None], clip, 0).reshape(len(clip), -1).astype(np.float64)
    moved = np.abs(np.diff(clip, axis=0)).mean(0) if len(clip) > 1 else np.zeros(clip.shape[1])
    return np.concatenate([clip.mean(0), clip.std(0), moved])


@dataclass(frozen=True, eq=False)
class Space:
    """Principal components of the features of real clips of training."""

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, real: np.ndarray) -> "Space":
        mean, scale = real.mean(0), np.where(real.std(0) > 1e-6, real.std(0), 1)
        _, _, axes = np.linalg.svd((real - mean) / scale, full_matrices=False)
        return cls(mean, scale, axes[:COMPONENTS])

    def __call__(self, found: np.ndarray) -> np.ndarray:
        return ((found - self.mean) / self.scale) @ self.axes.T


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The Fréchet distance of Gaussians fitted to rows (n, d) and (m, d), as of the FID (Heusel et
    al. 2017, https://arxiv.org/abs/1706.08500)."""
    a, b = (np.cov(rows, rowvar=False) for rows in (first, second))
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    apart = np.square(first.mean(0) - second.mean(0)).sum()
    return float(apart + np.trace(a) + np.trace(b) - 2 * shared)


def diversity(rows: np.ndarray) -> float:
    """The mean distance of two different rows (n, d)."""
    square = np.square(rows).sum(1)
    apart = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * rows @ rows.T, 0))
    return float(apart.sum() / max(len(rows) * (len(rows) - 1), 1))


@dataclass(frozen=True, eq=False)
class Classifier:
    """Ridge regression onto one column per class, of the features of real clips."""

    classes: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    offset: np.ndarray

    @classmethod
    def fit(cls, found: np.ndarray, names: Sequence[str]) -> "Classifier":
        classes = np.unique(names)
        wanted = (np.array(names)[:, None] == classes).astype(np.float64)
        mean, scale = found.mean(0), np.where(found.std(0) > 1e-6, found.std(0), 1)
        x, offset = (found - mean) / scale, wanted.mean(0)
        # As many equations as clips or as features, whichever are fewer.
        if len(x) < x.shape[1]:
            inner = x @ x.T + PENALTY * np.eye(len(x))
            weights = x.T @ np.linalg.solve(inner, wanted - offset)
        else:
            inner = x.T @ x + PENALTY * np.eye(x.shape[1])
            weights = np.linalg.solve(inner, x.T @ (wanted - offset))
        return cls(classes, mean, scale, weights, offset)

    def agreement(self, found: np.ndarray, names: Sequence[str]) -> float:
        """The share of rows whose class is the one that is named."""
        scores = ((found - self.mean) / self.scale) @ self.weights + self.offset
        return float((self.classes[scores.argmax(1)] == np.array(names)).mean())


def values_of(labels: Sequence[str]) -> dict[str, list[str]]:
    """Column of the labels -> the value of each clip, "" where it has none."""
    words = [dict(word.split("=", 1) for word in label.split()) for label in labels]
    return {key: [one.get(key, "") for one in words] for key in sorted(set().union(*words))}


def samples(
    prior: Prior, train: Sequence[tuple[Pose, str]], test: Sequence[tuple[Pose, str]], draw: Draw
) -> tuple[dict, list[Tokens]]:
    """Fréchet distance, diversity and agreement with the label, of test clips, of what is left of
    them after encoding and decoding, and of clips drawn for the same labels and lengths.

    train, test: standardised clips with their labels. Also the drawn tokens.
    """
    labels = [label for _, label in test]
    poses = [pose for pose, _ in test]
    drawn = draw_like(prior, test, draw)
    tokenizer = prior.tokenizer
    indices = tokenizer.encode_clips(poses)
    pairs = zip(indices, poses, strict=True)
    left = [Tokens(one, pose.fps, len(pose.data)) for one, pose in pairs]
    found = {
        "real": np.stack([features(pose.data, ~pose.mask) for pose in poses]),
        "reconstructed": decoded_features(prior, left),
        "generated": decoded_features(prior, drawn),
    }
    seen = np.stack([features(pose.data, ~pose.mask) for pose, _ in train])
    space = Space.fit(seen)
    result: dict = {}
    for name, rows in found.items():
        result[f"frechet/{name}"] = frechet(space(seen), space(rows))
        result[f"diversity/{name}"] = diversity(space(rows))
    result |= agreements(seen, [label for _, label in train], found, labels)
    return result, drawn


def agreements(
    seen: np.ndarray, trained: Sequence[str], found: dict[str, np.ndarray], labels: Sequence[str]
) -> dict:
    """ "KEY/KIND": for each column of the labels, the share of the rows found[KIND] whose value
    classifiers of the rows `seen`, with labels `trained`, name as `labels` do. The same for the
    labels that `trained` has not, such as words that were never seen together."""
    new = {number for number, label in enumerate(labels) if label and label not in set(trained)}
    result: dict = {"clips_of_new_labels": len(new)} if new else {}
    for key, values in values_of(trained).items():
        known = [number for number, value in enumerate(values) if value]
        classifier = Classifier.fit(seen[known], [values[number] for number in known])
        asked = values_of(labels).get(key, [""] * len(labels))
        chosen = [number for number, value in enumerate(asked) if value in classifier.classes]
        for suffix, some in (("", chosen), ("_of_new_labels", sorted({*chosen} & new))):
            for kind, rows in found.items() if some else ():
                wanted = [asked[number] for number in some]
                result[f"{key}/{kind}{suffix}"] = classifier.agreement(rows[some], wanted)
    return result


def draw_like(prior: Prior, clips: Sequence[tuple[Pose, str]], draw: Draw) -> list[Tokens]:
    """A clip of the same length and label as each, those of like length drawn together."""
    order = sorted(range(len(clips)), key=lambda number: len(clips[number][0].data))
    step, drawn = prior.task.rows.frames_per_step, {}
    for first in range(0, len(order), ROWS):
        chosen = order[first : first + ROWS]
        longest = len(clips[chosen[-1]][0].data)
        options = replace(draw, seed=draw.seed + first)
        made = prior.sample([clips[number][1] for number in chosen], longest, options)
        for number, tokens in zip(chosen, made, strict=True):
            pose = clips[number][0]
            length = len(pose.data)
            drawn[number] = Tokens(tokens.indices[: -(-length // step)], pose.fps, length)
    return [drawn[number] for number in range(len(clips))]


def decoded_features(prior: Prior, clips: Sequence[Tokens]) -> np.ndarray:
    """The features of what tokens decode to."""
    rows = []
    task = prior.tokenizer.require_poses()
    for clip, data in zip(clips, prior.tokenizer.decode_tokens(clips), strict=True):
        rows.append(features(data, ~task.absent(clip.indices)[: clip.length]))
    return np.stack(rows)
