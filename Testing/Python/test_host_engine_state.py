"""The state of engines and the suggested slice that the panel shows, without Qt: real engines, real MRML."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from fewshot_annotate.core.data_folder import data_folder
from fewshot_annotate.core.errors import InputError, Message
from fewshot_annotate.engines.in_context.universeg import UniverSeg
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.engines.registry import engine_names
from fewshot_annotate.host.engines.state import EngineStateMonitor, Readiness, engine_state
from fewshot_annotate.host.fill.suggestion import SuggestionFinder
from support.scene_cases import case, scene_of


@pytest.fixture
def finder() -> Iterator[SuggestionFinder]:
    """A finder of suggestions, closed after the test."""
    opened = SuggestionFinder()
    yield opened
    opened.close()


def until(reached: Callable[[], bool]) -> None:
    """Call `reached` until it returns True."""
    end = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_built_in_engine_is_ready_and_takes_longer_for_more_and_larger_slices() -> None:
    state = engine_state("propagate")
    assert state.readiness is Readiness.READY
    few, many, large = (state.seconds(*size) for size in ((10, 256**2), (1000, 256**2), (1000, 512**2)))
    assert few is not None
    assert many is not None
    assert large is not None
    assert few < many < large


def test_the_time_of_an_engine_with_a_fixed_input_size_does_not_depend_on_the_size_of_slices() -> None:
    state = engine_state("universeg")
    assert state.seconds(100, 64**2) == state.seconds(100, 512**2)


def test_an_installation_comes_before_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_state("universeg").readiness is Readiness.NEEDS_DOWNLOAD
    monkeypatch.setattr(UniverSeg, "packages", ("not_there",))
    state = engine_state("universeg")
    assert state.readiness is Readiness.NEEDS_INSTALL
    assert state.packages == ("not_there",)
    assert state.reason is None


REASON = Message("needs_package", package="missing")


def test_an_engine_that_cannot_be_made_ready_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Propagate, "unavailable_reason", classmethod(lambda cls: REASON))
    state = engine_state("propagate")
    assert (state.readiness, state.reason) == (Readiness.CANNOT_RUN, REASON)


def test_an_engine_that_needs_the_model_of_a_task_is_left_to_data_sets() -> None:
    state = engine_state("specialist")
    assert (state.readiness, state.packages) == (Readiness.CANNOT_RUN, ())
    assert state.reason == Message("engine_for_data_sets")
    adapt = engine_state("adapt")  # it can do without a model
    assert adapt.reason is None


def test_every_engine_has_a_state_and_auto_names_the_engine_it_uses() -> None:
    monitor = EngineStateMonitor()
    try:
        assert not monitor.poll()
        monitor.refresh()
        until(monitor.poll)
        assert [state.name for state in monitor.states] == ["auto", *engine_names()]
        assert monitor.state("auto").title == "Propagate"  # type: ignore[union-attr]
        assert monitor.state("unknown") is None
        monitor.refresh()
        until(lambda: not (monitor.poll() or monitor.busy))
    finally:
        monitor.close()


def test_the_suggested_slice_is_unlabelled_and_has_a_reason(finder: SuggestionFinder) -> None:
    scene = scene_of(case("ct_vertebrae"))
    finder.start(scene.nodes, scene.settings())
    assert finder.busy
    until(finder.poll)
    assert finder.result is not None
    assert finder.result.index in scene.between
    assert str(finder.result.reason).endswith(".")


def test_a_suggestion_is_computed_in_another_process_that_leaves_nothing_behind(
    finder: SuggestionFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Propagate, "predict", None)
    scene = scene_of(case("ct_vertebrae"))
    finder.start(scene.nodes, scene.settings())
    until(finder.poll)
    assert finder.result is not None
    until(lambda: not list((data_folder() / "suggestions").iterdir()))


def test_a_cancelled_suggestion_is_not_reported(finder: SuggestionFinder) -> None:
    scene = scene_of(case("ct_vertebrae"))
    finder.start(scene.nodes, scene.settings())
    finder.reset()
    assert not finder.busy
    assert not finder.poll()
    assert finder.result is None


def test_a_suggestion_without_labelled_slices_is_refused(finder: SuggestionFinder) -> None:
    scene = scene_of(case("ct_vertebrae"))
    with pytest.raises(InputError) as refused:
        finder.start(scene.nodes, scene.settings(labelled=()))
    assert refused.value.code == "no_labelled_slice"
