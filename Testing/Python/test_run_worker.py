"""The worker seen from its host: real processes over real volumes, their events, and how they are cancelled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from fewshot_annotate import __version__
from fewshot_annotate.core.events import Cancelled, Failed, Finished, Progress, Started, Warned
from fewshot_annotate.jobs import process as process_module
from fewshot_annotate.jobs.process import WORKER_SCRIPT, WorkerProcess
from fewshot_annotate.jobs.run_folder import JobFolder
from support.processes import (
    PACKAGE_PARENT,
    Spawned,
    alive,
    finished_slices,
    paused,
    poll_to_end,
    poll_to_third_slice,
    poll_until,
    slices_done,
    worker_pid,
    write_exit_code_recorder,
    write_launcher,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes through /proc")


# --- a run without errors


def test_a_run_reports_its_start_every_slice_and_its_end(short_job: JobFolder, spawned: Spawned) -> None:
    pending = short_job.pending()
    events = poll_to_end(spawned.worker(short_job))
    assert isinstance(events[0], Started)
    assert (events[0].version, events[0].path) == (__version__, str(WORKER_SCRIPT))
    assert sorted(slices_done(events)) == pending
    assert isinstance(events[-1], Finished)
    assert not [event for event in events if isinstance(event, Warned)]
    assert JobFolder.open(short_job.path).pending() == []


def test_progress_rises_to_all_slices_and_the_time_left_falls_to_zero(short_job: JobFolder, spawned: Spawned) -> None:
    pending = short_job.pending()
    progress = [event for event in poll_to_end(spawned.worker(short_job)) if isinstance(event, Progress)]
    counted = [event.done for event in progress]
    # A slice that takes long is reported more than once: the work in it counts, too.
    assert counted == sorted(counted)
    assert sorted(set(counted)) == list(range(len(pending) + 1))
    assert {event.total for event in progress} == {len(pending)}
    assert progress[0].eta is None, "nothing is known before the first slice"
    assert all(event.eta is None for event in progress if event.fraction < 0.1), "too early to tell"
    assert all(event.eta is None or event.eta >= 0 for event in progress)
    assert progress[-1].eta == 0


def test_slices_arrive_one_by_one_and_can_be_read_at_once(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    events = poll_until(process, slices_done)
    with paused(worker_pid(events)):
        events += process.poll()
        done = slices_done(events)
        assert 0 < len(done) < len(long_job.pending()) + len(done)
        assert long_job.finished()[done].all()
        early = {index: long_job.result_slice(index) for index in done}
    poll_to_end(process)
    for index, labels in early.items():
        assert np.array_equal(long_job.result_slice(index), labels)


def test_polling_after_the_end_gives_no_events(short_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(short_job)
    events = poll_to_end(process)
    assert process.ending is events[-1]
    assert not process.running
    assert process.poll() == []


def test_the_worker_imports_neither_simpleitk_torch_slicer_nor_qt(long_job: JobFolder, spawned: Spawned) -> None:
    pid = worker_pid(poll_until(spawned.worker(long_job), slices_done))
    with paused(pid):
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    assert "numpy" in maps
    for name in ("SimpleITK", "torch", "slicer", "PySide6", "libQt", "vtk"):
        assert name not in maps


def test_a_run_of_a_finished_folder_ends_at_once(short_job: JobFolder, spawned: Spawned) -> None:
    poll_to_end(spawned.worker(short_job))
    before = finished_slices(short_job)
    events = poll_to_end(spawned.worker(short_job))
    assert slices_done(events) == []
    assert isinstance(events[-1], Finished)
    assert all(np.array_equal(before[index], labels) for index, labels in finished_slices(short_job).items())


# --- cancel


def test_cancel_keeps_finished_slices(long_job: JobFolder, spawned: Spawned) -> None:
    launcher, exit_code = write_exit_code_recorder(long_job, sys.executable)
    process = spawned.worker(long_job, python=launcher)
    events, _ = poll_to_third_slice(process)
    process.cancel()
    events += poll_to_end(process)
    assert isinstance(events[-1], Cancelled)
    assert sorted(slices_done(events)) == np.flatnonzero(long_job.finished()).tolist()
    assert long_job.pending(), "it stopped before the last slice"
    assert exit_code.read_text().strip() == "130"


def test_cancel_before_the_first_slice_ends_the_run(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    process.cancel()
    assert isinstance(poll_to_end(process)[-1], Cancelled)
    assert long_job.pending()


def test_a_worker_that_does_not_react_to_cancel_is_killed(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    events, pid = poll_to_third_slice(process)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    process.cancel(grace=0.3)
    events += poll_to_end(process)
    assert time.monotonic() - began >= 0.3
    assert isinstance(events[-1], Cancelled)
    assert not alive(pid)
    assert long_job.finished()[slices_done(events)].all()


# --- what the host reads


def test_invalid_lines_among_the_events_do_not_break_polling(long_job: JobFolder, spawned: Spawned) -> None:
    generator = random.Random(5)
    process = spawned.worker(long_job)
    events = poll_until(process, slices_done)
    with paused(worker_pid(events)), long_job.events_path.open("ab") as file:
        for junk in (
            b"\n",
            b"Traceback (most recent call last):\n",
            b'{"event": "slice", "index"\n',
            b'{"event": "slice", "index": 99999}\n',
            b'{"event": "started", "pid": -1, "version": "", "path": ""}\n',
            generator.randbytes(10_000) + b"\n",
            b"x" * 500_000 + b"\n",
            b'{"event": "warning", "message": "' + b"y" * 200_000 + b'"}\n',
            b"[" * 100_000 + b"\n",
            "événement\n".encode(),
            b"\0" * 100 + b"\n",
        ):
            file.write(junk)
            file.flush()
            for _ in range(12):
                began = time.monotonic()
                events += process.poll()
                assert time.monotonic() - began < 1, "a poll stays short"
    events += poll_to_end(process)
    assert isinstance(events[-1], Finished)
    assert len([event for event in events if isinstance(event, Warned)]) == 1, "reported once"
    assert len(slices_done(events)) == np.count_nonzero(long_job.finished())


def test_events_that_disappear_do_not_break_polling(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    events, _ = poll_to_third_slice(process)
    long_job.events_path.unlink()
    events += poll_to_end(process)
    assert isinstance(events[-1], (Failed, Finished))
    assert np.count_nonzero(long_job.finished()) >= len(slices_done(events))


def test_a_worker_of_another_version_is_refused(
    long_job: JobFolder, spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(PACKAGE_PARENT / "fewshot_annotate", other / "fewshot_annotate")
    init = other / "fewshot_annotate" / "__init__.py"
    init.write_text(init.read_text().replace(__version__, "0.0.9"))
    monkeypatch.setattr(WorkerProcess, "script", other / "fewshot_annotate" / "jobs" / "worker.py")
    events = poll_to_end(spawned.worker(long_job))
    ending = events[-1]
    assert isinstance(ending, Failed)
    assert "0.0.9" in ending.reason
    assert __version__ in ending.reason


def test_a_worker_of_another_installation_is_refused(long_job: JobFolder, spawned: Spawned, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(PACKAGE_PARENT / "fewshot_annotate", other / "fewshot_annotate")
    script = other / "fewshot_annotate" / "jobs" / "worker.py"
    launcher = write_launcher(long_job, f'shift\nexec "{sys.executable}" "{script}" "$@"')
    ending = poll_to_end(spawned.worker(long_job, python=launcher))[-1]
    assert isinstance(ending, Failed)
    assert str(script) in ending.reason


def test_the_worker_runs_its_own_package_whatever_else_is_installed(
    short_job: JobFolder, spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = tmp_path / "impostor" / "fewshot_annotate"
    impostor.mkdir(parents=True)
    (impostor / "__init__.py").write_text("raise SystemExit('wrong package')")
    monkeypatch.setenv("PYTHONPATH", str(impostor.parent))
    assert isinstance(poll_to_end(spawned.worker(short_job))[-1], Finished)


# --- two workers, no host


def test_a_second_worker_on_a_folder_is_refused_and_the_first_continues(
    long_job: JobFolder, spawned: Spawned
) -> None:
    first = spawned.worker(long_job)
    events = poll_until(first, slices_done)
    with paused(worker_pid(events)):
        (refused,) = poll_to_end(spawned.worker(JobFolder.open(long_job.path)))
        assert isinstance(refused, Failed)
        assert refused.code == "job_busy"
        first.cancel()
        poll_to_end(spawned.worker(JobFolder.open(long_job.path)))
        assert long_job.cancel_requested(), "the second does not withdraw the request to the first"
        direct = subprocess.run(
            [sys.executable, str(WORKER_SCRIPT), str(long_job.path), "--host-pid", str(os.getpid())],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert direct.returncode == 2
        assert "another worker" in direct.stderr
    events += poll_to_end(first)
    assert isinstance(events[-1], Cancelled)
    assert len([event for event in events if isinstance(event, Started)]) == 1


def test_a_damaged_folder_is_refused_by_the_worker_in_one_line(short_job: JobFolder, spawned: Spawned) -> None:
    os.truncate(short_job.path / "image.npy", 1000)
    (ending,) = poll_to_end(spawned.worker(short_job))
    assert isinstance(ending, Failed)
    assert ending.code == "job_folder_unreadable"
    assert "image.npy" in ending.reason


def test_a_worker_that_hangs_when_its_host_exits_is_ended(spawned: Spawned) -> None:
    code = """
        import sys, time
        from fewshot_annotate.jobs import host_monitor

        host_monitor.HOST_CHECK_SECONDS, host_monitor.ORPHAN_SECONDS = 0.05, 0.2
        host_monitor.HostMonitor(int(sys.argv[1]))
        time.sleep(100)
    """
    host = spawned.python("-c", "import time; time.sleep(100)")
    stuck = spawned.python("-c", dedent(code), str(host.pid))
    with pytest.raises(subprocess.TimeoutExpired):
        stuck.wait(1.0)
    host.kill()
    host.wait()
    assert stuck.wait(5) == 130


def test_an_incomplete_event_does_not_affect_those_of_the_next_worker(short_job: JobFolder, spawned: Spawned) -> None:
    short_job.events_path.write_text('{"event": "slice", "ind')
    reported = poll_to_end(spawned.worker(short_job))
    incomplete, *lines = short_job.events_path.read_text().splitlines()
    assert incomplete == '{"event": "slice", "ind'
    assert [process_module.event_from_line(line) for line in lines] == reported
