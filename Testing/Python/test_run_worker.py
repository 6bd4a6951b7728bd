"""The worker seen from its host: real processes over real volumes that end well, late, early or badly."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from fewshot_annotate import __version__
from fewshot_annotate.core.errors import Message
from fewshot_annotate.core.events import Cancelled, Event, Failed, Finished, Progress, SliceDone, Started, Warned
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.jobs import process as process_module
from fewshot_annotate.jobs.process import WORKER_SCRIPT, WorkerProcess
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.worker import HOST_CHECK_SECONDS
from support.disk import small_disk
from support.labels import long_case, small_case
from support.processes import (
    PACKAGE_PARENT,
    Spawned,
    alive,
    make_folder,
    paused,
    poll_to_end,
    poll_until,
    slices_done,
    wait_for,
    worker_pid,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes through /proc")


@pytest.fixture
def long_job(awkward_path: Path) -> JobFolder:
    return make_folder(awkward_path / "job", *long_case(), SliceAxis(0), 50)


@pytest.fixture
def short_job(awkward_path: Path) -> JobFolder:
    return make_folder(awkward_path / "job", *small_case(), SliceAxis(0), 8)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """What the long job gives if nothing happens to it."""
    folder = make_folder(tmp_path_factory.mktemp("undisturbed") / "job", *long_case(), SliceAxis(0), 50)
    with Spawned() as spawned:
        assert isinstance(poll_to_end(spawned.worker(folder))[-1], Finished)
    return folder.assemble()


def caught_in_the_middle(process: WorkerProcess) -> tuple[list[Event], int]:
    """Events up to the third slice, and the worker's process id."""
    events = poll_until(process, lambda events: len(slices_done(events)) >= 3)
    return events, worker_pid(events)


def finished_slices(folder: JobFolder) -> dict[int, np.ndarray]:
    return {int(index): folder.result_slice(int(index)) for index in np.flatnonzero(folder.finished())}


# --- a run that ends well


def test_a_run_tells_its_start_every_slice_and_its_end(short_job: JobFolder, spawned: Spawned) -> None:
    pending = short_job.pending()
    events = poll_to_end(spawned.worker(short_job))
    assert isinstance(events[0], Started)
    assert (events[0].version, events[0].path) == (__version__, str(WORKER_SCRIPT))
    assert sorted(slices_done(events)) == pending
    assert isinstance(events[-1], Finished)
    assert not [event for event in events if isinstance(event, Warned)]
    assert JobFolder.open(short_job.path).pending() == []


def test_progress_counts_up_to_all_slices_and_its_eta_down_to_nothing(short_job: JobFolder, spawned: Spawned) -> None:
    pending = short_job.pending()
    progress = [event for event in poll_to_end(spawned.worker(short_job)) if isinstance(event, Progress)]
    counted = [event.done for event in progress]
    # A slice that takes long is reported more than once: the work in it counts, too.
    assert counted == sorted(counted)
    assert sorted(set(counted)) == list(range(len(pending) + 1))
    assert {event.total for event in progress} == {len(pending)}
    assert progress[0].eta is None, "nothing is known before the first slice"
    assert all(event.eta is None for event in progress if event.fraction < 0.1), "too early to tell"
    assert all(event.eta is not None and event.eta >= 0 for event in progress if event.fraction >= 0.2)
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


def test_polling_after_the_end_says_nothing_more(short_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(short_job)
    events = poll_to_end(process)
    assert process.ending is events[-1]
    assert not process.running
    assert process.poll() == []


def test_the_worker_gets_along_without_simpleitk_torch_slicer_and_qt(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    with paused(worker_pid(poll_until(process, slices_done))):
        maps = Path(f"/proc/{process._worker_pid}/maps").read_text(encoding="utf-8", errors="replace")
    assert "numpy" in maps
    for name in ("SimpleITK", "torch", "slicer", "PySide6", "libQt", "vtk"):
        assert name not in maps


def test_a_finished_folder_is_finished_at_once_when_run_again(short_job: JobFolder, spawned: Spawned) -> None:
    poll_to_end(spawned.worker(short_job))
    before = finished_slices(short_job)
    events = poll_to_end(spawned.worker(short_job))
    assert slices_done(events) == []
    assert isinstance(events[-1], Finished)
    assert all(np.array_equal(before[index], labels) for index, labels in finished_slices(short_job).items())


# --- cancel


def test_cancel_keeps_what_is_finished(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    events, _ = caught_in_the_middle(process)
    process.cancel()
    events += poll_to_end(process)
    assert isinstance(events[-1], Cancelled)
    assert sorted(slices_done(events)) == np.flatnonzero(long_job.finished()).tolist()
    assert long_job.pending(), "it stopped before the last slice"
    assert process._process is not None
    assert process._process.returncode == 130


def test_cancel_before_the_first_slice_ends_the_run(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    process.cancel()
    assert isinstance(poll_to_end(process)[-1], Cancelled)
    assert long_job.pending()


def test_a_worker_that_does_not_react_to_cancel_is_killed(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    events, pid = caught_in_the_middle(process)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    process.cancel(grace=0.3)
    events += poll_to_end(process)
    assert time.monotonic() - began >= 0.3
    assert isinstance(events[-1], Cancelled)
    assert not alive(pid)
    assert long_job.finished()[slices_done(events)].all()


@pytest.mark.slow
def test_a_cancelled_run_continues_and_is_not_cancelled_again(
    long_job: JobFolder, spawned: Spawned, undisturbed: tuple[np.ndarray, np.ndarray]
) -> None:
    process = spawned.worker(long_job)
    caught_in_the_middle(process)
    process.cancel()
    poll_to_end(process)
    missing = long_job.pending()
    events = poll_to_end(spawned.worker(long_job))
    assert isinstance(events[-1], Finished)
    assert sorted(slices_done(events)) == missing
    for result, expected in zip(long_job.assemble(), undisturbed, strict=True):
        assert np.array_equal(result, expected)


# --- death of the worker


def test_a_killed_worker_is_reported_and_what_it_finished_is_kept(
    long_job: JobFolder, spawned: Spawned, undisturbed: tuple[np.ndarray, np.ndarray]
) -> None:
    process = spawned.worker(long_job)
    events, pid = caught_in_the_middle(process)
    os.kill(pid, signal.SIGKILL)
    events += poll_to_end(process)
    ending = events[-1]
    assert isinstance(ending, Failed)
    assert ending.reason.count(".") == 1, "one plain sentence"
    assert "can be resumed" in ending.reason

    kept = finished_slices(long_job)
    assert set(slices_done(events)) <= set(kept)
    missing = JobFolder.open(long_job.path).pending()
    assert missing

    events = poll_to_end(spawned.worker(long_job))
    assert isinstance(events[-1], Finished)
    assert sorted(slices_done(events)) == missing, "only what was missing is computed"
    first = next(event for event in events if isinstance(event, Progress))
    assert first.done == len(kept)
    for result, expected in zip(long_job.assemble(), undisturbed, strict=True):
        assert np.array_equal(result, expected)


def test_a_worker_that_crashes_is_reported(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    _, pid = caught_in_the_middle(process)
    os.kill(pid, signal.SIGSEGV)
    ending = poll_to_end(process)[-1]
    assert isinstance(ending, Failed)
    assert "crashed" in ending.reason


def test_a_worker_that_cannot_be_started_is_reported_by_poll(short_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(short_job, python=str(short_job.path / "no such python"))
    assert process.running
    (ending,) = poll_to_end(process)
    assert isinstance(ending, Failed)
    assert "no such python" in ending.reason


def test_a_python_that_is_none_is_reported_with_its_last_words(short_job: JobFolder, spawned: Spawned) -> None:
    broken = short_job.path.parent / "python"
    broken.write_text("#!/bin/sh\necho some noise >&2\necho no licence found >&2\nexit 3\n")
    broken.chmod(0o755)
    (ending,) = poll_to_end(spawned.worker(short_job, python=str(broken)))
    assert isinstance(ending, Failed)
    assert "code 3: no licence found" in ending.reason


def test_killing_ends_the_worker_behind_a_launcher(long_job: JobFolder, spawned: Spawned) -> None:
    launcher = long_job.path.parent / "launcher"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@" &\nwait\n')
    launcher.chmod(0o755)
    process = spawned.worker(long_job, python=str(launcher))
    events, pid = caught_in_the_middle(process)
    assert process._process is not None
    assert pid != process._process.pid
    os.kill(pid, signal.SIGSTOP)  # else it might just come to its end
    process.kill()
    assert process.wait(10)
    wait_for(lambda: not alive(pid), 5)
    assert long_job.finished()[slices_done(events)].all()


# --- no room, no memory


def limited(folder: JobFolder, kind: str, limit: int) -> str:
    """A program that runs Python with a resource limit, in place of Python."""
    path = folder.path.parent / "limited"
    path.write_text(
        f"#!{sys.executable}\n"
        "import os, resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_{kind}, ({limit}, {limit}))\n"
        "os.environ['OPENBLAS_NUM_THREADS'] = '1'\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])\n"
    )
    path.chmod(0o755)
    return str(path)


def require_plain_failure_and_resume(
    folder: JobFolder,
    spawned: Spawned,
    python: str,
    free: Callable[[], None],
    expected: tuple[np.ndarray, np.ndarray],
) -> None:
    events = poll_to_end(spawned.worker(folder, python))
    ending = events[-1]
    assert isinstance(ending, Failed)
    assert "disk is full" in ending.reason
    assert ending.reason.count(".") == 1
    assert len(slices_done(events)) <= np.count_nonzero(folder.finished())
    assert folder.pending()
    free()
    events = poll_to_end(spawned.worker(folder))
    assert isinstance(events[-1], Finished)
    assert not [event for event in events if isinstance(event, Warned)], "the torn line does not spoil the next one"
    for result, whole in zip(folder.assemble(), expected, strict=True):
        assert np.array_equal(result, whole)


def test_events_that_find_no_room_end_the_run_with_one_clear_line_and_nothing_is_corrupt(
    long_job: JobFolder, spawned: Spawned, undisturbed: tuple[np.ndarray, np.ndarray]
) -> None:
    # The arrays have their room from the start, so only the events can meet a limit: make them the longest file.
    room = 1000 + max(file.stat().st_size for file in long_job.path.rglob("*"))
    long_job.events_path.write_bytes(b"\n" * room)
    python = limited(long_job, "FSIZE", room + 2000)
    require_plain_failure_and_resume(long_job, spawned, python, lambda: None, undisturbed)


def test_a_full_disk_is_one_clear_line_and_nothing_is_corrupt(
    spawned: Spawned, undisturbed: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 8 * long_case()[0].array.nbytes) as disk:  # twice as large as the job
        folder = make_folder(disk / "job", *long_case(), SliceAxis(0), 50)
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 12))
        require_plain_failure_and_resume(folder, spawned, sys.executable, ballast.unlink, undisturbed)


def test_too_little_memory_is_one_plain_sentence(tmp_path: Path, spawned: Spawned) -> None:
    volume, label_map = small_case()
    wide = (1, 1 + 2000 // volume.array.shape[1], 1 + 2000 // volume.array.shape[2])
    middle = volume.array.shape[0] // 2
    image, labels = (np.tile(array[middle - 2 : middle + 3], wide) for array in (volume.array, label_map.array))
    grid = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, grid), SliceAxis(0), [0, 4])
    folder = JobFolder.create(
        tmp_path / "job", Job(engine="propagate", slices=(1, 2, 3)), Volume(image, grid), support
    )
    enough_to_start = 2**20 * 30 + address_space_of_an_idle_worker()
    ending = poll_to_end(spawned.worker(folder, limited(folder, "AS", enough_to_start)))[-1]
    assert ending == Failed.of(Message("run_memory_short"))


def address_space_of_an_idle_worker() -> int:
    """Bytes of address space that a worker with its engine loaded takes before it has a volume."""
    code = """
        import threading
        import fewshot_annotate.jobs.worker
        from fewshot_annotate.engines.registry import engine_class

        engine_class("propagate")
        thread = threading.Thread(target=dict)
        thread.start()
        thread.join()
        (line,) = [line for line in open("/proc/self/status") if line.startswith("VmPeak")]
        print(int(line.split()[1]) * 1024)
    """
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", dedent(code)], env=environment, capture_output=True, text=True, check=True
    )
    return int(result.stdout)


# --- what the host reads


def test_nothing_that_stands_among_the_events_breaks_polling(long_job: JobFolder, spawned: Spawned) -> None:
    chance = random.Random(5)
    process = spawned.worker(long_job)
    events = poll_until(process, slices_done)
    with paused(worker_pid(events)), long_job.events_path.open("ab") as file:
        for junk in (
            b"\n",
            b"Traceback (most recent call last):\n",
            b'{"event": "slice", "index"\n',
            b'{"event": "slice", "index": 99999}\n',
            b'{"event": "started", "pid": -1, "version": "", "path": ""}\n',
            chance.randbytes(10_000) + b"\n",
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
    assert len([event for event in events if isinstance(event, Warned)]) == 1, "said once"
    assert len(slices_done(events)) == np.count_nonzero(long_job.finished())


def test_events_that_disappear_do_not_break_polling(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    events, _ = caught_in_the_middle(process)
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


def test_a_worker_from_another_place_is_refused(long_job: JobFolder, spawned: Spawned, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(PACKAGE_PARENT / "fewshot_annotate", other / "fewshot_annotate")
    launcher = tmp_path / "launcher"
    script = other / "fewshot_annotate" / "jobs" / "worker.py"
    launcher.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" "{script}" "$@"\n')
    launcher.chmod(0o755)
    ending = poll_to_end(spawned.worker(long_job, python=str(launcher)))[-1]
    assert isinstance(ending, Failed)
    assert str(script) in ending.reason


def test_the_worker_runs_the_package_it_belongs_to_whatever_else_is_installed(
    short_job: JobFolder, spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = tmp_path / "impostor" / "fewshot_annotate"
    impostor.mkdir(parents=True)
    (impostor / "__init__.py").write_text("raise SystemExit('wrong package')")
    monkeypatch.setenv("PYTHONPATH", str(impostor.parent))
    assert isinstance(poll_to_end(spawned.worker(short_job))[-1], Finished)


# --- two workers, no host


def test_a_second_worker_on_a_folder_is_refused_and_the_first_is_not_disturbed(
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
        assert long_job.cancel_requested(), "the second does not take back what the first was asked"
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


def test_a_worker_that_is_stuck_when_its_host_goes_away_does_not_stay(spawned: Spawned) -> None:
    code = """
        import sys, time
        from fewshot_annotate.jobs import worker

        worker.HOST_CHECK_SECONDS, worker.ORPHAN_SECONDS = 0.05, 0.2
        worker.HostMonitor(int(sys.argv[1]))
        time.sleep(100)
    """
    host = spawned.python("-c", "import time; time.sleep(100)")
    stuck = spawned.python("-c", dedent(code), str(host.pid))
    with pytest.raises(subprocess.TimeoutExpired):
        stuck.wait(1.0)
    host.kill()
    host.wait()
    assert stuck.wait(5) == 130


def test_a_torn_event_does_not_spoil_those_of_the_next_worker(short_job: JobFolder, spawned: Spawned) -> None:
    short_job.events_path.write_text('{"event": "slice", "ind')
    told = poll_to_end(spawned.worker(short_job))
    torn, *lines = short_job.events_path.read_text().splitlines()
    assert torn == '{"event": "slice", "ind'
    assert [process_module.event_from_line(line) for line in lines] == told


HOST = """
    import sys, time
    from fewshot_annotate.core.events import SliceDone, Started
    from fewshot_annotate.jobs.run_folder import JobFolder
    from fewshot_annotate.jobs.process import WorkerProcess

    process = WorkerProcess(JobFolder.open(sys.argv[1]))
    process.start()
    while process.running:
        for event in process.poll():
            if isinstance(event, (Started, SliceDone)):
                print(event.to_line(), flush=True)
        time.sleep(0.002)
"""


def test_a_worker_whose_host_is_killed_ends_by_itself_and_the_job_can_be_resumed(
    long_job: JobFolder, spawned: Spawned, undisturbed: tuple[np.ndarray, np.ndarray]
) -> None:
    host = spawned.python("-c", dedent(HOST), str(long_job.path))
    assert host.stdout is not None
    started = process_module.event_from_line(host.stdout.readline())
    assert isinstance(started, Started)
    assert isinstance(process_module.event_from_line(host.stdout.readline()), SliceDone)
    with paused(started.pid):  # however quick the engine is, the worker looks for its host before it is through
        host.kill()
        host.wait()
        assert alive(started.pid)
        time.sleep(1.2 * HOST_CHECK_SECONDS)
    wait_for(lambda: not alive(started.pid), 5)
    assert long_job.events_path.read_text().splitlines()[-1] == Cancelled().to_line()
    missing = JobFolder.open(long_job.path).pending()
    assert missing
    events = poll_to_end(spawned.worker(long_job))
    assert sorted(slices_done(events)) == missing
    for result, expected in zip(long_job.assemble(), undisturbed, strict=True):
        assert np.array_equal(result, expected)
