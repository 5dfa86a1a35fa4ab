"""The training program: what it writes, how it stops and continues, and what it refuses."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import REPOSITORY, tiny_config

from jaxvq import checkpoint
from jaxvq.train import main, train
from jaxvq.training import parallel
from jaxvq.training.clock import Clock


def lines(workdir) -> list[dict]:
    return [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]


def steps(workdir) -> list[int]:
    folder = Path(workdir) / "checkpoints"
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def command(data_dir, workdir, *flags) -> list[str]:
    """The program with the config of `tiny_config`."""
    config = tiny_config(data_dir)
    fields = {
        "data.dir": config.data.dir,
        "data.seq_len": 64,
        "batch_size": 4,
        "total_steps": 12,
        "model.hidden_dim": 16,
        "model.num_heads": 2,
        "model.ff_dim": 32,
        "optim.warmup_steps": 2,
        "optim.schedule": "constant",
        "log_every": 2,
        "eval_every": 6,
        "checkpoint_every": 6,
        "eval_videos": 0,
    }
    words = [f"--config.{name}={value}" for name, value in fields.items()]
    return [
        sys.executable,
        "-m",
        "jaxvq.train",
        "--config=configs/fsq_pose.py:runlocal",
        f"--workdir={workdir}",
        *words,
        *flags,
    ]


def start(words, devices: int = 1) -> subprocess.Popen:
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return subprocess.Popen(
        words,
        cwd=REPOSITORY,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_for(condition, process, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def assert_same_weights(a, b) -> None:
    a, b = checkpoint.load_model(a), checkpoint.load_model(b)
    assert a.step == b.step
    for x, y in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_run_leaves_metrics_checkpoints_and_videos(run_dir):
    records = lines(run_dir)
    train_lines = [line for line in records if "train_loss" in line]
    assert [line["step"] for line in train_lines] == [2, 4, 6, 8, 10, 12]
    for key in ("train_loss", "train_code_utilization", "learning_rate", "steps_per_second"):
        assert all(line[key] >= 0 for line in train_lines)
    validation = [line for line in records if "validation_loss" in line]
    assert [line["step"] for line in validation] == [6, 12]
    assert validation[1]["validation_loss"] < validation[0]["validation_loss"]
    assert 0 < validation[1]["validation_code_utilization"] <= 100
    assert steps(run_dir) == [6, 12]
    assert (run_dir / "validation" / "00000012" / "validation_0.gif").read_bytes()[:4] == b"GIF8"
    assert json.loads((run_dir / "config.json").read_text())["task"] == "pose_autoencoder"


def test_batches_go_ahead_and_metrics_come_once_per_log_line(data_dir, tmp_path, monkeypatch):
    """The host waits for the step before the one that it started; it reads metrics at log lines."""
    events = []
    make, wait, gather = parallel.make_train_step, jax.block_until_ready, parallel.gather

    def recorded(*arguments, **options):
        step = make(*arguments, **options)

        def started(state, batch):
            before = jax.tree.leaves(state)
            state, sums = step(state, batch)
            # Its memory is used again, so that a device has one state.
            assert all(leaf.is_deleted() for leaf in before if leaf.size > 1)
            events.append(("started", id(sums)))
            kept.append(sums)
            return state, sums

        return started

    def waited(x):
        events.append(("waited", id(x)))
        return wait(x)

    def gathered(tree):
        events.append(("gathered", 0))
        return gather(tree)

    kept = []
    monkeypatch.setattr(parallel, "make_train_step", recorded)
    monkeypatch.setattr(jax, "block_until_ready", waited)
    monkeypatch.setattr(parallel, "gather", gathered)
    config = tiny_config(data_dir)
    config.total_steps, config.log_every, config.eval_every, config.eval_videos = 6, 3, 99, 0
    config.checkpoint_every = 99
    monkeypatch.setattr("jaxvq.train.evaluate", lambda *_: {})
    train(config, tmp_path / "run")
    names = [name for name, _ in events]
    assert names[:14] == (["started", "waited"] * 3 + ["gathered"]) * 2
    for (_, step), (_, awaited) in zip(events[2:6:2], events[3:6:2], strict=True):
        assert step != awaited


def test_a_device_out_of_memory_is_one_line(data_dir, tmp_path, monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nwhile allocating")

    monkeypatch.setattr(parallel, "make_train_step", lambda *_, **__: full)
    expected = "^out of device memory at batch_size=4; --config.accumulate=2 trains on the same .*"
    with pytest.raises(ValueError, match=expected + "the batch that fits$"):
        train(tiny_config(data_dir), tmp_path / "run")


def test_a_finished_run_is_left_as_it_is(run_dir, data_dir, caplog):
    before = (run_dir / "metrics.jsonl").read_text()
    with caplog.at_level("INFO", "jaxvq"):
        assert train(tiny_config(data_dir), run_dir) == {}
    assert (run_dir / "metrics.jsonl").read_text() == before
    (line,) = caplog.messages
    assert line.startswith(f"already at step 12 of 12: nothing to do in {run_dir}; measure it: ")


def test_the_lines_of_a_run(data_dir, tmp_path, caplog):
    """What is silent for long is announced, and the end says what comes next."""
    workdir = tmp_path / "my run"
    config = tiny_config(data_dir, total_steps=3, log_every=1, eval_every=3, eval_videos=0)
    with caplog.at_level("INFO", "jaxvq"):
        train(config, workdir)
    text = [line for line in caplog.messages if "so far" not in line]  # of a busy machine
    assert "devices on 1 hosts" in text[0] and text[1] == "loss = 1 reconstruction"
    assert text.pop(2) == "compiling the training step"
    assert not any("linear code" in line for line in text)  # this model has none
    # The step that compiles counts neither in the speed nor in the time that is left.
    assert text[2].startswith("step 1/3") and "steps/s" not in text[2]
    assert "steps/s  ETA 0:00:" in text[3]
    speeds = [line.get("steps_per_second") for line in lines(workdir) if "train_loss" in line]
    assert speeds[0] is None and min(speeds[1:]) > 0
    assert text[-1] == (
        f"done: step 3 of {workdir}; measure it: jaxvq evaluate "
        f"'{workdir}' --output '{workdir}'/test"
    )


def test_the_speed_is_that_of_the_steps_after_the_first(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("jaxvq.training.clock.time.monotonic", lambda: now[0])
    clock = Clock(3611)
    now[0] += 50  # compiles
    clock.begin(1)
    assert clock.rates(1) == {} and clock.line(1) == ""
    now[0] += 5
    assert clock.rates(11) == {"steps_per_second": 2}
    assert clock.line(11) == "  2.00 steps/s  ETA 0:30:00"
    with clock.paused():
        now[0] += 1000
    now[0] += 10
    assert clock.rates(21) == {"steps_per_second": 1}


def test_killed_and_continued_equals_uninterrupted_bit_for_bit(data_dir, tmp_path):
    config = dict(total_steps=40, checkpoint_every=7, eval_every=1000, eval_videos=0)
    train(tiny_config(data_dir, **config), tmp_path / "whole")
    flags = [f"--config.{name}={value}" for name, value in (config | {"total_steps": 4000}).items()]
    # As many devices as this process has: the sum over devices has an order.
    process = start(command(data_dir, tmp_path / "killed", *flags), jax.device_count())
    wait_for(lambda: (tmp_path / "killed/checkpoints/7/model").exists(), process)
    process.kill()
    process.wait()
    for step in steps(tmp_path / "killed"):  # a fast machine may have gone past step 40
        if step >= 40:
            pytest.skip("this machine trained 40 steps before it could be killed")
    assert 7 <= steps(tmp_path / "killed")[-1] < 40
    train(tiny_config(data_dir, **config), tmp_path / "killed")
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    whole = {
        line["step"]: line["train_loss"]
        for line in lines(tmp_path / "whole")
        if "train_loss" in line
    }
    continued = [line for line in lines(tmp_path / "killed") if "train_loss" in line]
    losses = {line["step"]: line["train_loss"] for line in continued}
    assert [line["step"] for line in continued] == sorted(losses)  # each step once
    assert losses[40] == whole[40] and losses[38] == whole[38]


def test_sigterm_saves_and_ends_with_code_0(data_dir, tmp_path):
    flags = [
        "--config.total_steps=100000",
        "--config.checkpoint_every=100000",
        "--config.eval_every=100000",
    ]
    process = start(command(data_dir, tmp_path, *flags))
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists() and lines(tmp_path), process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert len(steps(tmp_path)) == 1
    assert checkpoint.load_model(tmp_path).step == steps(tmp_path)[0]


def start_two(data_dir, workdir, *flags) -> list[subprocess.Popen]:
    """Two hosts of two devices each, on this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        several = ["--coordinator", f"localhost:{free.getsockname()[1]}", "--num_processes=2"]
    return [
        start(command(data_dir, workdir, *flags, *several, f"--process_id={i}"), devices=2)
        for i in range(2)
    ]


def test_sigterm_to_one_of_two_hosts_stops_both_at_one_step(data_dir, tmp_path):
    flags = [
        "--config.total_steps=100000",
        "--config.checkpoint_every=100000",
        "--config.eval_every=100000",
    ]
    processes = start_two(data_dir, tmp_path, *flags)
    metrics = tmp_path / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and lines(tmp_path), processes[0])
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len(steps(tmp_path)) == 1


def test_two_processes_train_like_one(data_dir, tmp_path):
    processes = start_two(data_dir, tmp_path / "two")
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    train(tiny_config(data_dir, eval_videos=0), tmp_path / "one")  # four devices in this process
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        for key in a:
            if key.endswith("_loss"):
                assert b[key] == pytest.approx(a[key], rel=1e-3)
    assert steps(tmp_path / "two") == [6, 12]


def test_continues_on_another_number_of_devices(data_dir, tmp_path):
    train(tiny_config(data_dir, total_steps=6, eval_videos=0), tmp_path)  # four devices
    process = start(command(data_dir, tmp_path), devices=2)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "continuing" in output and steps(tmp_path)[-1] == 12


def test_bfloat16_trains_and_the_model_knows_its_frame_rate(data_dir, tmp_path):
    config = tiny_config(data_dir, dtype="bfloat16", eval_videos=0)
    with config.unlocked():
        config.data.fps = 20.0
    values = train(config, tmp_path)
    assert np.isfinite(values["loss"])
    assert checkpoint.load_model(tmp_path).fps == 20


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(batch_size=6), "batch_size=6 does not divide over 4 devices"),
        (dict(total_steps=0), "total_steps=0: expected 1 step or more"),
        (dict(log_every=0), "log_every=0: expected 1 step or more"),
        (dict(task="nope"), "choose from .*pose_autoencoder"),
        (dict(dtype="float12"), "float32, bfloat16"),
    ],
)
def test_values_that_do_not_fit_are_one_line(data_dir, tmp_path, fields, message):
    with pytest.raises(ValueError, match=message) as error:
        train(tiny_config(data_dir, **fields), tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_a_run_and_a_dataset_are_told_apart(run_dir, data_dir, tmp_path):
    with pytest.raises(ValueError, match=f"{run_dir} is a training run, not a dataset; give "):
        train(tiny_config(run_dir), tmp_path / "run")
    built = next(path.parent for path in data_dir.rglob("dataset_info.json"))
    for folder in (data_dir, built):
        with pytest.raises(ValueError, match=f"{folder} is a dataset, not a model; give "):
            checkpoint.load_model(folder)
    with pytest.raises(ValueError, match="no checkpoint in "):
        checkpoint.load_model(tmp_path)


def test_eval_only_measures_the_validation_split(run_dir, data_dir, tmp_path):
    run = shutil.copytree(run_dir, tmp_path / "run")
    words = ["--config=configs/fsq_pose.py:runlocal", f"--workdir={run}", "--eval-only"]
    assert main([*words, f"--config.data.dir={data_dir}"]) == 0
    values = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert values["split"] == "validation" and values["step"] == 12
    assert (run / "evaluation" / "evaluation_report.md").is_file()
    assert steps(run) == [6, 12] and lines(run) == lines(run_dir)


def test_a_workdir_of_another_config_is_refused(run_dir, data_dir):
    with pytest.raises(ValueError, match="another config .seed: 42 there, 7 now"):
        train(tiny_config(data_dir, seed=7), run_dir)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--config.modle.hidden_dim=3"], "no field .*modle.*it has: .*model.hidden_dim"),
        (["--config.model.hiden_dim=3"], "no field .*hiden_dim.*it has: .*model.hidden_dim"),
        (["--workdri=x"], "unknown argument --workdri; see --help"),
        (["--config.batch_size=many"], "invalid literal"),
        (["--config=configs/nope.py"], "configs/nope.py"),
        (["--config=configs/fsq_pose.py:huge"], ":sign_vq, :runlocal"),
        (["stray"], "unknown argument 'stray'"),
        (["--config.data.dir=/nowhere"], "/nowhere"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(data_dir, tmp_path, flags, message):
    import re

    words = command(data_dir, tmp_path)[:5]
    result = subprocess.run([*words, *flags], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and re.search(message, last), result.stderr
    assert "Traceback" not in result.stderr


def test_codebooks_too_large_to_count_are_one_line(data_dir, tmp_path):
    config = tiny_config(data_dir)
    config.quantizer.update(levels=(512, 512, 600), num_quantizers=2)
    message = "2 codebooks of up to 157,286,400 codes: .* at most 67,108,864 fit; raise"
    with pytest.raises(ValueError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
