"""Archives, names and paths that lead elsewhere, and markup on pages."""

import html.parser
import io
import itertools
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .counting import EXECUTED, RIGHT, WRONG, Case, Executed, Place


def _zip(members: list[tuple], compress=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _npy(header: str) -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) % 65536) + text


def _archives(pose: bytes) -> Iterator[tuple[str, bytes]]:
    yield "../ names", _zip([("../../evil.pose", pose), ("a/../../b.pose", pose)])
    yield "absolute names", _zip([("/tmp/evil.pose", pose), ("C:\\evil.pose", pose)])
    link = zipfile.ZipInfo("link.pose")
    link.external_attr = 0o120777 << 16
    yield "a link", _zip([(link, "/etc/passwd")])
    yield "one name twice", _zip([("a.pose", pose), ("a.pose", pose[:-1])])
    yield "a bomb", _zip([("a.pose", bytes(200_000_000))])
    yield "a bomb in npz", _zip([("data.npy", bytes(200_000_000)), ("mask.npy", b"")])
    whole = _zip([("a.pose", pose)])
    lying = bytearray(whole)
    at = lying.rindex(b"PK\x01\x02")
    lying[at + 24 : at + 28] = b"\xfe\xff\xff\xff"  # its size when it is unpacked
    yield "a size of 4 GB", bytes(lying)
    coded = bytearray(whole)
    coded[at + 8] |= 1
    yield "encrypted", bytes(coded)
    other = bytearray(whole)
    other[at + 10] = 99
    yield "unknown compression", bytes(other)
    yield "names that are not UTF-8", whole.replace(b"a.pose", b"\xff.pose")
    yield "cut", whole[: len(whole) // 2]
    yield "no end", whole[:-10]
    yield "empty", _zip([])
    yield "not a zip", b"PK\x03\x04" + bytes(100)
    for what, header in {
        "a petabyte": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 178, 3)}",
        "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 45)}",
        "nested": "(" * 9000,
        "calls": "__import__('os').system('touch ran')",
        "strings": "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (9,)}",
    }.items():
        array = _npy(header) + bytes(64)
        members = [(f"{name}.npy", array) for name in ("data", "mask", "lhand_pose", "rhand_pose")]
        yield f"npy of {what}", _zip(members)
        yield f"npy of {what}, stored", _zip(members, zipfile.ZIP_STORED)


def archives(place: Place, cases: int, rng) -> Iterator[Case]:
    """Archives for everything that reads archives; nothing appears outside of the scratch."""
    from jaxvq.datasets import npz as clips
    from jaxvq.hands import npz as hands
    from jaxvq.hands.pickles import load_arrays
    from jaxvq.importers.torch_file import load_torch_zip
    from jaxvq.pose import files
    from jaxvq.pose.reader import read_pose
    from jaxvq.pose.skeleton import HOLISTIC_178
    from jaxvq.pose.statistics import Statistics
    from jaxvq.tokens import code_tables

    folder = place.scratch / "outer" / "inner"
    folder.mkdir(parents=True)
    path = folder / "x.zip"
    shape = (HOLISTIC_178.num_points, HOLISTIC_178.num_dims)
    statistics = Statistics(np.zeros(shape), np.ones(shape))
    pose = sorted(place.corpus.rglob("*.pose"))[0].read_bytes()

    def poses():
        for file in files.list_poses(path):
            read_pose(file.read(), name=file.key)

    def rows():
        for member in hands.hand_members(path).values():
            hands.read_rows(member, np.arange(min(member.shape[0], 2)))

    readers = {
        "poses": poses,
        "npz clip": lambda: clips.decode_clip(path.read_bytes(), "x", HOLISTIC_178, statistics),
        "hands": rows,
        "motion": lambda: load_arrays(path),
        "torch": lambda: load_torch_zip(path),
        "code tables": lambda: code_tables.read(path),
    }
    pairs = list(itertools.product(readers, _archives(pose)))
    for reader, (what, content) in itertools.islice(itertools.cycle(pairs), cases):

        def check(reader=reader, content=content):
            path.write_bytes(content)
            before = set(place.scratch.rglob("*"))
            try:
                readers[reader]()
            finally:
                if set(place.scratch.rglob("*")) != before:
                    raise Executed
            return RIGHT

        yield f"{reader}: {what}", check


# ------------------------------------------------------------------------------ names and paths

NAMES_OF_FILES = ("../evil", "/tmp/evil", "a/../../evil", "..", "", "a\0b", "x" * 300, "..\\evil",
                  "~/evil", "a//b/../../../evil", ".", "\ud800")  # fmt: skip


def traversal(place: Place, cases: int, rng) -> Iterator[Case]:
    """Names in manifests, token files and tables of codes that lead out of a folder."""
    from jaxvq import inference
    from jaxvq.storage import manifests
    from jaxvq.tokens import token_file

    from .. import codes_to_poses

    tokenizer = inference.load(place.run)
    one = tokenizer.encode_clips([tokenizer.standardize(_first(place))[0]])[0][:1]
    tokens = inference.Tokens(one, 25.0, tokenizer.task.frames_per_step)
    secret = place.scratch / "evil"
    secret.write_text("not of the folder")
    published, out = place.scratch / "folder", place.scratch / "out" / "poses"
    out.mkdir(parents=True)
    published.mkdir()

    def manifest(name):
        (published / "a").write_text("a")
        manifests.write_manifest(published, kind="model", name="x", version="1.0.0")
        content = json.loads((published / manifests.MANIFEST).read_text())
        entry = {"bytes": secret.stat().st_size, "sha256": manifests.file_sha256(secret)}
        content["files"][name] = entry
        content["fingerprint"] = manifests.fingerprint(content["files"])
        (published / manifests.MANIFEST).write_text(json.dumps(content))
        manifests.check(published)

    def csv(name):
        codes, path = " ".join(map(str, tokens.flat())), place.scratch / "codes.csv"
        text = f'file,fps,length,codes\n"{name}",25,{tokens.length},{codes}\n'
        path.write_text(text, encoding="utf-8")
        codes_to_poses.main(_arguments(place, path, out))

    def compact(name):
        path = place.scratch / "codes.jvq"
        with token_file.Writer(path, tokenizer.code_tables) as file:
            file.write(name, tokens)
        codes_to_poses.main(_arguments(place, path, out))

    readers = {"manifest": manifest, "csv": csv, "jvq": compact}
    pairs = list(itertools.product(readers, NAMES_OF_FILES))
    for reader, name in itertools.islice(itertools.cycle(pairs), cases):

        def check(reader=reader, name=name):
            def outside():
                return {p for p in place.scratch.rglob("*") if out not in p.parents}

            for path in out.parent.rglob("*.pose"):
                path.unlink()
            readers[reader](name) if reader == "manifest" else None
            before = outside() | {place.scratch / f"codes.{reader}"}
            try:
                if reader != "manifest":
                    readers[reader](name)
            finally:
                if not outside() <= before:
                    raise Executed
            return WRONG if reader == "manifest" else RIGHT

        yield f"{reader}: {name[:20]!r}", check


def _arguments(place: Place, codes: Path, out: Path) -> list[str]:
    return ["--model", str(place.run), "--codes", str(codes), "--output", str(out)]


def _first(place: Place):
    from jaxvq.pose.reader import read_pose

    return read_pose(sorted(place.corpus.rglob("*.pose"))[0])


MARKUP = """<script>alert(1)</script><img src=x onerror=alert(1)>"'&{{}}`](javascript:alert(1))"""


class _Tags(html.parser.HTMLParser):
    """The tags and attributes that a browser would find."""

    def __init__(self, text: str):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [tag, *(f"{tag} {name}" for name, _ in attributes)]


def markup(place: Place, cases: int, rng) -> Iterator[Case]:
    """Names of files, folders, splits and metrics with HTML in them, on every page there is."""
    from types import SimpleNamespace

    from jaxvq import inference, input_pipeline
    from jaxvq.evaluators import player, reconstruction
    from jaxvq.pose.skeleton import HOLISTIC_178
    from jaxvq.pose.statistics import Statistics

    from ..evaluation.pages import write_page
    from ..publishing import page as dataset_page

    shape = (HOLISTIC_178.num_points, HOLISTIC_178.num_dims)
    statistics = Statistics(np.zeros(shape), np.ones(shape))
    tokenizer = inference.load(place.run)
    points = np.zeros(HOLISTIC_178.num_points)
    path, data = place.scratch / "page.html", input_pipeline.open_dataset(place.data_dir)

    def evaluation(name):
        write_page(
            path, title=name, shown=clips(name), captions=[name], tokenizer=tokenizer, charts={},
            evaluation=reconstruction.Evaluation({name: 1.0}, points, np.zeros((1, 1)), (name,)),
        )  # fmt: skip

    def played(name):
        player.write(path, clips(name), tokenizer, title=name)

    def clips(name):
        clip, _ = tokenizer.standardize(_first(place))
        return list(player.clips(tokenizer, [(name, clip)]))

    def dataset(name):
        source = data.source("train")
        record = source[0] | {"id": name}
        rows = [("train", 0, name, len(record["data"]), 25.0, 0.1, 0.2, 0.3)]
        told = SimpleNamespace(
            path=Path("/data", name.replace("/", ""), "x", "1.0.0"), skeleton=data.skeleton,
            statistics=statistics, source=lambda split: [record],
        )  # fmt: skip
        split = SimpleNamespace(rows=rows, frames=len(record["data"]))
        dataset_page.write(path, told, {name: split}, {"skipped": {name: 3}})

    pages = {"evaluation": evaluation, "player": played, "dataset": dataset}
    for what in itertools.islice(itertools.cycle(pages), cases):

        def check(what=what):
            found = []
            for name in ("plain", MARKUP):
                pages[what](name)
                found.append(_Tags(path.read_text(encoding="utf-8")).found)
            return RIGHT if found[0] == found[1] else EXECUTED

        yield what, check
