"""A fill on the command line that is interrupted or killed: finished slices are kept."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.events import (
    Cancelled,
    Event,
    Finished,
    Started,
    event_from_line,
)
from fewshot_annotate.core.slice_axis import labelled_indices
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs import layers as layers_module
from fewshot_annotate.jobs import process as process_module
from fewshot_annotate.jobs.process import WorkerProcess, run_in_worker
from fewshot_annotate.jobs.run_folder import JobFolder
from support.case_folder import AXIS, CaseFolder
from support.labels import keep_slices, overlapping_layers, small_case
from support.labels import long_case as case_of_many_slices
from support.processes import Spawned, alive, make_folder, paused, slices_done, wait_for

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="watches processes through /proc")


@pytest.fixture(scope="module")
def long_case(tmp_path_factory: pytest.TempPathFactory) -> CaseFolder:
    folder = tmp_path_factory.mktemp("long") / "deuxième étude"
    folder.mkdir()
    volume, label_map = case_of_many_slices()
    labelled = labelled_indices(label_map.array, AXIS)
    indices = [labelled[1], labelled[-2]]
    case_folder = CaseFolder(folder, volume, keep_slices(label_map, AXIS, indices), indices)
    write_array(case_folder.image, volume.array, volume.geometry)
    case_folder.put_support(case_folder.support)
    assert main([*case_folder.fill("-o", folder / "expected.nii.gz"), "--slices", "all"]) == 0
    return case_folder


def worker_in_the_middle(case_folder: CaseFolder) -> tuple[JobFolder, int]:
    """The job of a running command line and its worker's process id, once three slices are finished."""
    wait_for(lambda: JobFolder.holds_job(case_folder.job))
    folder = JobFolder.open(case_folder.job)
    wait_for(lambda: np.count_nonzero(folder.finished()) >= 3)
    started = [event_from_line(line) for line in folder.events_path.read_text().splitlines()]
    return folder, [event.pid for event in started if isinstance(event, Started)][-1]


def require_resumes(case_folder: CaseFolder, spawned: Spawned, kept: int) -> None:
    program = spawned.cli(
        *case_folder.fill("--slices", "all", "--job-dir", case_folder.job, "--resume"), "--progress", "json"
    )
    out, err = program.communicate(timeout=120)
    assert (program.returncode, err) == (0, "")
    events = [event for event in map(event_from_line, out.splitlines()) if event]
    assert len(slices_done(events)) + kept == case_folder.volume.array.shape[0] - len(case_folder.indices)
    assert case_folder.output.read_bytes() == (case_folder.folder / "expected.nii.gz").read_bytes()
    case_folder.output.unlink()
    shutil.rmtree(case_folder.job)


@needs_proc
def test_ctrl_c_keeps_the_job_and_it_can_be_resumed(long_case: CaseFolder, spawned: Spawned) -> None:
    program = spawned.cli(*long_case.fill("--slices", "all", "--job-dir", long_case.job))
    folder, pid = worker_in_the_middle(long_case)
    with paused(pid):
        program.send_signal(signal.SIGINT)
        wait_for(folder.cancel_requested)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert (out, err.count("\n")) == ("", 1)
    assert "--resume" in err
    assert not long_case.output.exists()
    assert not alive(pid)
    require_resumes(long_case, spawned, np.count_nonzero(folder.finished()))


@needs_proc
def test_ctrl_c_stops_the_run_wherever_it_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any call of the run can be interrupted, not only its waiting."""
    for moment in ("start", "running", "poll"):
        folder = make_folder(tmp_path / moment, *case_of_many_slices(), AXIS, 50)

        class Interrupted(WorkerProcess):
            def __getattribute__(self, name: str, moment: str = moment) -> object:
                if name == moment and not vars(self).get("interrupted"):
                    self.interrupted = True
                    signal.raise_signal(signal.SIGINT)
                return super().__getattribute__(name)

        monkeypatch.setattr(process_module, "WorkerProcess", Interrupted)
        if moment == "start":  # no slice is finished yet
            with pytest.raises(KeyboardInterrupt):
                run_in_worker(folder, lambda event: None)
        else:
            assert isinstance(run_in_worker(folder, lambda event: None), Cancelled)
        assert folder.pending()


@needs_proc
def test_ctrl_c_at_the_end_of_a_layer_does_not_start_the_next(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [keep_slices(layer, AXIS, case_folder.indices) for layer in overlapping_layers(small_case()[1], 2)]
    support, output = case_folder.folder / "support.seg.nrrd", case_folder.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)

    def cancelled_at_its_end(folder: JobFolder, *more: Any, **options: Any) -> Event:
        ending = run_in_worker(folder, *more, **options)
        assert isinstance(ending, Finished)
        folder.request_cancel()
        return ending

    monkeypatch.setattr(layers_module, "run_in_worker", cancelled_at_its_end)
    command = ["fill", *map(str, (case_folder.image, support, "-o", output, "--job-dir", case_folder.job))]
    assert main([*command, "--progress", "none"]) == 130
    assert "cancelled; no output was written. Continue" in capfd.readouterr().err
    assert len(JobFolder.open(case_folder.job, layer=1).pending()) > 0
    assert not output.exists()


@needs_proc
def test_a_second_ctrl_c_ends_a_worker_that_does_not_react(long_case: CaseFolder, spawned: Spawned) -> None:
    program = spawned.cli(*long_case.fill("--slices", "all", "--job-dir", long_case.job))
    folder, pid = worker_in_the_middle(long_case)
    with paused(pid):
        program.send_signal(signal.SIGINT)
        wait_for(folder.cancel_requested)
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=60)
        assert (program.returncode, err.count("\n")) == (130, 1)
        wait_for(lambda: not alive(pid))
    shutil.rmtree(long_case.job)


@needs_proc
def test_a_killed_command_line_ends_its_worker_and_the_job_can_be_resumed(
    long_case: CaseFolder, spawned: Spawned
) -> None:
    program = spawned.cli(*long_case.fill("--slices", "all", "--job-dir", long_case.job))
    folder, pid = worker_in_the_middle(long_case)
    with paused(pid):
        program.kill()
        program.wait()
    wait_for(lambda: not alive(pid), 5)
    assert not long_case.output.exists()
    require_resumes(long_case, spawned, np.count_nonzero(folder.finished()))


@pytest.mark.slow
@needs_proc
def test_a_killed_worker_is_reported_in_one_plain_line(long_case: CaseFolder, spawned: Spawned) -> None:
    program = spawned.cli(*long_case.fill("--slices", "all", "--job-dir", long_case.job))
    folder, pid = worker_in_the_middle(long_case)
    os.kill(pid, signal.SIGKILL)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 1
    assert (out, err.count("\n")) == ("", 1)
    assert "--resume" in err
    require_resumes(long_case, spawned, np.count_nonzero(folder.finished()))


@needs_proc
def test_ctrl_c_without_a_job_folder_leaves_nothing(long_case: CaseFolder, spawned: Spawned, tmp_path: Path) -> None:
    before = long_case.files()
    program = spawned.cli(
        *long_case.fill("--slices", "all"), "--progress", "json", environment={"TMPDIR": str(tmp_path)}
    )
    assert program.stdout is not None
    assert any('"slice"' in line for line in program.stdout)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert err == "fewshot-annotate: cancelled; no output was written.\n"
    assert long_case.files() == before
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_causes_no_traceback(long_case: CaseFolder, spawned: Spawned) -> None:
    program = spawned.cli(*long_case.fill("--slices", "all"), "--progress", "json")
    assert program.stdout is not None
    program.stdout.readline()
    program.stdout.close()
    program.stdout = None
    _, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (1, "")
    assert not long_case.output.exists()
