"""Runs that are interrupted: the worker or its host dies, the disk or the memory is full; all can be resumed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from fewshot_annotate.core.errors import Message
from fewshot_annotate.core.events import Cancelled, Failed, Finished, Progress, SliceDone, Started, Warned
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.jobs import process as process_module
from fewshot_annotate.jobs.host_monitor import HOST_CHECK_SECONDS
from fewshot_annotate.jobs.run_folder import JobFolder
from support.disk import small_disk
from support.labels import long_case, small_case
from support.processes import (
    PACKAGE_PARENT,
    Spawned,
    alive,
    finished_slices,
    make_folder,
    paused,
    poll_to_end,
    poll_to_third_slice,
    slices_done,
    wait_for,
    write_launcher,
    write_program,
)
from support.run_folders import create_folder, result_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes through /proc")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidence of the long job without interruption."""
    folder = make_folder(tmp_path_factory.mktemp("undisturbed") / "job", *long_case(), SliceAxis(0), 50)
    with Spawned() as spawned:
        assert isinstance(poll_to_end(spawned.worker(folder))[-1], Finished)
    return result_of(folder)


@pytest.mark.slow
def test_a_cancelled_run_continues_and_is_not_cancelled_again(
    long_job: JobFolder, spawned: Spawned, undisturbed: tuple[np.ndarray, np.ndarray]
) -> None:
    process = spawned.worker(long_job)
    poll_to_third_slice(process)
    process.cancel()
    poll_to_end(process)
    missing = long_job.pending()
    events = poll_to_end(spawned.worker(long_job))
    assert isinstance(events[-1], Finished)
    assert sorted(slices_done(events)) == missing
    for result, expected in zip(result_of(long_job), undisturbed, strict=True):
        assert np.array_equal(result, expected)


# --- a killed worker


def test_a_killed_worker_is_reported_and_what_it_finished_is_kept(
    long_job: JobFolder, spawned: Spawned, undisturbed: tuple[np.ndarray, np.ndarray]
) -> None:
    process = spawned.worker(long_job)
    events, pid = poll_to_third_slice(process)
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
    for result, expected in zip(result_of(long_job), undisturbed, strict=True):
        assert np.array_equal(result, expected)


def test_a_worker_that_crashes_is_reported(long_job: JobFolder, spawned: Spawned) -> None:
    process = spawned.worker(long_job)
    _, pid = poll_to_third_slice(process)
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


def test_a_program_that_is_not_python_is_reported_with_its_last_output(
    short_job: JobFolder, spawned: Spawned
) -> None:
    broken = write_program(short_job.path.parent / "python", "echo some noise >&2\necho no licence found >&2\nexit 3")
    (ending,) = poll_to_end(spawned.worker(short_job, python=broken))
    assert isinstance(ending, Failed)
    assert "code 3: no licence found" in ending.reason


def test_killing_ends_the_worker_behind_a_launcher(long_job: JobFolder, spawned: Spawned) -> None:
    launcher_pid = long_job.path.parent / "launcher pid"
    launcher = write_launcher(long_job, f'echo $$ > "{launcher_pid}"\n"{sys.executable}" "$@" &\nwait')
    process = spawned.worker(long_job, python=launcher)
    events, pid = poll_to_third_slice(process)
    assert pid != int(launcher_pid.read_text())
    os.kill(pid, signal.SIGSTOP)  # else it might end by itself first
    process.kill()
    assert process.wait(10)
    wait_for(lambda: not alive(pid), 5)
    assert long_job.finished()[slices_done(events)].all()


# --- a full disk, too little memory


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
    assert not [event for event in events if isinstance(event, Warned)], (
        "the incomplete line does not damage the next one"
    )
    for result, undisturbed in zip(result_of(folder), expected, strict=True):
        assert np.array_equal(result, undisturbed)


def test_events_that_cannot_be_written_end_the_run_with_one_clear_line(
    long_job: JobFolder, spawned: Spawned, undisturbed: tuple[np.ndarray, np.ndarray]
) -> None:
    # The arrays have their full size from the start; the events are made the largest file, to reach the limit first.
    size = 1000 + max(file.stat().st_size for file in long_job.path.rglob("*"))
    long_job.events_path.write_bytes(b"\n" * size)
    python = limited(long_job, "FSIZE", size + 2000)
    require_plain_failure_and_resume(long_job, spawned, python, lambda: None, undisturbed)


def test_a_full_disk_is_reported_in_one_clear_line_and_nothing_is_corrupt(
    spawned: Spawned, undisturbed: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 8 * long_case()[0].array.nbytes) as disk:  # twice as large as the job
        folder = make_folder(disk / "job", *long_case(), SliceAxis(0), 50)
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 12))
        require_plain_failure_and_resume(folder, spawned, sys.executable, ballast.unlink, undisturbed)


def test_too_little_memory_is_reported_in_one_plain_sentence(tmp_path: Path, spawned: Spawned) -> None:
    volume, label_map = small_case()
    wide = (1, 1 + 2000 // volume.array.shape[1], 1 + 2000 // volume.array.shape[2])
    middle = volume.array.shape[0] // 2
    image, labels = (np.tile(array[middle - 2 : middle + 3], wide) for array in (volume.array, label_map.array))
    grid = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, grid), SliceAxis(0), [0, 4])
    folder = create_folder(tmp_path / "job", Job(engine="propagate", slices=(1, 2, 3)), Volume(image, grid), support)
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


# --- no host


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
    with paused(started.pid):  # the worker checks for its host before the end, however quick the engine is
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
    for result, expected in zip(result_of(long_job), undisturbed, strict=True):
        assert np.array_equal(result, expected)
