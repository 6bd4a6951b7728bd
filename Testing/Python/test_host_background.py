"""Background work of the host advances although the application's event loop holds the GIL between timer calls."""

from __future__ import annotations

import ctypes
import sys
import time

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.host.annotation.survey import Survey
from fewshot_annotate.host.chosen_nodes import ChosenNodes
from fewshot_annotate.host.fill.controller import FillController
from fewshot_annotate.host.fill.preparation import FillSettings
from fewshot_annotate.host.fill.run_editor import RunEditor
from fewshot_annotate.host.fill.run_state import State
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
        assert time.monotonic() < deadline, "the background thread does not get on"
        hold_lock()
        began = time.perf_counter()
        step()
        longest = max(longest, time.perf_counter() - began)
    return longest


def many_small_steps() -> int:
    return sum(int(np.ones(1000).sum()) for _ in range(60_000))


def loops_needed(step) -> int:
    """How often the loop goes round until a piece of background work is done."""
    tasks, ended = BackgroundTasks("test"), []
    tasks.start(lambda: ended.append(many_small_steps()), lambda _: None)
    rounds = 0
    while not ended:
        hold_lock()
        step(tasks)
        rounds += 1
    tasks.close()
    assert ended == [60_000_000]
    return rounds


def test_poll_lets_a_thread_run_although_the_loop_holds_the_lock():
    with_turns = loops_needed(BackgroundTasks.poll)
    without = loops_needed(lambda tasks: None)
    assert 1.5 * with_turns < without


def test_poll_returns_at_once_without_work():
    tasks = BackgroundTasks("test")
    tasks.start(int)
    while tasks.busy:
        tasks.poll()
    began = time.perf_counter()
    for _ in range(100):
        tasks.poll()
    assert time.perf_counter() - began < 100 * MAX_WAIT_SECONDS / 2
    tasks.close()


def delivered(tasks: BackgroundTasks) -> None:
    """Poll until nothing is under way."""
    while tasks.busy:
        tasks.poll()


def test_results_are_delivered_in_order_one_a_poll_and_errors_to_whoever_polls():
    tasks, found = BackgroundTasks("test"), []
    for number in (1, 2):
        tasks.start(lambda number=number: number, found.append)
    while not tasks.poll():
        pass
    assert found == [1]
    assert tasks.awaited
    delivered(tasks)
    assert found == [1, 2]
    assert not tasks.awaited
    tasks.start(lambda: 1 // 0, found.append)
    with pytest.raises(ZeroDivisionError):
        delivered(tasks)
    assert not tasks.busy
    tasks.start(lambda: 1 // 0)  # nobody waits for it
    delivered(tasks)
    tasks.close()


def test_a_cancelled_call_is_executed_but_its_result_is_not_delivered():
    tasks, executed, found = BackgroundTasks("test"), [], []
    tasks.start(lambda: executed.append("first"), found.append)
    tasks.cancel()
    tasks.start(lambda: executed.append("second"))
    tasks.close()
    delivered(tasks)
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
    held = np.flatnonzero((label_map.array == label_map.values[0]).any(axis=(1, 2)))
    labelled = [int(index) for index in held[::4][:3]]
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
