"""`compare` on the command line: report, messages, refused input and resuming."""

from __future__ import annotations

import csv
import json
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.events import Event, Failed, Progress, event_from_line
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.evaluation import trials
from fewshot_annotate.evaluation.report import page as report
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs.run_folder import JobFolder
from support.labels import every_nth, keep_slices, small_case
from support.processes import Spawned, wait_for

pytestmark = pytest.mark.usefixtures("forked_workers")

AXIS = SliceAxis(0)
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="signals and processes as Linux has them")


@dataclass
class CaseFolder:
    """A folder with an image and its support, as a user has it; the patient's name is in every path."""

    folder: Path

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def command(self, *more: object) -> list[str]:
        inputs = self.folder / "image.nii.gz", self.folder / "support.seg.nrrd"
        return ["compare", *map(str, (*inputs, "-o", self.report, *more))]


VOXEL_COLUMNS = ("truth", "result", "both")
PATIENT = "Doe^Jane 1970-01-31"
QUICK = ("--engines", "propagate", "--sizes", "2", "--draws", "1", "--progress", "none")


@pytest.fixture
def case_folder(awkward_path: Path) -> CaseFolder:
    folder = awkward_path / PATIENT
    folder.mkdir()
    volume, label_map = small_case()
    write_array(folder / "image.nii.gz", volume.array, volume.geometry)
    write_label_maps(folder / "support.seg.nrrd", [keep_slices(label_map, AXIS, every_nth(label_map, AXIS, 4))])
    return CaseFolder(folder)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_engine_that_fails_in_a_trial_is_named_and_the_exit_code_says_so(
    case_folder: CaseFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trials.run_in_worker

    def run_or_fail(folder: JobFolder, report: Callable[[Event], None]) -> Event:
        return Failed("The engine failed.") if folder.job.engine == "adapt" else run(folder, report)

    monkeypatch.setattr(trials, "run_in_worker", run_or_fail)
    assert main(case_folder.command(*QUICK, "--engines", "propagate,adapt")) == 1
    assert "Not compared: adapt: failed: The engine failed." in capsys.readouterr().out
    assert {row["engine"] for row in rows_of(case_folder.report / "summary.csv")} == {"propagate"}


@pytest.mark.slow
def test_both_built_in_engines_are_compared_in_a_self_contained_report(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("--sizes", "1,3", "--draws", "1", "--held-out", "1", "--option", "adapt.steps=3", "--progress", "json")
    assert main(case_folder.command("--engines", "propagate,adapt", *more)) == 0
    out, err = capfd.readouterr()
    assert err == ""
    *progress, last = out.splitlines()
    events = [event_from_line(line) for line in progress]
    assert all(isinstance(event, Progress) for event in events)
    assert isinstance(events[-1], Progress)
    assert events[-1].eta != 0, "the report is still to be written"
    assert json.loads(last)["evidence"] == "too little"
    summary = rows_of(case_folder.report / "summary.csv")
    assert [(row["engine"], row["support_size"]) for row in summary] == [
        ("propagate", "1"),
        ("propagate", "3"),
        ("adapt", "1"),
        ("adapt", "3"),
    ]
    slices = rows_of(case_folder.report / "slices.csv")
    result = json.loads((case_folder.report / "result.json").read_text())
    assert {(row["axis"], row["plane"]) for row in slices} == {(str(result["axis"]), result["plane"])}
    assert {int(row["slice"]) for row in slices} == set(result["held_out"])
    for row in summary:  # mean over labels of the Dice of all slices
        rows = [
            line for line in slices if (line["engine"], line["support_size"]) == (row["engine"], row["support_size"])
        ]
        voxels = [
            [sum(int(line[f"voxels_{name}"]) for line in rows if line["label"] == label) for name in VOXEL_COLUMNS]
            for label in {line["label"] for line in rows}
        ]
        dices = [2 * both / (truth + result) for truth, result, both in voxels]
        assert float(row["dice_mean"]) == pytest.approx(np.mean(dices), abs=1e-4)
    html = (case_folder.report / "report.html").read_text(encoding="utf-8")
    positions = [
        html.index(text) for text in ("Paint more slices first", "Dice by the number", "How this was measured")
    ]
    assert positions == sorted(positions)
    assert not re.search(r'(?:src|href)="(?!data:image/png;base64,)|https?://|<script|<link', html)
    assert html.count("data:image/png;base64,") == 1 + 3  # the plot; truth and two results of the held-out slice
    assert "steps = 3" in html


def test_report_and_figures_name_no_patient_and_no_path(case_folder: CaseFolder) -> None:
    assert main(case_folder.command(*QUICK)) == 0
    written = [path for path in case_folder.report.rglob("*") if path.is_file()]
    assert {"report.html", "dice.png", "summary.csv", "slices.csv", "result.json"} <= {path.name for path in written}
    for path in written:
        content = path.read_bytes()
        for word in ("Doe^Jane", "1970-01", "support.seg", "deuxi", str(case_folder.folder)):
            assert word.encode() not in content, path.name


def test_the_terminal_shows_the_table_and_the_recommendation(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(case_folder.command(*QUICK)) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "Mean Dice on hidden slices" in out
    assert re.search(r"Slices of axis \d \([a-z ]+\)", out)
    assert "nothing to compare" in out
    assert out.rstrip().endswith("report.html")


@pytest.mark.slow
@needs_proc
def test_ctrl_c_keeps_finished_trials_and_resume_continues(case_folder: CaseFolder, spawned: Spawned) -> None:
    # `adapt` fits for seconds after the trials of `propagate` are finished, which leaves time to interrupt it.
    engines = ("--engines", "propagate,adapt", "--option", "adapt.steps=40")
    options = (*engines, "--sizes", "1,2", "--draws", "1", "--held-out", "1")
    program = spawned.cli(*case_folder.command(*options, "--progress", "none"))
    finished = case_folder.report / "runs" / "propagate"
    wait_for(lambda: len(list(finished.glob("*.json"))) >= 2)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err.count("\n")) == (130, "", 1)
    assert "--resume" in err
    assert not (case_folder.report / "working").exists()
    assert not (case_folder.report / "report.html").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in finished.glob("*.json")}
    assert main(case_folder.command(*options, "--progress", "none", "--resume")) == 0
    assert {name: (finished / name).stat().st_mtime_ns for name in kept} == kept
    assert (case_folder.report / "report.html").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--engines", "nobody"], "no engine named 'nobody'"),
        (["--sizes", "1/2"], "'1/2' is not a list of support sizes"),
        (["--sizes", ""], "'' is not a list of support sizes"),
        (["--sizes", "0,2"], "'0,2' is not a list of support sizes"),
        (["--sizes", "400"], "support sizes"),
        (["--draws", "0"], "'0' is no number"),
        (["--held-out", "none"], "'none' is no number"),
        (["--option", "steps"], "ENGINE.NAME=VALUE"),
        (["--option", "adapt.steps=3"], "Engine adapt is given an option but is not compared"),
        (["--option", "propagate.colour=red"], "no option 'colour'"),
        (["--budget", "-1"], "no time limit"),
        (["--axis", "3"], "Axis 3 does not exist"),
        (["--labelled-slices", str(every_nth(small_case()[1], AXIS, 4)[1])], "two slices that show a label"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    more: list[str], message: str, case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    engines = [] if "--engines" in more else ["--engines", "propagate"]
    assert main(case_folder.command(*engines, *more)) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert not case_folder.report.exists()


def test_a_used_folder_is_left_alone(case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]) -> None:
    case_folder.report.mkdir()
    (case_folder.report / "thesis.txt").write_text("mine", encoding="ascii")
    for more in ((), ("--resume",)):
        assert main(case_folder.command(*QUICK, *more)) == 2
        assert "not an empty folder" in capfd.readouterr().err
    assert [path.name for path in case_folder.report.iterdir()] == ["thesis.txt"]


def test_without_the_packages_of_the_report_no_trial_is_started(
    case_folder: CaseFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(report.REQUIRED_PACKAGES, "no_such_module", "matplotlib")
    assert main(case_folder.command(*QUICK)) == 2
    assert re.search(r'\S+ -m pip install --editable "\S+\[report\]"', capfd.readouterr().err)
    assert not case_folder.report.exists()
