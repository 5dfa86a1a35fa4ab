"""Writes the shards of a dataset on Apache Beam: on one machine, or on many that share a folder.

Every clip's place is known before anything is read, so a worker is given a whole shard: it reads
the clips in their order and writes the file. Nothing is shuffled between machines, and the shards
are those of a local build with the same --num_shards. Beam only gets the numbers of the shards; the
list of the clips of each, the shards and what came of them go through a folder that all machines
see: that of the pipeline's option temp_location, such as gs://bucket/tmp, or else the dataset's.
"""

import functools
import os
import pickle
import re
import shutil
import tempfile
import uuid
from dataclasses import dataclass, replace

from array_record.python import array_record_module

from jaxvq import remote
from jaxvq.datasets.shards import Build, Encoded, Encoder, writing
from jaxvq.pose.statistics import Accumulator

# A shard that is the work of one worker: some 300 MB of clips of 120 frames.
CLIPS_A_SHARD = 2000


@dataclass(frozen=True)
class Shard:
    """A shard to write, in the folder of an unfinished dataset."""

    folder: str
    split: str
    number: int

    def path(self, kind: str) -> str:
        """kind: "clips" (the list), "records" (the shard) or "result"."""
        return f"{self.folder}/incomplete.{kind}_{self.split}_{self.number:05d}"

    def save(self, kind: str, content) -> None:
        """Anything that pickles."""
        filesystem, path = remote.open_filesystem(self.path(kind))
        filesystem.pipe_file(path, pickle.dumps(content))

    def load(self, kind: str):
        """What was saved."""
        return pickle.loads(remote.read_bytes(self.path(kind)))

    def move_records(self, source: str, target: str) -> None:
        """From or to a local file; one of the two is path("records")."""
        if not remote.is_remote(self.folder):
            shutil.move(source, target)  # temp_location may be another disk
            return
        filesystem, path = remote.open_filesystem(self.path("records"))
        if source == self.path("records"):
            filesystem.get_file(path, target)
            filesystem.rm_file(path)
        else:
            filesystem.put_file(source, path)
            os.unlink(source)

    def remove(self, kind: str) -> None:
        """Where nothing is there, it does nothing."""
        filesystem, path = remote.open_filesystem(self.path(kind))
        if filesystem.exists(path):
            filesystem.rm_file(path)


@dataclass(frozen=True)
class Result:
    """What came of a shard: clips without their records, size, and moments of what was stored."""

    clips: list[Encoded]
    num_bytes: int
    moments: Accumulator


def import_beam():
    """The module apache_beam; ValueError that says how to install it."""
    try:
        import apache_beam
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--beam_pipeline_options needs Apache Beam: pip install 'jaxvq[beam]' ({error})"
        ) from error
    return apache_beam


def parse_options(text: str) -> list[str]:
    """Flags of a Beam pipeline, from "runner=DirectRunner,…", separated by commas or spaces."""
    words = [word for word in re.split(r"[,\s]+", text) if word]
    return [word if word.startswith("--") else f"--{word}" for word in words]


def write_splits(build: Build, encode: Encoder, templates: dict, options: str) -> None:
    """Writes all splits of `build` and gives it what `Build.write_split` would.

    templates: split -> TFDS' names of the shards. Raises ValueError if the pipeline fails.
    """
    beam = import_beam()
    flags = beam.options.pipeline_options.PipelineOptions(parse_options(options))
    place = flags.get_all_options(drop_default=True).get("temp_location")
    folder = f"{place.rstrip('/')}/jaxvq-{uuid.uuid4().hex}" if place else None
    if folder and not remote.is_remote(folder):
        os.makedirs(folder)
    shards = []
    for split, template in templates.items():
        clips = build.clips[split]
        count = build.num_shards or -(-len(clips) // CLIPS_A_SHARD)
        for number in range(count):
            shard = Shard(folder or str(template.data_dir), split, number)
            # As a local build has it: clip i is in shard i * count // clips.
            first, stop = (-(-(n * len(clips)) // count) for n in (number, number + 1))
            if first < stop:
                shard.save("clips", clips[first:stop])
                shards.append(shard)
    write = functools.partial(write_shard, encode=encode, writer_options=build.writer_options)
    try:
        with beam.Pipeline(options=flags) as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(shards, reshuffle=False)
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.Map(write)
            )
    except RuntimeError as error:  # Beam's, with the traceback of the worker in it
        raise ValueError(f"the Beam pipeline failed: {error}") from error
    for split, template in templates.items():
        _gather(build, split, template, [shard for shard in shards if shard.split == split])
    if folder and not remote.is_remote(folder):
        shutil.rmtree(folder)


def write_shard(shard: Shard, encode: Encoder, writer_options: str) -> None:
    """Runs on a worker; done again after a failure, it replaces what it wrote before."""
    beam = import_beam()
    clips, num_bytes, moments, writer = [], 0, Accumulator(), None
    # Beside its place, so that it only has to be renamed; elsewhere if that is not a local disk.
    beside = tempfile.gettempdir() if remote.is_remote(shard.folder) else shard.folder
    temporary = f"{beside}/incomplete.{uuid.uuid4().hex}"
    for clip in shard.load("clips"):
        encoded = encode(clip)
        if encoded.reason:
            beam.metrics.Metrics.counter("jaxvq", f"skipped: {encoded.reason}").inc()
        else:
            beam.metrics.Metrics.counter("jaxvq", "clips").inc()
            with writing(temporary):
                if writer is None:
                    writer = array_record_module.ArrayRecordWriter(temporary, writer_options)
                writer.write(encoded.record)
            num_bytes += len(encoded.record)
            moments.merge(encoded.moments)
        clips.append(replace(encoded, record=b"", moments=None))
    if writer:
        with writing(temporary):
            writer.close()
        shard.move_records(temporary, shard.path("records"))
    shard.save("result", Result(clips, num_bytes, moments))


def _gather(build: Build, split: str, template, shards: list[Shard]) -> None:
    """Accounts for what the workers wrote, and gives the shards their names."""
    results = [shard.load("result") for shard in shards]
    build.start_split(split)
    for result in results:
        for clip in result.clips:
            build.account(split, clip)
        if split == "train":
            build.moments.merge(result.moments)
    build.num_bytes[split] = sum(result.num_bytes for result in results)
    written = [shard for shard, result in zip(shards, results, strict=True) if result.num_bytes]
    build.shard_lengths[split] = [
        sum(not clip.reason for clip in result.clips) for result in results if result.num_bytes
    ]
    for number, shard in enumerate(written):
        final = template.sharded_filepath(shard_index=number, num_shards=len(written))
        shard.move_records(shard.path("records"), str(final))
    for shard in shards:
        for kind in ("clips", "result"):
            shard.remove(kind)
