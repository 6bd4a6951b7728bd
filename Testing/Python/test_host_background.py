"""Background work of the host makes progress although the event loop of the application holds the GIL."""

from __future__ import annotations

import ctypes
import sys
import time

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.host.annotation.survey import Survey
from fewshot_annotate.host.fill.controller import FillController
from fewshot_annotate.host.fill.preparation import FillSettings
from fewshot_annotate.host.fill.run_editor import RunEditor
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.host.mrml.chosen_nodes import ChosenNodes
from fewshot_annotate.host.tasks import MAX_WAIT_SECONDS, BackgroundTasks, Signal
from support.data import load_case
from support.mrml import add_segmentation, add_volume, new_scene, segment_editor_node

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="usleep is a POSIX function")

LOOP_MICROSECONDS = 20_000


def hold_lock() -> None:
    """Sleep as an event loop in C++ does that never releases the GIL."""
    ctypes.PyDLL(None).usleep(LOOP_MICROSECONDS)


def run_loop(step, until, seconds: float = 60.0) -> float:
    """Call `step` between sleeps that hold the lock; the longest single call in seconds."""
    deadline, longest = time.monotonic() + seconds, 0.0
    while not until():
        assert time.monotonic() < deadline, "the background work makes no progress"
        hold_lock()
        start = time.perf_counter()
        step()
        longest = max(longest, time.perf_counter() - start)
    return longest


def many_small_steps() -> int:
    return sum(int(np.ones(1000).sum()) for _ in range(60_000))


def iterations_needed(step) -> int:
    """Iterations of the event loop until a piece of background work is done."""
    tasks, results = BackgroundTasks("test"), []
    tasks.start(lambda: results.append(many_small_steps()), lambda _: None)
    iterations = 0
    while not results:
        hold_lock()
        step(tasks)
        iterations += 1
    tasks.close()
    assert results == [60_000_000]
    return iterations


def test_poll_lets_a_thread_run_although_the_loop_holds_the_lock():
    with_poll = iterations_needed(BackgroundTasks.poll)
    without_poll = iterations_needed(lambda tasks: None)
    assert 1.5 * with_poll < without_poll


def test_poll_returns_at_once_without_work():
    tasks = BackgroundTasks("test")
    tasks.start(int)
    while tasks.busy:
        tasks.poll()
    start = time.perf_counter()
    for _ in range(100):
        tasks.poll()
    assert time.perf_counter() - start < 100 * MAX_WAIT_SECONDS / 2
    tasks.close()


def poll_to_end(tasks: BackgroundTasks) -> None:
    """Poll until all work is done and delivered."""
    while tasks.busy:
        tasks.poll()


def test_each_poll_delivers_one_result_in_order_and_raises_the_error_of_a_call():
    tasks, found = BackgroundTasks("test"), []
    for number in (1, 2):
        tasks.start(lambda number=number: number, found.append)
    while not tasks.poll():
        pass
    assert found == [1]
    assert tasks.has_pending_results
    poll_to_end(tasks)
    assert found == [1, 2]
    assert not tasks.has_pending_results
    tasks.start(lambda: 1 // 0, found.append)
    with pytest.raises(ZeroDivisionError):
        poll_to_end(tasks)
    assert not tasks.busy
    tasks.start(lambda: 1 // 0)  # nobody waits for it
    poll_to_end(tasks)
    tasks.close()


def test_a_cancelled_call_is_executed_but_its_result_is_not_delivered():
    tasks, executed, found = BackgroundTasks("test"), [], []
    tasks.start(lambda: executed.append("first"), found.append)
    tasks.cancel()
    tasks.start(lambda: executed.append("second"))
    tasks.close()
    poll_to_end(tasks)
    assert executed == ["first", "second"]
    assert not found


def test_a_signal_calls_all_that_are_connected_unless_it_is_blocked():
    signal, found = Signal(), []
    signal.connect(found.append)
    signal.connect(lambda value: found.append(-value))
    signal.emit(1)
    with signal.blocked():
        signal.emit(2)
    signal.emit(3)
    signal.disconnect_all()
    signal.emit(4)
    assert found == [1, -1, 3, -3]


def test_a_fill_ends_although_the_event_loop_holds_the_lock():
    new_scene()
    volume, label_map = load_case("ct_liver")
    geometry = volume.geometry
    volume_node = add_volume(volume.array, geometry.spacing, geometry.origin, geometry.direction)
    painted = np.zeros(label_map.array.shape, np.uint8)
    with_organ = np.flatnonzero((label_map.array == label_map.values[0]).any(axis=(1, 2)))
    labelled = [int(index) for index in with_organ[::4][:3]]
    painted[labelled] = label_map.array[labelled] == label_map.values[0]
    node = add_segmentation(volume_node, {"organ": painted})
    editor_node = segment_editor_node(node, volume_node)
    survey, nodes = Survey(), ChosenNodes(volume_node, node)
    survey.request(0.0)
    run_loop(lambda: survey.poll(nodes), lambda: not survey.busy)
    assert list(survey.extents["organ"].slices[0]) == labelled
    controller = FillController(slicer.mrmlScene, RunEditor(lambda node: None, lambda: editor_node), sys.executable)
    controller.start(nodes, FillSettings(segment_ids=["organ"], axis=SliceAxis(0), labelled=labelled))
    run_loop(controller.poll, lambda: controller.state is State.IDLE)
    assert controller.message == f"{labelled[-1] - labelled[0] + 1 - len(labelled)} slices filled."
    run_loop(controller.poll, lambda: not controller.busy)
    controller.close()
    survey.close()
