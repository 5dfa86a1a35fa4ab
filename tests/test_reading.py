"""JSON and npz from anywhere: one line that names the file, and no more memory than it deserves."""

import io
import json
import shutil
import zipfile

import numpy as np
import pytest

from jaxvq import checkpoint
from jaxvq.datasets import records
from jaxvq.storage import manifests, reading
from jaxvq.training import saved


@pytest.mark.parametrize("content", [b"", b"[" * 99_999, b'{"a": 1', b'"\xff"', b"1" * 5000])
def test_bad_json_is_one_line_that_names_the_file(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} is not JSON: ") as error:
        reading.read_json(path)
    assert "\n" not in str(error.value)


def test_json_comes_in_every_encoding_there_is(tmp_path):
    for encoding in ("utf-8", "utf-16", "utf-32"):
        (tmp_path / "x").write_text('{"ä": [1.5, null]}', encoding=encoding)
        assert reading.read_json(tmp_path / "x") == {"ä": [1.5, None]}
    with pytest.raises(FileNotFoundError):
        reading.read_json(tmp_path / "absent")


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_arrays_come_back(tmp_path):
    content = npz(a=np.arange(6).reshape(2, 3), b=np.array("text"))
    (tmp_path / "x.npz").write_bytes(content)
    for found in (reading.read_npz(content, "x"), reading.read_npz(tmp_path / "x.npz")):
        np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
        assert found.keys() == {"a", "b"} and str(found["b"]) == "text"


def test_what_is_no_npz_of_plain_arrays_is_refused():
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.npy", b"no array")
    good = npz(a=np.arange(100))
    for content in (b"", b"PK", good[:-5], other.getvalue(), npz(a=np.array([{}], object))):
        with pytest.raises(ValueError, match="^clip: not an npz") as error:
            reading.read_npz(content, "clip")
        assert "\n" not in str(error.value)


def test_a_bomb_is_refused_before_it_unfolds():
    content = npz(a=np.zeros(10**6))
    assert len(content) < 10**4
    with pytest.raises(ValueError, match="clip: .*unpacks to 8000128 bytes, the limit is 1000000"):
        reading.read_npz(content, "clip", most=10**6)


def test_a_checkpoint_with_other_numbers_is_refused(run_dir, tmp_path):
    newest = checkpoint.find_checkpoint(run_dir)
    copy = tmp_path / "checkpoints" / newest.name
    shutil.copytree(newest, copy)
    (path,) = (copy / "meta").glob("metadata")
    meta = json.loads(path.read_text())
    assert meta["checksum"] == saved.checksum(
        {"params": checkpoint.load_model(tmp_path).params, "state": {}}
    )
    path.write_text(json.dumps(meta | {"step": 7}))
    with pytest.raises(ValueError, match="damaged checkpoint .it is not what was saved"):
        checkpoint.load_model(tmp_path)
    del meta["seal"]  # as before there were any
    path.write_text(json.dumps(meta | {"checksum": meta["checksum"] ^ 1}))
    with pytest.raises(ValueError, match="damaged checkpoint .its numbers are not those that"):
        checkpoint.load_model(tmp_path)
    del meta["checksum"]
    path.write_text(json.dumps(meta))
    checkpoint.load_model(tmp_path)


def test_a_dataset_with_another_digit_is_refused(data_dir, tmp_path):
    from jaxvq import input_pipeline

    shutil.copytree(records.find_dataset(data_dir), tmp_path / "data")
    path = tmp_path / "data" / "pose_normalization.json"
    text = path.read_text()
    path.write_text(text.replace("1", "2", 1))
    with pytest.raises(ValueError, match="pose_normalization.json was altered since the build"):
        input_pipeline.open_dataset(tmp_path)
    path.write_text(text)
    input_pipeline.open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", ""])
def test_a_manifest_speaks_of_its_own_folder_only(tmp_path, name):
    (tmp_path / "secret").write_text("not of the folder")
    folder = tmp_path / "folder"
    folder.mkdir()
    manifest = manifests.write_manifest(folder, kind="model", name="x", version="1.0.0")
    sha256 = manifests.file_sha256(tmp_path / "secret")
    files = {name: {"bytes": 17, "sha256": sha256}}
    manifest |= {"files": files, "fingerprint": manifests.fingerprint(files)}
    (folder / manifests.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="MANIFEST.json was altered"):
        manifests.check(folder)
