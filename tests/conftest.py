"""Shared by all tests: four CPU devices, strict arrays, and where the real data is."""

import importlib.util
import os
import tarfile
import tempfile
from pathlib import Path

import pytest

# Before jax is imported anywhere: the tests compare one device with four.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
).strip()
# The tests and the programs they start compile the same steps many times over: share them. The
# folder is kept, so that a second run of the suite is quicker than the first. JAX compresses with
# zstandard where that is installed, and would not take what an environment without it has left.
_FORMAT = "zstd" if importlib.util.find_spec("zstandard") else "zlib"
_CACHE = Path(tempfile.gettempdir()) / f"jaxvq-test-programs-{os.getuid()}-{_FORMAT}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = REPOSITORY / "tests/golden"  # outputs of the original implementations

_SHARED = Path(os.environ.get("JAXVQ_SHARED", REPOSITORY.parent / "shared")).resolve()
_NOT_SHARED = "no shared data: set JAXVQ_SHARED to the folder that holds data/ and golden/"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real corpora and golden outputs; tests that need it are skipped without it."""
    if not (_SHARED / "data").is_dir():
        pytest.skip(_NOT_SHARED)
    return _SHARED


def real_samples(names) -> list:
    """Names of real samples as parameters of a test; one that is skipped, without shared data."""
    if (_SHARED / "data").is_dir():
        return list(names)
    return [pytest.param("real samples", marks=pytest.mark.skip(_NOT_SHARED))]


def tiny_config(data_dir, **fields):
    """configs/fsq_pose.py:runlocal, smaller still: compiles in seconds and learns a little."""
    from configs.fsq_pose import get_config

    config = get_config("runlocal")
    config.batch_size, config.total_steps = 4, 12
    config.data.dir, config.data.seq_len = str(data_dir), 64
    config.model.update(hidden_dim=16, num_heads=2, ff_dim=32)
    config.optim.update(warmup_steps=2, schedule="constant")
    config.log_every, config.eval_every, config.checkpoint_every = 2, 6, 6
    config.eval_videos = 1
    for name, value in fields.items():
        config[name] = value
    return config.lock()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A folder of 30 synthetic clips, one of them in a sub-folder and one with a broken end."""
    from tools.make_synthetic_corpus import write_corpus

    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, num_clips=30, seed=3)
    clips = sorted(folder.glob("*.pose"))
    (folder / "sub").mkdir()
    clips[0].rename(folder / "sub" / clips[0].name)
    clips[1].write_bytes(clips[1].read_bytes()[:-100])
    return folder


@pytest.fixture(scope="session")
def data_dir(corpus, tmp_path_factory) -> Path:
    """The corpus as a built dataset."""
    from tools import build_dataset

    folder = tmp_path_factory.mktemp("data")
    arguments = ["--corpus", "sign_poses", "--input", str(corpus), "--data_dir", str(folder)]
    assert not build_dataset.main([*arguments, "--workers", "1"])
    return folder


@pytest.fixture(scope="session")
def run_dir(data_dir, tmp_path_factory) -> Path:
    """A finished training run of 12 steps."""
    from jaxvq.train import train

    workdir = tmp_path_factory.mktemp("run")
    train(tiny_config(data_dir), workdir)
    return workdir


@pytest.fixture(scope="session")
def terms(tmp_path_factory) -> Path:
    """The licence of what the tests publish."""
    path = tmp_path_factory.mktemp("terms") / "LICENSE"
    path.write_text("# Terms of the Test Corpus\n\nFor tests only.\n")
    return path


@pytest.fixture(scope="session")
def published_model(run_dir, terms, tmp_path_factory) -> Path:
    from tools import publish_model

    output = tmp_path_factory.mktemp("published") / "model"
    words = ["--checkpoint", str(run_dir), "--license", str(terms), "--output", str(output)]
    publish_model.main(words)
    return output


@pytest.fixture(scope="session")
def published_poses(data_dir, terms, tmp_path_factory) -> Path:
    """A published dataset."""
    from tools import publish_dataset

    output = tmp_path_factory.mktemp("published") / "poses"
    given = {"data_dir": data_dir, "corpus": "sign_poses", "license": terms, "output": output}
    publish_dataset.main([f"--{name}={value}" for name, value in given.items()])
    return output


@pytest.fixture(scope="session")
def version_0_1(tmp_path_factory) -> Path:
    """What version 0.1 wrote: models ("published" has four trained streams), clips, codes."""
    folder = tmp_path_factory.mktemp("version_0.1")
    with tarfile.open(REPOSITORY / "tests/compatibility/version_0.1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder
