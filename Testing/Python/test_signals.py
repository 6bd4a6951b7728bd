"""A program that gets a signal removes its temporary files; those of a killed one are removed at the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.signals import defer_signals, ignore_signals, signals_as_interrupt
from fewshot_annotate.core.temporary import FOLDER_PREFIX
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import write_array, write_label_maps
from support.processes import PACKAGE_PARENT, wait_for

GRID = Geometry((24, 160, 160))
SIGNALS = ["SIGTERM", "SIGHUP", "SIGQUIT"]


@pytest.fixture
def case_folder(tmp_path: Path) -> Path:
    truth = np.zeros(GRID.shape, dtype=np.uint8)
    truth[:, 20:60, 20:60] = 1
    painted = truth.copy()
    painted[[index for index in range(24) if index % 8]] = 0
    noise = np.random.default_rng(3).normal(0, 5, GRID.shape)
    write_array(tmp_path / "image.nrrd", (noise + 100 * truth).astype(np.float32), GRID)
    write_label_maps(tmp_path / "support.seg.nrrd", [LabelMap(painted, GRID, (Segment(value=1, name="box"),))])
    (tmp_path / "tmp").mkdir()
    return tmp_path


def start(case_folder: Path) -> subprocess.Popen[str]:
    words = ["fill", case_folder / "image.nrrd", case_folder / "support.seg.nrrd", "-o", case_folder / "out.nii.gz"]
    command = [sys.executable, "-m", "fewshot_annotate.cli", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "TMPDIR": str(case_folder / "tmp")}
    return subprocess.Popen(
        [*command, "--engine", "propagate", "--progress", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def job_begins(case_folder: Path) -> None:
    wait_for(lambda: any((case_folder / "tmp").glob("*/job/worker.log")))


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_that_ends_a_program_leaves_no_image_behind(name: str, case_folder: Path) -> None:
    before = sorted(case_folder.iterdir())
    with start(case_folder) as program:
        job_begins(case_folder)
        program.send_signal(getattr(signal, name))
        _, err = program.communicate(timeout=240)
    assert program.returncode == 130
    assert err == "fewshot-annotate: cancelled; no output was written.\n"
    assert sorted(case_folder.iterdir()) == before
    assert not list((case_folder / "tmp").glob(f"{FOLDER_PREFIX}*/job"))


def test_files_of_a_killed_program_are_removed_at_the_next_start(case_folder: Path) -> None:
    with start(case_folder) as program:
        job_begins(case_folder)
        program.kill()
    wait_for(lambda: not any(_locked(path) for path in (case_folder / "tmp").glob("*/job/worker.lock")))
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "TMPDIR": str(case_folder / "tmp")}
    listed = subprocess.run(
        [sys.executable, "-m", "fewshot_annotate.cli", "library", "list"], env=environment, capture_output=True
    )
    assert listed.returncode == 0
    assert not list((case_folder / "tmp").glob(f"{FOLDER_PREFIX}*"))


def _locked(path: Path) -> bool:
    import fcntl

    try:
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_is_a_keyboard_interrupt_while_the_program_runs(name: str) -> None:
    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(KeyboardInterrupt), signals_as_interrupt():
        signal.raise_signal(getattr(signal, name))
    assert signal.getsignal(getattr(signal, name)) is before


def test_signals_ignored_at_the_start_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupt():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["SIGINT", *SIGNALS])
def test_a_critical_section_and_the_clean_up_are_not_interrupted(name: str) -> None:
    done = []
    with signals_as_interrupt():
        with ignore_signals():
            signal.raise_signal(getattr(signal, name))
            done.append("written")
        with pytest.raises(KeyboardInterrupt), defer_signals():
            signal.raise_signal(getattr(signal, name))
            done.append("tidied up")
    assert done == ["written", "tidied up"]


@pytest.mark.parametrize("name", ["SIGINT", *SIGNALS])
@pytest.mark.parametrize("module", ["rich", "numpy", "SimpleITK", "fewshot_annotate.cli.library"])
def test_a_signal_while_the_program_loads_is_reported_in_one_line(module: str, name: str) -> None:
    ended = interrupted_at(module, name)
    assert ended.returncode == 130
    assert ended.stderr == "fewshot-annotate: cancelled; no output was written.\n"


def test_ctrl_c_before_its_handler_is_set_is_reported_in_one_line() -> None:
    ended = interrupted_at("fewshot_annotate.core.signals", "SIGINT")
    assert (ended.returncode, ended.stderr) == (130, "fewshot-annotate: cancelled; no output was written.\n")


def test_the_exit_code_is_the_same_where_an_interrupt_is_raised_within_exec(tmp_path: Path) -> None:
    """As when a dataclass is defined; otherwise Python ends `python -m` by SIGINT even if the interrupt is caught."""
    (tmp_path / "program.py").write_text(interrupting("rich", "exec('signal.raise_signal(signal.SIGINT)')"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(PACKAGE_PARENT)))}
    ended = subprocess.run([sys.executable, "-m", "program"], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "fewshot-annotate: cancelled; no output was written.\n")


def test_few_modules_are_loaded_before_ctrl_c_is_handled() -> None:
    code = "import sys\nbefore = set(sys.modules)\nimport fewshot_annotate\nprint(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys\nsys.path.insert(0, {str(PACKAGE_PARENT)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    words = loaded.stdout.split()
    ours = {name for name in words if name.startswith("fewshot_annotate")}
    assert ours == {"fewshot_annotate", "fewshot_annotate.core", "fewshot_annotate.core.errors"}
    assert not {"typing", "re", "pathlib"} & set(words)


def interrupted_at(module: str, name: str) -> subprocess.CompletedProcess[str]:
    """A program that gets a signal when it imports a module, once it has ended."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)}
    code = interrupting(module, f"signal.raise_signal(signal.{name})")
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def interrupting(module: str, statement: str) -> str:
    """A program with a statement that is run when it imports a module."""
    return (
        "import signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            {statement}\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from fewshot_annotate.cli import main\n"
        "sys.exit(main(['library', 'list']))\n"
    )


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_waits_for_the_end_of_a_critical_section_beside_other_threads(name: str) -> None:
    ended, done = threading.Event(), []
    threading.Thread(
        target=ended.wait
    ).start()  # as of numeric libraries; the system may deliver the signal to any thread
    try:
        with pytest.raises(KeyboardInterrupt), signals_as_interrupt(), defer_signals():
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(0.02)
            done.append("tidied up")
    finally:
        ended.set()
    assert done == ["tidied up"]


class Finalized:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


class SignalledTimer(threading.Timer):
    """A second signal comes while the first is handled."""

    def start(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        super().start()


@pytest.mark.parametrize("timer", [threading.Timer, SignalledTimer])
def test_a_signal_that_a_finalizer_swallows_is_sent_again(
    timer: type[threading.Timer], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "Timer", timer)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupt():
        Finalized()
        time.sleep(20)
    assert capfd.readouterr().err == ""


def test_no_signal_is_sent_again_after_the_end_of_the_program() -> None:
    with signals_as_interrupt():
        Finalized()
    time.sleep(0.2)
