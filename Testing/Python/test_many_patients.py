"""The benchmark of many patients: the patients for training, the painted slices, and the baseline."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.volume import Geometry, Volume
from support.specialist import ball

sys.path.append(str(Path(__file__).parents[1] / "Benchmarks"))

from many import Row, main
from patients import PatientSet, mean_dice, painted_slices
from registration_baseline import majority_of_registered


def test_the_patients_of_the_last_third_are_never_trained_on() -> None:
    data = PatientSet("set", tuple(Path(f"case_{number}") for number in range(22)))
    assert len(data.training) == 15
    assert not set(data.training) & set(data.unseen)
    assert set(data.training) | set(data.unseen) == set(data.cases)


def test_painted_slices_are_spread_over_those_with_labels() -> None:
    truth = np.zeros((20, 4, 4), dtype=np.uint8)
    truth[4:16, 1, 1] = 1
    assert painted_slices(truth, 1) == [10]
    assert painted_slices(truth, 3) == [6, 10, 14]
    assert painted_slices(truth, 0) == []


def test_dice_counts_only_slices_that_were_not_painted() -> None:
    truth = np.zeros((3, 4, 4), dtype=np.uint8)
    truth[:, :2] = 1
    filled = truth.copy()
    filled[1] = 1 - filled[1]
    assert mean_dice(filled, truth, 1, painted=[1]) == 1
    assert mean_dice(filled, truth, 1) == pytest.approx(2 / 3)


def test_labels_of_registered_examples_are_moved_to_the_structure() -> None:
    array, labels = ball(seed=3, shape=(16, 24, 24))[0].array, ball(seed=3, shape=(16, 24, 24))[1]
    moved = tuple(np.roll(values, (3, 2), axis=(1, 2)) for values in (array, labels))
    geometry = Geometry((16, 24, 24))
    found = majority_of_registered(Volume(moved[0], geometry), [(Volume(array, geometry), labels)], 1)
    assert mean_dice(found, moved[1], 1) > mean_dice(labels, moved[1], 1) + 0.1


def test_rows_of_several_runs_make_one_table_and_one_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row(
        set="hearts",
        method="specialist",
        cases=1,
        painted=0,
        patients=2,
        dice=0.8,
        worst=0.7,
        expected=None,
        off_by=None,
        seconds=1.0,
        training_seconds=None,
    )
    files = []
    for cases in (1, 5):
        files.append(tmp_path / f"{cases}.json")
        files[-1].write_text(json.dumps([asdict(replace(row, cases=cases))]), encoding="utf-8")
    whole, picture = tmp_path / "whole.json", tmp_path / "plot.png"
    arguments = ["--parts", "--rows", *map(str, files), "-o", str(whole), "--plot", str(picture)]
    monkeypatch.setattr(sys, "argv", ["many.py", *arguments])
    main()
    assert [row["cases"] for row in json.loads(whole.read_text(encoding="utf-8"))] == [1, 5]
    assert picture.stat().st_size > 1000
