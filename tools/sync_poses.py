"""Copies a bucket of `.pose` files to a folder, skipping what is already there.

    jaxvq import bucket DIR [--bucket gs://sign-mt-poses] [--delete_extra]

A thin wrapper over `gsutil -m rsync`, which must be installed and logged in
(https://cloud.google.com/storage/docs/gsutil_install). Unlike sign-vq's script it deletes local
files only when --delete_extra asks for it.
"""

import shutil
import subprocess
from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("directory", metavar="DIR", help="the folder to fill")
    parser.add_argument("--bucket", default="gs://sign-mt-poses", help="a gs:// address")
    parser.add_argument(
        "--delete_extra", action="store_true", help="delete files in DIR that the bucket lacks"
    )
    args = parser.parse_args(argv)
    if not args.bucket.startswith("gs://"):
        raise ValueError(f"--bucket {args.bucket}: expected an address such as gs://sign-mt-poses")
    if shutil.which("gsutil") is None:
        raise ValueError(
            "gsutil is not installed; see https://cloud.google.com/storage/docs/gsutil_install"
        )
    Path(args.directory).mkdir(parents=True, exist_ok=True)
    delete = ["-d"] if args.delete_extra else []
    # gsutil shows its own progress, and an interrupted copy goes on where it stopped.
    return subprocess.run(
        ["gsutil", "-m", "rsync", *delete, args.bucket, args.directory], check=False
    ).returncode


if __name__ == "__main__":
    command.run(main)
