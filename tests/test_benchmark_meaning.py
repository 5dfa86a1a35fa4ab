"""The comparison of what tokens keep: how methods are named, and its table."""

import numpy as np
import pytest

from tools import benchmark_meaning
from tools.probes import report
from tools.probes.card import Card
from tools.probes.measures import Measure


def test_a_method_is_a_name_a_config_and_fields():
    parse = benchmark_meaning.parse_method
    assert parse("a=fsq_pose:small") == ("a", ("fsq_pose:small", []))
    flags = ["--config.loss.velocity=0.1", "--config.seed=3"]
    assert parse("b=fsq_pose,loss.velocity=0.1,seed=3") == ("b", ("fsq_pose", flags))
    assert parse("c=fsq_pose,effort=2") == ("c", ("fsq_pose", ["effort=2"]))
    with pytest.raises(ValueError, match="effort=much: expected a number of passes"):
        parse("c=fsq_pose,effort=much")


@pytest.mark.parametrize("text", ["fsq_pose", "=fsq_pose", "a=", "a=fsq_pose,loss.velocity"])
def test_other_methods_are_one_line(text):
    with pytest.raises(ValueError, match="expected NAME=CONFIG or NAME=CONFIG,FIELD=VALUE"):
        benchmark_meaning.parse_method(text)


@pytest.mark.parametrize("fields", ["size=4", "size=4,step=0.5,bits=3"])
def test_settings_of_the_baseline(fields, tmp_path):
    words = ["--input", tmp_path, "--labels", tmp_path / "no.csv", "--output", tmp_path / "out"]
    words += ["--method", f"a=pca_dpcm,{fields}"]
    with pytest.raises(ValueError, match="pca_dpcm takes size, step and dead_zone; given: size"):
        benchmark_meaning.main([*map(str, words)])


def test_the_table_has_the_mean_and_the_range_of_the_seeds(tmp_path):
    clips = np.array(["x", "y"])
    for seed, hits in ((1, [1, 0]), (2, [1, 1])):
        fields = (clips, clips, np.array(hits, float), np.ones(2))
        card = Card({"name": "a"}, [Measure("letters/retention", "", "high", *fields)])
        report.write(tmp_path / "a" / f"seed-{seed}" / "card", card, {})
    lines = benchmark_meaning.table(tmp_path).splitlines()
    assert lines[0] == "| | a (2 seeds) |"
    assert "| retention, % | 75.0 (50.0 … 100.0) |" in lines
    assert "| hands lost, % | – |" in lines


def test_labels_that_are_not_there_are_one_line(tmp_path):
    words = ["--input", tmp_path, "--labels", tmp_path / "no.csv", "--output", tmp_path / "out"]
    with pytest.raises(ValueError, match="no.csv: no such file; expected a CSV"):
        benchmark_meaning.main([*map(str, words), "--method", "a=fsq_pose:small"])
