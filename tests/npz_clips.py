"""Npz files with `poses` for tests, and small models of them."""

import io

import numpy as np

from configs.stgcn_rvq import get_config
from jaxvq import input_pipeline
from tools import build_dataset


def npz(**arrays) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def poses(frames=20, points=133, dims=3, seed=0):
    """A figure of random points that sways, in pixels; the last number is the confidence."""
    rng = np.random.default_rng(seed)
    place = np.random.default_rng(1).uniform(200, 400, (points, dims))
    sway = 20 * np.sin(np.arange(frames) / 5 + rng.uniform(0, 6))[:, None, None]
    data = place[None] + sway + rng.normal(size=(frames, points, dims))
    data[..., -1] = rng.uniform(0.1, 1, (frames, points))
    return data.astype(np.float32)


def tiny_config(data_dir, total_steps=12):
    config = get_config("runlocal")
    config.data.dir, config.total_steps = str(data_dir), total_steps
    config.update(log_every=6, eval_every=12, checkpoint_every=12)
    config.model.update(hidden_dim=16)
    config.quantizer.update(codebook_size=16, code_dim=4)
    config.optim.schedule = "constant"
    return config.lock()


def write_poses(folder, count=6, **arrays) -> str:
    folder.mkdir(parents=True)
    for i in range(count):
        changes = {name: make(i) for name, make in arrays.items()}
        np.savez(folder / f"{i}.npz", **changes)
    return str(folder)


def build(source, data_dir, *more):
    arguments = ["--corpus", "pose_npz", "--input", source, "--workers", "1", *more]
    build_dataset.main([*arguments, "--data_dir", str(data_dir)])
    dataset = input_pipeline.open_dataset(data_dir)
    split = next(split for split, lengths in dataset.lengths.items() if len(lengths))
    return dataset, dataset.source(split)[0]
