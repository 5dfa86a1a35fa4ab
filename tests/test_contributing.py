"""The examples of CONTRIBUTING.md do what they say."""

import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from configs.stgcn_rvq import get_config
from jaxvq import input_pipeline
from jaxvq.batch import make_batch
from jaxvq.datasets import building
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics

TEXT = (Path(__file__).resolve().parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
SKELETON = SKELETONS["lsfb_75"]


def example(name: str, monkeypatch):
    """The code of an example as a module, as if it were a file (the folder of which TFDS reads)."""
    code = re.search(rf"### A {name}\n.*?```python\n(.*?)```", TEXT, re.S)[1]
    module = types.ModuleType(f"jaxvq.datasets.pose_npz.{name}_dataset_builder")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, f"CONTRIBUTING.md:{name}", "exec"), module.__dict__)
    return module


def test_a_corpus(monkeypatch, tmp_path):
    module = example("corpus", monkeypatch)
    rng = np.random.default_rng(0)
    (tmp_path / "corpus").mkdir()
    for i in range(30):
        np.save(tmp_path / "corpus" / f"clip_{i}.npy", rng.normal(size=(10 + i, 75, 3)))
    np.save(tmp_path / "corpus" / "empty.npy", np.full((5, 75, 3), np.nan))
    monkeypatch.setattr(building, "find_builder", lambda corpus: module.Builder)
    options = building.Options(input=str(tmp_path / "corpus"), workers=1, max_skipped=0.1)
    folder, built = building.build("mine", tmp_path / "data", options)
    dataset = input_pipeline.open_dataset(folder)
    assert built and dataset.skeleton == SKELETON
    assert sum(len(lengths) for lengths in dataset.lengths.values()) == 30
    assert "no shoulders" in (folder / "skipped.jsonl").read_text()


@pytest.mark.parametrize("name", ["loss", "model"])
def test_a_loss_and_a_model(name, monkeypatch):
    module = example(name, monkeypatch)
    config = get_config("runlocal")
    config.loss.jitter = 0.5
    rng = np.random.default_rng(0)
    statistics = Statistics(np.zeros((75, 3)), np.ones((75, 3)))
    task = module.make(config, SKELETON, statistics)
    pose = rng.normal(size=(2, 16, 75, 3)).astype(np.float32)
    batch = make_batch(pose, rng.random((2, 16, 75)) < 0.9)
    params, state = jax.jit(task.init)(jax.random.key(0), batch)

    @jax.jit
    def step(params, state):
        def loss(params):
            return task.loss(params, state, batch, jax.random.key(0), train=True)

        (value, (observed, sums)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        state, _ = task.update_state(state, observed)
        return jax.tree.map(lambda p, g: p - 0.01 * g, params, grads), state, value, sums

    values = []
    for _ in range(12):
        params, state, value, sums = step(params, state)
        values.append(float(value))
    assert values[-1] < values[1]
    if name == "loss":
        jitter = float(sums["jitter"][0] / sums["jitter"][1])
        others = sum(
            weight * float(sums[term][0] / sums[term][1])
            for term, weight in task.term_weights.items()
            if weight and term != "jitter"
        )
        assert values[-1] == pytest.approx(others + 0.5 * jitter, rel=1e-4)
    else:
        assert jax.eval_shape(task.encode, params, state, batch).shape == (2, 16, 1, 2)
