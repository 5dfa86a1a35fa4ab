"""Measures what tokens keep of alphabets that training left out, by cross-validation.

    jaxvq benchmark meaning --input ZIP --labels CSV --output OUT --method default=fsq_pose:small
    jaxvq benchmark meaning … --method half=fsq_pose:small,quantizer.bits_per_frame=5.0

The program splits the alphabets of CSV into --folds groups. For each group and seed, it trains a
model on all other clips of ZIP, measures it on the clips of the group (jaxvq probe), and joins the
cards. A method is NAME=CONFIG, followed by FIELD=VALUE for each field that differs; effort=N
measures codes of jaxvq encode --effort N. Repeat --method to compare several. The baseline without
a network, principal components and DPCM (tools/rate_distortion/pca_dpcm.py), is
NAME=pca_dpcm,size=K,step=X[,dead_zone=Z].

OUT gets NAME/seed-S/card (a card for all alphabets), table.md with all methods in OUT, curves.png
(with matplotlib), and the trainings. The same command resumes where it was interrupted. --jobs N
runs N trainings at once.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from jaxvq import command
from jaxvq.storage import atomic

ROWS = {  # of the table: measure of the card -> (title, what to multiply by, format)
    "letters/raw top-1": ("letters, raw, %", 100, "{:.1f}"),
    "letters/decoded top-1": ("letters, decoded, %", 100, "{:.1f}"),
    "letters/retention": ("retention, %", 100, "{:.1f}"),
    "letters/retention, precision": ("retention, precision, %", 100, "{:.1f}"),
    "letters/same answer": ("same answer, %", 100, "{:.1f}"),
    "codes/nominal bits, full steps": ("nominal bits, full steps", 1, "{:.2f}"),
    "codes/nominal bits": ("nominal bits, frames there are", 1, "{:.2f}"),
    "codes/real bits": ("real bits", 1, "{:.2f}"),
    "error/all": ("error, all", 1, "{:.4f}"),
    "error/body": ("error, body", 1, "{:.4f}"),
    "error/face": ("error, face", 1, "{:.4f}"),
    "error/hands": ("error, hands", 1, "{:.4f}"),
    "motion/hands shown but absent": ("hands shown but absent, %", 100, "{:.2f}"),
    "motion/hands lost": ("hands lost, %", 100, "{:.2f}"),
}
PARTS = "letters,error,codes,motion"
BASELINE = "pca_dpcm"  # in the place of a config
EFFORT = "effort="  # a field that is no field of a config


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_first("--input", help="folder or zip of .pose files")
    parser.add_argument("--labels", required=True, metavar="CSV", help="clip, alphabet, letter")
    parser.add_argument("--output", required=True, type=Path, help="folder of the comparison")
    parser.add_argument(
        "--method", action="append", required=True, help="NAME=CONFIG[,FIELD=VALUE]"
    )
    parser.add_argument("--folds", type=int, default=4, help="groups of alphabets (default 4)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of a method (default 3)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once (default 1)")
    args = parser.parse_args(argv)
    for name in ("seeds", "jobs"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} {getattr(args, name)}: expected 1 or more")
    methods = dict(parse_method(text) for text in args.method)
    for config, flags in methods.values():
        if config == BASELINE:
            baseline_settings(flags)

    from .evaluation import pictures
    from .probes import card, letters, report

    alphabets = sorted({alphabet for alphabet, _ in letters.read_labels(args.labels).values()})
    if not 2 <= args.folds <= len(alphabets):
        raise ValueError(f"--folds {args.folds}: expected 2 to {len(alphabets)}, the alphabets")
    if args.output.is_file():
        raise ValueError(f"--output {args.output} is a file; give a folder")
    args.output.mkdir(parents=True, exist_ok=True)
    with atomic.locked(args.output, "comparison"):
        folds = [alphabets[fold :: args.folds] for fold in range(args.folds)]
        datasets = [build(args, fold, group) for fold, group in enumerate(folds)]

        def measure(job) -> None:
            name, seed, fold = job
            folder = args.output / name / f"seed-{seed}" / f"fold-{fold}"
            train_and_probe(args, folder, methods[name], seed, datasets[fold], folds[fold])

        seeds = range(1, args.seeds + 1)
        jobs = [(n, s, f) for s in seeds for n in methods for f in range(args.folds)]
        with ThreadPoolExecutor(args.jobs) as pool:
            for done, job in enumerate(pool.map(lambda j: (measure(j), j)[1], jobs), 1):
                print(f"{done} of {len(jobs)}: {job[0]}, seed {job[1]}, fold {job[2]}", flush=True)
        for name in methods:
            for seed in seeds:
                folder = args.output / name / f"seed-{seed}"
                cards = [report.read(folder / f"fold-{f}" / "card") for f in range(args.folds)]
                joined = card.combine(cards)
                joined.about["name"] = name
                report.write(folder / "card", joined, {})
    text = table(args.output)
    atomic.write_text(args.output / "table.md", text)
    print(text)
    if pictures.can_draw_charts():
        draw_curves(args.output, args.output / "curves.png")
    return 0


def parse_method(text: str) -> tuple[str, tuple[str, list[str]]]:
    """NAME=CONFIG,FIELD=VALUE,… -> (NAME, (CONFIG, flags of the training)); effort=N stays as it
    is."""
    name, _, rest = text.partition("=")
    config, *fields = rest.split(",")
    if not name or not config or not all("=" in field for field in fields):
        raise ValueError(f"--method {text}: expected NAME=CONFIG or NAME=CONFIG,FIELD=VALUE")
    for field in fields:
        if field.startswith(EFFORT) and not field.removeprefix(EFFORT).isdigit():
            raise ValueError(f"--method {text}: {field}: expected a number of passes, such as 1")
    flags = [field if field.startswith(EFFORT) else f"--config.{field}" for field in fields]
    return name, (config, flags)


def build(args, fold: int, alphabets: list[str]) -> Path:
    """The dataset whose split test is the clips of some alphabets."""
    from jaxvq.datasets import splits
    from jaxvq.pose.files import list_poses

    from .probes import letters

    folder = args.output / "folds" / str(fold)
    data = folder / "data"
    if data.is_dir():
        return data
    labels, assigned = letters.read_labels(args.labels), {"train": [], "validation": [], "test": []}
    for file in list_poses(args.input):
        stem = Path(file.key).stem
        if stem in labels and labels[stem][0] in alphabets:
            split = "test"
        else:
            split = "validation" if splits.default_split(stem) == "validation" else "train"
        assigned[split].append(stem)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(folder / "split.json", assigned)
    words = ["build", "--corpus", "sign_poses", "--input", args.input, "--data", data]
    call(*words, "--split_file", folder / "split.json")
    return data


def train_and_probe(args, folder: Path, method, seed: int, data: Path, alphabets) -> None:
    config, flags = method
    if (folder / "card" / "card.json").is_file():
        return
    if config == BASELINE:
        measure_baseline(args, folder, flags, data, alphabets)
        return
    run = folder / "run"
    effort = [flag.removeprefix(EFFORT) for flag in flags if flag.startswith(EFFORT)]
    flags = [flag for flag in flags if not flag.startswith(EFFORT)]
    train = ["train", config, "--data", data, "--workdir", run, "--config.eval_videos=0"]
    call(*train, f"--config.seed={seed}", *flags)
    probe = ["probe", "--model", run, "--data", args.input, "--labels", args.labels]
    probe += ["--alphabets", ",".join(alphabets), "--parts", PARTS, "--num_pictures", 0]
    for passes in effort:
        call("make", "code-tables", "--model", run, "--data", data, "--effort", passes)
        probe += ["--effort", passes]
    call(*probe, "--output", folder / "card")


def baseline_settings(flags: list[str]) -> dict[str, float]:
    """size, step and dead_zone of the baseline; ValueError for others, or without the first two."""
    values = dict(flag.removeprefix("--config.").split("=") for flag in flags)
    if not {"size", "step"} <= set(values) <= {"size", "step", "dead_zone"}:
        given = ", ".join(values) or "nothing"
        raise ValueError(f"{BASELINE} takes size, step and dead_zone; given: {given}")
    return {name: float(value) for name, value in values.items()}


def measure_baseline(args, folder: Path, flags, data: Path, alphabets) -> None:
    """Writes the card of principal components and DPCM, fitted to the training split."""
    import numpy as np

    from jaxvq import input_pipeline

    from .probes import card, codes, letters, report, subjects
    from .rate_distortion import cells, pca_dpcm

    dataset = input_pipeline.open_dataset(data)
    train = cells.standardised(dataset, "train")
    components = pca_dpcm.fit_components(train, dataset.skeleton, dataset.statistics)
    values = {"dead_zone": 0.5} | baseline_settings(flags)
    codec = pca_dpcm.PcaDpcm(components, int(values.pop("size")), **values)
    labels, groups = letters.read_labels(args.labels), letters.read_groups(args.labels)
    clips = subjects.read_clips(args.input, groups, dataset.skeleton)
    clips = clips.take(np.flatnonzero(np.isin(clips.names, list(labels))))
    counted = subjects.choose(clips, labels, alphabets=alphabets)
    decoded, indices = [], []
    for pose in clips.poses:
        tokens = codec.encode(
            pose.replace(data=dataset.statistics.standardize(pose.data, pose.mask))
        )
        shown = np.ones(pose.mask.shape, np.float32)
        hands = [points for _, _, points in dataset.skeleton.wrist_pairs]
        for flag, points in enumerate(hands, codec.size):
            shown[:, points] = tokens.indices[:, :, flag] == 0
        data = dataset.statistics.unstandardize(codec.decode(tokens))
        decoded.append(pose.replace(data=data, confidence=shown))
        indices.append(tokens.indices)
    system = subjects.Subject(BASELINE, tuple(decoded))
    made = card.compute(
        subjects.Probe(clips, system, labels, counted),
        {"name": BASELINE},
        ("letters", "error", "motion"),
    )
    bits = float(np.log2(codec.codebook_sizes).sum())
    coder = SimpleNamespace(task=codec, bits_per_frame=bits)
    # Differences are no features, so the letters are not looked for in these tokens.
    system = subjects.Subject(BASELINE, tuple(decoded), tuple(indices), coder)
    made.measures.extend(codes.measure_codes(subjects.Probe(clips, system, labels, counted)))
    report.write(folder / "card", made, {})


def call(*words) -> None:
    """Runs a program of jaxvq; ValueError with its last line where it fails."""
    command_line = [sys.executable, "-m", "jaxvq", *map(str, words)]
    done = subprocess.run(command_line, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or "nothing was said").splitlines()[-1]
        raise ValueError(f"jaxvq {words[0]} failed: {last}")


def read_cards(output: Path) -> dict[str, list[dict[str, float]]]:
    """The measures of each method's seeds."""
    from .probes import report

    cards: dict[str, list] = {}
    for path in sorted(output.glob("*/seed-*/card/card.json")):
        found = {measure.name: measure.value for measure in report.read(path.parent).measures}
        cards.setdefault(path.parent.parent.parent.name, []).append(found)
    return cards


def table(output: Path) -> str:
    """Markdown: the methods of a comparison side by side, each the mean of its seeds, with the
    smallest and the largest in brackets."""
    cards = read_cards(output)
    names = [f"{name} ({len(seeds)} seeds)" for name, seeds in cards.items()]
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for measure, (title, factor, form) in ROWS.items():
        cells = []
        for seeds in cards.values():
            values = [factor * one[measure] for one in seeds if measure in one]
            cell = form.format(sum(values) / len(values)) if values else "–"
            if len(values) > 1:
                cell += f" ({form.format(min(values))} … {form.format(max(values))})"
            cells.append(cell)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw_curves(output: Path, path: Path) -> None:
    """A PNG: what is left of the letters against real and nominal bits, a point for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    rows = ("codes/real bits", "codes/nominal bits, full steps")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, bits in zip(axes, rows, strict=True):
        for number, (name, seeds) in enumerate(read_cards(output).items()):
            places = [
                (one[bits], 100 * one["letters/retention, precision"])
                for one in seeds
                if bits in one and "letters/retention, precision" in one
            ]
            if places:
                marker = "osv^D"[number // 10 % 5]  # colours repeat after ten
                axis.plot(*zip(*places, strict=True), marker, label=name)
        axis.set(xscale="log", xlabel=f"{ROWS[bits][0]}, per frame")
        axis.set_xticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(ROWS["letters/retention, precision"][0])
    axes[1].legend(fontsize="small")
    with atomic.writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


if __name__ == "__main__":
    command.run(main)
