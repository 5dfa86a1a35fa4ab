"""The command line of jaxvq.train: config and fields, the folder of the run, reporters."""

import logging
import os
from pathlib import Path

import pytest
from conftest import REPOSITORY

from jaxvq.training import command_line

TOKENIZER = str(REPOSITORY / "configs" / "stgcn_rvq.py:runlocal")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder that the command is typed in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_NAME", raising=False)
    return tmp_path


def parse(*words, config=TOKENIZER):
    return command_line.parse("Trains.", ["--config", config, *words])


def make_run(path: Path, *steps: int) -> Path:
    """A folder that looks like a run with checkpoints of these steps, the last one the newest."""
    for age, step in enumerate(reversed(steps)):
        (path / "checkpoints" / str(step) / "meta").mkdir(parents=True)
        os.utime(path / "checkpoints" / str(step), (1e9 - age, 1e9 - age))
    return path


def test_fields_are_flags_of_their_types():
    config = parse(
        *("--config.batch_size=4", "--config.optim.learning_rate", "1e-3"),
        *("--config.quantizer.type=fsq", "--config.quantizer.levels=(8, 5)"),
        "--config.tensorboard",
    ).config
    assert config.batch_size == 4 and config.optim.learning_rate == 1e-3
    assert config.quantizer.type == "fsq" and config.quantizer.levels == (8, 5)
    assert config.tensorboard is True and config.is_locked
    assert parse("--config.data.path", "X.zip").config.data.dir == "X.zip"


def test_names_that_fields_had_before_are_read_with_one_warning(caplog):
    words = ["--config.model.patch=8", "--config.quantizer.num_codebooks", "2"]
    config = parse(*words, config=str(REPOSITORY / "configs" / "fsq_pose.py:small")).config
    assert config.model.frames_per_step == 8 and config.quantizer.num_quantizers == 2
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert warnings == [
        "the flags use old field names: model.patch (now model.frames_per_step), "
        "quantizer.num_codebooks (now quantizer.num_quantizers)"
    ]


def test_a_config_of_ones_own_in_python_and_yaml(folder):
    (folder / "mine.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(kind='plain'):\n"
        "    return ConfigDict({'task': kind, 'loss': {'jitter': 0.5}})\n"
    )
    config = parse("--config.loss.jitter=2", config="mine.py:calm").config
    assert config.task == "calm" and config.loss.jitter == 2.0
    (folder / "mine.yaml").write_text("hidden_dim: 32\nbatch_size: 4\n")
    config = parse("--config.batch_size=8", config="mine.yaml").config
    assert config.model.hidden_dim == 32 and config.batch_size == 8


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.py", "def get_config(:\n", "a.py is not a Python file that runs"),
        ("b.py", "x = 1\n", "b.py has no function get_config"),
    ],
)
def test_files_that_are_no_config_are_refused(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        parse(config=name)
    assert "\n" not in str(error.value)


def test_the_folder_of_a_run():
    assert parse("--workdir", "RUN").workdir == Path("RUN")
    assert parse("--run-timestamp", "20250102_030405").workdir == Path("runs/20250102_030405")
    assert parse().workdir.parent == Path("runs") and len(parse().workdir.name) == 15
    with pytest.raises(ValueError, match="give one"):
        parse("--workdir", "RUN", "--run-timestamp", "x")
    with pytest.raises(ValueError, match="several hosts need one folder"):
        parse("--distributed")


@pytest.mark.parametrize("newest", ["auto", "latest"])
def test_resuming_the_newest_run(folder, newest, caplog):
    assert parse("--resume", newest).workdir.parent == Path("runs")
    assert f"--resume {newest}: no run in runs/ has a checkpoint" in caplog.messages
    make_run(folder / "runs" / "b", 10)
    make_run(folder / "runs" / "a", 10)
    os.utime(folder / "runs/b/checkpoints/10", (1e9 + 5, 1e9 + 5))
    (folder / "runs" / "c").mkdir()
    assert parse("--resume", newest).workdir == Path("runs/b")
    assert parse("--resume", newest, "--workdir", "RUN").workdir == Path("RUN")


def test_resuming_a_run_by_its_path(folder):
    run = make_run(folder / "runs" / "a", 5, 10)
    for path in ("runs/a", "runs/a/checkpoints", "runs/a/checkpoints/10"):
        assert parse("--resume", path).workdir == run
    with pytest.raises(ValueError, match="a went on to step 10, and continues there"):
        parse("--resume", "runs/a/checkpoints/5")
    with pytest.raises(ValueError, match="runs/a continues .*, but other is given"):
        parse("--resume", "runs/a", "--workdir", "other")
    with pytest.raises(ValueError, match="nowhere does not exist"):
        parse("--resume", "nowhere")


def test_what_eval_only_measures(folder):
    make_run(folder / "runs" / "a", 5, 10)
    args = parse("--eval-only", "--resume", "runs/a/checkpoints/5")
    assert args.eval_only and args.checkpoint == Path("runs/a/checkpoints/5")
    assert args.workdir == folder / "runs" / "a"
    assert parse("--eval-only", "--workdir", "runs/a").checkpoint == Path("runs/a")
    with pytest.raises(ValueError, match="--eval_only: which run?"):
        parse("--eval-only")


def test_reporting_to_wandb():
    assert parse().config.wandb == ""
    assert parse("--wandb-project", "mine").config.wandb == "mine"
    assert parse("--config.wandb=mine", "--no-wandb").config.wandb == ""
    assert "WANDB_NAME" not in os.environ
    assert parse("--wandb-run-name", "first").config.wandb == "pose-tokenizer"
    assert os.environ["WANDB_NAME"] == "first"
    assert parse("--config.wandb=mine", "--wandb-run-name", "first").config.wandb == "mine"
