"""Workers that tests fork behave as those that users start."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.events import Cancelled, Failed, Finished
from fewshot_annotate.jobs.process import WorkerProcess
from fewshot_annotate.jobs.run_folder import JobFolder
from support.processes import Spawned, alive, finished_slices, poll_to_end, poll_to_third_slice, worker_pid


@pytest.fixture(params=["started", "forked"], autouse=True)
def start(request: pytest.FixtureRequest) -> None:
    if request.param == "forked":
        request.getfixturevalue("forked_workers")


@pytest.fixture(scope="module")
def results() -> list[dict[int, np.ndarray]]:
    """Results of the worker, of each way to start it."""
    return []


def test_its_result_is_the_same(short_job: JobFolder, spawned: Spawned, results: list[dict[int, np.ndarray]]) -> None:
    worker = spawned.worker(short_job)
    events = poll_to_end(worker)
    assert worker_pid(events) == worker.pid
    assert isinstance(events[-1], Finished)
    assert not short_job.log_path.read_bytes()
    results.append(finished_slices(short_job))
    for index, labels in results[0].items():
        np.testing.assert_array_equal(results[-1][index], labels)


def test_a_killed_one_is_reported_as_killed(long_job: JobFolder, spawned: Spawned) -> None:
    worker = spawned.worker(long_job)
    _, pid = poll_to_third_slice(worker)
    assert alive(pid)
    assert not worker.wait(0)
    os.kill(pid, signal.SIGKILL)
    ending = poll_to_end(worker)[-1]
    assert isinstance(ending, Failed)
    assert ending.code == "worker_killed"
    assert not alive(pid)


def test_a_cancelled_one_ends_by_itself(long_job: JobFolder, spawned: Spawned) -> None:
    worker = spawned.worker(long_job)
    poll_to_third_slice(worker)
    worker.cancel()
    assert isinstance(poll_to_end(worker)[-1], Cancelled)


def test_its_refusal_is_read_from_its_log(short_job: JobFolder, spawned: Spawned) -> None:
    worker = WorkerProcess(short_job)
    shutil.rmtree(short_job.path / "layers")
    worker.start()
    (failed,) = poll_to_end(worker)
    assert isinstance(failed, Failed)
    assert failed.code == "job_folder_unreadable"


def test_it_imports_what_its_environment_names(
    short_job: JobFolder, spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import os, sys\nprint(os.environ['ANYTHING'], file=sys.stderr)\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("ANYTHING", "a word")
    assert isinstance(poll_to_end(spawned.worker(short_job))[-1], Finished)
    assert short_job.log_path.read_text() == "a word\n"
