"""Comparison and settings in the panel: each section alone, on a stand-in for Qt; the rest is real."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support import mrml, scene_cases, slicer_standin
from support.panel import ARTIFACTS, tool_tip
from support.panel_themes import THEMES, used_theme
from support.scene_cases import case, scene_of

slicer_standin.install()

import qt  # noqa: E402
import slicer  # noqa: E402
from fewshot_annotate.core.data_folder import HOME_VARIABLE, data_folder  # noqa: E402
from fewshot_annotate.core.errors import InputError, Message  # noqa: E402
from fewshot_annotate.core.job import Device  # noqa: E402
from fewshot_annotate.core.python_executable import python_executable  # noqa: E402
from fewshot_annotate.engines.threads import THREADS_VARIABLE  # noqa: E402
from fewshot_annotate.evaluation.report import page as report_module  # noqa: E402
from fewshot_annotate.host import settings as settings_module  # noqa: E402
from fewshot_annotate.host.comparison.controller import CompareController, CompareState  # noqa: E402
from fewshot_annotate.host.diagnostics.run_log import RunLog  # noqa: E402
from fewshot_annotate.host.engines.state import EngineState, Readiness, engine_state  # noqa: E402
from fewshot_annotate.host.fill.run_store import RunStore  # noqa: E402
from fewshot_annotate.host.mrml.chosen_nodes import ChosenNodes  # noqa: E402
from fewshot_annotate.host.panel import compare_section  # noqa: E402
from fewshot_annotate.host.panel.compare_section import CompareSection  # noqa: E402
from fewshot_annotate.host.panel.settings_section import SettingsSection  # noqa: E402
from fewshot_annotate.host.settings import LogLevel, Settings  # noqa: E402
from fewshot_annotate.weights import catalog, store  # noqa: E402

pytestmark = pytest.mark.usefixtures("forked_workers")

WIDTH = 400
WAIT_SECONDS = 180.0


def container(title: str) -> Any:
    window = qt.QWidget()
    window.windowTitle = title
    qt.QVBoxLayout(window)
    return window


def picture(window: Any, name: str) -> None:
    """Picture of a section in a narrow panel, kept for inspection."""
    ARTIFACTS.mkdir(exist_ok=True)
    window.show()
    for height in (100, window.layout().sizeHint().height()):
        window.resize(WIDTH, height)
        slicer_standin.process_events(20)
    assert window.width == WIDTH
    assert window.grab().save(str(ARTIFACTS / f"{name}_{WIDTH}.png"))


def tick(section: Any) -> None:
    """What the panel's timer does for an open section."""
    section.poll()
    section.show_controls()


def until(reached: Callable[[], bool], poll: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not reached():
        assert time.monotonic() < end
        poll()
        slicer_standin.process_events(5)


@pytest.fixture(params=THEMES)
def theme(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each theme in turn."""
    with used_theme(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def no_slot_fails(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    slicer_standin.slot_errors.clear()
    slicer_standin.dialogs().clear()
    yield
    assert not slicer_standin.slot_errors
    scene_cases.require_quiet(capfd.readouterr())


# --- comparison


def state_of(name: str, readiness: Readiness, reason: Message | None = None) -> EngineState:
    return EngineState(
        name=name,
        engine=name,
        title=name,
        licence="Apache-2.0",
        readiness=readiness,
        reason=reason,
    )


class ComparisonPanel:
    """The section with a controller on a scene."""

    def __init__(self) -> None:
        self.scene = scene_of(case("ct_vertebrae"))
        self.volume: Any = self.scene.volume_node
        self.segmentation: Any = self.scene.node
        self.chosen_engines: list[str] = []
        self.states: list[EngineState] = [engine_state("auto"), engine_state("propagate")]
        self.busy_elsewhere: InputError | None = None
        self.controller = CompareController(slicer.mrmlScene, python_executable())
        self.window = container("Compare engines")
        self.section = CompareSection(
            self.window,
            self.controller,
            lambda: ChosenNodes(self.volume, self.segmentation),
            self.chosen_engines.append,
            lambda: self.states,
            why_not_now=lambda: self.busy_elsewhere,
        )
        self.section.sizes_edit.text = "2"

    def press(self, name: str) -> None:
        button = getattr(self.section, f"{name}_button")
        assert button.enabled, button.toolTip
        button.click()

    def why_not(self, name: str) -> str:
        tick(self.section)
        button = getattr(self.section, f"{name}_button")
        assert not button.enabled
        return str(tool_tip(button))

    def to_end(self) -> None:
        until(lambda: not self.section.busy, lambda: tick(self.section))


@pytest.fixture
def comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ComparisonPanel]:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    opened = ComparisonPanel()
    yield opened
    opened.controller.close()
    opened.window.hide()
    opened.window.deleteLater()
    scene_cases.wait_for_none(lambda: [*(tmp_path / "comparisons").glob("*"), *scene_cases.threads()])


def test_engines_are_compared_plotted_and_reported_and_one_is_chosen(
    comparison: ComparisonPanel, theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = comparison.section
    picture(comparison.window, f"compare_before_{theme}")
    comparison.press("compare")
    assert section.busy
    until(lambda: comparison.controller.progress.total > 0, lambda: tick(section))
    assert section.status_label.text.startswith("Trial 1 of ")
    assert comparison.why_not("compare") == "Wait for the comparison to end, or cancel it."
    picture(comparison.window, f"compare_running_{theme}")
    comparison.to_end()
    assert comparison.controller.state is CompareState.DONE
    assert section.status_label.text.startswith("With 2 painted slices propagate reached a mean Dice of ")
    assert comparison.controller.summary is not None
    assert all(isinstance(reason, Message) for reason in comparison.controller.summary.reasons)
    with monkeypatch.context() as patch:
        patch.setattr(compare_section, "error_text", lambda message: f"«{message.code}»")
        section.show()
        assert section.status_label.text.splitlines()[0] == "«recommended_alone»"
    section.show()
    assert section.result_table.item(0, 0).text() == "propagate"
    assert float(section.result_table.item(0, 1).text()) > 0.3
    picture(comparison.window, f"compare_done_{theme}")
    comparison.press("use")
    assert comparison.chosen_engines == ["propagate"]
    comparison.press("plot")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == comparison.controller.chart_node.GetID()
    comparison.press("report")
    (url,) = slicer_standin.dialogs().opened_urls
    assert Path(url.removeprefix("file://")).is_file()


@pytest.mark.slow
def test_packages_of_the_report_are_offered_and_the_report_is_then_written_and_opened(
    comparison: ComparisonPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison.press("compare")
    comparison.to_end()
    assert comparison.controller.report_path is not None
    comparison.controller.report_path.unlink()  # as a worker without the packages leaves it
    offers: list[Any] = []

    def install(packages: list[str]) -> bool:
        offers.append(packages)
        return len(offers) > 1  # the first time the user declines

    monkeypatch.setattr(compare_section, "missing_packages", lambda: ["jinja2"])
    monkeypatch.setattr(compare_section, "install_packages", install)
    comparison.press("report")
    assert not slicer_standin.dialogs().opened_urls
    comparison.press("report")
    comparison.to_end()
    assert slicer_standin.dialogs().opened_urls
    assert offers == [["jinja2"], ["jinja2"]]
    assert find_spec("jinja2") is not None
    assert report_module.missing_packages() == []


def test_engines_that_cannot_run_show_the_reason_and_are_ticked_once_they_can(comparison: ComparisonPanel) -> None:
    comparison.states += [
        state_of("sam", Readiness.NEEDS_DOWNLOAD),
        state_of("painter", Readiness.CANNOT_RUN, Message("needs_package", package="luck")),
        state_of("adapt", Readiness.NEEDS_INSTALL),
    ]
    section = comparison.section
    tick(section)
    table = section.engines_table
    listed = {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}
    assert listed == {
        "propagate": "ready",
        "sam": "needs a download",
        "painter": "it needs the Python package luck; choose it and press Fill to install that",
        "adapt": "needs an installation",
    }
    assert table.item(1, 1).toolTip().startswith("Choose it in step 3")
    assert section.checklist.checked == ("propagate",)
    table.item(0, 0).setCheckState(qt.Qt.Unchecked)
    assert comparison.why_not("compare") == "Tick an engine first."
    comparison.states[-1] = state_of("adapt", Readiness.READY)
    tick(section)
    assert section.checklist.checked == ("adapt",)


def test_every_disabled_control_states_the_reason(comparison: ComparisonPanel) -> None:
    section = comparison.section
    assert comparison.why_not("cancel") == "No comparison is under way."
    for name in ("use", "plot", "report"):
        assert comparison.why_not(name) == "Compare first."
    comparison.busy_elsewhere = InputError("run_under_way")
    assert comparison.why_not("compare") == "Wait for the run to end, or cancel it."
    comparison.states = []
    assert comparison.why_not("compare") == "Finding out which engines can run here ..."
    comparison.segmentation = None
    assert comparison.why_not("compare") == "Choose or create a segmentation first."
    comparison.volume = None
    assert comparison.why_not("compare") == "Choose a volume first."
    assert not section.busy


def test_bad_sizes_and_unpainted_segmentations_are_refused(comparison: ComparisonPanel) -> None:
    section = comparison.section
    for sizes in ("two", "2.5", "0", "2;;3"):
        section.sizes_edit.text = sizes
        comparison.press("compare")
        text = slicer_standin.dialogs().texts[-1]
        assert text.startswith(f"'{sizes}' is not a list of support sizes, which are numbers of")
        assert not section.busy
    section.sizes_edit.text = ""
    comparison.segmentation = mrml.add_segmentation(comparison.volume, {})
    comparison.press("compare")
    comparison.to_end()
    assert "no slice is labelled" in section.status_label.text
    assert comparison.section.compare_button.enabled


def test_cancel_and_closing_the_scene_end_a_comparison(comparison: ComparisonPanel) -> None:
    section = comparison.section
    comparison.press("compare")
    until(lambda: comparison.controller.state is CompareState.RUNNING, lambda: tick(section))
    comparison.press("cancel")
    assert section.status_label.text == "Cancelled."
    comparison.press("compare")
    section.reset()
    assert not section.busy
    assert comparison.controller.summary is None
    mrml.clear_scene()


# --- settings


class SettingsPanel:
    """The section with settings in the application's store."""

    def __init__(self) -> None:
        slicer.app.userSettings().remove("FewShotAnnotate")
        self.settings = Settings(slicer.app.userSettings())
        self.log = RunLog(self.settings)
        self.open()

    def open(self) -> None:
        self.window = container("Settings")
        self.section = SettingsSection(self.window, self.settings, self.log)

    def shut(self) -> None:
        self.window.hide()
        self.window.deleteLater()


@pytest.fixture
def settings_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SettingsPanel]:
    monkeypatch.setattr(settings_module, "ORIGINAL_ENVIRONMENT", {})
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "usual"))
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    opened = SettingsPanel()
    yield opened
    opened.log.close()
    opened.shut()
    slicer.app.userSettings().remove("FewShotAnnotate")
    monkeypatch.undo()


def two_weights() -> list[catalog.Checkpoint]:
    """Weights in the store, the first with a permissive licence, the second with one that restricts use."""
    checkpoints = [
        next(checkpoint for checkpoint in catalog.checkpoints() if checkpoint.permissive is permissive)
        for permissive in (True, False)
    ]
    store.folder().mkdir(parents=True, exist_ok=True)
    for checkpoint, size in zip(checkpoints, (3_000_000, 5_000_000), strict=True):
        store.path_of(checkpoint).write_bytes(bytes(size))
    return checkpoints


def test_settings_are_stored_applied_and_shown_again(settings_panel: SettingsPanel, tmp_path: Path) -> None:
    import os

    section = settings_panel.section
    section.device_box.setCurrentIndex(2)
    section.threads_box.value = 1
    section.level_box.setCurrentIndex(0)
    chosen = tmp_path / "données"
    chosen.mkdir()
    slicer_standin.dialogs().answer_next(str(chosen))
    section.folder_button.click()
    assert os.environ[THREADS_VARIABLE] == "1"
    assert data_folder() == chosen
    assert section.log_edit.text == str(chosen / "logs" / "few-shot-annotate.log")
    again = Settings(qt.QSettings())
    assert (again.device, again.threads, again.log_level) == (Device.CUDA, 1, LogLevel.ERRORS)
    settings_panel.shut()
    settings_panel.open()
    section = settings_panel.section
    assert section.device_box.currentText == "NVIDIA GPU (cuda)"
    assert section.threads_box.value == 1
    assert section.folder_edit.text == str(chosen)
    section.default_button.click()
    assert data_folder() == tmp_path / "usual"
    assert not section.default_button.enabled
    assert tool_tip(section.default_button) == "This is the default folder."


@pytest.mark.skipif(sys.platform != "linux", reason="nobody can write to /proc")
def test_a_folder_that_cannot_be_written_is_refused_and_the_former_one_stays(
    settings_panel: SettingsPanel, tmp_path: Path
) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    dialogs = slicer_standin.dialogs()
    for folder in (tmp_path / "not made yet/new", chosen, Path("/proc"), Path("/proc/new")):
        dialogs.answer_next(str(folder))
        settings_panel.section.folder_button.click()
    refused = [text.split(": ")[0] for text in dialogs.texts if "cannot be written" in text]
    assert refused == ["/proc", "/proc/new"]
    assert data_folder() == chosen == Settings(qt.QSettings()).data_folder
    assert settings_panel.section.folder_edit.text == str(chosen)
    assert not [entry for entry in chosen.iterdir() if entry.name != "logs"]


def test_weights_are_deleted_after_a_confirmation_that_states_their_size(settings_panel: SettingsPanel) -> None:
    section = settings_panel.section
    assert not section.delete_button.enabled
    assert tool_tip(section.delete_button) == "No weights were downloaded."
    first, second = two_weights()
    section.show()
    assert section.delete_button.text == "Delete downloaded weights (8 MB)"
    slicer_standin.dialogs().answer_next("Cancel")
    section.delete_button.click()
    assert store.path_of(first).is_file()
    section.delete_button.click()
    (_, text) = slicer_standin.dialogs().texts
    assert "(8 MB)" in text
    assert first.name in text
    assert second.name in text
    assert not store.path_of(first).exists()
    assert not store.path_of(second).exists()
    assert section.status_label.text == "Deleted 8 MB."


def test_weights_downloaded_meanwhile_are_shown(settings_panel: SettingsPanel) -> None:
    settings_panel.window.show()
    tick(settings_panel.section)
    _, restricted = two_weights()
    settings_panel.settings.add_consent(restricted)
    until(lambda: settings_panel.section.delete_button.enabled, lambda: tick(settings_panel.section))
    assert settings_panel.section.consents_table.item(0, 0).text() == restricted.name


def test_unfinished_runs_are_counted_and_deleted_after_a_confirmation_but_no_active_one(
    settings_panel: SettingsPanel,
) -> None:
    section, store = settings_panel.section, RunStore()
    assert section.delete_runs_button.text == "Delete interrupted runs (0 MB)"
    assert tool_tip(section.delete_runs_button) == "No run was interrupted."
    active, *interrupted = [store.create() for _ in range(3)]
    for run in (active, *interrupted):
        (run.path / "image.npy").write_bytes(bytes(4_000_000))
    for run in interrupted:
        run.release()
    settings_panel.window.show()
    until(lambda: section.delete_runs_button.enabled, lambda: tick(section))
    assert section.delete_runs_button.text == "Delete interrupted runs (8 MB)"
    slicer_standin.dialogs().answer_next("Cancel")
    section.delete_runs_button.click()
    assert len(store.interrupted()) == 2
    section.delete_runs_button.click()
    assert slicer_standin.dialogs().texts[-1].startswith("Delete 2 interrupted runs (8 MB)?")
    assert store.interrupted() == []
    assert active.path.is_dir()
    assert section.status_label.text == "Deleted 8 MB."
    assert not section.delete_runs_button.enabled
    active.delete()


def test_an_agreement_is_revoked_with_its_weights(settings_panel: SettingsPanel) -> None:
    permissive, restricted = two_weights()
    settings_panel.settings.add_consent(restricted)
    section = settings_panel.section
    section.show()
    assert tool_tip(section.revoke_button) == "Click a licence first."
    section.consents_table.selectRow(0)
    section.revoke_button.click()
    assert settings_panel.settings.consents == {}
    assert not store.path_of(restricted).exists()
    assert store.path_of(permissive).is_file()
    assert not section.consents_table.visible


def test_details_are_gathered_in_the_background_and_copied(settings_panel: SettingsPanel) -> None:
    section = settings_panel.section
    settings_panel.log.error("volume_nan")
    section.copy_button.click()
    assert section.busy
    assert tool_tip(section.copy_button) == "The details are being gathered."
    until(lambda: not section.busy, lambda: tick(section))
    text = qt.QApplication.clipboard().text()
    assert text.startswith("Few-Shot Annotate ")
    assert "propagate: ready" in text
    assert "volume_nan" in text
    assert str(Path.home()) not in text
    assert section.status_label.text == "The details are on the clipboard; paste them into the report."
    assert section.copy_button.enabled


def test_settings_in_a_narrow_panel(settings_panel: SettingsPanel, theme: str) -> None:
    _, restricted = two_weights()
    settings_panel.settings.add_consent(restricted)
    settings_panel.section.show()
    picture(settings_panel.window, f"settings_{theme}")
