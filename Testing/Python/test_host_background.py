"""The host's background work gets on where the application's event loop holds Python's lock between timer calls."""

from __future__ import annotations

import ctypes
import sys
import time

import numpy as np
import pytest
import slicer
from FewShotAnnotateLib.core.axis import SliceAxis
from FewShotAnnotateLib.host.background import TURN_SECONDS, Background
from FewShotAnnotateLib.host.controller import FillController, State
from FewShotAnnotateLib.host.preparation import FillSettings
from FewShotAnnotateLib.host.survey import Survey
from support.data import load_case
from support.mrml import add_segmentation, add_volume, new_scene, segment_editor_node

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="usleep is a POSIX function")

LOOP_MICROSECONDS = 20_000


def hold_lock() -> None:
    """Sleep as an event loop in C++ does that never lets go of Python's lock."""
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
    background = Background("test")
    future = background.submit(many_small_steps)
    rounds = 0
    while not future.done():
        hold_lock()
        step(background)
        rounds += 1
    background.close()
    assert future.result() == 60_000_000
    return rounds


def test_turns_bring_a_thread_on_where_the_loop_holds_the_lock():
    with_turns = loops_needed(Background.give_turn)
    without = loops_needed(lambda background: None)
    assert 1.5 * with_turns < without


def test_a_turn_ends_at_once_when_nothing_is_left_to_do():
    background = Background("test")
    background.submit(int).result()
    began = time.perf_counter()
    for _ in range(100):
        background.give_turn()
    assert time.perf_counter() - began < 100 * TURN_SECONDS / 2
    assert not background.busy
    background.close()


def test_a_fill_is_surveyed_prepared_and_committed_under_a_loop_that_holds_the_lock():
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
    survey = Survey()
    survey.request(0.0)
    run_loop(lambda: survey.poll(node, volume_node), lambda: not survey.busy)
    assert list(survey.extents["organ"].slices[0]) == labelled
    controller = FillController(slicer.mrmlScene, lambda node: None, lambda: editor_node, sys.executable)
    controller.start(volume_node, node, FillSettings(["organ"], SliceAxis(0), labelled))
    run_loop(controller.tick, lambda: controller.state is State.IDLE)
    assert controller.message == f"{labelled[-1] - labelled[0] + 1 - len(labelled)} slices filled."
    run_loop(controller.tick, lambda: not controller.busy)
    controller.close()
    survey.close()
