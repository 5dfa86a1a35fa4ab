"""Encoding, decoding and reconstruction by the commands that users call."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from pose_format import Pose as PoseFormatPose

from jaxvq import inference
from jaxvq.pose import preprocess
from jaxvq.pose.reader import read_pose
from jaxvq.tokens import code_tables, csv_file
from tools import codes_to_poses, fit_code_tables, poses_to_codes, reconstruct_poses
from tools.soaking.stopped import full_disk


@pytest.fixture(scope="module")
def tokenizer(run_dir):
    return inference.load(run_dir)


@pytest.fixture(scope="module")
def codes(run_dir, corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("codes") / "codes.csv"
    assert (
        poses_to_codes.main(
            ["--model", str(run_dir), "--data", str(corpus), "--output", str(output)]
        )
        == 0
    )
    return output


def test_codes_of_a_folder_and_back(codes, run_dir, corpus, tmp_path, tokenizer, capsys):
    rows = list(csv.DictReader(codes.open()))
    columns = "file fps length codes frames_per_step codes_per_step model".split()
    assert list(rows[0]) == columns
    about = ("1", "1", code_tables.fingerprint(tokenizer.model)[:16])
    assert {tuple(row[name] for name in columns[4:]) for row in rows} == {about}
    assert len(rows) == 29  # of 30 clips one is broken
    assert any(row["file"].startswith("sub/") for row in rows)
    row = next(row for row in rows if not row["file"].startswith("sub/"))
    tokens = tokenizer.encode(read_pose(corpus / row["file"]))
    assert row["codes"] == " ".join(map(str, tokens.flat()))
    assert int(row["length"]) == tokens.length and float(row["fps"]) == tokens.fps

    arguments = ["--model", str(run_dir), "--codes", str(codes), "--output", str(tmp_path)]
    assert codes_to_poses.main(arguments) == 0
    for row in rows:
        with (tmp_path / row["file"]).open("rb") as file:
            pose = PoseFormatPose.read(file.read())
        assert len(pose.body.data) == int(row["length"])
        assert pose.body.fps == pytest.approx(float(row["fps"]))
        assert pose.header.total_points() == 178


def test_codes_as_text_and_as_an_argument(run_dir, tokenizer, tmp_path):
    lines = tmp_path / "codes.txt"
    lines.write_text("731 63 540\n5 6\n")
    model = ["--model", str(run_dir)]
    codes_to_poses.main([*model, "--codes", str(lines), "--output", str(tmp_path / "out")])
    codes_to_poses.main(
        [*model, "--codes", "731 63 540", "--output", str(tmp_path / "x.pose"), "--fps", "30"]
    )
    one, other = read_pose(tmp_path / "out" / "0.pose"), read_pose(tmp_path / "x.pose")
    np.testing.assert_allclose(one.data, other.data, rtol=1e-5)
    assert (one.fps, other.fps) == (25, 30)
    assert len(read_pose(tmp_path / "out" / "1.pose").data) == 2
    indices = np.array([731, 63, 540], np.int32).reshape(3, 1, 1)
    expected = tokenizer.decode(inference.Tokens(indices, 30.0, 3))
    np.testing.assert_allclose(other.data, expected.data, atol=1e-4)


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,fps,length\na,25,1\n", "lacks the columns codes"),
        ("file,fps,length,codes\na,25,2,1 x\n", r":2: codes must be integers"),
        ("file,fps,length,codes\na,25,3,1 2\n", r":2: 2 steps of tokens cannot be 3 frames"),
        ("file,fps,length,codes\na,0,2,1 2\n", r":2: fps 0 and length 2 must be above 0"),
        ("file,fps,length,codes\n../../a,25,2,1 2\n", "leads out of --output"),
        ("file,fps,length,codes\n", "holds no clips"),
        ("file,fps,length,codes\na,25,1,1\nb,25,1,1000\n", ":3: code 1000 .* another model may"),
        ("file,fps,length,codes\na,inf,2,1 2\n", "fps inf and length 2 must be above 0"),
        ("file,fps,length,codes\na,25,2\n", ":2: no codes"),
        ("file,fps,length,codes\na,25,1,99999999999999999999\n", ":2: code 9.* larger than any"),
        ("file,fps,length,codes\na,25,1,1\na.pose,25,1,1\n", ":3: there is another clip named"),
    ],
)
def test_a_wrong_csv_is_one_line(run_dir, tmp_path, text, message):
    path = tmp_path / "codes.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        codes_to_poses.main(
            ["--model", str(run_dir), "--codes", str(path), "--output", str(tmp_path / "out")]
        )
    assert "\n" not in str(error.value)


def test_codes_of_another_model_are_refused(run_dir, codes, tmp_path):
    text = codes.read_text()
    model = text.split("\n")[1].rpartition(",")[2].strip()
    other = tmp_path / "other.csv"
    other.write_text(text.replace(model, "0" * 16))
    with pytest.raises(ValueError, match=f"the model 0{{16}} wrote these codes, this is {model}"):
        codes_to_poses.main(
            ["--model", str(run_dir), "--codes", str(other), "--output", str(tmp_path / "out")]
        )


def test_per_frame_is_for_models_of_one_step_per_frame(run_dir, corpus, version_0_1, tmp_path):
    def write(model):
        output = tmp_path / "codes.csv"
        arguments = ["--model", str(model), "--data", str(corpus / "sub"), "--output", str(output)]
        assert poses_to_codes.main([*arguments, "--per_frame"]) == 0
        return list(csv.DictReader(output.open()))

    for row in write(run_dir):
        codes, length = row["codes"].split(), int(row["length"])
        assert int(len(codes) / length) == int(row["codes_per_step"])  # as sign-vq's consumers cut
        assert len(codes) == length * int(row["codes_per_step"])
    with pytest.raises(ValueError, match="one step of codes for 16 frames; .* signs-frames"):
        write(version_0_1 / "published")


def test_reconstruct_poses(run_dir, corpus, tmp_path):
    path = sorted(corpus.glob("*.pose"))[2]
    output = tmp_path / "new" / "y.pose"
    reconstruct_poses.main(
        ["--model", str(run_dir), "--input", str(path), "--output", str(output), "--only-masked"]
    )
    assert len(read_pose(output).data) == len(read_pose(path).data)


def test_commands_explain_wrong_paths(run_dir, corpus, tmp_path):
    for main, arguments, message in (
        (poses_to_codes.main, ["--model", "/nowhere", "--data", str(corpus)], "/nowhere does not"),
        (poses_to_codes.main, ["--model", str(run_dir), "--data", "/nowhere"], "/nowhere"),
        (poses_to_codes.main, ["--model", str(tmp_path), "--data", str(corpus)], "no checkpoint"),
        (codes_to_poses.main, ["--model", str(run_dir), "--codes", "nope.txt"], "neither a file"),
        (reconstruct_poses.main, ["--model", str(run_dir), "--input", "no.pose"], "no such file"),
    ):
        with pytest.raises(ValueError, match=message):
            main([*arguments, "--output", str(tmp_path / "x")])
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "a.pose").write_bytes(b"not a pose")
    with pytest.raises(ValueError, match="a.pose: not a .pose file"):
        poses_to_codes.main(
            ["--model", str(run_dir), "--data", str(empty), "--output", str(tmp_path / "codes.csv")]
        )
    assert not (tmp_path / "codes.csv").exists()


def test_sign_vq_codes_through_the_command(shared, tmp_path):
    """The codes that sign-vq's own program wrote, from the same files and checkpoint."""
    from tools import import_sign_vq

    for name in ("sign_vq_one_codebook", "sign_vq_two_codebooks"):
        golden = shared / "golden" / name
        model = tmp_path / name
        import_sign_vq.main(
            [
                "--checkpoint",
                str(golden / "model.ckpt"),
                "--args",
                str(golden / "args.json"),
                "--output",
                str(model),
                "--stats",
                str(golden / "pose_normalization.json"),
            ]
        )
        equal = total = 0
        for row in csv.DictReader((golden / "expected_codes.csv").open()):
            output, source = tmp_path / "codes.csv", shared / "data/samples/pose" / row["file"]
            arguments = ["--model", str(model), "--output", str(output), "--data", str(source)]
            poses_to_codes.main(arguments)
            ours = next(csv.DictReader(output.open()))
            assert ours["file"] == row["file"] and ours["length"] == row["length"]
            assert float(ours["fps"]) == pytest.approx(float(row["fps"]))
            a, b = ours["codes"].split(), row["codes"].split()
            assert len(a) == len(b)
            equal, total = equal + sum(x == y for x, y in zip(a, b, strict=True)), total + len(a)
        assert equal >= 0.995 * total, f"{name}: {equal} of {total} codes are equal"


def test_reconstruct_poses_wants_one_file_and_says_what_it_filled_in(
    run_dir, corpus, tokenizer, tmp_path, capsys
):
    model = ["--model", str(run_dir), "--output", str(tmp_path / "y.pose")]
    with pytest.raises(ValueError, match=f"--input {corpus} is a folder; give one file"):
        reconstruct_poses.main([*model, "--input", str(corpus)])
    path = sorted(corpus.glob("*.pose"))[2]
    reconstruct_poses.main([*model, "--input", str(path)])
    assert "filled in" not in capsys.readouterr().out
    reconstruct_poses.main([*model, "--input", str(path), "--only-masked"])
    mask = preprocess.select_points(read_pose(path), tokenizer.model.skeleton).mask
    assert mask.any()
    expected = f"filled in {mask.sum()} of {mask.size} points ({100 * mask.mean():.1f} %)"
    assert expected in capsys.readouterr().out


def test_poses_to_codes_makes_the_folder_of_its_output(run_dir, corpus, tmp_path, capsys):
    clip = sorted(corpus.glob("*.pose"))[2]
    arguments = ["--model", str(run_dir), "--data", str(clip), "--output"]
    output = tmp_path / "new" / "folder" / "codes.csv"
    poses_to_codes.main([*arguments, str(output)])
    assert list(output.parent.iterdir()) == [output]
    assert capsys.readouterr().out == f"{output}: 1 clips\n"
    whole = output.read_text()
    output.write_text("of yesterday")
    poses_to_codes.main([*arguments, str(output)])  # replaces
    assert output.read_text() == whole
    for name in ("codes.txt", "codes"):
        with pytest.raises(ValueError, match=f"{name}: expected a name that ends in .csv or .jvq"):
            poses_to_codes.main([*arguments, str(tmp_path / "other" / name)])
    assert not (tmp_path / "other").exists()


def test_a_compact_file_is_reported_with_its_size(run_dir, corpus, tmp_path, capsys):
    from jaxvq.tokens import code_tables

    model = tmp_path / "run"
    model.symlink_to(run_dir)
    fit_code_tables.main(["--checkpoint", str(model)])
    clip = sorted(corpus.glob("*.pose"))[2]
    output = tmp_path / "new" / "codes.jvq"
    capsys.readouterr()
    try:
        poses_to_codes.main(["--model", str(model), "--data", str(clip), "--output", str(output)])
    finally:
        code_tables.path_for(inference.load(model).model).unlink()  # the run is for all tests
    size, frames = output.stat().st_size, len(read_pose(clip).data)
    bits = 8 * size / frames
    expected = f"{output}: 1 clips, {frames} frames, {size} bytes, {bits:.2f} bits per frame\n"
    assert capsys.readouterr().out == expected


def test_a_csv_that_fails_to_close_leaves_nothing(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("before")
    task = SimpleNamespace(codebook_sizes=(2,), frames_per_step=1)
    tokens = inference.Tokens(np.zeros((2, 1, 1), np.int32), 25.0, 2)
    with (
        full_disk(10),  # what is buffered cannot be written when the file is closed
        pytest.raises(OSError, match=f"{path}'$"),
        csv_file.writing(path, task, "0" * 64) as file,
    ):
        file.write("a", tokens)
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "before"
