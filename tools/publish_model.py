"""Makes a folder of a trained model that others load, and puts it on a hub if told so.

    jaxvq publish model --model RUN --license FILE --output DIR
    jaxvq publish model --model RUN --license FILE --output DIR --hub USER/NAME

The folder holds the weights, config, skeleton and statistics, the header of its poses, StableHLO
for other programs, a card with what was measured, the licence, and sums of all files.
`jaxvq.inference.load`, and with it every tool with --model or --model, takes the folder or
hf://USER/NAME and checks the sums.

With --hub a DIR that was published before is uploaded as it is. The upload needs huggingface_hub
(pip install 'jaxvq[hub]') and credentials (`hf auth login`, or HF_TOKEN); the same command
continues one that broke off.
"""

import json
from pathlib import Path

from jaxvq import command


def main(argv=None) -> None:
    parser = command.parser(__doc__)
    add = parser.add_argument
    parser.add_first("--model", "--checkpoint", help=command.MODEL_HELP)
    add("--output", required=True, type=Path, help="the new folder")
    add("--license", type=Path, metavar="FILE", help="text of the licence, for LICENSE.txt")
    add(
        "--metrics",
        type=Path,
        metavar="FILE",
        help="metrics.json of jaxvq evaluate (default: the run's last validation)",
    )
    add("--card", type=Path, metavar="FOLDER", help="of jaxvq probe: its card goes along")
    add("--name", help="in the card (default: that of --output)")
    add("--version", default="1.0.0", help="tag on the hub (default: %(default)s)")
    add("--hub", metavar="USER/NAME", help="upload to this repository")
    add("--private", action="store_true", help="a new repository is private")
    add("--dry_run", action="store_true", help="check everything, write and send nothing")
    args = parser.parse_args(argv)

    from jaxvq.storage import manifests

    from .publishing import folder, model

    folder.check_version(args.version)
    if args.hub:
        folder.check_hub(args.hub, "model", args.version)
    what = {
        "name": args.name or args.output.resolve().name,
        "version": args.version,
        "license_file": args.license,
        "metrics": args.metrics,
        "meaning": args.card,
        "export": export_stablehlo,
    }
    if args.hub and (args.output / manifests.MANIFEST).is_file():
        model.check_same(args.model, args.output, args.version)
    elif args.dry_run:
        with folder.rehearsing(args.output) as trial:
            model.publish(args.model, trial, **what)
        print(f"nothing written; all is there to publish {args.model} as {args.output}")
    else:
        manifest = model.publish(args.model, args.output, **what)
        print(f"published: {args.output}, fingerprint {manifest['fingerprint'][:16]}")
    if args.hub and args.dry_run:
        print(f"nothing sent; version {args.version} can go to hf://{args.hub}")
    elif args.hub:
        url = folder.upload(args.output, args.hub, private=args.private)
        print(f"uploaded: {url} as version {args.version}")


def export_stablehlo(tokenizer, folder: Path) -> None:
    """What jaxvq export model writes, without the names of this machine; nothing for a prior."""
    from jaxvq.tasks.base import TokenTask

    from . import export_model

    if not isinstance(tokenizer.task, TokenTask):
        return
    export_model.need("flatbuffers", "stablehlo", "pip install flatbuffers")
    function = export_model.make_function(tokenizer)
    (folder / "model.stablehlo").write_bytes(export_model.export_stablehlo(tokenizer, function))
    described = {k: v for k, v in export_model.describe(tokenizer).items() if k != "checkpoint"}
    (folder / "_metadata.json").write_text(json.dumps(described, indent=2) + "\n")


if __name__ == "__main__":
    command.run(main)
