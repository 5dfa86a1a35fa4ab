"""The loss in metrics.jsonl is the one that is optimised, and best checkpoints follow a metric."""

import json
import logging

import jax
import numpy as np
import pytest
from conftest import tiny_config

from jaxvq import input_pipeline, metrics
from jaxvq.checkpoint import CHECKPOINTS, load_model
from jaxvq.tasks import make_task
from jaxvq.train import train


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """A run with a loss of two terms, whose best checkpoint is the one that uses fewest codes."""
    config = tiny_config(data_dir).unlock()
    config.update(total_steps=6, log_every=1, eval_every=2, checkpoint_every=2, eval_videos=0)
    config.update(keep_last=1, keep_best=1, best_metric="validation_code_utilization", batch_size=4)
    config.loss.velocity = 0.5
    workdir = tmp_path_factory.mktemp("run")
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("jaxvq")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    train(config.lock(), workdir)
    logger.removeHandler(handler)
    logger.setLevel(level)
    return workdir, messages


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


def test_the_loss_is_the_weighted_sum_of_the_terms_beside_it(run):
    workdir, messages = run
    assert "loss = 1 reconstruction + 0.5 velocity" in messages
    for split in ("train", "validation"):
        lines = [line for line in records(workdir) if f"{split}_loss" in line]
        assert len(lines) == {"train": 6, "validation": 3}[split]
        for line in lines:
            terms = line[f"{split}_reconstruction"] + 0.5 * line[f"{split}_velocity"]
            assert line[f"{split}_velocity"] > 0
            assert line[f"{split}_loss"] == pytest.approx(terms, rel=1e-6)


def test_the_loss_is_what_the_task_lowers(run, data_dir):
    """The whole validation split as one batch, against the sum over batches of the run."""
    model = load_model(run[0], 6)
    task = make_task(model.config, model.skeleton, model.statistics)
    dataset = input_pipeline.open_dataset(data_dir)
    (batch,) = dataset.eval_batches("validation", batch_size=64, seq_len=64)
    loss = jax.jit(lambda batch: task.loss(model.params, model.state, batch, None, train=False)[0])
    last = [line for line in records(run[0]) if "validation_loss" in line][-1]
    assert last["validation_loss"] == pytest.approx(float(loss(batch)), rel=1e-5)


def test_the_best_checkpoint_is_that_of_the_metric_in_the_config(run):
    lines = [line for line in records(run[0]) if "validation_loss" in line]
    best = min(lines, key=lambda line: line["validation_code_utilization"])["step"]
    assert best != min(lines, key=lambda line: line["validation_loss"])["step"]
    kept = {int(path.name) for path in (run[0] / CHECKPOINTS).iterdir() if path.name.isdigit()}
    assert kept == {best, 6}


def test_a_term_that_nothing_counts_for_adds_nothing():
    sums = {"reconstruction": (np.float32(2), np.float32(4)), "velocity": (0.0, 0.0)}
    values = metrics.summarize(sums, (), {"reconstruction": 3.0, "velocity": 0.1})
    assert values["loss"] == 1.5 and np.isnan(values["velocity"])
