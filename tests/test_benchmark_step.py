"""The benchmark of training steps: what it prints, sign-vq beside it, and what it refuses."""

import os
import re
import stat
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from tools import benchmark_scaling, benchmark_step

TINY = """--config fsq_pose:frames --config.batch_size=4 --config.data.seq_len=32 --steps 2
    --config.model.hidden_dim=16 --config.model.num_layers=1 --config.model.num_heads=2
    --config.model.ff_dim=16 --skeleton lsfb_75""".split()
FAKE = """#!{python}
import json, sys
request = json.loads(sys.argv[-1])
print(json.dumps({{"torch": "2.13", "device": "cpu", "parameters": 7_000_000}}), flush=True)
assert request["sizes"]["num_layers"] == 1 and request["points"] == 75
assert (request["rows"], request["frames"], request["precision"]) == (4, 32, "float32")
for _ in sys.stdin:
    print(json.dumps({{"seconds": 40.0, "bytes": 2**30}}), flush=True)
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "sign_vq").mkdir()
    (tmp_path / "sign_vq/model.py").write_text("class Other: pass")
    return tmp_path


def test_prints_what_a_step_costs_beside_that_of_sign_vq(checkout, tmp_path, capsys):
    python = tmp_path / "python"
    python.write_text(FAKE.format(python=sys.executable))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    flags = ["--peak=1", "--encode", "--profile=5"]
    benchmark_step.main([*TINY, *flags, f"--against={checkout}", f"--python={python}"])
    printed = capsys.readouterr().out
    rows = dict(re.findall(r"^([a-z-]+) +(.*)$", printed, re.M))
    assert "4 x 32 frames x 75 points, float32" in printed
    assert rows["devices"].startswith("4 x ")
    assert rows["peak"].endswith("% of 1 x 10^12 operations per second, as given")
    assert rows["sign-vq"].startswith("40000.0 ms, 7.00 M parameters, 1.00 GiB, PyTorch 2.13")
    milliseconds = float(rows["step"].split(" ms")[0])
    assert float(rows["ratio"].split()[0]) == pytest.approx(40_000 / milliseconds, rel=0.05)
    for name in ("encoding", "decoding"):
        assert re.match(r"[\d,]+ frames per second, [\d,]+ % of the peak; per frame", rows[name])
    # Three numbers of each point, its visibility, and where the frame is; one code comes out.
    per_frame = 75 * (3 * 4 + 1) + 2 * 4
    assert rows["encoding"].endswith(f"{per_frame} bytes to the device, 4.0 back (int32)")
    # Four devices exchange every gradient once, and a few sums.
    megabytes = float(rows["parameters"].split()[0]) * 4
    assert megabytes < float(rows["all-reduce"].split()[0]) < 2 * megabytes + 0.02
    assert len(re.findall(r"^ +[\d.]+ ms \w", printed, re.M)) == 5


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--against=/nowhere"], "expected a checkout of sign-vq, with sign_vq/model.py"),
        (["--against={checkout}", "--python=/nowhere"], "--python /nowhere: No such file"),
        (["--against={checkout}", f"--python={sys.executable}"], r"--python needs torch"),
        (["--config.batch_size=40000000"], r"batch_size=40000000; --config.batch_size=\d+ would"),
        (["--precision=float8"], "choose from float32, tf32, bfloat16"),
        (["--config.batch_size=6"], "batch_size=6 does not divide over 4 devices"),
        (["--steps=0"], "expected 1 or more"),
        (["--config.nothing=1"], "the config has no field nothing"),
    ],
)
def test_what_does_not_fit_is_one_line(flags, message, checkout):
    with pytest.raises(ValueError, match=message) as error:
        benchmark_step.main([*TINY, *(flag.format(checkout=checkout) for flag in flags)])
    assert "\n" not in str(error.value)


def test_scaling_is_measured_over_devices_and_processes(capsys, monkeypatch):
    monkeypatch.setattr(benchmark_scaling, "LAYOUTS", ((2, 1),))
    flags = [flag for flag in TINY if "batch_size" not in flag]
    assert benchmark_scaling.main([*flags, "--rows=8"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["| 2", "2"]]
    for _, _, strong, weak, _ in rows:
        assert float(strong.replace(",", "")) > 0 and float(weak.replace(",", "")) > 0
    assert float(rows[0][4].split()[0]) > 0  # two processes exchange gradients
    with pytest.raises(ValueError, match="--rows 12: expected a multiple of 8"):
        benchmark_scaling.main(["--rows=12"])
    with pytest.raises(ValueError, match="the config has no field nothing"):
        benchmark_scaling.main([*flags, "--config.nothing=1"])


def test_bytes_of_all_reduces_are_counted_from_the_program():
    program = """
  %all-reduce = f32[16,8]{1,0} all-reduce(%a), channel_id=1
  ROOT %both = (bf16[4]{0}, s32[]) all-reduce-start(%b, %c), channel_id=2
  %done = f32[9]{0} all-reduce-done(%all-reduce)"""
    assert benchmark_step.all_reduced_bytes(program) == 16 * 8 * 4 + 4 * 2 + 4


def test_the_batch_that_fits_is_named():
    benchmark_step.check_memory(8, fixed=10, needed=90, free=90)
    benchmark_step.check_memory(8, fixed=10, needed=90, free=0)  # unknown
    with pytest.raises(ValueError, match="batch_size=8; --config.batch_size=5 would fit"):
        benchmark_step.check_memory(8, fixed=10, needed=90, free=60)
    with pytest.raises(ValueError, match="not one row would fit"):
        benchmark_step.check_memory(8, fixed=70, needed=90, free=60)


def report(tmp_path, *flags, path="") -> subprocess.CompletedProcess:
    """tools/gpu_report.sh with a Python that fails in the parts that tmp_path/failing names."""
    python = tmp_path / "python"
    python.write_text(
        f"""#!/usr/bin/env bash
if [[ $1 == -c ]]; then  # what the report asks before it starts
  if [[ -e {tmp_path}/lacking && $2 == *"$(cat {tmp_path}/lacking)"* ]]; then
    echo "No module named $(cat {tmp_path}/lacking)" >&2
    exit 1
  fi
  cat {tmp_path}/backend 2>/dev/null || echo gpu
  exit
fi
echo "$@" >> {tmp_path}/calls
if [[ "$*" == *"$(cat {tmp_path}/failing)"* ]]; then
  echo "error: no memory" >&2
  exit 2
fi
echo measured
"""
    )
    python.chmod(0o755)
    return subprocess.run(
        ["bash", str(REPOSITORY / "tools/gpu_report.sh"), f"--output={tmp_path}/out", *flags],
        env=os.environ | {"PYTHON": str(python), "PATH": path + os.environ["PATH"]},
        capture_output=True,
        text=True,
    )


def test_a_report_of_a_gpu_goes_on_with_what_is_missing(tmp_path):
    (tmp_path / "failing").write_text("stgcn_rvq:default --precision tf32")
    first = report(tmp_path)
    assert first.returncode == 1 and "12 of 13 parts" in first.stdout
    assert "missing: stgcn-tf32 (error: no memory)" in first.stderr
    assert re.search(r"^== 4 of 13: frames-bfloat16, \d+ s so far, at most", first.stdout, re.M)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 13 and "--precision float32" in calls[0]
    (tmp_path / "failing").write_text("nothing of this kind")
    second = report(tmp_path)
    assert second.returncode == 0 and "13 of 13 parts" in second.stdout
    assert len((tmp_path / "calls").read_text().splitlines()) == 14
    assert len(list((tmp_path / "out").glob("*.txt"))) == 13


def test_a_report_without_pytorch_is_ours_alone(checkout, tmp_path):
    (tmp_path / "failing").write_text("nothing of this kind")
    (tmp_path / "lacking").write_text("torch")
    flags = [f"--against={checkout}", f"--python={tmp_path}/python"]
    alone = report(tmp_path, *flags)
    assert alone.returncode == 0 and "13 of 13 parts" in alone.stdout
    assert re.fullmatch("sign-vq's step is left out: .*No module named torch\n", alone.stderr)
    assert "--against" not in (tmp_path / "calls").read_text()
    (tmp_path / "lacking").unlink()  # with it, only the parts that compare run again
    assert report(tmp_path, *flags).returncode == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 16 and all("--against" in call for call in calls[13:])


def test_a_report_names_the_part_that_takes_too_long(tmp_path):
    (tmp_path / "failing").write_text("nothing of this kind")
    python = tmp_path / "bin"
    python.mkdir()
    (python / "timeout").write_text("#!/bin/sh\nexit 124\n")
    (python / "timeout").chmod(0o755)
    done = report(tmp_path, path=f"{python}:")
    assert done.returncode == 1 and "0 of 13 parts" in done.stdout
    assert "missing: sign_vq-float32 (stopped after 100 s)" in done.stderr


@pytest.mark.parametrize(
    "lacking, backend, message",
    [
        ("flax", "gpu", "error: .*python cannot run jaxvq: No module named flax; see --help"),
        ("nothing", "cpu", r"error: JAX finds no GPU here \(cpu\); --tiny tries this .* a CPU"),
    ],
)
def test_a_report_asks_first_whether_it_can_run(lacking, backend, message, tmp_path):
    (tmp_path / "failing").write_text("nothing of this kind")
    (tmp_path / "lacking").write_text(lacking)
    (tmp_path / "backend").write_text(backend)
    done = report(tmp_path)
    assert done.returncode == 2 and re.fullmatch(message + "\n", done.stderr)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--steps=x"], "error: --steps x: expected 1 or more"),
        (["--against=/nowhere"], "error: --against needs --python"),
        (["--against=/nowhere", "--python=python"], "error: --against /nowhere: no sign_vq"),
        (["--fast"], "error: unknown argument --fast; see --help"),
    ],
)
def test_a_report_refuses_in_one_line(flags, message, tmp_path):
    done = report(tmp_path, *flags)
    assert done.returncode == 2 and done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
