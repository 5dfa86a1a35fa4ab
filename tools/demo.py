"""The whole way on an embedded corpus, without a download: what `make demo` runs.

    python -m tools.demo --output runs/demo

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

    _run("tools.make_synthetic_corpus", "--output", corpus, "--num_clips", args.num_clips)
    _run("tools.build_dataset", "--corpus", "sign_poses", "--input", corpus, "--data_dir", data)
    _run(
        "jaxvq.train",
        "--config",
        "configs/fsq_pose.py:small",
        "--config.data.dir",
        data,
        "--config.total_steps",
        args.steps,
        "--workdir",
        run,
    )
    _run(
        "tools.evaluate",
        "--checkpoint",
        run,
        "--split",
        "test",
        "--output_dir",
        output / "evaluation",
        "--visualize",
    )
    _run("tools.poses_to_codes", "--model", run, "--data", corpus, "--output", codes)
    _run("tools.codes_to_poses", "--model", run, "--codes", codes, "--output", output / "decoded")

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


def _run(module: str, *arguments) -> None:
    words = ["python", "-m", module, *map(str, arguments)]
    print(f"\n$ {shlex.join(words)}", flush=True)
    code = subprocess.call([sys.executable, *words[1:]])
    if code:
        raise ValueError(f"{module} ended with code {code}")


if __name__ == "__main__":
    command.run(main)
