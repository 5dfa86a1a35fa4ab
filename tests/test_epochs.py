"""Epochs as steps: against hand-computed numbers, and against the batches themselves."""

from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

from configs.fsq_pose import get_config
from jaxvq import input_pipeline
from jaxvq.datasets.layout import Layout
from jaxvq.hands.pipeline import HandDataset
from jaxvq.input_pipeline import ClipDataset
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics
from jaxvq.training import epochs
from jaxvq.training.command_line import read_config


def dataset(*lengths: int, kind=ClipDataset, **fields):
    statistics = Statistics(np.zeros((178, 3), np.float32), np.ones((178, 3), np.float32))
    splits = {"train": np.array(lengths, np.int32)}
    return kind(Path("nowhere"), HOLISTIC_178, statistics, splits, "", Layout(), **fields)


def config(**fields):
    config = get_config("frames")
    config.batch_size, config.data.seq_len = 2, 64
    config.update(fields)
    return config


def test_a_pass_is_one_crop_of_every_clip():
    # 10 + 64 + 5 frames, of 128 per step.
    made = epochs.resolve(config(num_epochs=10), dataset(10, 100, 5))
    assert made.total_steps == 7  # 6.17
    assert made.eval_every == 1000 and made.optim.warmup_steps == 1000
    made = epochs.resolve(
        config(warmup_epochs=2, eval_epochs=1, checkpoint_epochs=0.1), dataset(1000, 1000, 32)
    )
    assert made.total_steps == 100_000
    assert (made.optim.warmup_steps, made.eval_every, made.checkpoint_every) == (3, 2, 1)
    assert config(num_epochs=10).total_steps == 100_000  # what is given stays


def test_alignment_filters_and_mixtures_count():
    aligned = config(num_epochs=10)
    aligned.model.frames_per_step = 4
    assert epochs.resolve(aligned, dataset(10, 100, 5)).total_steps == 7  # 840 frames
    chosen = dataset(10, 100, 5, filter=input_pipeline.Filter(min_frames=11))
    assert epochs.resolve(config(num_epochs=10), chosen).total_steps == 5
    # Three frames of another dataset for each of this one.
    mixed = dataset(64, 64, mixed=((dataset(64), 3.0),))
    assert epochs.resolve(config(num_epochs=10), mixed).total_steps == 40


def test_hands_are_counted_by_frames():
    hands = config(num_epochs=3)
    hands.data.seq_len, hands.batch_size = 1, 100
    assert epochs.resolve(hands, dataset(1024, 1024, 2, kind=HandDataset)).total_steps == 62


def test_steps_given_as_a_flag_replace_the_epochs_of_the_config():
    source = str(REPOSITORY / "configs" / "stgcn_rvq.yaml")
    made = read_config(source, ["--config.total_steps=20", "--config.eval_every", "5"])
    assert (made.total_steps, made.num_epochs, made.eval_every, made.eval_epochs) == (20, 0, 5, 0)
    assert (made.warmup_epochs, made.checkpoint_epochs) == (10, 10)
    both = read_config(source, ["--config.total_steps=20", "--config.num_epochs=3"])
    assert (both.total_steps, both.num_epochs) == (20, 3)
    assert read_config(source).num_epochs == 100


def test_without_epochs_nothing_changes_and_nothing_is_read():
    given = get_config()
    assert epochs.resolve(given, dataset=None) is given


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_what_is_no_number_of_epochs(wrong):
    with pytest.raises(ValueError, match="num_epochs=.*: expected epochs, or 0 to go by total"):
        epochs.resolve(config(num_epochs=wrong), dataset(10))


def test_the_batches_hold_every_clip_so_many_times(data_dir):
    real = input_pipeline.open_dataset(data_dir)
    steps = epochs.resolve(config(num_epochs=3), real).total_steps
    batches = real.train_batches(batch_size=2, seq_len=64, seed=0, num_steps=steps)
    starts = sum(int(((b.segment > 0) & (b.position == 0)).sum()) for b in batches)
    clips = len(real.lengths["train"])
    assert 3 * clips <= starts < 4 * clips
