"""metrics.jsonl survives kills and odd numbers; optional reporters say what they need."""

import importlib.util
import json
import math

import pytest

from jaxvq.training.metric_writer import MetricWriter


def read(tmp_path):
    return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


def test_one_object_a_line_with_its_step(tmp_path):
    writer = MetricWriter(tmp_path)
    writer.write(1, {"train_loss": 0.5})
    writer.write(2, {"train_loss": math.nan, "learning_rate": 1e-3})
    writer.close()
    assert read(tmp_path) == [
        {"step": 1, "train_loss": 0.5},
        {"step": 2, "train_loss": None, "learning_rate": 1e-3},
    ]


def test_a_resumed_run_repeats_no_step_and_mends_a_torn_line(tmp_path):
    writer = MetricWriter(tmp_path)
    for step in (1, 2, 3, 4):
        writer.write(step, {"train_loss": float(step)})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "train_')  # killed while writing
    writer = MetricWriter(tmp_path, resume_step=3)
    writer.write(4, {"train_loss": 40.0})
    writer.close()
    assert [(line["step"], line["train_loss"]) for line in read(tmp_path)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (4, 40.0),
    ]


@pytest.mark.parametrize("package, field", [("tensorboardX", "tensorboard"), ("wandb", "wandb")])
def test_a_missing_reporter_is_named(tmp_path, package, field):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed here")
    with pytest.raises(ValueError, match=f"needs the package {package}: pip install"):
        MetricWriter(tmp_path, **{field: "project"})
