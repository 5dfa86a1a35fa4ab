"""NPZ files of hands that are damaged, incomplete, hostile, or missing."""

import json
import pickle
import zipfile

import numpy as np
import pytest

from jaxvq.hands import SPLITS, npz, pickles
from jaxvq.hands.data_modules import (
    ConsolidatedHandDataModule,
    HandPriorDataModule,
    HandVAEDataModule,
)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


GOOD = np.zeros((4, 45), np.float32)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"poses": GOOD}, "has no lhand_pose; it holds poses"),
        ({"lhand_pose": GOOD, "rhand_pose": GOOD[:3]}, "lhand_pose has 4 frames, rhand_pose 3"),
        (
            {"lhand_pose": GOOD[:, :24], "rhand_pose": GOOD},
            r"shape \(4, 24\), expected \(frames, 45",
        ),
        ({"lhand_pose": GOOD.astype(object), "rhand_pose": GOOD}, "is object, expected float32"),
        ({"lhand_pose": GOOD.astype(int), "rhand_pose": GOOD}, "is int64, expected float32"),
        (
            {"lhand_pose": np.asfortranarray(np.ones((4, 45))), "rhand_pose": GOOD},
            "column by column",
        ),
    ],
)
def test_files_without_usable_hands(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message) as error:
        npz.hand_members(save(tmp_path / "a.npz", **arrays))
    assert "a.npz" in str(error.value) and "\n" not in str(error.value)


def write_generated(path, count, image_ids=None):
    """As the hand prior generator has its data sets."""
    rng = np.random.default_rng(count)
    widths = {
        "global_orient": 3,
        "body_pose": 63,
        "jaw_pose": 3,
        "lhand_pose": 45,
        "rhand_pose": 45,
    }
    arrays = {name: rng.normal(size=(count, width)) for name, width in widths.items()}
    if image_ids is not None:
        arrays["image_ids"] = image_ids
    np.savez(
        path,
        **{
            name: array.astype(np.float32) if name in widths else array
            for name, array in arrays.items()
        },
    )


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def test_image_ids_survive_beside_data_sets_without(tmp_path, caplog):
    """160 frames of text ids, of a pickled array of objects, of numbers, and of none at all."""
    data, splits_dir = tmp_path / "npz", tmp_path / "splits"
    data.mkdir(), splits_dir.mkdir()
    texts = [f"clip_é/{i:04d}.jpg" for i in range(40)]
    ids = {
        "Objects": np.array([*texts[:37], np.str_("scalar"), None, 39], object),
        "Texts": np.array(texts),
        "Bytes": np.array([text.encode() for text in texts]),
        "Numbers": np.arange(40),
        "Evil": np.array([Evil()] * 40, object),
        "Bare": None,
    }
    for name, values in ids.items():
        write_generated(data / f"{name}.npz", 40, values)
    everything = {name: list(range(40)) for name in ids}
    for split in SPLITS:
        (splits_dir / f"{split}_samples.json").write_text(json.dumps(everything))
    (splits_dir / "dataset_metadata.json").write_text("{}")
    expected = {name: texts for name in ("Texts", "Bytes")} | {
        "Objects": [*texts[:37], "scalar", "", "39"],
        "Numbers": [str(number) for number in range(40)],
        "Evil": [""] * 40,
        "Bare": [""] * 40,
    }
    module = HandPriorDataModule(data, splits_dir, batch_size=100)
    module.setup()
    assert "Evil.npz: image_ids is left out: refused: the pickle asks for" in caplog.text
    seen = 0
    for batch in module.train_dataloader():
        origin = zip(batch["dataset_name"], batch["frame_idx"], batch["image_id"], strict=True)
        for name, frame, image_id in origin:
            assert type(image_id) is str and image_id == expected[name][frame]
            seen += bool(image_id)
    assert seen == 4 * 40 - 1


def test_texts_of_a_pickled_array():
    """More than a pickle's usual number of instructions, as the ids of a large data set have."""
    texts = np.array([str(i) for i in range(300)], object)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pickles, "MAX_INSTRUCTIONS", 100)
        assert pickles.load_texts(pickle.dumps(texts, 4), 300) == texts.tolist()
        with pytest.raises(ValueError, match="too large"):
            pickles.load_texts(pickle.dumps(texts, 4), 3)
    with pytest.raises(ValueError, match="300 values, expected 3"):
        pickles.load_texts(pickle.dumps(texts, 4), 3)
    texts[7] = ("a", "b")
    with pytest.raises(ValueError, match="expected an array of texts"):
        pickles.load_texts(pickle.dumps(texts, 4), 300)


def test_no_npz_file_at_all(tmp_path):
    (tmp_path / "a.npz").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="a.npz is not an NPZ file"):
        npz.members(tmp_path / "a.npz")
    whole = save(tmp_path / "b.npz", lhand_pose=np.zeros((900, 45)), rhand_pose=np.zeros((900, 45)))
    member = npz.hand_members(whole)["rhand_pose"]
    data = bytearray(whole.read_bytes())
    data[member.offset + 1000] ^= 255
    whole.write_bytes(data)
    with pytest.raises(ValueError, match="b.npz: rhand_pose is damaged"):
        npz.read_rows(member, np.arange(900))


@pytest.mark.parametrize("name", ["lhand_pose", "image_ids"])
def test_damaged_compressed_arrays_are_one_line(tmp_path, name, caplog):
    path = tmp_path / "a.npz"
    hand = np.random.default_rng(0).normal(size=(900, 45))
    ids = np.array([f"{i * 7919:x}.jpg" for i in range(900)], object)
    np.savez_compressed(path, lhand_pose=hand, rhand_pose=hand, image_ids=ids)
    member = npz.hand_members(path)[name]
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
    data = bytearray(path.read_bytes())
    at = info.header_offset + info.compress_size // 2
    data[at : at + 100] = bytes(100)
    path.write_bytes(data)
    if name == "image_ids":
        assert set(npz.read_texts(member, np.arange(900))) == {""}
        assert "a.npz: image_ids is left out: " in caplog.text
    else:
        with pytest.raises(ValueError, match="a.npz: lhand_pose is damaged"):
            npz.read_rows(member, np.arange(900))


@pytest.fixture
def small(tmp_path):
    """(data_dir, splits_dir) of one data set of four frames, to be broken."""
    (tmp_path / "data").mkdir()
    (tmp_path / "splits").mkdir()
    save(tmp_path / "data" / "CMU.npz", lhand_pose=GOOD, rhand_pose=GOOD)
    for split, frames in {"train": [0, 1], "val": [2], "test": [3]}.items():
        (tmp_path / "splits" / f"{split}_samples.json").write_text(json.dumps({"CMU": frames}))
    return tmp_path / "data", tmp_path / "splits"


def prepare_error(small) -> str:
    module = HandVAEDataModule(*small)
    with pytest.raises(ValueError) as error:
        module.prepare_data()
    assert "\n" not in str(error.value)
    assert not list(small[1].glob("consolidated/*.npz")) or "NaN" in str(error.value)
    return str(error.value)


def test_a_frame_that_does_not_exist(small):
    (small[1] / "train_samples.json").write_text('{"CMU": [0, 4]}')
    assert "CMU.npz: lhand_pose has 4 frames, there is no frame 4" in prepare_error(small)


def test_a_data_set_that_is_listed_and_missing(small):
    (small[1] / "test_samples.json").write_text('{"CMU": [3], "KIT": [0]}')
    assert "KIT.npz is missing: the test split draws frames from it" in prepare_error(small)


def test_nan_in_a_frame_that_was_drawn(small):
    hands = GOOD.copy()
    hands[2, 7] = np.nan
    save(small[0] / "CMU.npz", lhand_pose=GOOD, rhand_pose=hands)
    message = prepare_error(small)
    assert "CMU.npz: rhand_pose has NaN" in message and "frame 2" in message


def test_folders_that_are_missing(small, tmp_path):
    for options, message in [
        ((tmp_path / "no", small[1]), "data set directory not found"),
        ((small[0], tmp_path / "no"), "splits directory not found"),
    ]:
        with pytest.raises(ValueError, match=message):
            HandVAEDataModule(*options).prepare_data()
    with pytest.raises(ValueError, match="no train.npz"):
        ConsolidatedHandDataModule(tmp_path / "no").prepare_data()
    with pytest.raises(ValueError, match="split train is not set up; .*setup"):
        ConsolidatedHandDataModule(tmp_path / "no").train_dataloader()
    module = HandVAEDataModule(*small)
    with pytest.raises(ValueError, match="stage 'predict' .*fit, validate, test"):
        module.setup("predict")
