"""Settings, log and bug report: what they store, what the settings change, and that none holds patient data."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from support import slicer_standin

slicer_standin.install()

import qt  # noqa: E402
import slicer  # noqa: E402
from fewshot_annotate.core.data_folder import HOME_VARIABLE  # noqa: E402
from fewshot_annotate.core.errors import InputError  # noqa: E402
from fewshot_annotate.core.job import Device  # noqa: E402
from fewshot_annotate.engines import threads as threads_module  # noqa: E402
from fewshot_annotate.engines.threads import THREADS_VARIABLE  # noqa: E402
from fewshot_annotate.host import settings as settings_module  # noqa: E402
from fewshot_annotate.host.diagnostics.bug_report import bug_report, describe_worker, without_user  # noqa: E402
from fewshot_annotate.host.diagnostics.run_log import WORKER, RunLog  # noqa: E402
from fewshot_annotate.host.engines import installation  # noqa: E402
from fewshot_annotate.host.engines.downloaded_weights import delete, format_size, list_downloaded_weights  # noqa: E402
from fewshot_annotate.host.settings import GROUP, LogLevel, Settings  # noqa: E402
from fewshot_annotate.weights import catalog, store  # noqa: E402
from support.scene_cases import Runs, case, scene_of  # noqa: E402

pytestmark = pytest.mark.usefixtures("forked_workers")

PATIENT = "Doe^Jane 1970-01-01"


class SettingsInMemory(dict[str, Any]):
    """A stand-in for `QSettings`, in memory."""

    def value(self, key: str, default: Any = None) -> Any:
        return self.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        self[key] = value

    def remove(self, key: str) -> None:
        self.pop(key, None)


@pytest.fixture(autouse=True)
def cleared_application_settings() -> None:
    """Tests in other files, run by the same process, leave their values in the application's settings."""
    slicer.app.userSettings().clear()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings in memory; environment variables that they set are restored after the test."""
    monkeypatch.setattr(settings_module, "ORIGINAL_ENVIRONMENT", {})
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "default"))
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    yield Settings(SettingsInMemory())
    monkeypatch.undo()


def checkpoint() -> catalog.Checkpoint:
    return catalog.checkpoints()[0]


# --- settings


def test_settings_are_restored_in_the_next_session_as_qt_stores_them() -> None:
    store = slicer.app.userSettings()
    first = Settings(store)
    first.device, first.threads, first.log_level = Device.CUDA, 3, LogLevel.ERRORS
    first.data_folder = Path("/données/poids")
    first.add_consent(checkpoint())
    store.sync()
    second = Settings(qt.QSettings())
    assert (second.device, second.threads, second.log_level) == (Device.CUDA, 3, LogLevel.ERRORS)
    assert second.data_folder == Path("/données/poids")
    assert second.consents == {checkpoint().name: checkpoint().licence}
    store.remove(GROUP)
    assert Settings(store).device is Device.AUTO


@pytest.mark.parametrize("damage", ["", "nonsense", "-1", "9999999", "[]", "{", None, 7, ["a"]])
def test_an_invalid_stored_value_is_replaced_by_the_default(damage: Any) -> None:
    keys = ("device", "threads", "logLevel", "consents")
    damaged = Settings(SettingsInMemory({f"{GROUP}/{key}": damage for key in keys}))
    assert (damaged.device, damaged.threads, damaged.log_level) == (Device.AUTO, 0, LogLevel.RUNS)
    assert damaged.consents == {}


def test_agreement_is_to_one_licence_and_can_be_revoked(settings: Settings) -> None:
    settings.add_consent(checkpoint())
    assert settings.consents == {checkpoint().name: checkpoint().licence}
    settings.add_consent(replace(checkpoint(), licence="another licence"))
    assert settings.consents == {checkpoint().name: "another licence"}
    settings.remove_consent(checkpoint().name)
    assert settings.consents == {}


def test_consent_to_a_download_includes_its_licence(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "download_checkpoint", lambda checkpoint: True)
    stored = Settings(slicer.app.userSettings())
    slicer_standin.dialogs().answer_next("Cancel")
    assert not installation.ensure_engine("universeg")
    assert not stored.consents
    slicer_standin.dialogs().answer_next("Ok")
    assert installation.ensure_engine("universeg")
    assert list(stored.consents) == ["universeg-v1"]
    slicer.app.userSettings().remove(GROUP)


def test_a_device_that_an_engine_cannot_use_leaves_the_choice_to_the_engine(settings: Settings) -> None:
    settings.device = Device.CUDA
    assert settings.device_for("adapt") is Device.CUDA
    assert settings.device_for("propagate") is Device.AUTO
    assert settings.device_for("auto") in (Device.AUTO, Device.CUDA)


def test_the_data_folder_holds_weights_and_can_be_reset_to_the_default(settings: Settings, tmp_path: Path) -> None:
    settings.data_folder = tmp_path / "chosen"
    settings.apply()
    assert store.folder() == tmp_path / "chosen" / "weights"
    settings.data_folder = None
    settings.apply()
    assert store.folder() == tmp_path / "default" / "weights"


def test_threads_reach_a_real_worker(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of a worker, started as for a fill, writes the environment variables that its libraries see."""
    written = tmp_path / "environment.json"
    (tmp_path / "sitecustomize.py").write_text(
        f"import json, os; open({str(written)!r}, 'w').write(json.dumps(dict(os.environ)))", encoding="utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    settings.threads = 1
    settings.apply()
    runs = Runs(tmp_path)
    runs(scene_of(case("ct_vertebrae"))).fill()
    runs.finish()
    environment = json.loads(written.read_text())
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "1"
    code = "from fewshot_annotate.engines.threads import ENGINE_THREADS; print(ENGINE_THREADS)"
    environment["PYTHONPATH"] = str(Path(threads_module.__file__).parents[2])
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "1"
    assert "OMP_NUM_THREADS" not in os.environ
    settings.threads = 0
    settings.apply()
    assert THREADS_VARIABLE not in os.environ


# --- log


@pytest.fixture
def log(settings: Settings) -> Iterator[RunLog]:
    opened = RunLog(settings)
    opened.open()
    yield opened
    opened.close()


def lines(log: RunLog) -> list[str]:
    assert log.path is not None
    return [line.partition(" ")[2].partition(" ")[2] for line in log.path.read_text("ascii").splitlines()]


def test_the_log_holds_only_known_words_and_numbers(log: RunLog) -> None:
    log.info("run started", engine="adapt", slices=12, version="1.2.3", device=Device.CPU, name=PATIENT)
    log.error("volume_nan")
    log.error(PATIENT)
    assert lines(log) == [
        "INFO run started: engine adapt, slices 12, version 1.2.3, device cpu, name ...",
        "ERROR error volume_nan",
        "ERROR error ...",
    ]
    assert [code for _, code in log.errors] == ["volume_nan", "..."]


def test_each_state_of_a_controller_is_written_once(log: RunLog) -> None:
    class State(Enum):
        RUNNING = "running"
        STOPPED = "stopped"

    for state in (State.RUNNING, State.RUNNING, State.STOPPED, State.STOPPED, State.RUNNING):
        log.log_state("fill", state, None, slices=3)
    log.log_state("fill", State.STOPPED, InputError("volume_changed", name=PATIENT))
    assert lines(log) == [
        "INFO fill running: slices 3",
        "INFO fill stopped: slices 3",
        f"ERROR error {WORKER}",
        "INFO fill running: slices 3",
        "INFO fill stopped",
        "ERROR error volume_changed",
    ]


def test_the_level_decides_what_is_written(log: RunLog, settings: Settings) -> None:
    for level in LogLevel:
        settings.log_level = level
        log.open()
        log.info(f"note at {level}")
        log.error("volume_nan")
    assert lines(log) == [
        "ERROR error volume_nan",
        "INFO note at runs",
        "ERROR error volume_nan",
    ]


def test_the_log_rotates(log: RunLog) -> None:
    log.open()
    assert log.path is not None
    for number in range(50):
        log.info("something" * 10_000, number=number)
    files = sorted(log.path.parent.iterdir())
    assert [file.name for file in files] == [f"{log.path.name}{suffix}" for suffix in ("", ".1", ".2", ".3")]
    assert all(file.stat().st_size <= 1_000_000 for file in files)


def test_a_log_that_cannot_be_written_causes_no_error(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.data_folder = tmp_path / "file"
    settings.apply()
    log = RunLog(settings)
    log.open()
    log.error("volume_nan")
    assert log.path is None
    assert [code for _, code in log.errors] == ["volume_nan"]


# --- downloaded weights


def test_downloaded_weights_are_listed_with_partial_files_and_deleted(settings: Settings) -> None:
    assert list_downloaded_weights() == ()
    first, second = catalog.checkpoints()[:2]
    store.folder().mkdir(parents=True)
    store.path_of(first).write_bytes(bytes(2_000_000))
    (store.folder() / f"{second.file}.partial").write_bytes(bytes(1_000_000))
    weights = list_downloaded_weights()
    assert [(item.checkpoint, item.size) for item in weights] == [(first, 2_000_000), (second, 1_000_000)]
    delete(weights[:1])
    assert [item.checkpoint for item in list_downloaded_weights()] == [second]
    assert (format_size(3_000_000), format_size(2_400_000_000)) == ("3 MB", "2.4 GB")


# --- bug report


def test_the_report_holds_technical_details_and_no_personal_data(settings: Settings) -> None:
    settings.data_folder = Path.home() / PATIENT
    settings.add_consent(checkpoint())
    worker = describe_worker(sys.executable)
    assert "sklearn" not in worker.packages
    errors = [(datetime(2026, 1, 2, 3, 4, 5), "volume_nan")]
    text = bug_report("Slicer 5.12.0", worker, settings, errors)
    for part in (
        "Slicer 5.12.0",
        "numpy ",
        "Processor: ",
        "GPU: ",
        "propagate: ready",
        "2026-01-02 03:04:05 volume_nan",
    ):
        assert part in text
    assert f"Licences agreed to: {checkpoint().name}" in text
    assert "Data folder: chosen" in text
    for word in (PATIENT, "Doe", str(Path.home())):
        assert word not in text


def test_home_folder_and_user_name_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jdoe"))
    monkeypatch.setattr(getpass, "getuser", lambda: "jdoe")
    text = without_user("cannot read /home/jdoe/a.pt, nor /data/jdoe/b; jdoex stays, as does C:\\Users\\jdoe2")
    assert text == "cannot read ~/a.pt, nor /data/(user)/b; jdoex stays, as does C:\\Users\\jdoe2"


def test_a_python_that_does_not_answer_is_mentioned_in_the_report(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="worker_silent") as caught:
        describe_worker(str(tmp_path / "no python"))
    text = bug_report("Slicer", caught.value, settings, [])
    assert "The worker's Python did not answer (FileNotFoundError)" in text
    assert "Last errors\n  none" in text
