"""Start-up: where compiled programs are kept, and how few of them inference needs."""

import logging
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

from jaxvq import inference
from jaxvq.pose.reader import Pose
from jaxvq.storage import programs
from jaxvq.windows import cut_into_windows

FOLDER = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """A user without variables of JAX, whose home is empty."""
    for name in (FOLDER, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", programs.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return monkeypatch


def test_compiled_programs_are_kept_in_the_users_cache(variables, tmp_path):
    programs.keep()
    folder = os.environ[FOLDER]
    assert folder.startswith(f"{tmp_path}/cache/jaxvq/programs-") and os.path.isdir(folder)
    variables.delenv(FOLDER)
    variables.setenv("JAXVQ_CACHE", str(tmp_path / "mine"))
    programs.keep()
    assert os.environ[FOLDER] == f"{tmp_path}/mine/{os.path.basename(folder)}"


def test_they_are_not_kept_where_the_user_says_so(variables, tmp_path):
    variables.setenv("JAXVQ_CACHE", "0")
    programs.keep()
    assert FOLDER not in os.environ and not (tmp_path / "cache").exists()
    variables.delenv("JAXVQ_CACHE")
    variables.setenv(FOLDER, "theirs")
    programs.keep()
    assert os.environ[FOLDER] == "theirs"


def test_a_folder_that_cannot_be_written_is_a_warning(variables, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    variables.setenv("JAXVQ_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "jaxvq"):
        programs.keep()
    (message,) = caplog.messages
    assert f"{tmp_path}/file" in message and "set JAXVQ_CACHE to another folder" in message
    assert FOLDER not in os.environ


def clips(lengths) -> list[Pose]:
    rng = np.random.default_rng(0)
    return [
        Pose(None, rng.normal(size=(n, 3, 2)).astype(np.float32), np.ones((n, 3), np.float32), 25)
        for n in lengths
    ]


def test_thousands_of_clips_come_in_few_shapes_and_every_frame_once():
    lengths = np.random.default_rng(1).integers(1, 700, 3000)
    given, shapes, seen = clips(lengths), set(), np.zeros(lengths.sum(), int)
    starts = np.cumsum(lengths) - lengths
    oldest = 0
    for windows in cut_into_windows(iter(given), 512, 0, 16):
        shapes.add(windows.batch.segment.shape)
        for row, window in enumerate(windows.rows):
            seen[starts[window.clip] + window.first : starts[window.clip] + window.stop] += 1
            part = given[window.clip].data[window.start : window.end]
            np.testing.assert_array_equal(windows.batch.pose[row, : len(part)], part)
        oldest = max(
            oldest, lengths[: windows.rows[-1].clip + 1].sum() - starts[windows.rows[0].clip]
        )
    assert (seen == 1).all()
    assert shapes == {(128, 32), (64, 64), (32, 128), (16, 256), (8, 512)}
    assert oldest < 80_000  # frames between the first and the last clip of a batch


@pytest.mark.parametrize("rows, shape", [(1, 1), (2, 4), (5, 16), (17, 64), (70, 128)])
def test_few_clips_are_padded_to_few_numbers_of_rows(rows, shape):
    (windows,) = cut_into_windows(clips([30] * rows), 512, 0, 16)
    assert windows.batch.segment.shape == (shape, 32)


def test_a_stream_gives_the_tokens_of_each_clip_in_their_order(run_dir, corpus):
    from jaxvq.pose.reader import read_pose

    tokenizer = inference.load(run_dir)
    clips = [
        tokenizer.standardize(read_pose(path))[0] for path in sorted(corpus.glob("*.pose"))[1:9]
    ]
    several = [clips[i % len(clips)] for i in range(150)]
    found = list(tokenizer.encode_stream((str(i), clip) for i, clip in enumerate(several)))
    assert [name for name, _ in found] == [str(i) for i in range(150)]
    alone = [tokenizer.encode_clips([clip])[0] for clip in clips]
    for i, (_, tokens) in enumerate(found):
        np.testing.assert_array_equal(tokens.indices, alone[i % len(clips)])
        assert tokens.length == len(several[i].data) and tokens.fps == several[i].fps
    decoded = list(tokenizer.decode_stream(tokens for _, tokens in found))
    assert [len(pose.data) for pose in decoded] == [len(clip.data) for clip in several]
    expected = tokenizer.decode(found[3][1])
    np.testing.assert_allclose(decoded[3 + len(clips)].data, expected.data, atol=1e-3)


def test_a_training_that_waits_says_so(caplog):
    import time

    from jaxvq.training.clock import patience

    with caplog.at_level(logging.DEBUG, "jaxvq"), patience("compiling", every=0.05):
        time.sleep(0.2)
    assert caplog.messages[0] == "compiling: 0 s so far" and len(caplog.messages) >= 3
    (took,) = filter(None, (re.fullmatch(r"compiling: (\d+\.\d\d) s", m) for m in caplog.messages))
    assert float(took[1]) >= 0.2


def test_encoding_imports_no_more_than_it_needs(run_dir, corpus, tmp_path):
    """The slow libraries of training and building stay out of a packed model's way."""
    from jaxvq import checkpoint

    folder = tmp_path / "packed"
    folder.mkdir()
    checkpoint.save_packed(folder, inference.load(run_dir).model)
    clip = sorted(corpus.glob("*.pose"))[3]
    code = (
        "import sys; from jaxvq import inference\n"
        f"inference.load({str(folder)!r}).encode({str(clip)!r})\n"
        "slow = 'orbax optax scipy grain tensorflow_datasets pandas matplotlib'.split()\n"
        "assert not set(slow) & set(sys.modules), set(slow) & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
