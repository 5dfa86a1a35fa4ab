"""Writes the shards of a dataset on Apache Beam: on one machine, or on many that share a folder.

A worker gets a run of clips, as the processes of a local build do. So nothing is shuffled between
machines, and the shards are the same. Beam only transports the numbers of the runs. The lists of
clips, the shards and the results go through a folder that all machines see: the pipeline option
temp_location, such as gs://bucket/tmp, or the folder of the dataset.
"""

import functools
import os
import pickle
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from jaxvq.datasets.shards import Build, Encoded, Run, Written, shard_path
from jaxvq.storage import remote


@dataclass(frozen=True)
class Place:
    """The files of a run, until the dataset is complete."""

    folder: str
    split: str
    number: int

    def path(self, kind: str) -> str:
        """The path of a file. kind: "run", "written", or "records_0", … for its shards."""
        return f"{self.folder}/incomplete.{kind}_{self.split}_{self.number:05d}"

    def save(self, kind: str, content) -> None:
        """Stores anything that pickles."""
        filesystem, path = remote.open_filesystem(self.path(kind))
        filesystem.pipe_file(path, pickle.dumps(content))

    def load(self, kind: str):
        """Returns what `save` stored."""
        return pickle.loads(remote.read_bytes(self.path(kind)))

    def put_records(self, source: str, part: int) -> None:
        """Moves a local file here, as shard number `part`."""
        filesystem, path = remote.open_filesystem(self.path(f"records_{part}"))
        if not remote.is_remote(self.folder):
            shutil.move(source, path)  # temp_location may be another disk
            return
        filesystem.put_file(source, path)
        os.unlink(source)

    def get_records(self, part: int, target: str) -> None:
        """Moves shard number `part` to a local file."""
        filesystem, path = remote.open_filesystem(self.path(f"records_{part}"))
        if not remote.is_remote(self.folder):
            shutil.move(path, target)
            return
        filesystem.get_file(path, target)
        filesystem.rm_file(path)

    def remove(self, kind: str) -> None:
        """Removes a file, if it exists."""
        filesystem, path = remote.open_filesystem(self.path(kind))
        if filesystem.exists(path):
            filesystem.rm_file(path)


def import_beam():
    """The module apache_beam. ValueError says how to install it."""
    try:
        import apache_beam
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--beam_pipeline_options needs Apache Beam: pip install 'jaxvq[beam]' ({error})"
        ) from error
    return apache_beam


def parse_options(text: str) -> list[str]:
    """Flags of a Beam pipeline, from "runner=DirectRunner,…" with commas or spaces."""
    words = [word for word in re.split(r"[,\s]+", text) if word]
    return [word if word.startswith("--") else f"--{word}" for word in words]


def write_shards(build: Build, templates: dict, options: str) -> None:
    """`Build.write_shards` on a Beam pipeline with these options."""
    beam = import_beam()
    flags = beam.options.pipeline_options.PipelineOptions(parse_options(options))
    location = flags.get_all_options(drop_default=True).get("temp_location")
    folder = f"{location.rstrip('/')}/jaxvq-{uuid.uuid4().hex}" if location else None
    if folder and not remote.is_remote(folder):
        os.makedirs(folder)
    data_dir = next(iter(templates.values())).data_dir
    places = [Place(folder or str(data_dir), run.split, run.number) for run in build.runs]
    for place, run in zip(places, build.runs, strict=True):
        place.save("run", run)
    write = functools.partial(write_on_worker, write_run=build.write_run)
    try:
        with beam.Pipeline(options=flags) as pipeline:
            _ = (
                pipeline
                | "Runs" >> beam.Create(places, reshuffle=False)
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.Map(write)
            )
    except RuntimeError as error:  # Beam's, with the traceback of the worker in it
        raise ValueError(f"the Beam pipeline failed: {error}") from error
    for split, template in templates.items():
        _gather(build, split, template, [place for place in places if place.split == split])
    if folder and not remote.is_remote(folder):
        shutil.rmtree(folder)


def write_on_worker(place: Place, write_run: Callable[..., Written]) -> None:
    """Runs on a worker. After a failure, the repetition replaces its files."""
    run: Run = place.load("run")
    # On a local disk, a file beside its place only has to be renamed.
    beside = tempfile.gettempdir() if remote.is_remote(place.folder) else place.folder
    with tempfile.TemporaryDirectory(prefix="incomplete.", dir=beside) as folder:
        written = write_run(run, folder=folder, report=_count)
        for part in range(len(written.lengths)):
            place.put_records(run.path(folder, part), part)
    place.save("written", written)


def _count(clip: Encoded) -> bool:
    name = f"skipped: {clip.reason}" if clip.reason else "clips"
    import_beam().metrics.Metrics.counter("jaxvq", name).inc()
    return True


def _gather(build: Build, split: str, template, places: list[Place]) -> None:
    """Accounts for the finished runs of a split, and names its shards."""
    results: list[Written] = [place.load("written") for place in places]
    for written in results:
        build.account(split, written)
        for clip in written.clips:
            build.progress.report(clip)
    parts = [
        (place, part)
        for place, written in zip(places, results, strict=True)
        for part in range(len(written.lengths))
    ]
    for number, (place, part) in enumerate(parts):
        place.get_records(part, shard_path(template, number, len(parts)))
    for place in places:
        for kind in ("run", "written"):
            place.remove(kind)
