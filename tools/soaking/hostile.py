"""Files that were made to harm: to run something, to fill the memory, to write elsewhere."""

import gzip
import io
import itertools
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .counting import RIGHT, WRONG, Case, Executed, Place

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
    from jaxvq.pose import openpose, skeletons
    from jaxvq.pose.skeleton import HOLISTIC_178
    from jaxvq.pose.statistics import load_statistics
    from jaxvq.storage import manifests

    from ..sign_vq import conversion

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
        "args.json of sign-vq": file(conversion._read_arguments),
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
    from jaxvq.configs.stgcn_rvq import get_config

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
