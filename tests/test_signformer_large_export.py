"""A large export to Signformer: read by its loader, killed, run twice, without disk or memory."""

import importlib
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxvq.signformer import pami0
from jaxvq.storage import atomic
from tests.signformer_corpus import write_lsfb
from tests.test_signformer_export import run, snapshot
from tests.test_signformer_pami0 import load_as_signformer
from tools.signformer import export


def command(dataset, root, out, *options) -> list[str]:
    line = [sys.executable, "-m", "tools.export_signformer", "--dataset", dataset]
    line += ["--input", str(root), "--output_dir", str(out), *map(str, options)]
    return line


def start(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Enough sentences to be killed in the middle of, and what they export to."""
    folder = tmp_path_factory.mktemp("corpus")
    root = write_lsfb(folder, {"train": 400, "val": 3}, frames=3000)
    run("LSFB-CONT", root, folder / "expected", "--chunk_size", 5, "--gzip_level", 9)
    return root, snapshot(folder / "expected")


def test_killed_and_started_again(corpus, tmp_path):
    root, expected = corpus
    out = tmp_path / "out"
    out.mkdir()
    # What an earlier export with more and smaller parts left behind.
    (out / "LSFB-CONT-1024.pami0.train.part99").write_bytes(b"stale")
    arguments = ("LSFB-CONT", root, out, "--chunk_size", 5, "--gzip_level", 9)
    process = start(*arguments, "--workers", 2)
    deadline = time.monotonic() + 60
    while (
        len(list(out.glob("*.part*"))) < 3 or (out / "LSFB-CONT-1024.pami0.train.part99").exists()
    ):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = [path for path in out.glob("*.pami0.*") if not path.name.startswith("tmp.")]
    assert 0 < len(left) < len(expected)
    assert all(path.read_bytes() == expected[path.name] for path in left)
    (out / "tmp.LSFB-CONT-1024.pami0.train.part77").write_bytes(b"half a part")
    done = start(*arguments, "--workers", 1)
    assert done.communicate()[1] is not None and done.returncode == 0
    assert snapshot(out) == expected
    assert not list(out.glob("tmp.*"))


def test_one_export_at_a_time(corpus, tmp_path):
    root, _ = corpus
    arguments = ("LSFB-CONT", root, tmp_path, "--workers", 1)
    with atomic.locked(tmp_path, "export"):
        second = start(*arguments)
        _, message = second.communicate()
        assert second.returncode != 0 and "another export is writing here" in message
        assert "Traceback" not in message and not list(tmp_path.glob("*.part*"))


def test_full_disk(corpus, tmp_path):
    """A limit on the size of files makes a write fail in the middle, as a full disk does."""
    root, expected = corpus
    limit = sorted(len(content) for content in expected.values())[len(expected) // 2]

    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start(
        "LSFB-CONT",
        root,
        tmp_path,
        "--workers",
        1,
        "--chunk_size",
        5,
        "--gzip_level",
        9,
        preexec_fn=limit_files,
    )
    _, message = process.communicate()
    assert process.returncode == 2 and "File too large" in message and ".part" in message
    assert "tmp." not in message
    assert "Traceback" not in message
    for path in tmp_path.glob("*.pami0.*"):
        assert path.read_bytes() == expected[path.name]
    assert not list(tmp_path.glob("tmp.*"))


def test_output_that_cannot_be_written(corpus, tmp_path):
    root, _ = corpus
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/below", "/proc/jaxvq"):
        with pytest.raises(OSError):
            run("LSFB-CONT", root, out)


def test_memory_for_one_sentence_after_the_other(tmp_path):
    """What a worker made is written and forgotten: no more than a few wait at a time."""
    waiting = []
    report = export.Report(400)

    def encode(number):
        waiting.append(number - report.written)
        return export.Encoded(str(number), b"x" * 10, frames=1)

    parts = export.export_split(
        encode, list(range(400)), tmp_path / "x", chunk_size=100, workers=1, report=report
    )
    assert len(list(parts)) == 4 and report.written == 400 and max(waiting) <= 2


def test_in_one_batch_with_files_of_pytorch(corpus, shared, tmp_path):
    """Mixed training stacks frames of all corpora: their sizes and types must agree."""
    root, expected = corpus
    name = "LSFB-CONT-1024.pami0.val.part0"
    (tmp_path / name).write_bytes(expected[name])
    ours = [one["sign"] for one in load_as_signformer(tmp_path / name)]
    theirs = [one.sign for one in pami0.read_samples(shared / "golden/phoenix14t.pami0.train")]
    stacked = np.stack([frame for sign in ours + theirs for frame in sign])
    assert stacked.dtype == np.float32 and stacked.shape[1] == 1024


def test_signformers_own_loader(corpus, tmp_path, monkeypatch):
    """With PyTorch, torchtext and JAXVQ_SIGNFORMER_DIR, a checkout of Signformer."""
    torch = pytest.importorskip("torch")
    if "JAXVQ_SIGNFORMER_DIR" not in os.environ:
        pytest.skip("set JAXVQ_SIGNFORMER_DIR to a checkout of Signformer")
    data = pytest.importorskip("torchtext.data")
    monkeypatch.syspath_prepend(os.environ["JAXVQ_SIGNFORMER_DIR"])
    dataset = importlib.import_module("main.dataset")
    _, expected = corpus
    files = {name: content for name, content in expected.items() if ".val." in name}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    field = data.RawField()
    loaded = dataset.SignTranslationDataset(
        path=[str(tmp_path / name) for name in files], fields=(field,) * 5
    )
    ours = [one for name in files for one in pami0.read_samples(tmp_path / name)]
    assert len(loaded.examples) == len(ours)
    for example, one in zip(loaded.examples, ours, strict=True):
        assert example.txt == one.text and example.sgn.dtype == torch.float32
        np.testing.assert_array_equal(example.sgn.numpy(), one.sign + np.float32(1e-8))
