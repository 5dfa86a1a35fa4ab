"""The command `jaxvq`: a word for each program of tools/, and for the training.

`jaxvq encode X.pose` is `python -m jaxvq encode X.pose`. A program is imported when it is called,
so that `jaxvq --help` needs nothing but Python.
"""

import importlib
import sys

from jaxvq import __version__, command

# Heading -> word -> (the module of the program, what it does).
COMMANDS = {
    "Use a model": {
        "encode": ("jaxvq.tools.poses_to_codes", "poses to tokens: a CSV or a compact .jvq"),
        "decode": ("jaxvq.tools.codes_to_poses", "tokens to poses"),
        "reconstruct": ("jaxvq.tools.reconstruct_poses", "encode and decode; fill in points"),
        "view": ("jaxvq.tools.view", "play a clip and its tokens in the browser"),
        "live": ("jaxvq.tools.live", "encode or decode a stream of JSON lines"),
        "generate": ("jaxvq.tools.generate", "new clips from a prior: for a label, or in a gap"),
        "sample": ("jaxvq.tools.sample_hands", "draw hands from a prior"),
    },
    "Train and measure": {
        "build": ("jaxvq.tools.build_dataset", "clips to a dataset for training"),
        "train": ("jaxvq.train", "train a config, or continue a run; --list shows the configs"),
        "evaluate": ("jaxvq.tools.evaluate", "error, bits and code usage on a split, and pages"),
        "evaluate-prior": ("jaxvq.tools.evaluate_prior", "bits, samples and gaps of a prior"),
        "probe": ("jaxvq.tools.probe", "how much of the signs the tokens keep"),
        "demo": ("jaxvq.tools.demo", "all of it on synthetic clips, in a few minutes"),
    },
    "Give to others": {
        "export model": ("jaxvq.tools.export_model", "StableHLO or ONNX"),
        "export tokens": ("jaxvq.tools.export_tokens", "a tokenizer.json and a table of ids"),
        "export zip": ("jaxvq.tools.zip_dataset", "clips as the zip that sign-vq trains on"),
        "export signformer": ("jaxvq.tools.export_signformer", "a corpus as .pami0 files"),
        "publish model": ("jaxvq.tools.publish_model", "a folder with card, and to a hub"),
        "publish dataset": ("jaxvq.tools.publish_dataset", "a folder with card, and to a hub"),
    },
    "Take from elsewhere": {
        "import sign-vq": ("jaxvq.tools.import_sign_vq", "a checkpoint of sign-vq"),
        "import hands": ("jaxvq.tools.import_hands", "hand poses of many formats"),
        "import how2sign-csv": ("jaxvq.tools.convert_how2sign_csv", "its official tables"),
        "import bucket": ("jaxvq.tools.sync_poses", "a public bucket of .pose files"),
    },
    "Make what others need": {
        "make clips": ("jaxvq.tools.make_synthetic_corpus", "synthetic signing"),
        "make code-tables": ("jaxvq.tools.fit_code_tables", "the tables that .jvq files need"),
        "make pretrained": ("jaxvq.tools.make_pretrained", "the models that come with jaxvq"),
        "make stats": ("jaxvq.tools.compute_stats", "mean and std of every point"),
        "make mean-pose": ("jaxvq.tools.draw_mean_pose", "a picture of the mean"),
        "make hand-splits": ("jaxvq.tools.create_hand_splits", "a balanced draw of hand poses"),
        "make hand-npz": ("jaxvq.tools.create_consolidated_npz", "drawn hand poses as NPZ files"),
        "completion": ("jaxvq.tools.completion", "a script for bash and zsh"),
    },
    "Measure the code": {
        "benchmark rd": ("jaxvq.tools.benchmark_rd", "bits against error, of several methods"),
        "benchmark start": ("jaxvq.tools.benchmark_start", "how long programs take to start"),
        "benchmark meaning": ("jaxvq.tools.benchmark_meaning", "what tokens keep, by alphabets"),
        "benchmark step": ("jaxvq.tools.benchmark_step", "a step of training"),
        "benchmark scaling": ("jaxvq.tools.benchmark_scaling", "steps on 1 to 8 CPU devices"),
        "benchmark building": ("jaxvq.tools.benchmark_building", "building datasets"),
        "benchmark loading": ("jaxvq.tools.benchmark_loading", "reading them"),
        "benchmark preprocessing": ("jaxvq.tools.benchmark_preprocessing", "normalising clips"),
        "benchmark hands": ("jaxvq.tools.benchmark_hands", "reading hand poses"),
        "benchmark signformer": ("jaxvq.tools.benchmark_signformer", "exporting to Signformer"),
        "benchmark faults": ("jaxvq.tools.soak", "damaged files, killed programs, full disks"),
    },
}
PROGRAMS = {word: program for group in COMMANDS.values() for word, program in group.items()}


def main() -> int:
    """Runs the program that the first words name, and ends with its code."""
    with command.readers_may_go():
        return _dispatch(sys.argv[1:])


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(describe())
        return 0
    if words[0] == "--version":
        print(f"jaxvq {__version__}")
        return 0
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in PROGRAMS:
            return _start(name, words[count:])
    several = [word for word in PROGRAMS if word.startswith(f"{words[0]} ")]
    if several and words[1:] in ([], ["-h"], ["--help"]):
        print(describe(only=words[0]))
        return 0 if words[1:] else 2
    print(f"error: {_unknown(words, several)}; see jaxvq --help", file=sys.stderr)
    return 2


def _start(name: str, words: list[str]) -> int:
    module, _ = PROGRAMS[name]
    # What a parser calls the program, and the words that it reads.
    sys.argv = [f"jaxvq {name}", *words]
    program = importlib.import_module(module)
    if hasattr(program, "script"):  # it has another way of logging
        return program.script()
    return command.run(program.main)


def _unknown(words: list[str], several: list[str]) -> str:
    import difflib

    if several:
        name = " ".join(words[:2])
        return f"no command {name!r}; there are {', '.join(several)}"
    near = difflib.get_close_matches(words[0], [name.split()[0] for name in PROGRAMS], 1)
    return f"no command {words[0]!r}" + (f"; did you mean {near[0]}?" if near else "")


def describe(only: str = "") -> str:
    """The table of contents; only: of the commands that begin with this word."""
    lines = ["Human and sign language poses to tokens and back.", ""]
    lines += [f"usage: jaxvq {only or 'COMMAND'} …          jaxvq COMMAND --help explains one"]
    for heading, group in COMMANDS.items():
        chosen = {word: does for word, (_, does) in group.items() if word.startswith(only)}
        if chosen:
            lines += ["", f"{heading}:"]
            lines += [f"  {word:<24} {does}" for word, does in chosen.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
