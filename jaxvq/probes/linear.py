"""A linear probe: which letters a linear classifier tells in alphabets that it has not seen."""

import numpy as np

from jaxvq.probes.letters import Labels

PENALTY = 10.0  # of the squared weights, of features with mean 0 and variance 1


def probe(features: np.ndarray, labels: Labels) -> np.ndarray:
    """float (n,): 1 where the letter of a clip is told by a classifier trained on all alphabets but
    the clip's own.

    features: (n, d), NaN rows for clips that show nothing, which are guessed wrong. Ridge regression
    onto one column per letter, with a constant.
    """
    letters = np.unique(labels.letters)
    wanted = (labels.letters[:, None] == letters).astype(np.float64)
    known = ~np.isnan(features).any(axis=1)
    hits = np.zeros(len(features))
    for alphabet in np.unique(labels.alphabets):
        own = labels.alphabets == alphabet
        train, test = known & ~own, known & own
        if not train.any() or not test.any():
            continue
        mean, std = features[train].mean(axis=0), features[train].std(axis=0)
        x, y = ((features[rows] - mean) / np.where(std > 1e-6, std, 1) for rows in (train, test))
        target = wanted[train]
        weights = np.linalg.solve(
            x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ (target - target.mean(axis=0))
        )
        told = letters[(y @ weights + target.mean(axis=0)).argmax(axis=1)]
        hits[test] = told == labels.letters[test]
    return hits


def summarize_frames(frames: np.ndarray) -> np.ndarray:
    """float64 (n, 2 d): mean and standard deviation over the frames of (n, f, d)."""
    frames = frames.astype(np.float64)
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1)], axis=1)
