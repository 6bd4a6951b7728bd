"""Fixtures that several files use."""

from __future__ import annotations

import gc
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fewshot_annotate.cli import activity_indicator
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.engines import registry
from fewshot_annotate.jobs.run_folder import JobFolder
from hypothesis import HealthCheck, settings
from support import stepwise
from support.case_folder import CaseFolder, make_case_folder
from support.labels import long_case, small_case
from support.processes import Spawned, make_folder

pytest_plugins = ("support.forked_processes",)

settings.register_profile(
    "repository", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("repository")

# A program that a shell starts in the background ignores some signals, and all it starts do; tests send them.
for _name, _handler in (
    ("SIGINT", signal.default_int_handler),
    ("SIGHUP", signal.SIG_DFL),
    ("SIGQUIT", signal.SIG_DFL),
):
    if signal.getsignal(getattr(signal, _name, signal.SIGINT)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exempt all that is loaded for the tests from garbage collection, which would search it again and again."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 10, 10)  # by default it searches so often that it takes a fourteenth of the time


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print at the end what was skipped and why; each reason names what to install."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.option.collectonly:
        return
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reporter.stats.get("skipped", []))
    if reasons:
        reporter.write_line("Skipped: " + "; ".join(f"{count} tests, {why}" for why, count in reasons.items()) + ".")
    else:
        reporter.write_line("No test was skipped.")


@pytest.fixture(autouse=True, scope="session")
def own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave the user's data folder alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_activity_indicator() -> Iterator[None]:
    """Commands in this process print the same on a busy machine as on a quiet one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activity_indicator, "DELAY_SECONDS", 3600.0)
        yield


@pytest.fixture(autouse=True, scope="session")
def auto_is_quick() -> Iterator[None]:
    """Engine `auto` is `propagate` in this process: most tests are not about the engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "AUTO_ENGINES", ("propagate",))
        yield


@pytest.fixture
def awkward_path(tmp_path: Path) -> Path:
    """A folder whose name has a space and an accent."""
    folder = tmp_path / "deuxième étude"
    folder.mkdir()
    return folder


@pytest.fixture
def long_job(awkward_path: Path) -> JobFolder:
    """A run folder of many slices, so that a worker can be interrupted."""
    return make_folder(awkward_path / "job", *long_case(), SliceAxis(0), 50)


@pytest.fixture
def short_job(awkward_path: Path) -> JobFolder:
    """A run folder of a few slices."""
    return make_folder(awkward_path / "job", *small_case(), SliceAxis(0), 8)


@pytest.fixture
def case_folder(awkward_path: Path, monkeypatch: pytest.MonkeyPatch) -> CaseFolder:
    """Image and support in a folder that keeps its temporary files too."""
    temporary = awkward_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return make_case_folder(awkward_path)


@pytest.fixture
def python_with_stepwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stepwise engine is known to this process, and to workers that this program runs."""
    stepwise.register(monkeypatch.setitem)
    return stepwise.python_with_stepwise(tmp_path)


@pytest.fixture
def spawned() -> Iterator[Spawned]:
    """Starts processes; none of them outlives the test."""
    with Spawned() as processes:
        yield processes
