"""Publishing datasets: others read them without this code, and corpora state their terms."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

from jaxvq import input_pipeline
from jaxvq.datasets import layout
from jaxvq.storage import manifests
from tools import publish_dataset, publish_model
from tools.publishing import cards, dataset, page

CORPORA = sorted(p.parent.name for p in REPOSITORY.glob("jaxvq/datasets/*/*_dataset_builder.py"))
# Reads published datasets where jaxvq cannot be imported, and takes the sums as the card says.
FOREIGN = """
import hashlib, json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "jaxvq":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
import numpy as np
import tensorflow_datasets as tfds
results = []
for folder in sys.argv[1:]:
  builder = tfds.builder_from_directory(folder)
  sums = {}
  for split in builder.info.splits:
      digest = hashlib.sha256()
      for record in builder.as_data_source(split):
          for name, value in sorted(record.items()):
              if isinstance(value, bytes):
                  digest.update(f"{name} text {len(value)}\\n".encode() + value)
              else:
                  value = np.asarray(value, builder.info.features[name].np_dtype)
                  digest.update(f"{name} {value.dtype} {value.shape}\\n".encode() + value.tobytes())
      sums[split] = [len(builder.as_data_source(split)), digest.hexdigest()]
  results.append([sums, builder.info.redistribution_info.license])
assert "tensorflow" not in sys.modules
print(json.dumps(results))
"""


def words(data_dir, terms, output, *more) -> list[str]:
    given = {"data_dir": data_dir, "corpus": "sign_poses", "license": terms, "output": output}
    return [*(f"--{name}={value}" for name, value in given.items()), *more]


def read_elsewhere(*folders) -> list:
    """Of each folder: sums by split, and the licence, as a process without our code finds them."""
    words = [sys.executable, "-c", FOREIGN, *map(str, folders)]
    result = subprocess.run(words, cwd=folders[0].parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


def content(folder) -> dict:
    """The same as its manifest has it."""
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    return {name: [s["records"], s["sha256"]] for name, s in manifest["content"].items()}


def test_others_read_it_without_our_code(published_poses, data_dir):
    assert read_elsewhere(published_poses) == [
        [content(published_poses), "Terms of the Test Corpus"]
    ]
    before, after = (
        input_pipeline.open_dataset(data_dir),
        input_pipeline.open_dataset(published_poses),
    )
    assert before.fingerprint == after.fingerprint


def build_others(root) -> list[str]:
    """Tiny instances of the corpora that are no `.pose` files, below root/data; their names."""
    import motion_files
    from hands import synthetic_hands
    from signformer_corpus import write_how2sign, write_lsfb
    from test_sentence_datasets import write_samples

    from jaxvq import pretrained
    from jaxvq.datasets import building
    from jaxvq.hands import npz
    from tests import npz_clips
    from tools.hands import draws

    sizes = {"train": 2, "val": 1, "test": 1}
    inputs = {
        "how2sign_openpose": write_how2sign(root / "how2sign", sizes),
        "lsfb_cont": write_lsfb(root / "lsfb", sizes),
    }
    inputs["pami0"] = root / "x.pami0"
    write_samples(root / "x.pami0.train.part0", ("one", np.ones((2, 1024))))
    inputs["pose_npz"] = root / "npz"
    inputs["pose_npz"].mkdir()
    (root / "npz/a.npz").write_bytes(npz_clips.npz(poses=npz_clips.poses()))
    inputs["bvh"] = root / "bvh"
    inputs["bvh"].mkdir()
    (root / "bvh/walk.bvh").write_text(motion_files.walk())
    inputs["hand_prior"] = root / "hands"
    hands = synthetic_hands(np.random.default_rng(0), 300)
    npz.write_npz(root / "hands/GRAB.npz", {npz.LEFT: hands[:, :45], npz.RIGHT: hands[:, 45:]})
    drawn = draws.Recipe(
        {"high": ["GRAB"], "medium": [], "low": []},
        {"high": 200, "medium": 0, "low": 0},
        {"train": 0.8, "val": 0.1, "test": 0.1},
    )
    draws.save(draws.plan(npz.count_frames(root / "hands"), drawn), root / "splits")
    inputs["tokens"] = pretrained.CLIPS
    for corpus, source in inputs.items():
        more = {"splits_dir": str(root / "splits")} if corpus == "hand_prior" else {}
        more |= {"tokenizer": "signs-live"} if corpus == "tokens" else {}
        building.build(corpus, root / "data", building.Options(str(source), workers=1, **more))
    return list(inputs)


def test_a_tiny_instance_of_every_other_corpus(terms, tmp_path):
    corpora = build_others(tmp_path)
    assert {*corpora, "sign_poses"} == set(CORPORA)
    outputs = []
    for corpus in corpora:
        outputs.append(tmp_path / "published" / corpus)
        publish_dataset.main(
            [
                "--data_dir",
                str(tmp_path / "data"),
                "--corpus",
                corpus,
                "--license",
                str(terms),
                "--output",
                str(outputs[-1]),
            ]
        )
        card = (outputs[-1] / "README.md").read_text()
        assert "### Licence and access" in card  # of the original data
        drawn = "data:image/gif" in (outputs[-1] / "index.html").read_text()
        assert drawn == (corpus not in ("pami0", "hand_prior", "tokens"))
    found = read_elsewhere(*outputs)
    assert found == [[content(folder), "Terms of the Test Corpus"] for folder in outputs]


def test_what_only_our_code_reads_is_not_published(corpus, terms, tmp_path):
    from tools import build_dataset

    source = ["--corpus", "sign_poses", "--input", str(corpus / "sub"), "--workers", "1"]
    build_dataset.main([*source, "--data_dir", str(tmp_path / "data"), "--compact"])
    with pytest.raises(ValueError, match="built with --compact, which TFDS alone cannot read"):
        publish_dataset.main(words(tmp_path / "data", terms, tmp_path / "out"))


def test_the_card_and_the_page_of_a_dataset(published_poses, data_dir):
    card, info = (published_poses / "README.md").read_text(), input_pipeline.open_dataset(data_dir)
    assert card.startswith("---\n") and "For tests only." in card
    assert f"| train | {len(info.lengths['train'])} | {info.lengths['train'].sum():,} |" in card
    assert "- 1 malformed" in card  # the clip with the broken end
    assert "moryossef2021poseformat" in card
    counters = json.loads((published_poses / "counters.json").read_text())
    assert counters["skipped"] == {"malformed": 1} and "recipe" not in counters
    html = (published_poses / "index.html").read_text()
    assert html.count("data:image/gif") == 10 and html.count("data:image/png") == 1
    assert "frames without left hand" in html and "<svg" in html
    for name in manifests.check(published_poses)["files"]:
        assert str(data_dir).encode() not in (published_poses / name).read_bytes()


def test_the_table_of_clips_says_what_the_records_say(published_poses, data_dir):
    import csv

    source = input_pipeline.open_dataset(data_dir)
    with open(published_poses / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(map(len, source.lengths.values()))
    hand = source.skeleton.parts["left_hand"]
    for row in rows[::7]:
        record = source.source(row["split"])[int(row["number"])]
        assert row["id"] == record["id"] and int(row["frames"]) == len(record["data"])
        lost = record["mask"][:, hand].all(1).mean()
        assert float(row["no_left_hand"]) == pytest.approx(lost, abs=1e-4)


def test_croissant_is_valid_and_loads_the_table(published_poses):
    mlcroissant = pytest.importorskip("mlcroissant")
    described = mlcroissant.Dataset(jsonld=str(published_poses / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    records = list(described.records("clips"))
    assert len(records) == 29 and records[0]["clips/frames"] > 0
    sums = {
        d["name"]: d["sha256"]
        for d in json.loads((published_poses / "croissant.json").read_text())["distribution"]
    }
    files = json.loads((published_poses / "MANIFEST.json").read_text())["files"]
    assert {name: files[name]["sha256"] for name in sums} == sums


def test_a_broken_croissant_is_refused(published_poses, tmp_path):
    pytest.importorskip("mlcroissant")
    from tools.publishing import croissant

    content = json.loads((published_poses / "croissant.json").read_text())
    content["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "nowhere.csv"
    (tmp_path / "croissant.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="croissant.json is not valid.*nowhere.csv"):
        croissant.validate(tmp_path / "croissant.json")


def test_no_licence_and_folders_in_the_way(data_dir, terms, published_poses, tmp_path):
    with pytest.raises(ValueError, match="no licence: give --license FILE"):
        publish_dataset.main(
            ["--data_dir", str(data_dir), "--corpus", "sign_poses", "--output", str(tmp_path / "a")]
        )
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(ValueError, match="holds no text"):
        publish_dataset.main(words(data_dir, tmp_path / "empty", tmp_path / "a"))
    with pytest.raises(ValueError, match="no text that can be read"):
        publish_dataset.main(words(data_dir, tmp_path / "absent", tmp_path / "a"))
    with pytest.raises(ValueError, match="holds version 1.0.0 of sign_poses/holistic_178 already"):
        publish_dataset.main(words(data_dir, terms, published_poses))
    with pytest.raises(ValueError, match="exists already"):
        publish_dataset.main(words(data_dir, terms, terms.parent))
    with pytest.raises(ValueError, match="--corpus lsfb_cont: .* holds sign_poses/holistic_178"):
        publish_dataset.main([*words(data_dir, terms, tmp_path / "a"), "--corpus", "lsfb_cont"])
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_dataset_that_is_not_what_was_built(data_dir, terms, published_poses, tmp_path):
    built = input_pipeline.open_dataset(data_dir)
    changed = shutil.copytree(built.path, tmp_path / "sign_poses/holistic_178/1.0.0")
    with np.load(changed / "lengths.npz") as stored:
        lengths = dict(stored)
    lengths["train"][3] += 1
    np.savez(changed / "lengths.npz", **lengths)
    layout.write(changed, built.layout)  # with the checksum of the other lengths
    with pytest.raises(ValueError, match="record 3 of train changed since the build"):
        publish_dataset.main(words(tmp_path, terms, tmp_path / "out"))
    shard = next(changed.glob("*-train.*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="changed since .* was published from it .*-train."):
        dataset.check_same(input_pipeline.open_dataset(tmp_path), published_poses)
    shard.unlink()
    with pytest.raises(ValueError, match="train.* is missing; build the dataset again"):
        publish_dataset.main(words(tmp_path, terms, tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))


def test_dry_run_checks_all_and_writes_nothing(data_dir, run_dir, terms, tmp_path, capsys):
    publish_dataset.main(words(data_dir, terms, tmp_path / "a", "--dry_run"))
    publish_model.main(
        [
            "--checkpoint",
            str(run_dir),
            "--license",
            str(terms),
            "--output",
            str(tmp_path / "b"),
            "--dry_run",
        ]
    )
    assert capsys.readouterr().out.count("nothing written; all is there to publish") == 2
    assert not list(tmp_path.iterdir())


def test_pictures_of_other_skeletons(published_poses, data_dir):
    assert page.histogram([]) == "<p>No clips.</p>"
    assert page.histogram([5]).count("<rect") == 1
    assert page.histogram([3, 4, 4, 9]).count("<rect") == 3
    rows = {"train": dataset.Split(rows=[("train", i) for i in range(25)])}
    assert [number for _, number in page.choose(rows)] == [0, 2, 5, 8, 10, 13, 16, 18, 21, 24]


def test_sums_tell_values_types_and_names_apart():
    value = np.arange(3, dtype=np.float32)
    others = {
        dataset.canonical(name, array, dtype)
        for name, array, dtype in [("a", value, "f4"), ("b", value, "f4"), ("a", value, "f8"),
                                   ("a", value[None], "f4"), ("a", "x", "O"), ("a", b"y", "O")]
    }  # fmt: skip
    assert len(others) == 6
    same = dataset.canonical("a", value.astype(">f4"), "f4")
    assert same == dataset.canonical("a", value, "f4") == b"a float32 (3,)\n" + value.tobytes()


def test_a_long_licence_is_quoted_in_part():
    text = "# Terms\n" + "word " * 2000
    assert cards.title(text) == "Terms"
    assert len(cards.quote(text)) < 5000 and "…" in cards.quote(text)


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_corpus_folder_has_what_tfds_asks_for(corpus):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_metadata

    from jaxvq.datasets import building

    place = REPOSITORY / "jaxvq/datasets" / corpus
    metadata = dataset_metadata.load(place)  # checks the tags against TFDS' list
    assert len(metadata.description) > 100 and metadata.citation.count("@") >= 1
    assert metadata.tags
    terms = (place / "TERMS.md").read_text()
    assert terms.startswith("# Licence and access") and len(terms) > 150
    builder = building.find_builder(corpus)
    assert str(builder.VERSION) in builder.RELEASE_NOTES
    assert isinstance(builder.VERSION, tfds.core.Version)
    names = [config.name for config in builder.BUILDER_CONFIGS]
    assert names and len(set(names)) == len(names) and all(names)
