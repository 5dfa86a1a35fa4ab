"""`jaxvq make code-tables`: which codes the tables are fitted to."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxvq import inference, pretrained
from jaxvq.tokens import code_tables
from tools import fit_code_tables


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A copy of a model with steps of 16 frames, and three real clips as it sees them."""
    folder = tmp_path_factory.mktemp("models") / "signs"
    shutil.copytree(Path(inference.load("signs").model.path), folder)
    tokenizer = inference.load(folder)
    files = sorted(pretrained.CLIPS.glob("*.pose"))[:3]
    return tokenizer, [tokenizer.standardize(tokenizer.read(file))[0] for file in files]


@pytest.fixture
def fitted(model, monkeypatch):
    """(effort) -> ((tables, bits per frame), [(sequences, clips) that they were fitted to])."""
    tokenizer, clips = model
    calls, fit = [], code_tables.fit_code_tables

    def record(sequences, task, fingerprint, numbers, progress):
        calls.append((sequences, numbers))
        return fit(sequences, task, fingerprint, numbers, progress)

    monkeypatch.setattr(code_tables, "fit_code_tables", record)
    lengths = [len(clip.data) for clip in clips]
    return lambda effort: (
        fit_code_tables.fit(tokenizer, clips.__getitem__, lengths, effort),
        calls,
    )


def starting_at(clip, start):
    return clip.replace(data=clip.data[start:], confidence=clip.confidence[start:])


def test_few_clips_come_four_times(model, fitted):
    tokenizer, clips = model
    (tables, bits), ((sequences, numbers),) = fitted(0)
    assert numbers == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    copies = [starting_at(clip, start) for clip in clips for start in (0, 4, 8, 12)]
    for found, expected in zip(sequences, tokenizer.encode_clips(copies), strict=True):
        np.testing.assert_array_equal(found, expected)
    frames = sum(len(copy.data) for copy in copies)
    assert bits == pytest.approx(sum(map(tables.cost, sequences)) / frames)


def test_many_frames_come_once(model, fitted, monkeypatch):
    tokenizer, clips = model
    monkeypatch.setattr(fit_code_tables, "FRAMES", sum(len(clip.data) for clip in clips))
    _, ((sequences, numbers),) = fitted(0)
    assert numbers == [0, 1, 2]
    for found, expected in zip(sequences, tokenizer.encode_clips(clips), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_effort_goes_by_the_tables_of_the_model(model, fitted, monkeypatch):
    tokenizer, clips = model
    monkeypatch.setattr(fit_code_tables, "COPIES", 1)
    _, ((sequences, _),) = fitted(1)
    for found, codes in zip(sequences, tokenizer.encode_clips(clips, 1), strict=True):
        np.testing.assert_array_equal(found, codes)
