"""The comparison: what it computes, what it never computes twice, and what the table says."""

import json
import os

import jax.numpy as jnp
import pytest
from PIL import Image

from jaxvq.storage import atomic
from tools import benchmark_rd
from tools.rate_distortion import cells, floor, methods, report
from tools.rate_distortion.cells import Job, Settings
from tools.rate_distortion.first_layers import FirstLayers
from tools.rate_distortion.methods import Floor, Trained


@pytest.fixture
def tiny_methods(monkeypatch):
    entries = {
        "floor": Floor(0.5, ("40", "400")),
        "layers": Trained("stgcn_rvq:runlocal", {}, layers=3),
        "single": Trained(
            "fsq_pose:runlocal",
            {"batch_size": 4, "data.seq_len": 64, "model.hidden_dim": 16, "model.num_heads": 2},
            rates={"a": {"quantizer.levels": (4, 4)}, "b": {"quantizer.levels": (8, 8)}},
        ),
    }
    monkeypatch.setattr(methods, "METHODS", entries)
    monkeypatch.setattr(cells, "METHODS", entries)
    monkeypatch.setattr(report, "METHODS", entries)
    monkeypatch.setattr(methods, "REFERENCES", ("floor",))
    monkeypatch.setattr(methods, "SINGLE_STREAM", ("layers", "single"))
    return entries


def test_jobs_are_what_is_missing_seed_by_seed(tmp_path, tiny_methods):
    jobs = cells.missing(tmp_path, ["floor", "layers", "single"], 2, None)
    assert jobs == [
        Job("floor", ("40", "400"), 0), Job("layers", ("1", "2", "3"), 0),
        Job("single", ("a",), 0), Job("single", ("b",), 0),
        Job("layers", ("1", "2", "3"), 1), Job("single", ("a",), 1), Job("single", ("b",), 1),
    ]  # fmt: skip
    (tmp_path / "cells").mkdir()
    atomic.write_json(cells.cell_path(tmp_path, "layers", "2", 0), {})
    atomic.write_json(cells.cell_path(tmp_path, "single", "a", 0), {})
    jobs = cells.missing(tmp_path, ["layers", "single"], 1, ["1", "2", "a", "b"])
    assert jobs == [Job("layers", ("1",), 0), Job("single", ("b",), 0)]
    assert jobs[0].name == "layers-all-0", "the training of all layers is continued, not repeated"


def test_every_method_has_four_rates_and_a_config_that_parses():
    for name, entry in methods.METHODS.items():
        assert len(methods.rates(name)) >= 4, name
        if isinstance(entry, Trained):
            for rate in methods.rates(name):
                config = methods.make_config(name, rate, steps=60, seed=3, data_dir="DATA")
                steps = entry.changes.get("total_steps", 60)  # a linear code alone does not train
                assert (config.total_steps, config.seed, config.data.dir) == (steps, 3, "DATA")
                frames = config.batch_size * config.data.seq_len
                assert frames == 8 * 256, "all see the same frames"
    line = methods.command("sign_vq", "2x10", steps=60, seed=3, data_dir="D", workdir="R")
    assert line.startswith("jaxvq train --config configs/fsq_pose.py:sign_vq ")
    for part in ('position="constant"', "num_quantizers=2", "total_steps=60", "--workdir R"):
        assert part in line


def test_cells_of_a_floor_and_of_a_training_make_a_table(
    tmp_path, tiny_methods, data_dir, monkeypatch
):
    monkeypatch.setattr(floor, "SIZES", (4,))
    monkeypatch.setattr(floor, "STEPS", (1.0, 0.25))
    settings, chosen = Settings(str(data_dir), 3), ["floor", "single"]
    for job in cells.missing(tmp_path, chosen, 1, ["40", "400", "a"]):
        cells.run(job, settings, tmp_path)
    assert not cells.missing(tmp_path, chosen, 1, ["40", "400", "a"])
    found = {(cell["method"], cell["rate"]): cell for cell in report.read_cells(tmp_path)}
    assert found["floor", "40"]["chosen"]["bits_per_frame"] <= 40
    size = os.path.getsize(tmp_path / "runs" / "single-a-0" / "test-a.jvq")
    assert found["single", "a"]["real_bytes"] == size
    assert found["single", "a"]["bits_per_frame"] == 4
    speeds = ("encode_frames_per_second", "decode_frames_per_second")
    assert all(cell[speed] > 0 for cell in found.values() for speed in speeds)

    text = report.write(tmp_path, settings)
    for part in ("| floor | 40 |", "| single | a |", "against floor", "best of single"):
        assert part in text
    table = json.loads((tmp_path / "table.json").read_text())
    assert len(table["rows"]) == 3 and table["settings"]["steps"] == 3
    assert table["bd_rate"]["floor"]["single"] is None, "one point is no curve"
    assert (tmp_path / "commands.sh").read_text().count("jaxvq train") == 1
    assert Image.open(tmp_path / "curves.png").size[0] > 1000


def test_first_layers_are_a_task_of_fewer_tokens():
    class Whole:
        frames_per_step, context, codebook_sizes, levels = 2, 3, (4, 5, 6), ((4,), (5,), (6,))

        def encode(self, params, state, batch):
            return jnp.arange(12).reshape(2, 2, 1, 3) % 4

        def decode(self, params, state, indices, batch):
            return indices

    task = FirstLayers(Whole(), 2)
    assert (task.codebook_sizes, task.levels, task.token_shape) == ((4, 5), ((4,), (5,)), (1, 2))
    assert (task.frames_per_step, task.context) == (2, 3)
    assert task.encode({}, {}, {}).tolist() == [[[[0, 1]], [[3, 0]]], [[[2, 3]], [[1, 2]]]]
    decoded = task.reconstruct({}, {}, {})
    assert decoded[..., 2].tolist() == [[[-1], [-1]], [[-1], [-1]]], "-1 leaves a layer out"
    assert decoded[0, 1, 0].tolist() == [3, 0, -1]


def test_means_and_deviations_are_over_seeds():
    cell = {key: 1.0 for _, _, key, _, _ in report.COLUMNS}
    made = [cell | {"method": "fsq", "rate": "1x10", "mpjpe/all": error} for error in (0.1, 0.3)]
    (row,) = report.summarize(made)
    assert row["seeds"] == 2
    assert row["mpjpe/all"] == {"mean": pytest.approx(0.2), "std": pytest.approx(0.02**0.5)}
    assert report._number(row["mpjpe/all"], 4, 1) == "0.2000 ± 0.1414"


def test_savings_are_against_the_floor_and_the_best_single_stream():
    def rows(method, scale):
        points = ((10, 0.08), (20, 0.04), (40, 0.02), (80, 0.01))
        return [
            {"method": method, report.RATE: {"mean": scale * r}, report.ERROR: {"mean": e}}
            for r, e in points
        ]

    saved = report.savings(
        rows("pca_dpcm", 1) + rows("rvq", 2) + rows("fsq", 4) + rows("best", 0.5)
    )
    assert saved["pca_dpcm"]["best"] == pytest.approx(-0.5)
    assert saved["pca_dpcm"]["fsq"] == pytest.approx(3)
    assert saved["best of rvq, fsq"]["best"] == pytest.approx(-0.75), "RVQ is the better of both"


def test_codes_found_with_effort_are_a_curve_of_their_own():
    """And of motion, the error is that of the joints."""
    rows = [
        {
            "method": "motion",
            report.RATE: {"mean": bits},
            "mpjpe/body": {"mean": 1 / bits},
            "mpjpe/path": {"mean": 1.0},
            f"effort/{report.RATE}": {"mean": 0.8 * bits},
            "effort/mpjpe/body": {"mean": 1 / bits},
        }
        for bits in (10.0, 20.0, 40.0)
    ]
    rows += [
        {**row, "method": "momask", report.RATE: {"mean": 2 * row[report.RATE]["mean"]}}
        for row in rows
    ]
    for row in rows[3:]:
        del row["effort/mpjpe/body"]
    saved = report.savings(rows)["momask"]
    assert list(saved) == ["motion", "motion, effort", "momask"]
    assert saved["motion"] == pytest.approx(-0.5)
    assert saved["motion, effort"] == pytest.approx(-0.6)


def test_motion_has_methods_of_its_own():
    signing, motion = methods.names(False), methods.names(True)
    assert set(signing) | set(motion) == set(methods.METHODS)
    assert set(signing) & set(motion) == {"pca_dpcm", "pca_dpcm_dead_zone"}
    assert {"best", "best_rate", "best_linear"} < set(signing)
    assert {"momask", "motion_rate", "motion_linear"} < set(motion)


def test_other_settings_and_unknown_names_are_refused(tmp_path, data_dir):
    arguments = ["--data_dir", str(data_dir), "--output_dir", str(tmp_path)]
    with pytest.raises(ValueError, match="--methods vqgan: choose from pca_dpcm, .*, best_linear$"):
        benchmark_rd.main([*arguments, "--methods", "vqgan"])
    with pytest.raises(ValueError, match="--rates 7x10: choose from 1x10, 2x10"):
        benchmark_rd.main([*arguments, "--methods", "fsq", "--rates", "7x10"])
    with pytest.raises(ValueError, match="--jobs 0: expected 1 or more"):
        benchmark_rd.main([*arguments, "--jobs", "0"])
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; give a folder"):
        benchmark_rd.main([*arguments[:2], "--output", str(tmp_path / "file")])
    path = tmp_path / "new" / "folder" / "settings.json"
    benchmark_rd.check_settings(path, Settings("D", 5))
    with pytest.raises(ValueError, match="was made with steps=5, not 6"):
        benchmark_rd.check_settings(path, Settings("D", 6))


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5}, raising=False)
    assert benchmark_rd.split_cores(1) == [[0, 1, 2, 5]]
    assert benchmark_rd.split_cores(3) == [[0, 5], [1], [2]]
    assert benchmark_rd.split_cores(5)[4] == [], "more jobs than cores are not bound"
