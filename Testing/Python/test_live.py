"""Update while painting: a worker that keeps running refills the gaps beside changed slices; Apply commits them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.channels import on_one_grid
from fewshot_annotate.core.events import Cancelled, Failed, SliceDone
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, Volume
from fewshot_annotate.engines.base import label_slice
from fewshot_annotate.engines.propagate.composed_flow import FlowCache, FlowKey
from fewshot_annotate.engines.propagate.flow_propagation import FlowPropagation, label_window
from fewshot_annotate.host.annotation.record_store import read_record
from fewshot_annotate.host.fill import active_run
from fewshot_annotate.host.fill.live_updates import slices_beside
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.jobs.live_process import LiveProcess
from fewshot_annotate.jobs.live_requests import LiveRequest
from support import mrml
from support.run_folders import create_folder
from support.scene_cases import Case, Gate, Runner, Runs, Scene, add_volume, all_equal, case, scene_of

pytest_plugins = ("support.run_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

COUNT, SIDE = 13, 40


def volume() -> Volume:
    """A disc that moves and grows from slice to slice."""
    rows, columns = np.indices((SIDE, SIDE))
    slices = [np.hypot(rows - 14 - index, columns - 20) < 7 + index / 4 for index in range(COUNT)]
    return Volume(np.array(slices, dtype=np.int16) * 100, Geometry((COUNT, SIDE, SIDE), (1.0, 1.0, 1.0)))


def support(*indices: int, radius_of: dict[int, float] | None = None) -> Support:
    rows, columns = np.indices((SIDE, SIDE))
    radii = radius_of or {}
    masks = np.array(
        [np.hypot(rows - 14 - index, columns - 20) < radii.get(index, 7 + index / 4) for index in indices], np.uint8
    )
    return Support(SliceAxis(0), indices, masks, (1,), np.ones((len(indices), 1), dtype=bool))


def test_only_gaps_beside_a_changed_slice_are_filled_again() -> None:
    labelled = support(0, 4, 8, 12)
    fillable = [index for index in range(COUNT) if index not in (0, 4, 8, 12)]
    assert slices_beside({4}, labelled, fillable) == (1, 2, 3, 5, 6, 7)
    assert slices_beside({12}, labelled, fillable) == (9, 10, 11)
    assert slices_beside({2}, labelled, fillable) == (1, 2, 3)  # it is no longer labelled
    assert slices_beside(set(), labelled, fillable) == ()


def test_gaps_that_a_partly_painted_slice_fills_from_afar_are_filled_again() -> None:
    annotated = np.array([[True, True], [True, False], [True, True], [True, False]])
    partial = replace(support(0, 4, 8, 12), labels=(1, 2), annotated=annotated)
    fillable = range(1, 12)
    assert slices_beside({8}, partial, fillable) == (1, 2, 3, 5, 6, 7, 9, 10, 11)
    assert slices_beside({0}, partial, fillable) == (1, 2, 3, 5, 6, 7)
    assert slices_beside({4}, partial, fillable) == (1, 2, 3, 5, 6, 7)


class CountingCache(FlowCache):
    """Counts the fields that were computed."""

    computed = 0

    def get(self, key: FlowKey, compute: Callable[[], np.ndarray]) -> np.ndarray:
        def counted() -> np.ndarray:
            self.computed += 1
            return compute()

        return super().get(key, counted)


def test_cached_flow_is_not_computed_again_and_gives_the_same_labels() -> None:
    cache = CountingCache(1 << 24)
    window = label_window(support(0, 6, 12).masks, 64)
    cached = FlowPropagation(volume(), support(0, 6, 12), window, flows=cache)
    list(cached.predict(range(1, 12)))
    computed = cache.computed
    changed = support(0, 6, 12, radius_of={6: 5.0})
    own_slices = cached.with_support(changed).predict(range(1, 12))
    expected_slices = FlowPropagation(volume(), changed, window, cached.compared).predict(range(1, 12))
    for (index, own), (other, expected) in zip(own_slices, expected_slices, strict=True):
        assert index == other
        np.testing.assert_allclose(own, expected, atol=1e-6)
    assert cache.computed == computed > 0


def test_the_regularisation_of_flow_is_halved_in_a_gap_of_twice_the_width() -> None:
    window = label_window(support(0, 6, 12).masks, 64)
    dense = FlowPropagation(volume(), support(0, 6, 12), window)
    sparse = dense.with_support(support(0, 12))
    assert dense.regularisation(4, 3) == dense.regularisation(3, 4) == 2 * sparse.regularisation(4, 3)


def test_the_cache_of_flow_discards_the_least_recently_used() -> None:
    cache, calls = FlowCache(2 * 8), []

    def field(value: int) -> np.ndarray:
        calls.append(value)
        return np.zeros(2, np.float32)

    for value in (1, 2, 1, 3, 1, 2):
        cache.get((value, 0, (0.0,)), lambda value=value: field(value))
    assert calls == [1, 2, 3, 2]


def test_a_live_worker_serves_several_requests(tmp_path: Path) -> None:
    job = Job(engine="propagate", slices=tuple(range(1, 12)))
    folder = create_folder(tmp_path / "run", job, volume(), support(0, 12))
    process = LiveProcess(folder, python())
    process.start()
    done = filled_by(process, LiveRequest(support(0, 12), tuple(range(1, 12))))
    assert done == list(range(1, 12))
    before = folder.result_slice(5)
    changed = support(0, 6, 12, radius_of={6: 3.0})
    assert filled_by(process, LiveRequest(changed, (4, 5))) == [4, 5]
    fresh = FlowPropagation(volume(), changed, label_window(support(0, 12).masks, 64))
    ((_, expected),) = fresh.predict([5])
    np.testing.assert_array_equal(folder.result_slice(5), label_slice(expected, (1,))[0])
    assert folder.result_slice(5).sum() < before.sum()
    process.cancel()
    until(lambda: not process.poll() and not process.running)
    assert process.ending == Cancelled()


def test_a_live_worker_uses_a_channel_on_another_grid(tmp_path: Path) -> None:
    first, half = volume(), Geometry((COUNT, SIDE // 2, SIDE), (1.0, 2.0, 1.0))
    given = replace(first, further=(Volume(first.array[:, ::2].copy(), half),))
    job = Job(engine="propagate", slices=tuple(range(1, 12)))
    folder = create_folder(tmp_path / "run", job, given, support(0, 12))
    process = LiveProcess(folder, python())
    process.start()
    assert filled_by(process, LiveRequest(support(0, 6, 12), (2, 9))) == [2, 9]
    window = label_window(support(0, 6, 12).masks, 64)
    for index, expected in FlowPropagation(on_one_grid(given), support(0, 6, 12), window).predict((2, 9)):
        np.testing.assert_array_equal(folder.result_slice(index), label_slice(expected, (1,))[0])
    process.cancel()
    until(lambda: not process.poll() and not process.running)


def test_a_newer_request_replaces_the_older_and_takes_over_its_slices(tmp_path: Path) -> None:
    job = Job(engine="propagate", slices=tuple(range(1, 12)))
    folder = create_folder(tmp_path / "run", job, volume(), support(0, 12))
    process = LiveProcess(folder, python())
    process.request(LiveRequest(support(0, 12), (1, 2, 6)))
    process.start()
    done = filled_by(process, LiveRequest(support(0, 6, 12), (7, 8)))
    assert done == [1, 2, 7, 8]  # slice 6 is labelled now
    process.cancel()
    until(lambda: not process.poll() and not process.running)


def test_results_that_no_longer_lie_between_labelled_slices_are_withdrawn(tmp_path: Path) -> None:
    """Such as those of a stroke beyond the others that was undone, and of a slice that was marked as empty."""
    job = Job(engine="propagate", slices=tuple(range(1, 13)))
    folder = create_folder(tmp_path / "run", job, volume(), support(0))
    process = LiveProcess(folder, python())
    process.start()
    filled_by(process, LiveRequest(support(0, 8, 12), (*range(1, 8), 9, 10, 11)))
    process.request(LiveRequest(support(0, 4, 8), ()))
    assert not process.outstanding
    until(lambda: not process.poll() and not process.pending)
    assert np.flatnonzero(folder.finished()).tolist() == [1, 2, 3, 5, 6, 7]
    process.cancel()
    until(lambda: not process.poll() and not process.running)


def python() -> str:
    from fewshot_annotate.core.python_executable import python_executable

    return python_executable()


def filled_by(process: LiveProcess, request: LiveRequest) -> list[int]:
    """Slices that the worker fills for a request."""
    process.request(request)
    done: list[int] = []

    def poll() -> bool:
        assert not isinstance(process.ending, Failed), process.ending
        done.extend(event.index for event in process.poll() if isinstance(event, SliceDone))
        return not process.outstanding

    until(poll)
    return done


def until(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.005)


def live(runner: Runner, scene: Scene) -> None:
    """Start a live run, and wait until all is filled."""
    count = scene.axis.count(Geometry(scene.case.volume.geometry.shape, (1.0, 1.0, 1.0)))
    runner.start(live=True, engine="propagate", slices=range(count))
    runner.until(lambda: runner.controller.outstanding > 0)
    runner.until(lambda: runner.controller.outstanding == 0)


def update(runner: Runner, **changed: Any) -> None:
    """Let the live run follow the present labels."""
    scene = runner.scene
    count = scene.axis.count(scene.case.volume.geometry)
    settings = replace(scene.settings(), live=True, engine="propagate", slices=range(count), **changed)
    runner.controller.update(scene.nodes, lambda: settings)


def erase(scene: Scene, index: int) -> None:
    """Erase all segments on a slice."""
    for name in scene.ids:
        mask = scene.array(name)
        scene.axis.slices(mask)[index] = False
        array = mask.astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, scene.node, name, scene.volume_node)


def stroke(runner: Runner, index: int) -> np.ndarray:
    """Paint the true labels of a slice moved by two pixels; the first segment on that slice."""
    scene = runner.scene
    name = scene.ids[0]
    mask = scene.array(name)
    scene.axis.slices(mask)[index] = np.roll(scene.axis.slices(scene.case.masks[name])[index], 2, axis=1)
    array = mask.astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, scene.node, name, scene.volume_node)
    scene.labelled = sorted({*scene.labelled, index})
    update(runner)
    runner.until(lambda: runner.controller.outstanding > 0)
    return scene.axis.slices(mask)[index].copy()


def test_a_stroke_is_followed_by_the_preview_and_apply_is_one_undo_step(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    before = scene.arrays()
    runner = runs(scene)
    live(runner, scene)
    assert all_equal(scene.arrays(), before)  # only the preview is filled
    index = scene.labelled[0] + 2
    painted = stroke(runner, index)
    assert runner.controller.outstanding == 2  # the gap of three slices less the painted one
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert runner.controller.error is None, runner.controller.message
    assert not runner.controller.warnings
    after = scene.arrays()
    np.testing.assert_array_equal(scene.axis.slices(after[scene.ids[0]])[index], painted)
    for other in set(scene.between) - {index}:
        assert any(scene.axis.slices(mask)[other].any() for mask in after.values())
    assert runner.undo_states_saved == 1


def test_after_apply_a_stroke_fills_only_the_gaps_beside_it(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    live(runner, scene)
    runner.controller.cancel(keep=True)
    runner.to_end()
    runner.start(live=True, engine="propagate", slices=range(len(scene.axis.slices(scene.case.volume.array))))
    runner.until(lambda: runner.controller.state is State.RUNNING and not runner.controller.busy)
    assert runner.controller.outstanding == 0
    stroke(runner, scene.labelled[0] + 2)
    assert runner.controller.outstanding == 2
    runner.controller.cancel(keep=False)
    runner.to_end()


@pytest.mark.parametrize("undone", ["before the next run", "during the next run"])
def test_what_was_applied_and_undone_is_in_the_preview_again_and_can_be_applied_again(
    runs: Runs, undone: str
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    painted, runner = scene.arrays(), runs(scene)
    live(runner, scene)
    runner.controller.cancel(keep=True)
    runner.to_end()
    applied = scene.arrays()
    if undone == "before the next run":
        runner.undo_logic.Undo()
        live(runner, scene)
    else:
        runner.start(live=True, engine="propagate", slices=range(len(scene.axis.slices(scene.case.volume.array))))
        runner.until(lambda: runner.controller.state is State.RUNNING and not runner.controller.busy)
        runner.undo_logic.Undo()
        update(runner)
        runner.until(lambda: runner.controller.outstanding > 0)
    assert all_equal(scene.arrays(), painted)
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert all_equal(scene.arrays(), applied)
    assert read_record(scene.node).present.labelled == tuple(scene.labelled)


def previewed(runner: Runner) -> np.ndarray:
    """What the preview shows of the first segment."""
    node, volume_node = runner.controller.run.preview.node, runner.scene.volume_node
    shown: np.ndarray = slicer.util.arrayFromSegmentBinaryLabelmap(node, "Preview_0_1", volume_node) > 0
    return shown


def test_an_undone_stroke_beyond_the_others_leaves_nothing_behind(runs: Runs) -> None:
    scene = scene_of(cube())
    last = scene.labelled.pop()
    erase(scene, last)
    before, runner = scene.array(scene.ids[0]), runs(scene)
    live(runner, scene)
    stroke(runner, last)
    runner.until(lambda: runner.controller.outstanding == 0)
    assert previewed(runner)[last - 1].any()
    erase(scene, last)
    scene.labelled.remove(last)
    update(runner)
    runner.until(lambda: not runner.controller.run.to_show and not previewed(runner)[last - 1].any())
    runner.controller.cancel(keep=True)
    runner.to_end()
    after = scene.array(scene.ids[0])
    np.testing.assert_array_equal(after[scene.labelled[-1] :], before[scene.labelled[-1] :])
    assert after[scene.between].any(axis=(1, 2)).all()


def test_slices_that_wait_to_be_shown_are_shown_after_another_stroke(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    with monkeypatch.context() as patch:
        patch.setattr(active_run, "MAX_SHOW_SECONDS", 0.0)
        live(runner, scene)
        assert len(runner.controller.run.to_show) == len(scene.between)
        index = scene.labelled[0] + 2
        stroke(runner, index)
    runner.until(lambda: runner.controller.outstanding == 0 and not runner.controller.run.to_show)
    others = [other for other in scene.between if other != index]
    results = [runner.controller.run.prepared.folders[0].result_slice(other) == 1 for other in others]
    np.testing.assert_array_equal(previewed(runner)[others], results)
    runner.controller.cancel(keep=False)


def test_everything_is_filled_again_after_a_run_that_was_cancelled_during_an_update(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    live(runner, scene)
    update(runner)
    runner.controller.cancel(keep=False)
    live(runner, scene)
    runner.controller.cancel(keep=False)


def test_a_run_whose_worker_died_goes_on_with_the_slices_beside_the_last_stroke(runs: Runs, gate: Gate) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    gate.open()
    live(runner, scene)
    gate.allow(0)
    stroke(runner, scene.labelled[0] + 2)
    runner.controller.run.process.kill()
    runner.until(lambda: runner.controller.state is State.STOPPED)
    gate.open()
    runner.controller.resume()
    assert runner.controller.outstanding == 2
    runner.until(lambda: runner.controller.outstanding == 0)
    assert runner.controller.state is State.RUNNING
    runner.controller.cancel(keep=False)


def test_slices_are_filled_again_once_painted_slices_are_no_longer_complete(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    live(runner, scene)
    update(runner, complete=False)
    runner.until(lambda: runner.controller.outstanding > 0)
    runner.controller.cancel(keep=False)


def test_a_live_run_that_is_resumed_later_fills_nothing_but_its_finished_slices(runs: Runs) -> None:
    """Its worker could fill any slice, also those beyond the labelled ones."""
    scene = scene_of(cube())
    before, runner = scene.arrays(), runs(scene)
    live(runner, scene)
    runner.controller.suspend()
    runner.until(lambda: runner.controller.unfinished_runs.find(scene.node) is not None)
    found = runner.controller.unfinished_runs.find(scene.node)
    assert found is not None
    assert found.done == found.total == len(scene.between)
    runner.controller.unfinished_runs.resume(scene.nodes)
    runner.to_end()
    assert runner.controller.error is None, runner.controller.message
    outside = [index for index in range(24) if index not in scene.between]
    for name, mask in scene.arrays().items():
        assert mask[scene.between].any(axis=(1, 2)).all()
        np.testing.assert_array_equal(mask[outside], before[name][outside])


def test_segments_that_begin_to_overlap_end_the_updates_without_a_change(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    runner = runs(scene)
    live(runner, scene)
    before = scene.arrays()
    first, second = scene.ids
    mask = scene.array(second) | scene.array(first)
    scene.editor_node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    array = mask.astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, scene.node, second, scene.volume_node)
    update(runner)
    runner.to_end()
    assert runner.controller.message.startswith("Segments overlap, or were added or removed")
    np.testing.assert_array_equal(scene.array(first), before[first])


def test_another_axis_ends_the_updates_without_a_change(runs: Runs) -> None:
    """The labels of rows are not taken for those of the slices with the same numbers."""
    scene = scene_of(cube())
    runner = runs(scene)
    live(runner, scene)
    before = scene.arrays()
    update(runner, axis=SliceAxis(1))
    runner.to_end()
    assert runner.controller.message.startswith("Another volume, segmentation or axis was chosen")
    assert all_equal(scene.arrays(), before)


@pytest.mark.parametrize("chosen", ["volume", "segmentation", "further"])
def test_other_nodes_end_the_updates_without_a_change(runs: Runs, chosen: str) -> None:
    """Segments of another segmentation often have the same ids."""
    scene = scene_of(cube())
    runner = runs(scene)
    live(runner, scene)
    before = scene.arrays()
    volume_node = add_volume(scene.case.volume, "Another")
    node = mrml.add_segmentation(volume_node, scene.case.masks)
    other = {"volume": volume_node, "segmentation": node, "further": (volume_node,)}
    settings = scene.settings(live=True, engine="propagate")
    runner.controller.update(replace(scene.nodes, **{chosen: other[chosen]}), lambda: settings)
    runner.to_end()
    assert runner.controller.message.startswith("Another volume, segmentation or axis was chosen")
    assert all_equal(scene.arrays(), before)


def test_updates_begin_again_once_a_slice_that_they_began_with_is_erased(runs: Runs) -> None:
    scene = scene_of(cube())
    runner = runs(scene)
    live(runner, scene)
    index = scene.labelled[1]
    erase(scene, index)
    scene.labelled.remove(index)
    update(runner)
    runner.to_end()
    assert runner.controller.message.startswith(f"Slice {index} is not labelled any more")
    live(runner, scene)
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert all(scene.array(name)[index].any() for name in scene.ids)


def test_a_segment_without_paint_does_not_end_the_updates(runs: Runs) -> None:
    scene = scene_of(cube())
    scene.node.GetSegmentation().AddEmptySegment("empty")
    scene.case.masks["empty"] = np.zeros(scene.case.volume.geometry.shape, dtype=bool)
    runner = runs(scene)
    live(runner, scene)
    stroke(runner, scene.labelled[0] + 2)
    runner.controller.cancel(keep=True)
    runner.to_end()
    assert runner.controller.error is None, runner.controller.message


def test_what_prevents_updates_ends_them_and_leaves_nothing_to_resume(runs: Runs) -> None:
    scene = scene_of(cube())
    runner = runs(scene)
    live(runner, scene)
    for index in scene.labelled:
        erase(scene, index)
    update(runner)
    runner.to_end()
    assert "no slice is labelled" in runner.controller.message
    assert runner.controller.unfinished_runs.find(scene.node) is None


def cube() -> Case:
    """Two boxes in a cube, whose slices along all axes have the same size."""
    shape = (24, 24, 24)
    masks = {name: np.zeros(shape, dtype=bool) for name in ("first", "second")}
    masks["first"][5:18, 6:12, 4:20] = True
    masks["second"][5:18, 14:20, 4:12] = True
    array = (100 * masks["first"] + 50 * masks["second"]).astype(np.int16)
    return Case(Volume(array, Geometry(shape, (1.0, 1.0, 1.0))), masks)
