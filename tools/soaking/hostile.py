"""Files that were made to harm: to run something, to fill the memory, to write elsewhere."""

import gzip
import html.parser
import io
import itertools
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tools.soaking.counting import EXECUTED, RIGHT, WRONG, Case, Executed, Place

NAMES = (
    "os system", "posix system", "builtins eval", "builtins exec", "builtins __import__",
    "builtins getattr", "subprocess Popen", "shutil rmtree", "pathlib Path.touch",
    "functools partial", "operator attrgetter", "codecs decode", "importlib import_module",
    "numpy load", "numpy.testing._private.utils runstring", "torch load", "pickle loads",
    "collections OrderedDict.__reduce__", "torch._utils _rebuild_tensor_v2.__globals__",
    "jaxvq.signformer.pami0 _load_from_bytes",
)  # fmt: skip


def _text(value: str) -> bytes:
    content = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content


def _programs(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Pickles that call each name in each way there is, with a path to touch as the argument."""
    path, command = _text(str(marker)), _text(f"touch '{marker}'")
    for name, (way, argument) in itertools.product(
        NAMES, itertools.product(("reduce", "inst", "obj", "newobj", "stack", "build"), (0, 1))
    ):
        module, attribute = name.split()
        given = (path, command)[argument]
        called = f"c{module}\n{attribute}\n".encode()
        yield (
            f"{name} by {way}",
            b"\x80\x04"
            + {
                "reduce": called + given + b"\x85R",
                "inst": b"(" + given + f"i{module}\n{attribute}\n".encode(),
                "obj": b"(" + called + given + b"o",
                "newobj": called + given + b"\x85\x81",
                "stack": _text(module) + _text(attribute) + b"\x93" + given + b"\x85R",
                "build": called + b"N}" + _text("__setstate__") + given + b"s\x86b",
            }[way]
            + b".",
        )


def _bombs() -> Iterator[tuple[str, bytes]]:
    """Pickles of a few bytes that want more memory or time than there is."""
    nested = b")" + b"2\x86" * 60
    yield "tuple of 2**60 as a key", b"\x80\x04}" + nested + b"Ns."
    yield "tuple of 2**60 called", b"\x80\x04" + nested + b")R."
    yield "memo of 4 billion", b"\x80\x04K\x01r\xff\xff\xff\xff0."
    yield "4 million terabytes", b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"."
    yield "bytearray of a terabyte", b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"."
    yield "number of 2 GB", b"\x80\x04\x8b\xff\xff\xff\x7f."
    yield "many lists", b"\x80\x04(" + b"]" * 300_000
    yield "list in list in …", b"\x80\x04" + b"](" * 100_000 + b"e" * 100_000 + b"."
    yield "extension registry", b"\x80\x04\x82\x01."
    yield "number of many digits", b"I" + b"9" * 1_000_000 + b"\n."


def _torch_zip(program: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    return buffer.getvalue()


def pickles(place: Place, cases: int, rng) -> Iterator[Case]:
    """Pickles, torch.save's zip files, .pami0 and motion files that call what they should not."""
    from jaxvq.hands.pickles import load_arrays
    from jaxvq.importers.torch_file import load_torch_zip
    from jaxvq.signformer.pami0 import read_samples

    marker, path = place.scratch / "ran", place.scratch / "hostile.pkl"
    readers = {
        "torch zip": (load_torch_zip, _torch_zip),
        "motion": (load_arrays, bytes),
        "motion zip": (load_arrays, _torch_zip),
        "pami0": (lambda path: list(read_samples(path)), gzip.compress),
    }
    programs = [*_programs(marker), *_bombs()]
    chosen = rng.permutation(len(programs))[: max(cases - len(readers) * 10, 0)]
    bombs = range(len(programs) - 10, len(programs))
    todo = [(i, name) for i in bombs for name in readers]
    todo += [(i, list(readers)[int(rng.integers(len(readers)))]) for i in chosen]
    for number, name in todo[:cases]:
        what, program = programs[number]
        read, wrap = readers[name]

        empty = RIGHT if number in bombs else WRONG  # a call cannot have given anything

        def check(program=program, read=read, wrap=wrap, empty=empty):
            path.write_bytes(wrap(program))
            try:
                read(path)
            finally:
                if marker.exists():
                    marker.unlink()
                    raise Executed
            return empty

        yield f"{name}: {what}", check


# ------------------------------------------------------------------------------- JSON and YAML

JSONS = {
    "nested": b"[" * 200_000,
    "nested dicts": b'{"a":' * 200_000,
    "closed nest": b"[" * 100_000 + b"]" * 100_000,
    "huge number": b"1" * 1_000_000,
    "huge float": b"1e999999",
    "infinity": b'{"a": Infinity, "b": -Infinity, "c": NaN}',
    "not utf-8": b'{"a": "\xff\xfe"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "surrogate": b'{"\\ud800": "\\udfff"}',
    "empty": b"",
    "null": b"null",
    "number": b"7",
    "text": b'"text"',
    "list": b"[1, 2, 3]",
    "empty dict": b"{}",
    "cut": b'{"components": [{"name": "POSE", "points": ["NO',
    "zeros": bytes(1000),
    "many keys": b"{" + b",".join(b'"%d": 1' % i for i in range(100_000)) + b"}",
    "wrong types": b'{"components": 5, "people": 5, "train": 5, "files": 5, "format": "x"}',
    "wrong items": b'{"components": [5, null], "people": [5], "train": [5], "files": []}',
    "wrong parts": b'{"components": [{"name":5,"points":5,"limbs":[5],"colors":7,"format":[]}]}',
    "people of text": b'{"people": [{"pose_keypoints_2d": "text", "hand_left_keypoints_2d": {}}]}',
    "people of nests": b'{"people": [{"pose_keypoints_2d": [[[1]], {}, "x"]}]}',
    "manifest of text": b'{"kind":1,"name":1,"version":1,"files":"x","fingerprint":1,"format":1}',
    "manifest of lists": b'{"kind":[],"name":{},"version":[],"files":{"a":[]},"fingerprint":[],'
    b'"format":1}',
}  # fmt: skip


def jsons(place: Place, cases: int, rng) -> Iterator[Case]:
    """Wrong and hostile JSON for everything that reads JSON."""
    from jaxvq import checkpoint, input_pipeline
    from jaxvq.datasets import records, splits
    from jaxvq.importers import sign_vq
    from jaxvq.pose import openpose, skeletons
    from jaxvq.pose.skeleton import HOLISTIC_178
    from jaxvq.pose.statistics import load_statistics
    from jaxvq.storage import manifests

    folder = place.scratch / "json"
    folder.mkdir()
    built = records.find_dataset(place.data_dir)
    for name in ("lengths.npz", "skeleton.json", "pose_normalization.json", "dataset_info.json"):
        (folder / name).write_bytes((built / name).read_bytes())
    newest = checkpoint.find_checkpoint(place.run)

    def in_place(name, read):
        """Reads a folder in which one of the files is the hostile one."""

        def run(content):
            before = (folder / name).read_bytes() if (folder / name).exists() else None
            (folder / name).write_bytes(content)
            try:
                read()
            finally:
                (folder / name).unlink() if before is None else (folder / name).write_bytes(before)

        return run

    def file(read, name="hostile.json"):
        return in_place(name, lambda: read(folder / name))

    def meta(content):
        step = place.scratch / "meta" / newest.name
        (step / "meta").mkdir(parents=True, exist_ok=True)
        (step / "meta" / "metadata").write_bytes(content)
        checkpoint.load_meta(step)["format"]

    readers = {
        "OpenPose frame": file(lambda _: openpose.read_clip(folder, 25), "c_000_keypoints.json"),
        "statistics": file(lambda path: load_statistics(path, HOLISTIC_178)),
        "split file": file(splits._read_split_file),
        "skeleton": file(skeletons.find),
        "manifest": file(lambda _: manifests.check(folder), manifests.MANIFEST),
        "args.json of sign-vq": file(sign_vq._read_arguments),
        "dataset's skeleton": in_place(
            "skeleton.json", lambda: input_pipeline.open_dataset(folder)
        ),
        "dataset's statistics": in_place(
            "pose_normalization.json", lambda: input_pipeline.open_dataset(folder)
        ),
        "meta of a checkpoint": meta,
    }
    pairs = list(itertools.product(readers, JSONS))
    for reader, what in itertools.islice(itertools.cycle(pairs), cases):

        def check(reader=reader, what=what):
            readers[reader](JSONS[what])
            return RIGHT

        yield f"{reader}: {what}", check


def yamls(place: Place, cases: int, rng) -> Iterator[Case]:
    """Configs of the Pose Tokenizer in YAML that call Python, or unfold without end."""
    from configs.stgcn_rvq import get_config
    from jaxvq.importers import pose_tokenizer_yaml

    marker, path = place.scratch / "ran", place.scratch / "hostile.yaml"
    laughs = "\n".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}" for i in range(1, 40))
    lists = "\n".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))
    texts = {
        "system": f"!!python/object/apply:os.system ['touch {marker}']",
        "in a value": f"batch_size: !!python/object/apply:os.system ['touch {marker}']",
        "module": "a: !!python/module:antigravity",
        "name": "a: !!python/name:os.system",
        "object": "a: !!python/object:pathlib.Path {}",
        "object/new": f"a: !!python/object/new:os.system ['touch {marker}']",
        "tuple": "a: !!python/tuple [1, 2]",
        "unfolding dicts": "a0: &a0 {x: 1}\n" + laughs,
        "unfolding lists": "a0: &a0 [1]\n" + lists,
        "unfolding value": "a0: &a0 [1]\n" + lists + "\nbatch_size: *a39",
        "nested": "[" * 50_000,
        "nested dicts": "{a: " * 50_000,
        "itself": "a: &a [*a]\nbatch_size: *a",
        "itself as a dict": "model: &a {b: *a}",
        "tab": "\tbatch_size: 4",
        "not utf-8": None,
        "empty": "",
        "list": "- 1\n- 2",
        "numbers as keys": "1: 2\n3: {4: 5}",
        "null keys": "null: 1\n~: {null: 2}",
        "wrong types": "batch_size: [1, 2]\nlearning_rate: {a: 1}\nnum_epochs: yes",
        "huge": "batch_size: 1" + "0" * 5000,
        "date": "batch_size: 2020-01-01",
        "several": "batch_size: 4\n---\nbatch_size: 5",
        "nan": "learning_rate: .nan\nbatch_size: .inf",
    }
    for what in itertools.islice(itertools.cycle(texts), cases):

        def check(what=what):
            text = texts[what]
            path.write_bytes(b"\xff\xfe\x00" if text is None else text.encode())
            try:
                pose_tokenizer_yaml.read(str(path), get_config())
            finally:
                if marker.exists():
                    marker.unlink()
                    raise Executed
            return RIGHT

        yield what, check


# ------------------------------------------------------------------------------------- archives


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
    from tools import codes_to_poses

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

    from jaxvq import input_pipeline
    from jaxvq.evaluators import animation, page
    from jaxvq.pose.skeleton import HOLISTIC_178
    from jaxvq.pose.statistics import Statistics
    from jaxvq.publishing import page as dataset_page

    shape = (HOLISTIC_178.num_points, HOLISTIC_178.num_dims)
    statistics = Statistics(np.zeros(shape), np.ones(shape))
    picture = place.scratch / f"sequence_{MARKUP.replace('/', '')[:100]}.png"
    picture.write_bytes(b"png")
    picture.with_name(picture.name.replace("sequence_", "animation_")[:-4] + ".html").touch()
    pose = _first(place).replace()
    path, data = place.scratch / "page.html", input_pipeline.open_dataset(place.data_dir)

    def evaluation(name):
        page.write_page(
            path, title=name, metrics={name: 1.0}, videos=[picture], captions=[name],
            pictures=[picture], codebooks=[name],
        )  # fmt: skip

    def animated(name):
        animation.write_animation(path, pose, pose, name)

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

    pages = {"evaluation": evaluation, "animation": animated, "dataset": dataset}
    for what in itertools.islice(itertools.cycle(pages), cases):

        def check(what=what):
            found = []
            for name in ("plain", MARKUP):
                pages[what](name)
                found.append(_Tags(path.read_text(encoding="utf-8")).found)
            return RIGHT if found[0] == found[1] else EXECUTED

        yield what, check
