"""Datasets from and to addresses, on fsspec's file system in memory."""

import json
import zipfile

import fsspec
import pytest

from jaxvq import input_pipeline
from jaxvq.datasets import building
from jaxvq.pose import files
from jaxvq.storage import remote
from tests import clips
from tests.test_datasets_building import assert_same, contents, options
from tools import build_dataset


@pytest.fixture
def memory(monkeypatch, tmp_path):
    """An empty file system in memory; what is fetched from it goes to a cache of this test."""
    monkeypatch.setenv("JAXVQ_CACHE", str(tmp_path / "cache"))
    filesystem = fsspec.filesystem("memory")
    monkeypatch.setattr(type(filesystem), "store", {})
    monkeypatch.setattr(type(filesystem), "pseudo_dirs", [""])
    return filesystem


@pytest.fixture
def corpus(tmp_path, memory):
    clips.write_clips(tmp_path / "in", [3 + i % 4 for i in range(12)])
    memory.put(str(tmp_path / "in"), "/bucket/in", recursive=True)
    return tmp_path / "in"


def test_from_an_address_to_an_address(corpus, tmp_path, memory, capsys):
    local, _ = building.build("sign_poses", tmp_path / "data", options(corpus))
    argv = [
        "--corpus",
        "sign_poses",
        "--input",
        "memory://bucket/in",
        "--data_dir",
        "memory://bucket/data/",
        "--workers",
        "1",
    ]
    build_dataset.main(argv)
    url = "memory://bucket/data/sign_poses/holistic_178/1.0.0"
    assert f"built: {url}" in capsys.readouterr().out
    assert set(remote.list_files(url)) == {path.name for path in local.iterdir()}
    dataset = input_pipeline.open_dataset("memory://bucket/data")
    assert_same(contents(local), contents(dataset.path))
    assert dataset.fingerprint == input_pipeline.open_dataset(local).fingerprint
    assert input_pipeline.open_dataset("memory://bucket/data").path == dataset.path  # not again

    build_dataset.main(argv)
    assert f"already built: {url}" in capsys.readouterr().out
    memory.pipe("/bucket/in/clip_0.pose", (corpus / "clip_1.pose").read_bytes())
    with pytest.raises(ValueError, match="since then this has changed: the input"):
        build_dataset.main(argv)
    memory.rm("/bucket/in/clip_0.pose")
    build_dataset.main([*argv, "--overwrite"])
    again = input_pipeline.open_dataset("memory://bucket/data")
    assert sum(map(len, again.lengths.values())) == 11 and again.path != dataset.path


def test_a_zip_at_an_address(corpus, memory, tmp_path):
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for path in corpus.rglob("*.pose"):
            content.write(path, path.relative_to(corpus))
    memory.put(str(archive), "/bucket/in.zip")
    url = "memory://bucket/in.zip"
    there, here = files.list_poses(url), files.list_poses(archive)
    assert [c.key for c in there] == [c.key for c in here] and len(here) == 12
    assert there[3].read() == here[3].read()
    assert files.list_poses(url) == there  # copied once
    with zipfile.ZipFile(archive, "a") as content:
        content.write(corpus / "clip_0.pose", "another.pose")
    memory.put(str(archive), "/bucket/in.zip")
    assert len(files.list_poses(url)) == 13


def test_an_upload_that_is_cut_off_is_no_dataset(corpus, tmp_path, memory, monkeypatch):
    put, count = type(memory).put_file, [0]

    def put_file(self, *arguments, **options):
        count[0] += 1
        if count[0] == 6:
            raise OSError("the network is gone")
        return put(self, *arguments, **options)

    monkeypatch.setattr(type(memory), "put_file", put_file)
    source = options("memory://bucket/in")
    with pytest.raises(OSError, match="the network is gone"):
        building.build("sign_poses", "memory://bucket/data", source)
    with pytest.raises(ValueError, match="no built dataset"):
        input_pipeline.open_dataset("memory://bucket/data")
    url, built = building.build("sign_poses", "memory://bucket/data", source)
    assert built and json.loads(remote.read_bytes(f"{url}/counters.json"))["recipe"]["files"] == 12


def test_a_file_that_is_gone_is_skipped(corpus, memory, tmp_path):
    listed = files.list_poses("memory://bucket/in")
    assert [clip.key for clip in listed] == [clip.key for clip in files.list_poses(corpus)]
    memory.rm("/bucket/in/clip_0.pose")
    with pytest.raises(OSError):
        listed[0].read()


def test_wrong_addresses(memory):
    with pytest.raises(ValueError, match="no such file or directory: memory://bucket/nothing"):
        files.list_poses("memory://bucket/nothing")
    with pytest.raises(ValueError, match="no such file or directory: memory://bucket/x.zip"):
        files.list_poses("memory://bucket/x.zip")
    memory.pipe("/bucket/y.zip", b"no zip")
    with pytest.raises(ValueError, match="y.zip: not a zip file"):
        files.list_poses("memory://bucket/y.zip")
    with pytest.raises(ValueError, match="nosuch://a: "):
        files.list_poses("nosuch://a")
