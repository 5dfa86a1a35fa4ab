"""The tables of How2Sign and LSFB-CONT, their sentences, and LSFB's landmarks."""

from pathlib import Path

import numpy as np
import pytest

from jaxvq.datasets.schema import SkippedClip
from jaxvq.datasets.sentence_corpora import CORPORA, list_corpus, read_table, unique_names
from jaxvq.pose import landmarks
from tests.signformer_corpus import (
    JSON,
    person,
    write_frame,
    write_how2sign,
    write_lsfb,
    write_table,
)
from tools import convert_how2sign_csv

HOW2SIGN, LSFB = CORPORA["How2Sign"], CORPORA["LSFB-CONT"]


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_tables_of_every_kind(tmp_path, separator, end, start):
    lines = ["ID,Text", "-_x0,NA", "007,None", "", "_1,nan", "short"]
    text = start + end.join(lines).replace(",", separator) + end
    (tmp_path / "t.csv").write_bytes(text.encode())
    rows = read_table(tmp_path / "t.csv", ("id", "text"))
    assert [tuple(row.values()) for row in rows] == [
        ("-_x0", "NA"), ("007", "None"), ("_1", "nan"), ("short", ""),
    ]  # fmt: skip


def test_quotes(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"a, ""b"" c"\n2,"two\nlines"\n')
    assert [row["text"] for row in read_table(tmp_path / "a.csv", ["id"])] == [
        'a, "b" c', "two\nlines",
    ]  # fmt: skip
    values = ['"Hello" he said', 'a "b"', '"whole"', '"a ""b"" c"', '"', '""', "it's 5\" long"]
    lines = [f"{n}\t{value}" for n, value in enumerate(values)]
    (tmp_path / "b.tsv").write_text("\n".join(["id\ttext", *lines]))
    assert [row["text"] for row in read_table(tmp_path / "b.tsv", ["id"])] == [
        '"Hello" he said', 'a "b"', '"whole"', 'a "b" c', '"', '""', 'it\'s 5" long',
    ]  # fmt: skip


def test_bad_tables(tmp_path):
    path = tmp_path / "t.csv"
    for content, message in (
        (b"", "no column id, split; there are: none"),
        (b"id,text\n1,a\n", "no column split; there are: id, text"),
        (b"id,split\n\xff\xfe,b\n", "not a table of text"),
        (b'id,split\n"' + b"x" * 200_000, "not a table of text"),
        (b'id,split\n1,"train\n2,test\n', "not a table of text: unexpected end of data"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path}: {message}"):
            read_table(path, ("id", "split"))


def test_unique_names():
    assert unique_names(["a", "b", "a", "a"]) == ["a", "b", "a#1", "a#2"]
    assert unique_names(["a", "a", "a#1", "a", "a#1"]) == ["a", "a#2", "a#1", "a#3", "a#1#1"]


def test_how2sign_and_its_alternatives(tmp_path):
    root = write_how2sign(tmp_path, {"train": 2, "val": 1, "test": 0})
    for place in (tmp_path, root):  # the folder of all corpora, or that of this one
        listed = list_corpus(HOW2SIGN, place)
        assert {split: len(ones) for split, ones in listed.items()} == {
            "train": 2, "val": 1, "test": 0,
        }  # fmt: skip
    one = listed["train"][1]
    assert (one.name, one.text, one.signer) == (
        "train_1",
        "train sentence 1, with a comma",
        "train",
    )
    pose, found = one.read()
    assert len(pose.data) == found["frames"] == 4
    with pytest.raises(ValueError, match="no annotations.csv: looked for .*How2Sign"):
        list_corpus(HOW2SIGN, tmp_path / "absent")


def test_several_signers_of_one_sentence(tmp_path):
    folder = tmp_path / "sentence_level/val" / JSON
    for signer in (2, 10, 1):
        write_frame(folder / f"-x_0-{signer}-rgb_front", 0, [person(signer)])
    rows = [
        ("id", "text", "split"),
        ("-x_0", "A", "dev"),
        ("-x_0", "A", "val"),
        ("-x_0", "B", "val"),
    ]
    write_table(tmp_path / "annotations.csv", rows)
    ones = list_corpus(HOW2SIGN, tmp_path)["val"]
    assert [one.name for one in ones] == ["-x_0", "-x_0#1", "-x_0#2"]
    assert [Path(one.folder).name for one in ones] == [
        "-x_0-1-rgb_front", "-x_0-10-rgb_front", "-x_0-1-rgb_front",
    ]  # fmt: skip
    assert ones[0].signer == "-x"
    # No row is left for the third recording: it follows where all are asked for.
    every = list_corpus(HOW2SIGN, tmp_path, all_recordings=True)["val"]
    assert every[:3] == ones and all(one.has_row for one in ones)
    assert (every[3].name, every[3].text, every[3].has_row) == ("-x_0#3", "A", False)
    assert Path(every[3].folder).name == "-x_0-2-rgb_front"
    # With the folder's name there is nothing to guess.
    rows = [("id", "text", "split", "sentence_name", "video_id")]
    rows += [("-x_0", "A", "val", "-x_0-2-rgb_front", "-x"), ("-x_0", "A", "val", "-x_0-3", "-x")]
    write_table(tmp_path / "annotations.csv", rows)
    ones = list_corpus(HOW2SIGN, tmp_path)["val"]
    assert Path(ones[0].folder).name == "-x_0-2-rgb_front"
    with pytest.raises(SkippedClip, match="no folder for '-x_0-3'") as error:
        ones[1].read()
    assert error.value.reason == "no pose"


def test_how2sign_problems(tmp_path):
    folder = tmp_path / "sentence_level/train" / JSON
    (folder / "a_0-1-rgb_front").mkdir(parents=True)
    write_frame(folder / "a_1-1-rgb_front", 0, [])
    (folder / "a_1-1-rgb_front/frame_000000_keypoints.json").write_text("{")
    rows = [
        ("id", "text", "split"),
        *((f"a_{n}", "t", "train") for n in range(3)),
        ("", "t", "train"),
    ]
    write_table(tmp_path / "annotations.csv", rows)
    reasons = []
    for one in list_corpus(HOW2SIGN, tmp_path)["train"]:
        with pytest.raises(SkippedClip) as error:
            one.read()
        reasons.append(error.value.reason)
    assert reasons == ["no frames", "unreadable", "no pose", "no pose"]


def test_augmented_texts_take_the_place_of_train(tmp_path):
    write_how2sign(tmp_path, {"train": 2, "val": 1, "test": 1})
    write_lsfb(tmp_path, {"train": 2, "val": 1, "test": 1})
    more = tmp_path / "more"
    (more / "How2Sign").mkdir(parents=True)
    (more / "How2Sign/train_aug.tsv").write_text(
        "id\ttext\taugmentation_type\ntrain_0\tone\t\ntrain_0\tein\tx\ntrain_1\ttwo\t\ntrain_0\tun\ty\n"
    )
    rows = [("id", "text", "video_id", "start", "end", "split", "augmentation_type")]
    rows += [("train_0", f"t{n}", "CLSFBI0103A_S001_B", 0, 400, "train", n) for n in range(3)]
    write_table(more / "LSFB-CONT/annotations_train_augmented.csv", rows)
    listed = list_corpus(HOW2SIGN, tmp_path, more)
    assert [(one.name, one.text) for one in listed["train"]] == [
        ("train_0", "one"), ("train_0#1", "ein"), ("train_1", "two"), ("train_0#2", "un"),
    ]  # fmt: skip
    assert listed["train"][3].folder == listed["train"][0].folder
    assert len(listed["val"]) == len(listed["test"]) == 1
    listed = list_corpus(LSFB, tmp_path, more / "LSFB-CONT")
    assert [one.name for one in listed["train"]] == ["train_0", "train_0#1", "train_0#2"]
    with pytest.raises(ValueError, match="no train_aug.tsv"):
        list_corpus(HOW2SIGN, tmp_path, tmp_path)


def test_lsfb_segments(tmp_path):
    root = write_lsfb(tmp_path, {"train": 4})
    one = list_corpus(LSFB, root)["train"][2]
    assert one.signer == "CLSFBI0103A_S001_B"
    pose, _ = one.read()
    body = np.load(root / "poses/pose/CLSFBI0103A_S001_B.npy")[10:30]
    hand = np.load(root / "poses/right_hand/CLSFBI0103A_S001_B.npy")[10:30]
    assert pose.data.shape == (20, 75, 3) and pose.fps == 50
    np.testing.assert_array_equal(pose.data[:, :33], body.astype(np.float32))
    np.testing.assert_array_equal(pose.data[10:, 54:], hand[10:].astype(np.float32))
    assert pose.mask[:10, 33:].all() and not pose.data[:10, 33:].any()
    assert not pose.mask[10:].any()


def test_times_become_frames_as_in_the_original():
    assert landmarks.frame_of("251198") == 12559 and landmarks.frame_of("252692") == 12634
    assert landmarks.frame_of("251198.0") == 12559 and landmarks.frame_of("19") == 0
    for bad in ("", "x", "nan", "inf"):
        with pytest.raises(ValueError, match="no time in milliseconds"):
            landmarks.frame_of(bad)


def test_lsfb_problems(tmp_path):
    write_lsfb(tmp_path, {"train": 1})
    poses = tmp_path / "LSFB-CONT/poses"
    video = "CLSFBI0103A_S001_B"
    for name, array in (
        ("flat", np.zeros((9, 33))),
        ("objects", np.array([{}])),
        ("words", np.array(["a"])),
    ):
        for part in landmarks.PARTS:
            np.save(poses / part / f"{name}.npy", array)
    for part in landmarks.PARTS:
        (poses / part / "text.npy").write_text("no array")
        (poses / part / "cut.npy").write_bytes((poses / part / f"{video}.npy").read_bytes()[:500])
    for part in landmarks.PARTS[:2]:
        (poses / part / "half.npy").write_bytes((poses / part / f"{video}.npy").read_bytes())
    cases = [
        (video, "x", "400", "bad row"),
        (video, "400", "400", "no frames"),
        (video, "400", "200", "no frames"),
        (video, "999999", "9999999", "no frames"),
        ("absent", "0", "400", "no pose"),
        ("half", "0", "400", "no pose"),
        *((name, "0", "400", "unreadable") for name in ("flat", "objects", "words", "text", "cut")),
    ]
    rows = [("id", "text", "video_id", "start", "end", "split")]
    rows += [(str(n), "t", *case[:3], "train") for n, case in enumerate(cases)]
    write_table(tmp_path / "LSFB-CONT/annotations.csv", rows)
    for one, case in zip(list_corpus(LSFB, tmp_path)["train"], cases, strict=True):
        with pytest.raises(SkippedClip) as error:
            one.read()
        assert error.value.reason == case[3], case
    # Beyond the ends of the video there is nothing, which shortens the segment.
    assert len(landmarks.read_segment(poses, video, -5, 7).data) == 7
    assert len(landmarks.read_segment(poses, video, 190, 999).data) == 10


def test_real_landmarks(shared):
    poses = shared / "data/samples/lsfb/derived_standin/poses"
    pose = landmarks.read_segment(poses, "CLSFBI9900A_S900_B", 0, 999)
    left = np.load(poses / "left_hand/CLSFBI9900A_S900_B.npy")
    assert len(pose.data) == len(left) == 72
    np.testing.assert_array_equal(pose.mask[:, 33:54], np.isnan(left).any(axis=-1))


def test_official_tables_become_annotations(shared, tmp_path):
    tables = shared / "data/samples/annotations"
    written = []
    for name in ("how2sign_realigned_val.csv", "how2sign_realigned_val.tab.csv"):
        out = tmp_path / name
        convert_how2sign_csv.main(
            ["--input", str(tables / name), "--split", "val", "--output", str(out)]
        )
        written.append(out.read_bytes())
    assert written[0] == written[1]
    rows = read_table(out, ("id", "text", "split", "sentence_name", "video_id"))
    assert len(rows) == 1741 and {row["split"] for row in rows} == {"val"}
    assert len({row["sentence_name"] for row in rows}) == 1741
    assert len({row["id"] for row in rows}) == 1529
    assert (
        rows[2]["text"]
        == "So we're going to go up and down; let's switch hands, down and up; down and up."
    )


def test_official_tables_of_several_splits(tmp_path, capsys):
    header = (
        "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE"
    )
    for split in ("train", "val"):
        line = f'-v\t-v-1\t-v_0\t-v_0-1-rgb_front\t1\t2\t"{split}" is a word'
        (tmp_path / split).write_text(f"{header}\r\n{line}\r\n")
    out = tmp_path / "annotations.csv"
    inputs = [str(tmp_path / split) for split in ("train", "val")]
    convert_how2sign_csv.main(["--input", *inputs, "--split", "train", "val", "--output", str(out)])
    rows = read_table(out, ())
    assert [(row["split"], row["text"]) for row in rows] == [
        ("train", '"train" is a word'), ("val", '"val" is a word'),
    ]  # fmt: skip
    with pytest.raises(SystemExit):
        convert_how2sign_csv.main(["--input", *inputs, "--split", "train", "--output", str(out)])
