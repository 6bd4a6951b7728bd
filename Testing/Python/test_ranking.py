"""Which case to review next: the order, its reasons, and the messages of `batch` and `task`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.volume import Geometry
from fewshot_annotate.datasets.case_description import CaseDescription, case_features, ranking_record
from fewshot_annotate.datasets.ranking import rank_cases
from fewshot_annotate.datasets.reviewing import read_review_table
from support.tasks import SHAPE, ball, batch_of_balls, task_of_balls

GRID = Geometry((20, 64, 64), (1.0, 1.0, 3.0))
QUANTILES = (0.0, 10.0, 50.0, 100.0, 200.0)


def case(name: str, ml: float = 150.0, error: float = 0.1, undecided: float = 0.05) -> CaseDescription:
    return CaseDescription(name=name, features=case_features(GRID, QUANTILES, [ml]), error=error, undecided=undecided)


def test_the_case_that_is_worst_and_most_different_comes_first() -> None:
    waiting = [case("usual"), case("worst", 600.0, 0.5, 0.4), case("better", error=0.05)]
    assert [one.case.name for one in rank_cases(waiting, [case("known")])] == ["worst", "usual", "better"]


@pytest.mark.parametrize(
    ("different", "message"),
    [
        ({"error": 0.4}, "its expected Dice is lower than that of most others (0.60)"),
        (
            {"undecided": 0.3},
            "the networks are undecided about more of its labelled voxels than of most others (30%)",
        ),
        ({"ml": 1500.0}, "it differs more than most others from the labelled cases"),
    ],
)
def test_the_reason_is_the_largest_difference_from_other_cases(different: dict[str, float], message: str) -> None:
    waiting = [case("a"), case("b", **different), case("c")]
    first = rank_cases(waiting, [case("known")])[0]
    assert first.case.name == "b"
    assert message in str(first.reason)


def test_equal_cases_have_no_reason() -> None:
    reasons = [one.reason.code for one in rank_cases([case("a"), case("b")], [case("known")])]
    assert reasons == ["next_usual", "next_usual"]


def test_a_case_similar_to_an_accepted_one_is_not_distant() -> None:
    waiting = [case("small", 20.0), case("usual")]
    distances = {one.case.name: one.distance for one in rank_cases(waiting, [case("known")])}
    after = {one.case.name: one.distance for one in rank_cases(waiting, [case("known"), case("new", 20.0)])}
    assert distances["small"] > after["small"] == pytest.approx(0)


def test_there_is_no_next_case_when_all_are_accepted() -> None:
    assert rank_cases([], [case("known")]) == []


def test_the_next_case_of_a_batch_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    task_of_balls("balls", 5)
    batch = batch_of_balls(tmp_path, ("0",))
    record = batch.case("2").record
    content = json.loads(record.read_text())
    content["outcome"]["expected"][0] |= {"dice": 0.3, "low": 0.2}
    record.write_text(json.dumps(content))
    assert main(["task", "next", "balls", str(batch.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["2", "1"]
    assert lines[0] == "2: its expected Dice is lower than that of most others (0.30)"


def test_the_next_case_in_the_panel_follows_the_ranking_cyclically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    batch = batch_of_balls(tmp_path, ())
    for name, dice in (("0", 0.7), ("1", 0.9), ("2", 0.3)):
        content = json.loads(batch.case(name).record.read_text())
        content["outcome"]["expected"][0] |= {"dice": dice, "low": 0.1, "high": 1.0}
        content["outcome"]["ranking"] = ranking_record(*ball(0), np.ones(SHAPE, np.float32))
        batch.case(name).record.write_text(json.dumps(content))
        batch.case(name).confidence.unlink()  # the record is enough
    table = read_review_table(batch)
    assert [table.next(current) for current in (None, "2", "0", "1")] == ["2", "0", "1", "2"]
    reason = table.reason("2")
    assert reason is not None
    assert reason.code == "next_expected"
