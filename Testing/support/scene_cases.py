"""Real cases as scenes: a volume and a segmentation with a few painted slices, and a run on them to its end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fewshot_annotate.core.python_executable import python_executable
from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.host.fill.controller import FillController
from fewshot_annotate.host.fill.preparation import FillSettings
from fewshot_annotate.host.fill.run_editor import RunEditor
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.host.fill.run_store import RunStore
from fewshot_annotate.host.mrml.chosen_nodes import ChosenNodes
from fewshot_annotate.host.tasks import THREAD_NAME

from support import mrml
from support.data import MNI152, load_case
from support.run_folders import active_runs

WAIT_SECONDS = 60.0
GATE_VARIABLE = "FEWSHOT_TEST_GATE"

# Imported by every Python that starts with this file's folder on PYTHONPATH: the worker then waits before each slice
# until the gate file lets it through.
_GATE = f"""
import os, time
gate = os.environ.get("{GATE_VARIABLE}")
if gate:
    from fewshot_annotate.jobs.slice_writer import SliceWriter
    write = SliceWriter.write
    def wait_and_write(self, *slice):
        with open(gate + ".reached", "w") as file:
            file.write("slice " * self.finished_so_far)
        while int(self.finished_so_far) >= int(open(gate).read() or 0):
            time.sleep(0.002)
        self.finished_so_far += 1
        write(self, *slice)
    SliceWriter.finished_so_far = 0
    SliceWriter.write = wait_and_write
"""


class Gate:
    """Lets a worker write a given number of slices, so that a test can inspect a run in progress."""

    def __init__(self, folder: Path, monkeypatch: Any) -> None:
        (folder / "sitecustomize.py").write_text(_GATE, encoding="utf-8")
        self._file = folder / "allowed"
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setenv(GATE_VARIABLE, str(self._file))
        self.allow(0)

    def allow(self, count: int) -> None:
        """Let the worker write `count` slices in total."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(str(count), encoding="ascii")
        partial.replace(self._file)

    def holds_after(self, count: int) -> bool:
        """Whether the worker waits, with `count` slices written and the next one computed."""
        reached = Path(f"{self._file}.reached")
        return reached.exists() and reached.read_text(encoding="ascii").count("slice") == count

    def open(self) -> None:
        """Let the worker write all slices."""
        self.allow(1 << 30)


@dataclass(frozen=True)
class Case:
    """A real case, cropped to the box of a few labels.

    Attributes
    ----------
    volume : Volume
    masks : dict
        Segment id -> true mask, bool [k, j, i].
    """

    volume: Volume
    masks: dict[str, np.ndarray]

    def labelled(self, axis: SliceAxis, step: int) -> list[int]:
        """Every `step`-th slice that holds any label."""
        anything = np.logical_or.reduce(list(self.masks.values()))
        return labelled_indices(anything, axis)[::step]


def case(name: str | Path, count: int = 2) -> Case:
    """The `count` largest labels of a case, or of the MNI152 brain at 3 mm."""
    volume, labels = _coarse_mni152() if name == MNI152 else load_case(name)
    sizes = {value: np.count_nonzero(labels.array == value) for value in labels.values}
    values = sorted(sizes, key=lambda value: -sizes[value])[:count]
    return Case(volume, {f"segment {value}": labels.array == value for value in sorted(values)})


@cache
def _coarse_mni152() -> tuple[Volume, LabelMap]:
    """Every third voxel: the whole brain is too large for the many scenes made of it."""
    volume, labels = load_case(MNI152)
    image, mask = (np.ascontiguousarray(array[::3, ::3, ::3]) for array in (volume.array, labels.array))
    grid = Geometry(image.shape, (3.0, 3.0, 3.0), volume.geometry.origin, volume.geometry.direction)
    return Volume(image.astype(np.float32), grid), LabelMap(mask, grid, labels.segments)


@dataclass(kw_only=True)
class Scene:
    """A case in MRML, its segmentation painted on some slices."""

    case: Case
    axis: SliceAxis
    labelled: list[int]
    volume_node: Any
    node: Any
    editor_node: Any

    @property
    def nodes(self) -> ChosenNodes:
        """Volume and segmentation."""
        return ChosenNodes(self.volume_node, self.node)

    @property
    def ids(self) -> list[str]:
        """Segments of the case."""
        return list(self.case.masks)

    @property
    def between(self) -> list[int]:
        """Slices that a run fills."""
        first, last = self.labelled[0], self.labelled[-1]
        return [index for index in range(first, last + 1) if index not in self.labelled]

    def settings(self, **changed: Any) -> FillSettings:
        """A fill of all segments between the painted slices."""
        return FillSettings(
            **{"segment_ids": self.ids, "axis": self.axis, "labelled": self.labelled, **changed},
        )

    def array(self, segment_id: str) -> np.ndarray:
        """Voxels of a segment on the volume's grid, bool [k, j, i]."""
        return mrml.segment_array(self.node, segment_id)

    def arrays(self) -> dict[str, np.ndarray]:
        """Voxels of all segments."""
        return {name: self.array(name) for name in self.node.GetSegmentation().GetSegmentIDs()}

    def painted(self) -> dict[str, np.ndarray]:
        """What was painted at the start."""
        return painted(self.case, self.axis, self.labelled)


def painted(case: Case, axis: SliceAxis, labelled: Sequence[int]) -> dict[str, np.ndarray]:
    """The true masks on the labelled slices alone."""
    result = {}
    for name, mask in case.masks.items():
        result[name] = np.zeros_like(mask)
        axis.slices(result[name])[labelled] = axis.slices(mask)[labelled]
    return result


def add_volume(volume: Volume, name: str = "Volume") -> Any:
    """Volume node of a volume."""
    geometry = volume.geometry
    return mrml.add_volume(volume.array, geometry.spacing, geometry.origin, geometry.direction, name)


def scene_of(given: Case, axis: int = 0, step: int = 4) -> Scene:
    """A new scene with every `step`-th slice of a case painted."""
    mrml.new_scene()
    slice_axis = SliceAxis(axis)
    labelled = given.labelled(slice_axis, step)
    volume_node = add_volume(given.volume)
    node = mrml.add_segmentation(volume_node, painted(given, slice_axis, labelled))
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    return Scene(
        case=given,
        axis=slice_axis,
        labelled=labelled,
        volume_node=volume_node,
        node=node,
        editor_node=mrml.segment_editor_node(node, volume_node),
    )


class Runner:
    """A controller on the current scene with the Segment Editor's undo, as the panel has it."""

    def __init__(self, scene: Scene, python: str | None = None, store: RunStore | None = None) -> None:
        import slicer

        self.scene = scene
        self.undo_logic = slicer.vtkSlicerSegmentEditorLogic()
        self.undo_logic.SetMRMLScene(slicer.mrmlScene)
        self.undo_logic.SetSegmentEditorNode(scene.editor_node)
        self.undo_logic.SetSegmentationNode(scene.node)
        self.undo_states_saved = 0
        self.states: list[State] = []
        self.controller = FillController(
            slicer.mrmlScene,
            RunEditor(lambda node: self.save_undo(node), lambda: scene.editor_node),
            python or python_executable(),
            store=store,
        )
        self.controller.changed.connect(lambda: self.states.append(self.controller.state))

    def save_undo(self, node: Any) -> None:
        """Save the segmentation for undo, as the Segment Editor widget does."""
        assert node is self.scene.node
        self.undo_states_saved += 1
        self.undo_logic.SaveStateForUndo()

    def start(self, **changed: Any) -> FillController:
        """Start a fill with the scene's settings."""
        self.controller.start(self.scene.nodes, self.scene.settings(**changed))
        return self.controller

    def until(self, reached: Callable[[], bool]) -> None:
        """Tick until something is reached."""
        tick_until(self.controller, reached)

    def to_end(self) -> None:
        """Tick until nothing runs any more."""
        self.until(lambda: self.controller.state is State.IDLE)

    def fill(self, **changed: Any) -> None:
        """One whole run."""
        self.start(**changed)
        self.to_end()
        assert self.controller.error is None, self.controller.message

    def shown(self) -> int:
        """How many slices the worker has finished so far."""
        return self.controller.progress.done


def tick_until(controller: Any, reached: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Tick a controller, as the panel's timer does, until something is reached."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, (controller.state, controller.message)
        controller.poll()
        time.sleep(0.002)


def all_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether two sets of segments are the same, voxel by voxel."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def job_folders(parent: str | os.PathLike[str]) -> list[str]:
    """Job folders that were made below a temporary folder."""
    return sorted(path.name for path in Path(parent).glob("FewShotAnnotate-*"))


def label_map_of(masks: dict[str, np.ndarray], volume: Volume) -> LabelMap:
    """Masks that do not overlap as one label map, values 1, 2, ... in their order."""
    from fewshot_annotate.core.volume import default_segment

    array = np.zeros(volume.geometry.shape, dtype=np.uint8)
    for value, mask in enumerate(masks.values(), start=1):
        array[mask] = value
    return LabelMap(array, volume.geometry, tuple(default_segment(value + 1) for value in range(len(masks))))


class Runs:
    """Runners of one test, whose runs lie below a temporary folder; none may be active at its end."""

    def __init__(self, temporary_folder: Path) -> None:
        self.store = RunStore(temporary_folder / "runs")
        self._runners: list[Runner] = []

    def __call__(self, scene: Scene, python: str | None = None) -> Runner:
        """A runner on a scene, whose worker is run by a program other than Python if one is given."""
        self._runners.append(Runner(scene, python, self.store))
        return self._runners[-1]

    def finish(self) -> None:
        """Close all, and wait until threads and workers have ended."""
        for runner in self._runners:
            runner.controller.close()
        wait_for_none(lambda: [*active_runs(self.store), *threads()])


def wait_for_none(left: Callable[[], Sequence[object]], seconds: float = WAIT_SECONDS) -> None:
    """Wait until nothing is left, for example of threads, folders and processes."""
    end = time.monotonic() + seconds
    while found := left():
        assert time.monotonic() < end, f"left behind: {found}"
        time.sleep(0.005)


def threads() -> list[str]:
    """Threads of the host that have not ended, by name."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


def require_quiet(captured: Any) -> None:
    """Fail if VTK or a Python observer printed an error to stderr."""
    errors = [line for line in captured.err.splitlines() if "ERR" in line or "Error" in line or "Traceback" in line]
    assert not errors, captured.err
