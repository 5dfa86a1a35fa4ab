"""Makes a folder of a built dataset that others read with TFDS alone, and puts it on a hub.

    jaxvq publish dataset --data DATA --corpus NAME --license FILE --output DIR
    jaxvq publish dataset … --hub USER/NAME

The folder holds the shards with their TFDS files, statistics, lengths, the header, counts of what
was skipped, a table of all clips, a page of pictures, a card, the licence, Croissant's description,
and sums of the files and of the decoded content. It is read with
`tfds.builder_from_directory(DIR).as_data_source("train")`, or by every tool here as --data.

With --hub a DIR that was published before is uploaded as it is, if the dataset has not changed
since. The upload needs huggingface_hub (pip install 'jaxvq[hub]') and credentials (`hf auth
login`, or HF_TOKEN); the same command continues one that broke off. The tag is the version, so a
version is uploaded once.
"""

from pathlib import Path

from jaxvq import command


def main(argv=None) -> None:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add(
        "--data", "--data_dir", required=True, help="where jaxvq build put it, or the folder itself"
    )
    add("--corpus", required=True, help="its name, such as sign_poses, or NAME/CONFIG")
    add("--output", required=True, type=Path, help="the new folder")
    add("--license", type=Path, metavar="FILE", help="text of the licence, for LICENSE.txt")
    add("--hub", metavar="USER/NAME", help="upload to this repository")
    add("--private", action="store_true", help="a new repository is private")
    add("--dry_run", action="store_true", help="check everything, write and send nothing")
    args = parser.parse_args(argv)

    from absl import logging

    logging.set_verbosity(logging.ERROR)  # TFDS warns of folders that it did not make itself
    from jaxvq.storage import manifests

    from .publishing import dataset, folder

    built = dataset.open_corpus(args.data, args.corpus)
    info = dataset.read_info(built.path)
    if args.hub:
        folder.check_hub(args.hub, "dataset", info["version"])
    what = {
        "license_file": args.license,
        "url": f"https://huggingface.co/datasets/{args.hub}" if args.hub else "",
    }
    if args.hub and (args.output / manifests.MANIFEST).is_file():
        dataset.check_same(built, args.output)
    elif args.dry_run:
        with folder.rehearsing(args.output) as trial:
            dataset.publish(built, trial, **what)
        print(f"nothing written; all is there to publish {built.path} as {args.output}")
    else:
        manifest = dataset.publish(built, args.output, **what)
        print(f"published: {args.output}, fingerprint {manifest['fingerprint'][:16]}")
    if args.hub and args.dry_run:
        print(f"nothing sent; version {info['version']} can go to hf://{args.hub}")
    elif args.hub:
        url = folder.upload(args.output, args.hub, private=args.private)
        print(f"uploaded: {url} as version {info['version']}")


if __name__ == "__main__":
    command.run(main)
