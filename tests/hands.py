"""Hands and configs that several tests share."""

import numpy as np

from configs import hand_prior


def synthetic_hands(rng, count) -> np.ndarray:
    """(count, 90) of few degrees of freedom: all fingers curl, and each a little on its own."""
    curl = rng.uniform(0, 1, (count, 2, 1, 1)) * 0.6 + rng.uniform(0, 1, (count, 2, 5, 1)) * 0.8
    angles = np.zeros((count, 2, 5, 3, 3), np.float32)
    angles[..., 2] = curl * np.array([1.0, 0.8, 0.5]) * np.array([-1, 1])[:, None, None]
    angles += rng.normal(scale=0.02, size=angles.shape)
    return angles.reshape(count, 90).astype(np.float32)


def tiny_config(variant):
    """Compiles in seconds."""
    config = hand_prior.get_config(variant)
    config.model.update(hidden_dim=64, num_layers=1)
    return config
