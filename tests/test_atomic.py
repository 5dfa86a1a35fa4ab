"""What is being written is never seen half, and what fails leaves what was there before."""

import ast
import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxvq.storage import atomic
from tools.soaking.stopped import full_disk

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_what_fails_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "X.json"
    path.write_text("before")
    with pytest.raises(error), atomic.writing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "before" and temporary.parent == tmp_path
        raise error
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "before"
    with pytest.raises(error), atomic.writing_folder(tmp_path / "folder") as temporary:
        (temporary / "half").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_with_the_mode_that_umask_gives(tmp_path):
    path = tmp_path / "X"
    before = os.umask(0o027)
    try:
        for text in ("one", "two"):
            atomic.write_text(path, text)
            assert path.read_text() == text
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
        with atomic.writing_folder(tmp_path / "folder"):
            pass
        assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750
    finally:
        os.umask(before)


def test_no_pattern_for_the_target_finds_the_temporary(tmp_path):
    for name, pattern in (("clip.pose", "*.pose"), ("base.train.part0", "base.train.part*")):
        with atomic.writing(tmp_path / name) as temporary:
            temporary.touch()
            assert not list(tmp_path.glob(pattern))
        (tmp_path / name).unlink()


def test_a_full_disk_names_the_target_and_leaves_nothing(tmp_path):
    path = tmp_path / "X"
    path.write_text("before")

    def numbers(temporary):
        with open(temporary, "wb") as file:
            np.savez(file, x=np.arange(5000))

    def members(temporary):
        with zipfile.ZipFile(temporary, "w") as archive, archive.open("a", "w") as member:
            member.write(bytes(9999))

    for write in (lambda t: t.write_bytes(bytes(9999)), numbers, members):
        with full_disk(1000), pytest.raises(OSError, match=f"File too large: '{path}'$"):
            with atomic.writing(path) as temporary:
                write(temporary)
        assert list(tmp_path.iterdir()) == [path] and path.read_text() == "before"
    folder = tmp_path / "folder"
    with full_disk(1000), pytest.raises(OSError, match=f"'{folder}'$"):
        with atomic.writing_folder(folder) as temporary, open(temporary / "x", "wb") as file:
            file.write(bytes(9999))
    assert list(tmp_path.iterdir()) == [path]


def test_only_errors_of_writing_are_said_of_the_target(tmp_path):
    with pytest.raises(OSError, match="no such clip"), atomic.writing(tmp_path / "X"):
        raise FileNotFoundError(2, "no such clip", "clip.pose")
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}/absent/X'$"):
        atomic.write_text(tmp_path / "absent" / "X", "")


def test_folders_and_devices_are_refused_before_the_work(tmp_path):
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(ValueError, match=f"{path} is not a file"), atomic.writing(path):
            raise AssertionError("not reached")


def test_a_folder_takes_the_place_of_nothing_that_is_filled(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with atomic.writing_folder(folder) as temporary:
        (temporary / "one").touch()
    with pytest.raises(OSError, match=f"'{folder}'"), atomic.writing_folder(folder) as temporary:
        (temporary / "two").touch()
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_is_for_one_process(tmp_path):
    with atomic.locked(tmp_path, "build"):
        with pytest.raises(ValueError, match=f"^{tmp_path}: another build is writing here"):
            with atomic.locked(tmp_path, "build"):
                raise AssertionError("not reached")
    with atomic.locked(tmp_path, "build"):
        assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_has_none(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    with atomic.locked(tmp_path, "build"):
        pass


def test_kill_9_leaves_a_temporary_that_disturbs_nobody(tmp_path):
    path = tmp_path / "X.npz"
    path.write_text("before")
    code = (
        "import os, sys, time\n"
        "from jaxvq.storage import atomic\n"
        "with atomic.writing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    print(flush=True)\n"
        "    time.sleep(60)\n"
    )
    for _ in range(2):
        command = [sys.executable, "-c", code, str(path)]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert path.read_text() == "before"
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left[0] == "X.npz" and [name[:10] for name in left[1:]] == ["tmp.X.npz."] * 2
    atomic.write_text(path, "after")
    assert path.read_text() == "after"


def test_many_writers_of_one_path_leave_one_whole_file(tmp_path):
    path, texts = tmp_path / "X", [str(i) * 100_000 for i in range(8)]
    atomic.write_text(path, texts[0])
    seen, done = set(), threading.Event()

    def look():
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=look)
    writers = [threading.Thread(target=atomic.write_text, args=(path, t)) for t in texts * 4]
    reader.start()
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen <= set(texts) and list(tmp_path.iterdir()) == [path]


def test_files_are_replaced_in_one_place():
    """os.replace stands elsewhere only where shards of a folder that is not visible get names."""
    found = {
        str(path.relative_to(REPOSITORY))
        for folder in ("jaxvq", "tools")
        for path in (REPOSITORY / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "os.replace"
    }
    allowed = {"jaxvq/storage/atomic.py", "jaxvq/datasets/shards.py", "tools/zip_dataset.py"}
    assert found <= allowed
