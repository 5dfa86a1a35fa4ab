"""The short form of `tools.soak`: no damage and no hostile file is noticed too late."""

import pytest

from tools import soak
from tools.soaking import counting
from tools.soaking.counting import EXECUTED, REFUSED, RIGHT, TRACEBACK, Executed, Row

QUICK = [name for name, (_, _, few) in soak.CHECKS.items() if few]


@pytest.fixture(scope="module")
def place(tmp_path_factory, corpus, data_dir, run_dir):
    """The fixtures of the suite, with code tables beside a copy of the model."""
    import shutil

    from tools import fit_code_tables

    folder = tmp_path_factory.mktemp("soak")
    shutil.copytree(run_dir, folder / "run")
    fit_code_tables.main(["--checkpoint", str(folder / "run"), "--data_dir", str(data_dir)])
    return counting.Place(corpus, data_dir, folder / "run", folder / "scratch")


@pytest.mark.parametrize("name", QUICK)
def test_nothing_goes_unnoticed(place, name):
    row = soak.run(name, place, quick=True)
    assert not row.faults, "\n".join(row.faults)
    assert row.counts.total() > 1


def test_what_is_counted():
    def hostile():
        raise Executed

    def lines():
        raise ValueError("one\ntwo")

    def refused():
        raise OSError(28, "No space left", "X")

    cases = {
        "good": lambda: RIGHT,
        "no": refused,
        "ran": hostile,
        "two": lines,
        "bug": lambda: {}[1],
    }
    row = counting.count(Row("all"), iter(cases.items()))
    assert dict(row.counts) == {RIGHT: 1, REFUSED: 1, EXECUTED: 1, TRACEBACK: 2}
    assert row.faults[0] == "executed: ran" and row.faults[1] == "traceback: two: 2 lines"
    assert row.faults[2].startswith("traceback: bug: KeyError '1' at test_soak.py:")
    assert (
        counting.table([row]).splitlines()[2].startswith("| all | 5 | 1 | 1 | 0 | 2 | 1 | 0 | 0 |")
    )


def test_an_unknown_check_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no check 'x'; there are: damaged .pose"):
        soak.main(["--output", str(tmp_path / "soak"), "--checks", "x"])
    with pytest.raises(ValueError, match="exists already"):
        soak.main(["--output", str(tmp_path)])
