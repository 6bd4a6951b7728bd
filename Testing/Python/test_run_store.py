"""Run folders: locked while a process uses them, unfinished once it has ended, and only the newest are kept."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.host.fill.run_store import PLAN_FILE, RunFolder, RunStore
from support.processes import Spawned, wait_for
from support.run_folders import active_runs

IMPORTS = "import sys, time; from pathlib import Path; from fewshot_annotate.host.fill.run_store import RunStore"


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "deuxième étude" / "runs")


def _run(store: RunStore, age: float, size: int = 10) -> RunFolder:
    """A run with a plan of that many bytes, last written `age` seconds ago."""
    folder = store.create()
    plan = folder.path / PLAN_FILE
    plan.write_bytes(bytes(size))
    _set_age(folder, age)
    return folder


def _set_age(folder: RunFolder, age: float) -> None:
    then = time.time() - age
    for path in (*folder.path.iterdir(), folder.path):
        os.utime(path, (then, then))


def test_an_active_run_cannot_be_resumed_by_another_process(store: RunStore) -> None:
    folder = store.create()
    assert active_runs(store) == [folder.run_id]
    assert store.interrupted() == []
    assert store.acquire(folder.run_id) is None
    store.delete(folder.run_id)
    assert folder.path.is_dir()
    folder.delete()


def test_an_unfinished_run_is_listed_with_its_size_and_can_be_resumed_once(store: RunStore) -> None:
    folder = _run(store, 100.0, size=1234)
    folder.release()
    (left,) = store.interrupted()
    assert (left.run_id, left.size) == (folder.run_id, 1234)
    acquired_run = store.acquire(folder.run_id)
    assert acquired_run is not None
    assert store.acquire(folder.run_id) is None
    acquired_run.delete()
    assert store.interrupted() == active_runs(store) == []
    assert list(store.folder.iterdir()) == []


def test_an_unfinished_run_can_be_deleted_while_it_is_read(store: RunStore) -> None:
    folder = store.create()
    folder.release()
    acquired = store.acquire(folder.path.name)
    assert acquired is not None
    timer = threading.Timer(0.1, acquired.release)
    timer.start()
    store.delete(folder.path.name)
    timer.join()
    assert not folder.path.exists()


def test_a_run_of_a_killed_process_is_unfinished(store: RunStore, spawned: Spawned) -> None:
    child = spawned.python(
        "-c",
        f"{IMPORTS}; store = RunStore(Path(sys.argv[1])); run = store.create(); time.sleep(99)",
        str(store.folder),
    )
    wait_for(lambda: len(active_runs(store)) == 1)
    child.kill()
    child.wait()
    assert active_runs(store) == []
    assert len(store.interrupted()) == 1


def test_only_the_newest_unfinished_runs_are_kept_and_every_active_one(store: RunStore) -> None:
    active_run = _run(store, 9000.0)
    runs = [_run(store, 1000.0 * (number + 1)) for number in range(4)]
    for run in runs:
        run.release()
    store.prune(most=2)
    assert [left.run_id for left in store.interrupted()] == [runs[0].run_id, runs[1].run_id]
    assert active_run.path.is_dir()
    active_run.delete()


def test_an_incomplete_folder_is_deleted_unless_it_is_being_created(store: RunStore) -> None:
    old, new = store.create(), store.create()
    _set_age(old, 3600.0)
    old.release()
    new.release()
    store.prune()
    assert [left.run_id for left in store.interrupted()] == [new.run_id]


@pytest.mark.parametrize("run_id", ["", "..", "../../etc", "0" * 32, "A" * 32])
def test_an_unknown_id_has_no_run(store: RunStore, run_id: str) -> None:
    _run(store, 0.0).delete()
    assert store.acquire(run_id) is None


def test_files_that_are_not_runs_are_not_deleted(store: RunStore) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / "other").mkdir()
    (store.folder / "notes.txt").write_text("keep", encoding="utf-8")
    store.prune(most=0)
    assert sorted(path.name for path in store.folder.iterdir()) == ["notes.txt", "other"]
    assert store.interrupted() == []


def test_a_run_is_readable_by_its_owner_only(store: RunStore) -> None:
    folder = store.create()
    if os.name != "nt":
        assert folder.path.stat().st_mode & 0o077 == 0
    folder.delete()


def test_a_store_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        RunStore(tmp_path / "file" / "runs").create()
