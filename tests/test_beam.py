"""A build on Apache Beam stores what a local one does."""

import json
import sys

import fsspec
import numpy as np
import pytest

from jaxvq import input_pipeline
from jaxvq.datasets import building
from tests import clips
from tests.test_datasets_building import assert_same, contents, options
from tools import build_dataset


def test_without_beam_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    clips.write_clips(tmp_path / "in", [3])
    with pytest.raises(ValueError, match="needs Apache Beam: pip install 'jaxvq.beam.'"):
        building.build("sign_poses", tmp_path, options(tmp_path / "in", beam_pipeline_options=""))


@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
def test_same_content_as_a_local_build(tmp_path, capsys, mode):
    pytest.importorskip("apache_beam")
    clips.write_clips(tmp_path / "in", [3 + i % 5 for i in range(25)])
    (tmp_path / "in/bad.pose").write_text("no pose")
    common = [
        "--corpus",
        "sign_poses",
        "--input",
        str(tmp_path / "in"),
        "--num_shards",
        "3",
        "--workers",
        "1",
        "--max_skipped",
        "0.1",
    ]
    beam_options = f"runner=DirectRunner,direct_num_workers=2,direct_running_mode={mode}"
    build_dataset.main([*common, "--data_dir", str(tmp_path / "local")])
    build_dataset.main(
        [*common, "--data_dir", str(tmp_path / "beam"), "--beam_pipeline_options", beam_options]
    )
    assert "1 malformed" in capsys.readouterr().out
    local, beam = (input_pipeline.open_dataset(tmp_path / name) for name in ("local", "beam"))
    assert_same(contents(local.path), contents(beam.path))
    names = sorted(path.name for path in local.path.iterdir())
    assert names == sorted(path.name for path in beam.path.iterdir())
    with np.load(local.path / "lengths.npz") as one, np.load(beam.path / "lengths.npz") as other:
        assert {k: v.tolist() for k, v in one.items()} == {k: v.tolist() for k, v in other.items()}
    np.testing.assert_allclose(local.statistics.mean, beam.statistics.mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(local.statistics.std, beam.statistics.std, rtol=1e-6)
    assert (local.path / "skipped.jsonl").read_text() == (beam.path / "skipped.jsonl").read_text()
    counters = [json.loads((d.path / "counters.json").read_text()) for d in (local, beam)]
    assert counters[0]["splits"] == counters[1]["splits"]
    assert counters[0]["skipped"] == counters[1]["skipped"]


def test_machines_that_share_a_folder(tmp_path):
    pytest.importorskip("apache_beam")
    clips.write_clips(tmp_path / "in", [3] * 5)
    (tmp_path / "shared").mkdir()
    beam_options = f"runner=DirectRunner,temp_location={tmp_path / 'shared'}"
    folder, _ = building.build(
        "sign_poses", tmp_path, options(tmp_path / "in", beam_pipeline_options=beam_options)
    )
    assert sum(map(len, contents(folder).values())) == 5
    assert not list((tmp_path / "shared").iterdir())


def test_machines_that_share_a_bucket(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    filesystem = fsspec.filesystem("memory")
    monkeypatch.setattr(type(filesystem), "store", {})
    put, shards = type(filesystem).put_file, []

    def put_file(self, source, target, **options):
        shards.append(target)
        put(self, source, target, **options)

    monkeypatch.setattr(type(filesystem), "put_file", put_file)
    clips.write_clips(tmp_path / "in", [3 + i % 5 for i in range(9)])
    local, _ = building.build("sign_poses", tmp_path / "local", options(tmp_path / "in"))
    beam_options = "runner=DirectRunner temp_location=memory://bucket/tmp"
    beam, _ = building.build(
        "sign_poses",
        tmp_path / "beam",
        options(tmp_path / "in", beam_pipeline_options=beam_options),
    )
    assert_same(contents(local), contents(beam))
    assert shards and all(path.startswith("/bucket/tmp/jaxvq-") for path in shards)
    assert not filesystem.store


def test_too_many_skipped(tmp_path):
    pytest.importorskip("apache_beam")
    clips.write_clips(tmp_path / "in", [3, 4])
    (tmp_path / "in/bad.pose").write_text("no pose")
    with pytest.raises(ValueError, match="1 of 3 clips cannot be used"):
        building.build(
            "sign_poses", tmp_path / "data", options(tmp_path / "in", beam_pipeline_options="")
        )
