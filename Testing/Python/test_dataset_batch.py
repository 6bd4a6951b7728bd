"""`batch` with real volumes and real processes, which are killed and resumed."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
from multiprocessing import resource_tracker, spawn
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.cli import main
from fewshot_annotate.core.exit_codes import ExitCode
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry
from fewshot_annotate.datasets import batch_state
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.status import COLUMNS, DETAILS, CaseStatus, Status, StatusFile
from fewshot_annotate.io.files import read_label_maps, read_volume, write_array, write_label_maps
from PIL import Image
from support.batches import Dataset, make_dataset
from support.labels import overlapping_layers, small_case
from support.processes import Spawned, alive, wait_for
from support.standin_engines import environment_with_standins, register

pytestmark = pytest.mark.usefixtures("forked_workers")

AXIS = SliceAxis(0)


@pytest.fixture
def dataset(awkward_path: Path) -> Dataset:
    return make_dataset(awkward_path)


@pytest.fixture
def standins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment of processes that know the stand-in engines, as this process does."""
    register(monkeypatch.setitem)
    environment = environment_with_standins(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


def slow_batch(dataset: Dataset, quick: int = 0) -> list[str]:
    """Arguments of a batch whose processes each fill some cases and then wait at the next one."""
    settings = (f"quick={quick}", f"slow={dataset.folder / 'slow'}")
    return dataset.command(*(argument for setting in settings for argument in ("--option", setting)), engine="heavy")


def slow_process(dataset: Dataset) -> int:
    """Id of the process that waits at a case, once there is one."""
    log = dataset.folder / "slow"
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
    pid = int(log.read_text())
    log.unlink()
    return pid


def test_each_case_has_its_files_and_its_row_in_the_table(dataset: Dataset) -> None:
    dataset.add("a", "été 2")
    assert main(dataset.command()) == 0
    lines = (dataset.output / "status.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",") == [*COLUMNS, *DETAILS]
    for row in csv.DictReader(lines):
        assert (row["axis"], row["plane"]) == ("0", "axial")
        assert all(float(part.split()[-1]) > 0 for part in row["ml"].split(";"))
        assert 0 < float(row["least_confidence"]) <= 1
    assert [line.split(",")[:2] for line in lines[1:]] == [["a", "done"], ["été 2", "done"]]
    assert all(float(row["seconds"]) > 0 for row in csv.DictReader(lines))
    volume, truth = small_case()
    for name in ("a", "été 2"):
        files = dataset.case(name)
        (filled,) = read_label_maps(files.label, volume.geometry)
        (painted,) = read_label_maps(dataset.support, volume.geometry)
        indices = np.flatnonzero(painted.array.any(axis=(1, 2)))
        np.testing.assert_array_equal(filled.array[indices], painted.array[indices])
        assert [segment.name for segment in filled.segments] == [segment.name for segment in truth.segments]
        confidence = sitk.GetArrayFromImage(sitk.ReadImage(str(files.confidence)))
        assert confidence.shape == volume.array.shape
        assert (confidence[indices] == 1).all()
        with Image.open(files.preview) as preview:
            assert preview.width > 400


class qSlicerApplication:  # noqa: N801 (as in Slicer)
    """Stand-in for the application around Slicer's Python console."""


def test_a_batch_is_refused_in_slicers_console_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace(app=qSlicerApplication()))
    assert main(["batch", str(tmp_path / "cases.csv"), "-o", str(tmp_path / "out")]) == ExitCode.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be done in Slicer's Python console" in line
    assert not (tmp_path / "out").exists()


def test_a_removed_current_folder_is_named_before_anything_is_written(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, err = main(dataset.command()), capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert code == ExitCode.BAD_INPUT
    assert err.startswith("fewshot-annotate: The current folder cannot be used (No such file or directory); ")
    assert not dataset.output.exists()


def test_batch_and_fill_give_the_same_result(dataset: Dataset) -> None:
    dataset.add("a")
    assert main(dataset.command()) == 0
    alone, confidence = dataset.folder / "alone.nii.gz", dataset.folder / "confidence.nii.gz"
    arguments = (
        "fill",
        dataset.image,
        dataset.support,
        "-o",
        alone,
        "--confidence",
        confidence,
        "--engine",
        "propagate",
    )
    assert main([*map(str, arguments), "--progress", "none"]) == 0
    for of_batch, of_fill in ((dataset.case("a").label, alone), (dataset.case("a").confidence, confidence)):
        np.testing.assert_array_equal(
            *(sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (of_batch, of_fill))
        )


def test_a_row_may_set_how_its_case_is_run(dataset: Dataset) -> None:
    dataset.add("a", axis="0", labelled_slices="8;24")
    assert main(dataset.command()) == 0
    _, outcome = dataset.case("a").read_record() or ({}, {})
    assert (outcome["labelled_slices"], outcome["filled_slices"]) == ([8, 24], 15)
    assert dataset.status()["a"].message.startswith(
        "Labels on slices that were not named as labelled are not in the result: 16."
    )


def test_an_unreadable_case_is_reported_with_its_row_and_the_others_are_filled(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    volume, label_map = small_case()
    write_array(dataset.folder / "moved.nii.gz", label_map.array, Geometry(volume.geometry.shape, (2.0, 1.0, 1.0)))
    write_label_maps(dataset.folder / "layers.seg.nrrd", overlapping_layers(label_map, 2))
    two = dataset.folder / "two series"
    for number in range(2):
        series(two, number)
    cases = {
        "moved": ("image.nii.gz", "moved.nii.gz", "lie on another grid than the image .spacing"),
        "layers": ("image.nii.gz", "layers.seg.nrrd", "the segments overlap"),
        "two": ("two series", "support.nii.gz", "the folder holds 2 DICOM series"),
        "text": ("manifest.csv", "support.nii.gz", "cannot be read as an image"),
    }
    dataset.add("good")
    for name, (image, support, _) in cases.items():
        dataset.rows.append({"image": image, "support": support, "name": name})
    dataset.add("good too")
    assert main(dataset.command()) == 1
    status = dataset.status()
    assert [name for name, row in status.items() if row.status is Status.DONE] == ["good", "good too"]
    stderr = capsys.readouterr().err.splitlines()
    for number, (name, (_, _, reason)) in enumerate(cases.items()):
        assert status[name].status is Status.FAILED
        assert re.match(rf"row {number + 3}: .*{reason}", status[name].message)
        assert not re.search("--|fewshot-annotate", status[name].message)  # because the panel shows it too
        assert stderr[number].startswith(f"fewshot-annotate: {name}: {status[name].message.removesuffix('.')}")
        assert not dataset.case(name).label.exists()


def series(folder: Path, number: int) -> None:
    """A DICOM series of two slices, written into a folder."""
    folder.mkdir(exist_ok=True)
    image = sitk.Cast(sitk.GetImageFromArray(small_case()[0].array[:2].astype(np.int16)), sitk.sitkInt16)
    for k in range(2):
        slice_2d = image[:, :, k]
        tags = {
            "0020|000d": "1.2.3",
            "0020|000e": f"1.2.3.{number + 1}",
            "0008|0018": f"1.2.3.{number + 1}.{k + 1}",
            "0020|0037": r"1\0\0\0\1\0",
            "0020|0032": rf"0\0\{k}",
            "0028|0030": r"1\1",
        }
        for tag, value in tags.items():
            slice_2d.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{number}-{k}.dcm"))
        writer.Execute(slice_2d)


def test_an_unexpected_failure_is_reported_in_one_line_and_a_log(dataset: Dataset, standins: dict[str, str]) -> None:
    dataset.add("a")
    dataset.add("b", engine="propagate")
    assert main(dataset.command("--option", "signal=99999", engine="crashing")) == 2  # not an option of propagate
    dataset.rows.pop()
    dataset.write()
    assert main(dataset.command("--option", "signal=99999", engine="crashing")) == 1
    assert re.match(
        r"row 2: an unexpected error \(OSError, code [0-9a-f]{8}\); see a/error\.log\.", dataset.status()["a"].message
    )
    assert "os.kill" in dataset.case("a").error_log.read_text()


def test_a_case_that_crashes_its_process_does_not_stop_the_others(dataset: Dataset, standins: dict[str, str]) -> None:
    dataset.add("a")
    dataset.add("bad", engine="crashing")
    dataset.add("b")
    assert main(dataset.command()) == 1
    status = dataset.status()
    assert [row.status for row in status.values()] == [Status.DONE, Status.FAILED, Status.DONE]
    assert status["bad"].message == "row 3: the process that ran this case crashed (signal 11), 2 times."


def test_a_case_is_tried_again_after_its_process_died_once(dataset: Dataset, standins: dict[str, str]) -> None:
    dataset.add("a", "b")
    once = f"once={dataset.folder / 'died'}"
    assert (
        main(dataset.command("--option", once, "--option", f"signal={int(signal.SIGKILL)}", engine="crashing")) == 0
    )
    assert (dataset.folder / "died").exists()


def test_a_process_that_cannot_start_is_not_said_to_lack_memory(dataset: Dataset) -> None:
    dataset.add("a")
    program = dataset.folder / "python"  # without the permission to run it
    program.touch(0o600)
    resource_tracker.ensure_running()  # is started by the same program
    executable = spawn.get_executable()
    spawn.set_executable(str(program))
    try:
        assert main(dataset.command()) == 1
    finally:
        spawn.set_executable(executable)
    message = dataset.status()["a"].message
    assert (
        message == "row 2: the process that ran this case could not run or ended by itself (exit code 255), 2 times."
    )


def test_weights_are_loaded_once_for_all_cases(dataset: Dataset, standins: dict[str, str]) -> None:
    dataset.add("a", "b", "c")
    log = dataset.folder / "loaded"
    assert main(dataset.command("--option", f"log={log}", engine="heavy")) == 0
    assert len(log.read_text().split()) == 1


def test_resume_runs_only_cases_that_are_not_done(dataset: Dataset) -> None:
    dataset.add("a", "b")
    assert main(dataset.command()) == 0
    before = {name: dataset.case(name).record.stat().st_mtime_ns for name in "ab"}
    dataset.case("b").label.unlink()
    dataset.add("c")
    assert main(dataset.command("--resume")) == 0
    after = {name: dataset.case(name).record.stat().st_mtime_ns for name in "ab"}
    assert before["a"] == after["a"]
    assert before["b"] < after["b"]
    assert [row.status for row in dataset.status().values()] == [Status.DONE] * 3


@pytest.mark.parametrize("change", ["row", "option", "image"])
def test_resume_runs_a_case_again_whose_input_or_settings_changed(dataset: Dataset, change: str) -> None:
    dataset.add("a")
    assert main(dataset.command()) == 0
    before = dataset.case("a").record.stat().st_mtime_ns
    more: tuple[str, ...] = ()
    if change == "row":
        dataset.rows[0]["labelled_slices"] = "8 16"
        dataset.write()
    elif change == "option":
        more = ("--slices", "all")
    else:
        os.utime(dataset.image)
    assert main(dataset.command("--resume", *more)) == 0
    assert dataset.case("a").record.stat().st_mtime_ns > before


def test_an_accepted_case_is_never_run_again(dataset: Dataset) -> None:
    dataset.add("a", "b")
    assert main(dataset.command()) == 0
    status = StatusFile(dataset.output / "status.csv")
    status.set_accepted("a", True)
    assert status.path.read_text().splitlines()[0] == ",".join([*COLUMNS, *DETAILS, "accepted"])
    before = dataset.case("a").record.stat().st_mtime_ns
    assert main(dataset.command("--resume", "--slices", "all")) == 0
    assert dataset.case("a").record.stat().st_mtime_ns == before
    assert [row.accepted for row in dataset.status().values()] == [True, False]


@pytest.mark.slow
def test_a_batch_that_is_killed_repeatedly_continues_each_time(
    dataset: Dataset, standins: dict[str, str], spawned: Spawned
) -> None:
    dataset.add("a", "b", "c")
    done: dict[str, int] = {}
    for interrupted in "bc":
        batch = spawned.cli(*slow_batch(dataset, 1), "--resume", environment=standins)
        child = slow_process(dataset)
        batch.kill()
        batch.wait()
        assert {name: dataset.case(name).record.stat().st_mtime_ns for name in done} == done
        before = [name for name in "abc" if name < interrupted]
        done = {name: dataset.case(name).record.stat().st_mtime_ns for name in before}
        status = [row.status for row in dataset.status().values()]
        assert status == [*[Status.DONE] * len(before), Status.RUNNING, *[Status.SKIPPED] * (2 - len(before))]
        wait_for(lambda: not alive(child))  # noqa: B023 (called at once)
        (dataset.case(interrupted).folder / ".fsa-0123abcd.nii.gz").write_bytes(b"half")
    assert main([*slow_batch(dataset, 1), "--resume"]) == 0
    assert [row.status for row in dataset.status().values()] == [Status.DONE] * 3
    for name in "abc":
        assert sorted(path.name for path in dataset.case(name).folder.iterdir()) == [
            "case.json",
            "confidence.nii.gz",
            "label.nii.gz",
            "label.nii.gz.labels.json",
            "preview.png",
        ]


def test_a_case_that_was_finished_before_its_status_was_written_is_not_run_again(dataset: Dataset) -> None:
    dataset.add("a")
    assert main(dataset.command()) == 0
    before = dataset.case("a").record.stat().st_mtime_ns
    StatusFile(dataset.output / "status.csv").update([CaseStatus(name="a", status=Status.RUNNING)])
    assert main(dataset.command("--resume")) == 0
    assert dataset.status()["a"].status is Status.DONE
    assert dataset.case("a").record.stat().st_mtime_ns == before


def test_a_second_batch_on_the_folder_is_refused_while_one_is_active(
    dataset: Dataset, standins: dict[str, str], spawned: Spawned, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    arguments = slow_batch(dataset)
    batch = spawned.cli(*arguments, environment=standins)
    slow_process(dataset)
    for more in ((), ("--resume",)):
        assert main([*arguments, *more]) == 2
        assert "another batch runs in this folder" in capsys.readouterr().err
    assert BatchFolder(dataset.output).busy()
    batch.kill()
    batch.wait()
    assert not BatchFolder(dataset.output).busy()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupt", "file"])
def test_a_cancelled_batch_is_reported_and_can_be_resumed(
    dataset: Dataset, standins: dict[str, str], spawned: Spawned, how: str
) -> None:
    dataset.add("a", "b")
    batch = spawned.cli(*slow_batch(dataset), environment=standins)
    child = slow_process(dataset)
    if how == "interrupt":
        batch.send_signal(signal.SIGINT)
    else:
        (dataset.output / "cancel").touch()
    _, stderr = batch.communicate(timeout=20)
    assert batch.returncode == 130
    assert stderr == "fewshot-annotate: cancelled; --resume runs what is left.\n"
    assert not alive(child)
    assert {(row.status, row.message) for row in dataset.status().values()} == {(Status.SKIPPED, "cancelled")}
    assert main([*dataset.command("--resume")]) == 0


def test_a_used_folder_is_refused_without_resume_and_an_unrelated_one_always(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    assert main(dataset.command()) == 0
    assert main(dataset.command()) == 2
    assert "continue that one (--resume)" in capsys.readouterr().err
    foreign = dataset.folder / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").touch()
    for more in ((), ("--resume",)):
        assert main([*dataset.command(*more)[:2], "-o", str(foreign), *more]) == 2
        assert "it holds other files and no batch" in capsys.readouterr().err


def test_json_progress_has_one_line_for_each_change(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.add("a", "b")
    assert main(dataset.command("--progress", "json")) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] == {"event": "batch", "counts": {"done": 0, "failed": 0, "running": 0, "total": 2}, "eta": None}
    assert [(event["name"], event["status"]) for event in events[1:]] == [
        ("a", "running"),
        ("a", "done"),
        ("b", "running"),
        ("b", "done"),
    ]
    assert events[-1]["counts"] == {"done": 2, "failed": 0, "running": 0, "total": 2}


def test_a_long_case_reports_while_it_runs(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    monkeypatch.setattr(batch_state, "REPORT_SECONDS", 0.0)
    assert main([*dataset.command(), "--progress", "json"]) == 0
    counts = [event["counts"] for event in map(json.loads, capsys.readouterr().out.splitlines())]
    assert sum(count["running"] == 1 for count in counts) > 1


def test_the_page_lists_every_case_and_escapes_names(dataset: Dataset) -> None:
    dataset.add("a & 'b' é", "c")
    dataset.rows.append({"image": "manifest.csv", "support": "support.nii.gz", "name": "bad"})
    dataset.write()
    assert main(dataset.command()) == 1
    page = (dataset.output / "index.html").read_text(encoding="utf-8")
    assert "a &amp; &#39;b&#39; é" in page
    assert "a & 'b'" not in page
    previews = re.findall(r'data-preview="([^"]*)"', page)
    assert previews == ["a%20%26%20%27b%27%20%C3%A9/preview.png", "c/preview.png", ""]
    assert "cannot be read as an image" in page
    assert not re.search(r"https?://", page)


def test_a_batch_that_cannot_be_accessed_is_not_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert main(["dataset", "list", str(loop)]) == 2
    assert "cannot be reached (too many levels of symbolic links); check" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--workers", "0"), ("--workers", "many"), ("--threads", "-1")])
def test_invalid_numbers_are_refused(
    dataset: Dataset, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    assert main(dataset.command("=".join(arguments))) == 2
    assert f"'{arguments[1]}' is no number of {arguments[0].strip('-')}" in capsys.readouterr().err
    assert not dataset.output.exists()


def test_missing_packages_of_the_pages_are_reported_before_anything_runs(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("fewshot_annotate.datasets.batch.find_spec", lambda name: name == "PIL" or None)
    assert main(dataset.command()) == 2
    assert "jinja2 is missing" in capsys.readouterr().err
    assert not dataset.output.exists()


def test_a_dicom_folder_can_be_the_image_of_a_case(dataset: Dataset) -> None:
    folder = dataset.folder / "series"
    series(folder, 0)
    volume = read_volume(folder)
    array = np.zeros(volume.array.shape, np.uint8)
    array[0, 10:30, 10:30] = 1
    write_array(dataset.support, array, volume.geometry)
    dataset.rows = [{"image": "series", "support": "support.nii.gz"}]
    dataset.write()
    assert main(dataset.command("--slices", "all")) == 0
    assert dataset.status()["series"].status is Status.DONE
