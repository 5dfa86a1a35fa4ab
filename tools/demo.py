"""The whole way on an embedded corpus, without a download: what `make demo` runs.

    jaxvq demo --output runs/demo

Makes synthetic signing clips as real `.pose` files, builds the dataset, trains
configs/fsq_pose.py:small, evaluates it, writes the codes of the clips and decodes them. Each
step is the command a researcher would type; it is printed before it runs.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("--output", default="runs/demo", help="folder; emptied first")
    parser.add_argument("--num_clips", type=int, default=120)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args(argv)
    output, started = Path(args.output), time.monotonic()
    if output.exists() and not (output / "corpus").exists() and any(output.iterdir()):
        raise ValueError(f"{output} holds other files; give an --output of the demo's own")
    shutil.rmtree(output, ignore_errors=True)
    corpus, data, run, codes = (output / name for name in ("corpus", "data", "run", "codes.csv"))

    _run("make", "clips", "--output", corpus, "--num_clips", args.num_clips)
    _run("build", corpus, "--corpus", "sign_poses", "--data", data)
    steps = ("--config.total_steps", args.steps)
    _run("train", "fsq_pose:small", "--data", data, *steps, "--workdir", run)
    _run("evaluate", run, "--split", "test", "--output", output / "evaluation", "--visualize")
    _run("encode", corpus, "--model", run, "--output", codes)
    _run("decode", codes, "--model", run, "--output", output / "decoded")

    metrics = json.loads((output / "evaluation" / "metrics.json").read_text())
    print(
        f"\nDone in {time.monotonic() - started:.0f} s. On unseen clips a point is "
        f"{metrics['mpjpe/all']:.3f} shoulder widths off at {metrics['bits_per_frame']:.1f} bits "
        f"a frame; the mean pose would be {metrics['mpjpe_mean_pose/all']:.3f} off.\n"
        f"  page with videos   {output / 'evaluation' / 'index.html'}\n"
        f"  metrics            {output / 'evaluation' / 'metrics.json'}, {run / 'metrics.jsonl'}\n"
        f"  codes              {codes}\n"
        f"  decoded poses      {output / 'decoded'}"
    )
    return 0


def _run(*words) -> None:
    words = ["jaxvq", *map(str, words)]
    print(f"\n$ {shlex.join(words)}", flush=True)
    code = subprocess.call([sys.executable, "-m", *words])
    if code:
        raise ValueError(f"{' '.join(words[:2])} ended with code {code}")


if __name__ == "__main__":
    command.run(main)
