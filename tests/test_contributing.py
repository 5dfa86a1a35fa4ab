"""The examples of CONTRIBUTING.md do what they say."""

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from configs.stgcn_rvq import get_config
from jaxvq import inference, input_pipeline
from jaxvq.batch import make_batch
from jaxvq.datasets import building
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics

REPOSITORY = Path(__file__).resolve().parent.parent
TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
SKELETON = SKELETONS["lsfb_75"]


def code_of(name: str) -> str:
    return re.search(rf"### A {name}\n.*?```python\n(.*?)```", TEXT, re.S)[1]


def example(name: str, monkeypatch):
    """The code of an example as a module, as if it were a file (the folder of which TFDS reads)."""
    module = types.ModuleType(f"jaxvq.datasets.pose_npz.{name}_dataset_builder")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code_of(name), f"CONTRIBUTING.md:{name}", "exec"), module.__dict__)
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


CONFIG = """
from configs.stgcn_rvq import get_config as original


def get_config(arg=""):
    config = original("runlocal")
    config.task = f"mypackage.{arg}"
    config.loss.jitter = 0.1  # a field of our own
    config.total_steps, config.batch_size, config.data.seq_len = 2, 4, 16
    config.eval_videos, config.checkpoint_every, config.eval_every = 0, 2, 2
    return config
"""


def test_a_loss_and_a_model_in_a_package_outside_the_checkout(data_dir, tmp_path, monkeypatch):
    """The examples as a user's own files: trained by the command, loaded where they are found."""
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, module in (("loss", "calm_tokenizer"), ("model", "frame_tokenizer")):
        (package / f"{module}.py").write_text(code_of(name))
    (tmp_path / "my_config.py").write_text(CONFIG)
    # As the installed command starts: Python looks beside it for modules, not in the user's folder.
    started = "import sys; sys.path.remove(''); from jaxvq.__main__ import main; sys.exit(main())"
    ways = {"calm_tokenizer": ["-c", started, "train"], "frame_tokenizer": ["-m", "jaxvq.train"]}
    for module, way in ways.items():
        command = [sys.executable, *way, "--config", f"my_config.py:{module}"]
        command += [f"--config.data.dir={data_dir}", "--workdir", module]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr[-2000:]
        with pytest.raises(ValueError, match=f"task='mypackage.{module}' is unknown"):
            inference.load(tmp_path / module)
    assert "train_jitter" in (tmp_path / "calm_tokenizer" / "metrics.jsonl").read_text()
    monkeypatch.syspath_prepend(tmp_path)
    for module, frames in (("calm_tokenizer", 2), ("frame_tokenizer", 1)):
        assert inference.load(tmp_path / module).task.frames_per_step == frames
