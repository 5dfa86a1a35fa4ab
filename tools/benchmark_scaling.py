"""How a training step scales over devices of a CPU, and over two processes.

    jaxvq benchmark scaling --config fsq_pose:frames --rows 16 [--config.FIELD=VALUE]

Flags like --skeleton and --steps are those of `jaxvq benchmark step`, which does each
measurement. Strong: the same rows on more devices. Weak: the same rows on each device, --rows / 4.
The bytes of all-reduce are counted from the compiled program. Devices of a CPU share its cores:
more devices than cores show what an exchange costs, not what it gains.
"""

import os
import re
import socket
import subprocess
import sys

from jaxvq import command

LAYOUTS = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1))  # processes, devices of each


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("--rows", type=int, default=16, help="a multiple of 8 (default 16)")
    args, flags = parser.parse_known_args(argv)
    if args.rows < 8 or args.rows % 8:
        raise ValueError(f"--rows {args.rows}: expected a multiple of 8, for up to 8 devices")
    print("| processes | devices | strong, frames/s | weak, frames/s | all-reduce, MB per step |")
    print("|---|---|---|---|---|")
    for processes, devices in LAYOUTS:
        count = processes * devices
        strong, weak = (
            measure(flags, rows, processes, devices) for rows in (args.rows, args.rows // 4 * count)
        )
        reduced = strong.get("all-reduce", "0").split()[0]
        rates = (found["step"].split(", ")[1].split()[0] for found in (strong, weak))
        print(f"| {processes} | {count} | {' | '.join(rates)} | {reduced} |", flush=True)
    return 0


def measure(flags: list[str], rows: int, processes: int, devices: int) -> dict[str, str]:
    """What the first process of `jaxvq benchmark step` prints, by the first word of each line."""
    words = [sys.executable, "-m", "jaxvq.tools.benchmark_step", *flags]
    words.append(f"--config.batch_size={rows}")
    if processes > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            words += [f"--coordinator=localhost:{free.getsockname()[1]}"]
        words.append(f"--num_processes={processes}")
    flag = f"--xla_force_host_platform_device_count={devices}"
    run = {
        "env": os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    ids = [[f"--process_id={number}"] if processes > 1 else [] for number in range(processes)]
    started = [subprocess.Popen(words + which, **run) for which in ids]
    results = [process.communicate() for process in started]
    for process, (_, errors) in zip(started, results, strict=True):
        if process.returncode:
            last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            raise ValueError(last.removeprefix("error: "))
    return dict(re.findall(r"^([a-z-]+) +(.*)$", results[0][0], re.M))


if __name__ == "__main__":
    command.run(main)
