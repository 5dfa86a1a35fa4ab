"""Publishing: folders that others use without this code, a hub, and all that must not go out."""

import json
import subprocess
import sys
from pathlib import Path

import hub_server
import jax
import numpy as np
import pytest
from conftest import REPOSITORY

from jaxvq import inference, input_pipeline
from jaxvq.datasets import layout
from jaxvq.pose.reader import read_pose
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


@pytest.fixture(scope="module")
def terms(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("terms") / "LICENSE"
    path.write_text("# Terms of the Test Corpus\n\nFor tests only.\n")
    return path


@pytest.fixture(scope="module")
def model(run_dir, terms, tmp_path_factory) -> Path:
    """A published model."""
    output = tmp_path_factory.mktemp("published") / "model"
    words = ["--checkpoint", str(run_dir), "--license", str(terms), "--output", str(output)]
    publish_model.main(words)
    return output


@pytest.fixture(scope="module")
def poses(data_dir, terms, tmp_path_factory) -> Path:
    """A published dataset."""
    output = tmp_path_factory.mktemp("published") / "poses"
    publish_dataset.main(words(data_dir, terms, output))
    return output


def words(data_dir, terms, output, *more) -> list[str]:
    return [
        "--data_dir",
        str(data_dir),
        "--corpus",
        "sign_poses",
        "--license",
        str(terms),
        "--output",
        str(output),
        *more,
    ]


def copy(source: Path, target: Path) -> Path:
    import shutil

    return Path(shutil.copytree(source, target))


# ----------------------------------------------------------------------------------- models


def test_a_published_model_is_the_model(model, run_dir, corpus):
    pose = read_pose(sorted(corpus.glob("*.pose"))[2])
    ours, theirs = inference.load(run_dir), inference.load(model)
    np.testing.assert_array_equal(ours.encode(pose).indices, theirs.encode(pose).indices)
    assert theirs.model.step == 12 and theirs.model.config.data.dir == ""


def test_a_model_brings_what_it_needs_and_nothing_of_its_machine(model, run_dir):
    manifest = manifests.check(model, "model")
    files = set(manifest["files"])
    assert {
        "README.md",
        "LICENSE.txt",
        "config.json",
        "header.poseheader",
        "metrics.json",
        "pose_normalization.json",
        "skeleton.json",
    } <= files
    assert not [name for name in files if "/train/" in name]  # nothing of the optimizer
    stated = manifest["tokens"]
    assert (stated["offsets"], stated["codebook_sizes"], stated["size"]) == ([5], [1000], 1005)
    for name in files:
        content = (model / name).read_bytes()
        assert str(run_dir).encode() not in content and str(model.parent).encode() not in content
        assert not content.startswith(b"\x80")  # how pickles begin
    card = (model / "README.md").read_text()
    validation = inference.checkpoint.json.loads((model / "metrics.json").read_text())
    assert validation["split"] == "validation" and validation["step"] == 12
    assert f"| {validation['mpjpe']:.4g} |" in card and "For tests only." in card
    assert "1000" in card  # the size of the codebook
    assert "| mpjpe | mean distance of a point, in shoulder widths |" in card
    assert "| loss | the sum of terms that training lowers; " in card
    assert "|  |" not in card  # no measure without a meaning


def test_a_model_runs_without_our_code(model, run_dir, corpus):
    from jax import export

    tokenizer = inference.load(run_dir)
    pose = inference.preprocess.preprocess(read_pose(sorted(corpus.glob("*.pose"))[2]))[0]
    program = export.deserialize(bytearray((model / "model.stablehlo").read_bytes()))
    frames = slice(0, 40)
    points = np.where(pose.mask[frames, :, None], np.float32(np.nan), pose.data[frames])
    indices = program.call(poses=points[None], mask=np.ones((1, 40), bool))["indices"]
    data = tokenizer.model.statistics.standardize(pose.data[frames], pose.mask[frames])
    clip = pose.replace(data=data, confidence=pose.confidence[frames])
    np.testing.assert_array_equal(indices[:, 0].T, tokenizer.encode_clips([clip])[0][:, 0])
    assert "checkpoint" not in json.loads((model / "_metadata.json").read_text())


def test_metrics_of_the_evaluation(run_dir, terms, tmp_path):
    metrics = tmp_path / "metrics.json"
    metrics.write_text(
        json.dumps(
            {
                "checkpoint": "/here",
                "data_dir": "/there",
                "step": 12,
                "split": "test",
                "mpjpe/hands": 0.25,
            }
        )
    )
    publish = ["--checkpoint", str(run_dir), "--license", str(terms), "--metrics", str(metrics)]
    publish_model.main([*publish, "--output", str(tmp_path / "out")])
    card = (tmp_path / "out/README.md").read_text()
    assert "| mpjpe/hands | hands, relative to their wrist, in shoulder widths | 0.25 |" in card
    assert "/there" not in (tmp_path / "out/metrics.json").read_text()
    metrics.write_text(json.dumps({"step": 6, "split": "test"}))
    with pytest.raises(ValueError, match="measured step 6, but the model is that of step 12"):
        publish_model.main([*publish, "--output", str(tmp_path / "other")])
    metrics.write_text("[]")
    with pytest.raises(ValueError, match="no metrics.json of jaxvq evaluate"):
        publish_model.main([*publish, "--output", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["config.json", "checkpoints/12/model/_METADATA"])
def test_missing_and_altered_files_are_named(model, tmp_path, name):
    broken = copy(model, tmp_path / "broken")
    content = bytearray((broken / name).read_bytes())
    content[len(content) // 2] ^= 1
    (broken / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} was altered since it was published"):
        inference.load(broken)
    (broken / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        inference.load(broken)


def test_altered_sums_are_refused(model, poses, tmp_path):
    broken = copy(model, tmp_path / "broken")
    manifest = json.loads((broken / "MANIFEST.json").read_text())
    manifest["files"]["config.json"]["sha256"] = "0" * 64
    (broken / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="MANIFEST.json was altered"):
        inference.load(broken)
    (broken / "MANIFEST.json").write_text("{}")
    with pytest.raises(ValueError, match="MANIFEST.json cannot be read"):
        inference.load(broken)
    (broken / "MANIFEST.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ValueError, match="newer jaxvq"):
        inference.load(broken)
    with pytest.raises(ValueError, match="is a published dataset, not a model"):
        inference.load(poses)


def test_a_run_without_measurement_is_refused(run_dir, terms, tmp_path):
    run = copy(run_dir, tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="no measurement of step 12; run jaxvq evaluate"):
        publish_model.main(
            ["--checkpoint", str(run), "--license", str(terms), "--output", str(tmp_path / "out")]
        )
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.incomplete").exists()


# --------------------------------------------------------------------------------- datasets


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


def test_others_read_it_without_our_code(poses, data_dir):
    assert read_elsewhere(poses) == [[content(poses), "Terms of the Test Corpus"]]
    before, after = input_pipeline.open_dataset(data_dir), input_pipeline.open_dataset(poses)
    assert before.fingerprint == after.fingerprint


def build_others(root) -> list[str]:
    """Tiny instances of the corpora that are no `.pose` files, below root/data; their names."""
    import motion_files
    import test_pose_npz
    from hands import synthetic_hands
    from signformer_corpus import write_how2sign, write_lsfb
    from test_sentence_datasets import write_samples

    from jaxvq.datasets import building
    from jaxvq.hands import npz
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
    (root / "npz/a.npz").write_bytes(test_pose_npz.npz(poses=test_pose_npz.poses()))
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
    for corpus, source in inputs.items():
        more = {"splits_dir": str(root / "splits")} if corpus == "hand_prior" else {}
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
        assert drawn == (corpus not in ("pami0", "hand_prior"))
    found = read_elsewhere(*outputs)
    assert found == [[content(folder), "Terms of the Test Corpus"] for folder in outputs]


def test_what_only_our_code_reads_is_not_published(corpus, terms, tmp_path):
    from tools import build_dataset

    source = ["--corpus", "sign_poses", "--input", str(corpus / "sub"), "--workers", "1"]
    build_dataset.main([*source, "--data_dir", str(tmp_path / "data"), "--compact"])
    with pytest.raises(ValueError, match="built with --compact, which TFDS alone cannot read"):
        publish_dataset.main(words(tmp_path / "data", terms, tmp_path / "out"))


def test_the_card_and_the_page_of_a_dataset(poses, data_dir):
    card, info = (poses / "README.md").read_text(), input_pipeline.open_dataset(data_dir)
    assert card.startswith("---\n") and "For tests only." in card
    assert f"| train | {len(info.lengths['train'])} | {info.lengths['train'].sum():,} |" in card
    assert "- 1 malformed" in card  # the clip with the broken end
    assert "moryossef2021poseformat" in card
    counters = json.loads((poses / "counters.json").read_text())
    assert counters["skipped"] == {"malformed": 1} and "recipe" not in counters
    html = (poses / "index.html").read_text()
    assert html.count("data:image/gif") == 10 and html.count("data:image/png") == 1
    assert "frames without left hand" in html and "<svg" in html
    for name in manifests.check(poses)["files"]:
        assert str(data_dir).encode() not in (poses / name).read_bytes()


def test_the_table_of_clips_says_what_the_records_say(poses, data_dir):
    import csv

    source = input_pipeline.open_dataset(data_dir)
    with open(poses / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(map(len, source.lengths.values()))
    hand = source.skeleton.parts["left_hand"]
    for row in rows[::7]:
        record = source.source(row["split"])[int(row["number"])]
        assert row["id"] == record["id"] and int(row["frames"]) == len(record["data"])
        lost = record["mask"][:, hand].all(1).mean()
        assert float(row["no_left_hand"]) == pytest.approx(lost, abs=1e-4)


def test_croissant_is_valid_and_loads_the_table(poses):
    mlcroissant = pytest.importorskip("mlcroissant")
    described = mlcroissant.Dataset(jsonld=str(poses / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    records = list(described.records("clips"))
    assert len(records) == 29 and records[0]["clips/frames"] > 0
    sums = {
        d["name"]: d["sha256"]
        for d in json.loads((poses / "croissant.json").read_text())["distribution"]
    }
    files = json.loads((poses / "MANIFEST.json").read_text())["files"]
    assert {name: files[name]["sha256"] for name in sums} == sums


def test_a_broken_croissant_is_refused(poses, tmp_path):
    pytest.importorskip("mlcroissant")
    from tools.publishing import croissant

    content = json.loads((poses / "croissant.json").read_text())
    content["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "nowhere.csv"
    (tmp_path / "croissant.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="croissant.json is not valid.*nowhere.csv"):
        croissant.validate(tmp_path / "croissant.json")


def test_no_licence_and_folders_in_the_way(data_dir, terms, poses, tmp_path):
    with pytest.raises(ValueError, match="no licence: give --license FILE"):
        publish_dataset.main(
            words(data_dir, terms, tmp_path / "a")[:4] + ["--output", str(tmp_path / "a")]
        )
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(ValueError, match="holds no text"):
        publish_dataset.main(words(data_dir, tmp_path / "empty", tmp_path / "a"))
    with pytest.raises(ValueError, match="no text that can be read"):
        publish_dataset.main(words(data_dir, tmp_path / "absent", tmp_path / "a"))
    with pytest.raises(ValueError, match="holds version 1.0.0 of sign_poses/holistic_178 already"):
        publish_dataset.main(words(data_dir, terms, poses))
    with pytest.raises(ValueError, match="exists already"):
        publish_dataset.main(words(data_dir, terms, terms.parent))
    with pytest.raises(ValueError, match="--corpus lsfb_cont: .* holds sign_poses/holistic_178"):
        publish_dataset.main([*words(data_dir, terms, tmp_path / "a"), "--corpus", "lsfb_cont"])
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_dataset_that_is_not_what_was_built(data_dir, terms, poses, tmp_path):
    built = input_pipeline.open_dataset(data_dir)
    changed = copy(built.path, tmp_path / "sign_poses/holistic_178/1.0.0")
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
        dataset.check_same(input_pipeline.open_dataset(tmp_path), poses)
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


def test_pictures_of_other_skeletons(poses, data_dir):
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


# -------------------------------------------------------------------------------------- a hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A local stand-in, which the real client talks to."""
    pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    with hub_server.serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_a_model_by_way_of_a_hub(hub, model, run_dir, terms, corpus, capsys):
    publish = [
        "--checkpoint",
        str(run_dir),
        "--license",
        str(terms),
        "--output",
        str(model),
        "--hub",
        "someone/tokens",
    ]
    publish_model.main([*publish, "--dry_run"])
    assert not hub.repos and "nothing sent" in capsys.readouterr().out
    publish_model.main(publish)
    assert "uploaded: " in capsys.readouterr().out
    files = hub.repos["someone/tokens"]["files"]
    assert set(files) == {*manifests.check(model)["files"], "MANIFEST.json"}
    assert list(hub.repos["someone/tokens"]["tags"]) == ["1.0.0"]
    ours, theirs = inference.load(model), inference.load("hf://someone/tokens@1.0.0")
    for a, b in zip(
        jax.tree.leaves(ours.model.params), jax.tree.leaves(theirs.model.params), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="has version 1.0.0 already; raise the version"):
        publish_model.main(publish)
    with pytest.raises(ValueError, match="has no version 2.0.0"):
        inference.load("hf://someone/tokens@2.0.0")
    with pytest.raises(ValueError, match="no such model"):
        inference.load("hf://someone/nothing")
    files["config.json"] = files["config.json"].replace(b"64", b"65")
    hub.repos["someone/tokens"]["commits"].append("f" * 40)
    with pytest.raises(ValueError, match="config.json was altered since it was published"):
        inference.load("hf://someone/tokens")


def test_an_upload_that_broke_off_shows_nothing_and_continues(hub, poses, data_dir, terms):
    publish = words(data_dir, terms, poses, "--hub", "someone/clips")
    hub.refuse_commits = True
    with pytest.raises(ValueError, match="broke off .*the same command continues it") as error:
        publish_dataset.main(publish)
    assert "\n" not in str(error.value)
    assert hub.repos["someone/clips"] == {"files": {}, "tags": {}, "commits": []}
    sent = hub.uploads
    assert sent > 0
    hub.refuse_commits = False
    publish_dataset.main(publish)
    assert hub.uploads == sent  # what was there was not sent again
    assert list(hub.repos["someone/clips"]["tags"]) == ["1.0.0"]
    place = manifests.local("hf://someone/clips", "dataset")
    assert len(input_pipeline.open_dataset(place).source("train")) > 0
    assert not list(poses.glob(".cache*"))


def test_an_altered_folder_is_not_uploaded(hub, model, run_dir, terms, tmp_path):
    broken = copy(model, tmp_path / "broken")
    (broken / "README.md").write_text("better than all others")
    publish = ["--checkpoint", str(run_dir), "--license", str(terms), "--hub", "someone/tokens"]
    with pytest.raises(ValueError, match="README.md was altered"):
        publish_model.main([*publish, "--output", str(broken)])
    with pytest.raises(ValueError, match="is version 1.0.0, not 1.0.1"):
        publish_model.main([*publish, "--output", str(model), "--version", "1.0.1"])
    run = copy(run_dir, tmp_path / "run")
    import shutil

    shutil.rmtree(run / "checkpoints/12")  # now its newest step is another one
    with pytest.raises(ValueError, match="step 6. changed since .*step 12. was published"):
        publish_model.main(["--checkpoint", str(run), *publish[2:], "--output", str(model)])
    assert not hub.repos


def test_names_credentials_and_hubs_that_do_not_answer(hub, model, run_dir, terms, monkeypatch):
    publish = ["--checkpoint", str(run_dir), "--license", str(terms), "--output", str(model)]
    for name in ("tokens", "a/b/c", "some one/x", "../x", "a/..", "/x"):
        with pytest.raises(ValueError, match="is no name on a hub: expected USER/NAME"):
            publish_model.main([*publish, "--hub", name])
        with pytest.raises(ValueError, match="is no name on a hub"):
            inference.load(f"hf://{name}")
    with pytest.raises(ValueError, match="version '1': expected three numbers"):
        publish_model.main([*publish, "--version", "1"])
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="the hub does not answer") as error:
        publish_model.main([*publish, "--hub", "someone/x"])
    assert "\n" not in str(error.value)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ValueError, match="no credentials for the hub"):
        publish_model.main([*publish, "--hub", "someone/x"])


def test_without_the_client_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="pip install 'jaxvq.hub.'"):
        inference.load("hf://someone/x")


# ---------------------------------------------------------------------------- corpus folders


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
