"""The flags of jaxvq.train: which config with which fields, in which folder, on which hosts."""

import argparse
import datetime
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxvq import command, config_names
from jaxvq.training import presets

RUNS = Path("runs")  # the folder of runs that --workdir does not name
NEWEST = ("auto", "latest")
WANDB_PROJECT = "pose-tokenizer"  # of a run that has a name in W&B and no project

log = logging.getLogger("jaxvq")


def parse(doc: str, argv=None) -> argparse.Namespace:
    """The flags of a training: `config` is the locked ConfigDict, `workdir` the folder of the run,
    and `checkpoint` the run or checkpoint to measure with `eval_only`.

    doc: what --help says first.

    Raises:
      ValueError: one line about a file, variant, field, flag or run that is not there.
    """
    parser = command.parser(doc)
    add = parser.add_argument
    parser.add_first(
        "--config",
        metavar="CONFIG[:VARIANT]",
        help="a name of --list, a Python file with get_config, or a YAML file with the original "
        "Pose Tokenizer's keys; --config.FIELD=VALUE changes a field",
    )
    add("--data", metavar="DATA", help="the dataset that jaxvq build made; sets config.data.dir")
    add("--list", action="store_true", help="show the configs and their variants")
    add("--workdir", metavar="RUN", help="folder of the run (default: runs/DATE_TIME)")
    add("--run_timestamp", metavar="NAME", help="the folder of the run is runs/NAME")
    add(
        "--resume",
        metavar="RUN|auto|latest",
        help="continue this run; auto, latest: the newest in runs/. A run whose folder exists "
        "is continued without this flag too",
    )
    add(
        "--eval_only",
        action="store_true",
        help="measure the run on the validation split, into RUN/evaluation, instead of training",
    )
    add("--wandb_project", metavar="NAME", help="also report to W&B (default: config.wandb)")
    add(
        "--wandb_run_name",
        metavar="NAME",
        help=f"of the run in W&B (default: that of its folder), in the project {WANDB_PROJECT} if "
        "no other is named",
    )
    add("--no_wandb", action="store_true", help="do not report to W&B")
    add_hosts(parser)
    words, changes = _take_changes(sys.argv[1:] if argv is None else argv)
    if "--list" in words:
        print(presets.describe_configs())
        parser.exit()
    if {"-h", "--help"} & set(words):
        parser.epilog = _epilog(words)
    args, unknown = parser.parse_known_args(words)
    changes += unknown
    if args.data:
        changes.append(f"--config.data.dir={args.data}")
    args.config = read_config(args.config, changes)
    _set_wandb(args)
    args.workdir = _find_workdir(args)
    given = args.resume and args.resume not in NEWEST
    args.checkpoint = Path(args.resume) if given else args.workdir
    return args


def add_hosts(parser) -> None:
    """What multihost.joined reads."""
    add = parser.add_argument
    add("--distributed", action="store_true", help="several hosts, found by the TPU or Slurm")
    add("--coordinator", metavar="HOST:PORT", help="the first of several hosts")
    add("--num_processes", type=int, metavar="N", help="how many hosts there are")
    add("--process_id", type=int, metavar="I", help="which of them this is, from 0")


def _epilog(words: list[str]) -> str:
    """Configs, and the fields of the one that is named among the words, or of the default."""
    named = next((word for word in words if not word.startswith("-")), presets.DEFAULT)
    try:
        listed = presets.describe_fields(named)
    except ValueError:
        named, listed = presets.DEFAULT, presets.describe_fields(presets.DEFAULT)
    return f"configs:\n\n{presets.describe_configs()}\n\nfields of {named}:\n\n{listed}"


def _take_changes(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Other words, and --config.FIELD=VALUE, also where it was written as two words."""
    others: list[str] = []
    changes: list[str] = []
    waiting = False  # for the value of the last change
    for word in words:
        if word.startswith("--config."):
            changes.append(command.with_underscores(word))
            waiting = "=" not in word
        elif waiting and not word.startswith("--"):
            changes[-1] += f"={word}"
            waiting = False
        else:
            others.append(word)
            waiting = False
    return others, changes


def _set_wandb(args) -> None:
    if args.no_wandb:
        args.config.wandb = ""
    elif args.wandb_project or args.wandb_run_name:
        args.config.wandb = args.wandb_project or args.config.wandb or WANDB_PROJECT
    if args.wandb_run_name:
        os.environ["WANDB_NAME"] = args.wandb_run_name  # where the W&B client looks for it


# ------------------------------------------------------------------------- the folder of a run


def _find_workdir(args) -> Path:
    if args.workdir and args.run_timestamp:
        raise ValueError("--workdir and --run_timestamp both name the folder of the run: give one")
    named = Path(args.workdir) if args.workdir else None
    if args.run_timestamp:
        named = RUNS / args.run_timestamp
    if args.resume and args.resume not in NEWEST:
        return _run_of(args.resume, named, newest=not args.eval_only)
    if named is None and args.resume:
        named = _newest_run()
        if named is None:
            log.warning("--resume %s: no run in %s/ has a checkpoint", args.resume, RUNS)
    if named is None and args.eval_only:
        raise ValueError("--eval_only: which run? Give --workdir RUN or --resume RUN")
    if named is None and (args.distributed or args.coordinator):
        raise ValueError("several hosts need one folder: give --workdir RUN, the same on each")
    if named is None:
        named = RUNS / datetime.datetime.now().strftime("%Y%m%d_%H%M%S")
        log.info("the folder of this run is %s", named)
    return named


def _newest_run() -> Path | None:
    checkpoints = [path for path in RUNS.glob("*/checkpoints/*") if path.name.isdigit()]
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime, default=None)
    return newest and newest.parent.parent


def _run_of(path: str, named: Path | None, *, newest: bool) -> Path:
    """The run that a folder belongs to: itself, its `checkpoints`, or one of these.

    named: what other flags call the run. newest: whether it has to be the newest checkpoint.
    """
    from jaxvq import checkpoint

    chosen = checkpoint.find_checkpoint(path)
    run = chosen.parent.parent
    if chosen.parent.name != checkpoint.CHECKPOINTS:
        raise ValueError(f"--resume {path} is not a checkpoint of a run: expected RUN/checkpoints")
    if named and named.resolve() != run:
        raise ValueError(
            f"--resume {path} continues {run}, but {named} is given as the run's folder"
        )
    last = checkpoint.find_checkpoint(run)
    if newest and chosen != last:
        raise ValueError(
            f"--resume {path}: {run} went on to step {last.name}, and continues there; to go back, "
            "remove the later checkpoints"
        )
    return run


# ------------------------------------------------------------------------------- the config


def read_config(source: str, changes: Sequence[str] = ()):
    """The locked config that `presets.load` finds, with changes such as --config.batch_size=8.

    Names that fields had before are read, with one warning.

    Raises:
      ValueError: one line about a name, file, variant, field or value that is not there.
    """
    from absl import flags
    from ml_collections import config_flags

    from jaxvq.training import epochs

    config = presets.load(source)
    fields = [name for name, _ in presets.fields(config)]
    words = ["", *_with_current_names(changes, fields)]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=words)
        rest = values(words)
    except (AttributeError, KeyError, TypeError) as error:
        name = re.search(r"'([^']+)'", str(error).replace("\\", ""))
        raise ValueError(
            f"the config has no field {name[1] if name else error}; it has: {', '.join(fields)}"
        ) from None
    except flags.UnrecognizedFlagError as error:
        raise ValueError(f"unknown argument --{error.flagname}; see --help") from None
    except flags.Error as error:
        raise ValueError(" ".join(str(error).split())) from None
    if len(rest) > 1:
        raise ValueError(f"unknown argument {rest[1]!r}; see --help")
    names = (word.partition("=")[0] for word in words)
    epochs.give_way(config, {name.removeprefix("--config.") for name in names})
    return config


def compare(source: str, model) -> None:
    """Warns where the config at `source` is not that of a checkpoint.Model, whose own counts.

    Raises:
      ValueError: as `read_config`.
    """
    theirs, ours = dict(presets.fields(read_config(source))), dict(presets.fields(model.config))
    # The levels and steps of a linear code come from the data, and so differ from any file.
    fitted = ("quantizer.levels", "quantizer.steps")
    compared = [k for k in ours if k.startswith(("model.", "quantizer.")) and k not in fitted]
    differ = [
        f"{key} ({theirs[key]!r} there, {ours[key]!r} in the checkpoint)"
        for key in ["task", *compared]
        if key in theirs and theirs[key] != ours[key]
    ]
    if differ:
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        log.warning("--config %s differs in %s%s", source, ", ".join(differ[:5]), more)


def _with_current_names(changes: Sequence[str], fields: list[str]) -> list[str]:
    """--config.OLD=VALUE as --config.NEW=VALUE, where the config has NEW and no OLD."""
    words, old = [], []
    for word in changes:
        name, equals, value = word.partition("=")
        field = name.removeprefix("--config.")
        now = config_names.current_name(field)
        if field != name and field not in fields and now in fields and now != field:
            if field not in config_names.ALIASES:
                old.append(f"{field} (now {now})")
            word = f"--config.{now}{equals}{value}"
        words.append(word)
    if old:
        log.warning("the flags use old field names: %s", ", ".join(old))
    return words
