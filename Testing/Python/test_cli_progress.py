"""Progress of a fill on the command line, and its expected Dice."""

from __future__ import annotations

import re
import time
from functools import partial

import pytest
from fewshot_annotate.cli import activity_indicator, main
from fewshot_annotate.core.events import (
    Event,
    Expected,
    Finished,
    Progress,
    SliceDone,
    Stage,
    Started,
    event_from_line,
)
from fewshot_annotate.core.remaining_time import RemainingTime
from fewshot_annotate.io.files import read_label_maps, write_label_maps
from fewshot_annotate.jobs import layers as layers_module
from fewshot_annotate.jobs.layers import LayerRun, OverallProgress, layer_runs
from fewshot_annotate.jobs.process import run_in_worker
from fewshot_annotate.jobs.run_folder import JobFolder
from support import stepwise
from support.case_folder import AXIS, CaseFolder
from support.labels import keep_slices, overlapping_layers, small_case
from support.processes import slices_done

pytestmark = pytest.mark.usefixtures("forked_workers")


def test_progress_json_prints_events_and_nothing_else(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*case_folder.fill(), "--progress", "json"]) == 0
    out, err = capfd.readouterr()
    events = [event_from_line(line) for line in out.splitlines()]
    assert None not in events
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    between = set(range(case_folder.indices[0], case_folder.indices[-1])) - set(case_folder.indices)
    assert set(slices_done([event for event in events if event])) == between
    assert err == ""


def test_progress_none_prints_the_summary_only(case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(case_folder.fill()) == 0
    out, err = capfd.readouterr()
    first, *dice = out.splitlines()
    assert re.fullmatch(r".*filled\.nii\.gz: \d+ slices filled, \d+ were labelled \(axis 0 \(axial\), .*s", first)
    assert dice
    assert all(line.startswith("  Expected Dice ") for line in dice)
    assert err == ""


def test_the_bar_goes_to_stderr(case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*case_folder.fill(), "--progress", "bar"]) == 0
    out, err = capfd.readouterr()
    assert "slices filled" in out.splitlines()[0]
    assert "slices" in err


@pytest.fixture
def stepwise_engine(python_with_stepwise: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an engine that drafts, fits and refines."""
    monkeypatch.setattr(layers_module, "run_in_worker", partial(run_in_worker, python=python_with_stepwise))
    return stepwise.NAME


def test_options_reach_the_engine_with_their_types(case_folder: CaseFolder, stepwise_engine: str) -> None:
    more = ["--option", "fit=0", "--option", "reports_dice=False", "--option", "fit=0.25", "--option", "failure="]
    assert main(case_folder.fill("--engine", stepwise_engine, "--job-dir", case_folder.job, *more)) == 0
    job = JobFolder.open(case_folder.job).job
    assert job.options == {"fit": 0.25, "reports_dice": False, "failure": ""}
    assert job.budget is None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("fit=soon", "Option fit of engine stepwise cannot be 'soon'; it must be a number of at least 0."),
        ("fit=-1", "cannot be -1.0"),
        ("fit=nan", "cannot be 'nan'"),
        ("reports_dice=1", "Option reports_dice of engine stepwise cannot be '1'; it must be true or false."),
        ("reports_dice=", "cannot be ''"),
    ],
)
def test_an_option_of_another_type_is_refused_in_one_clear_line(
    option: str, message: str, case_folder: CaseFolder, stepwise_engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = case_folder.files()
    assert main(case_folder.fill("--engine", stepwise_engine, "--option", option)) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert case_folder.files() == before


def test_the_expected_dice_is_printed_last(
    case_folder: CaseFolder, stepwise_engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command = case_folder.fill("--engine", stepwise_engine, "--option", "fit=0")
    assert main(command) == 0
    first, *more = capfd.readouterr().out.splitlines()
    assert "slices filled" in first
    assert [re.sub(" +", " ", line) for line in more] == [
        f" Expected Dice {segment.name} 0.800 (90 % interval 0.600 to 0.900)"
        for segment in case_folder.support.segments
    ]
    assert main([*command, "--progress", "json"]) == 0
    events = [event_from_line(line) for line in capfd.readouterr().out.splitlines()]
    reported = [event.dice for event in events if isinstance(event, Expected)]
    assert reported == [0.5] * len(more) + [0.8] * len(more), "of the drafts, then of the result"


def test_labels_with_a_poor_expected_dice_are_announced_with_the_slice_to_label_next(
    case_folder: CaseFolder, stepwise_engine: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewshot_annotate.guidance.poor_dice.POOR_DICE", 0.85)  # 0.8 is expected
    command = case_folder.fill("--engine", stepwise_engine, "--option", "fit=0")
    assert main(command) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if "helps most" in line]
    assert len(lines) == len(case_folder.support.segments)
    for line, segment in zip(lines, case_folder.support.segments, strict=True):
        match = re.search(r"Labelling slice (\d+) helps most", line)
        assert match is not None
        assert int(match[1]) not in case_folder.indices
        assert f"Check every slice of {segment.name}: its expected Dice is only 0.80" in line
    assert main([*command, "--progress", "json"]) == 0
    events = [event_from_line(line) for line in capfd.readouterr().out.splitlines()]
    assert sum(getattr(event, "code", "") == "poor_dice_and_slice" for event in events) == len(lines)
    monkeypatch.setattr("fewshot_annotate.cli.fill_results.MAX_WARNINGS", len(lines) - 1)
    assert main(command) == 0
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "helps" in line]
    assert f"The expected Dice of {len(lines)} labels is low" in line


@pytest.mark.slow
def test_a_time_limit_ends_the_fit_and_is_shared_by_layers(case_folder: CaseFolder, stepwise_engine: str) -> None:
    layers = [keep_slices(layer, AXIS, case_folder.indices) for layer in overlapping_layers(small_case()[1], 2)]
    support, output = case_folder.folder / "support.seg.nrrd", case_folder.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)
    more = ["--engine", stepwise_engine, "--option", "fit=1000", "--budget", "3", "--job-dir", case_folder.job]
    began = time.monotonic()
    assert main(["fill", *map(str, (case_folder.image, support, "-o", output, *more)), "--progress", "none"]) == 0
    assert time.monotonic() - began < 30
    assert [layer.job.budget for layer in JobFolder.open_layers(case_folder.job)] == [1.5, 1.5]
    assert len(read_label_maps(output, case_folder.volume.geometry)) == 2


@pytest.mark.slow
def test_layers_are_all_drafted_before_the_first_is_refined(
    case_folder: CaseFolder, stepwise_engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    layers = [keep_slices(layer, AXIS, case_folder.indices) for layer in overlapping_layers(small_case()[1], 2)]
    support, output = case_folder.folder / "support.seg.nrrd", case_folder.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)
    command = ["fill", *map(str, (case_folder.image, support, "-o", output, "--engine", stepwise_engine))]
    assert main([*command, "--option", "fit=0.6", "--progress", "json"]) == 0
    events = [event for event in map(event_from_line, capfd.readouterr().out.splitlines()) if event]
    half = len(slices_done(events)) // 2
    assert [event.draft for event in events if isinstance(event, SliceDone)] == [True] * half + [False] * half
    progress = [event for event in events if isinstance(event, Progress)]
    assert {event.total for event in progress} == {half}
    for figures in (
        [event.done for event in progress],
        [event.done - event.drafts for event in progress],
        [event.fraction for event in progress],
    ):
        assert figures == sorted(figures)
    assert list(dict.fromkeys(event.stage for event in progress)) == list(Stage)
    last = progress[-1]
    assert (last.done, last.drafts, last.fraction, last.stage) == (half, 0, 1.0, Stage.REFINING)
    assert last.eta is not None, "the file is still to be written"
    assert [isinstance(event, Finished) for event in events].index(True) == len(events) - 1
    assert layer_runs("propagate", 2) == [LayerRun(0), LayerRun(1)], "without drafts, each layer is filled in one run"
    assert layer_runs(stepwise_engine, 1) == [LayerRun(0)]


def test_a_job_is_continued_with_another_time_limit(case_folder: CaseFolder) -> None:
    assert main(case_folder.fill("--job-dir", case_folder.job, "--budget", "50")) == 0
    assert JobFolder.open(case_folder.job).job.budget == 50
    assert main(case_folder.fill("--job-dir", case_folder.job, "--resume")) == 0
    assert JobFolder.open(case_folder.job).job.budget is None


def test_the_bar_names_the_stage(
    case_folder: CaseFolder, stepwise_engine: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    more = ["--engine", stepwise_engine, "--option", "fit=0.7", "--option", "pause=0.02", "--progress", "bar"]
    assert main(case_folder.fill(*more)) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capfd.readouterr().err)
    count = len(set(range(case_folder.indices[0], case_folder.indices[-1])) - set(case_folder.indices))
    assert re.search(rf"Drafting .* \d+/{count} slices", shown)
    assert re.search(rf"Refining .* 0/{count} slices", shown)
    assert re.search(rf"Refining .* {count}/{count} slices", shown)


def test_the_time_left_includes_the_steps_after_the_slices() -> None:
    overall = OverallProgress(1, seconds_after=3.0)
    left = [overall.updated(LayerRun(0), Progress(done=1, total=2, eta=eta)).eta for eta in (None, 5.0, 0.0)]
    assert left == [None, 8.0, 3.0]


def test_suggest_announces_the_time_left(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity_indicator, "DELAY_SECONDS", 0.0)
    monkeypatch.setattr(RemainingTime, "seconds", lambda self: 7.0 if self.fraction >= 0.5 else None)
    assert main(["suggest", str(case_folder.image), str(case_folder.labels), "--progress", "bar"]) == 0
    lines = re.findall(r"^Searching (\d+) % \(\d+ s(, 7 s left)?\)$", capfd.readouterr().err, re.MULTILINE)
    assert {bool(left) for _, left in lines} == {False, True}
    assert all(bool(left) == (int(share) >= 50) for share, left in lines)
    assert lines[-1][0] == "100"


def test_progress_of_several_layers_is_a_single_count_that_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Event] = []
    overall = OverallProgress(2)
    for number in range(2):
        report = overall.reporter(LayerRun(number), number == 1, reported.append)
        report(Progress(done=0, total=10, eta=None))
        monkeypatch.setattr(time, "monotonic", partial(float, time.monotonic() + 10))
        for done, eta in ((5, 10.0), (10, 0.0)):
            report(Progress(done=done, total=10, eta=eta, fraction=done / 10))
        report(Finished(20.0))
        monkeypatch.undo()
    assert reported[-1] == Finished(20.0)
    progress = [event for event in reported[:-1] if isinstance(event, Progress)]
    assert [event.done for event in progress] == [0, 5, 10, 10, 15, 20]
    assert {event.total for event in progress} == {20}
    assert [event.fraction for event in progress] == [0, 0.25, 0.5, 0.5, 0.75, 1]
    first, second = (
        [round(event.eta) for event in part if event.eta is not None] for part in (progress[:3], progress[3:])
    )
    assert first == [30, 10], "the second layer will take as long as the first"
    assert second == [10, 0]
