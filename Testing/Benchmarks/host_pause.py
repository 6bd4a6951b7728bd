"""Longest pauses of the host while a run streams and when it is committed, as a table. Real MRML, real worker.

A brain (case mr_brain_t1_freesurfer, else the MNI152 brain) resampled to 512x512x300 int16; its 4 largest labels
painted on 21 slices 12 apart; an intensity mask set in the editor node. Run twice: without a closed surface, and with
one shown. Each step of the panel's timer (the controller's tick and the survey's poll) is timed on the main thread.
Drawing costs nothing here: there are no views.

    python Testing/Benchmarks/host_pause.py [--size 512 512 300] [--commit]

With `--commit` nothing runs: the true labels are committed while surfaces are shown in 3D, and each part is timed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]
importlib.import_module("support")  # first: it provides the stand-ins that host code needs

import numpy as np
import slicer
from fewshot_annotate.core.volume import Geometry, Volume
from fewshot_annotate.engines.registry import runnable_engine
from fewshot_annotate.host.annotation.record_store import read_record
from fewshot_annotate.host.annotation.snapshot import select
from fewshot_annotate.host.annotation.survey import Survey
from fewshot_annotate.host.fill.changed_layers import changed_layers
from fewshot_annotate.host.fill.commit import commit
from fewshot_annotate.host.fill.edit_rules import EditRules, FilledSlices, compute_changes
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.host.fill.saved_segmentation import ReferencedSegmentation, all_or_nothing
from fewshot_annotate.host.fill.surfaces.representation import surface_settings
from fewshot_annotate.host.fill.surfaces.surface_run import surface_run
from fewshot_annotate.host.mrml.grid_reader import GridReader
from fewshot_annotate.host.mrml.reading import CLOSED_SURFACE, read_image
from rich.console import Console
from rich.table import Table
from scipy.ndimage import zoom
from support.data import benchmark_brain, load_benchmark_case
from support.scene_cases import Case, Runner, Scene, scene_of

LABELS = 4
STEP = 12
TIMER_SECONDS = 0.1
TARGET_MS = 50.0


@dataclass
class Steps:
    """Durations in ms of the main thread's steps, by what they were, and the largest gap of the heartbeat."""

    steps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    gaps: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    phase: str = ""
    most_mib: float = 0.0

    def time(self, name: str, step: Callable[[], Any]) -> Any:
        """Take a step and note its duration."""
        began = time.perf_counter()
        result = step()
        self.steps[name].append((time.perf_counter() - began) * 1e3)
        return result

    def beat(self, stop: threading.Event) -> None:
        """Wake every millisecond, so that what blocks this thread is recorded too."""
        last, beats = time.perf_counter(), 0
        while not stop.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            self.gaps[self.phase] = max(self.gaps[self.phase], (now - last) * 1e3)
            if beats % 50 == 0:
                self.most_mib = max(self.most_mib, resident_mib())
            beats += 1
            last = now


def large_case(size: tuple[int, int, int]) -> Case:
    """The brain at the benchmark's size (i, j, k)."""
    volume, labels = load_benchmark_case(benchmark_brain())
    counts = np.bincount(labels.array.reshape(-1))
    counts[0] = 0
    largest = sorted(int(value) for value in counts.argsort()[::-1][:LABELS] if counts[value])
    shape = size[::-1]
    factors = np.divide(shape, volume.array.shape)
    image = zoom(volume.array.astype(np.float32), factors, order=1)
    image = (image * (3000 / image.max())).astype(np.int16)
    zoomed = zoom(labels.array, factors, order=0)
    masks = {f"segment {value}": zoomed == value for value in largest}
    return Case(Volume(image, Geometry(shape, (0.5, 0.5, 0.7))), masks)


def paint(given: Case) -> Scene:
    """Scene with the middle 241 slices in play, every 12th of them painted, and an intensity mask."""
    count = len(given.volume.array)
    first = count // 10
    scene = scene_of(replace(given, masks=dict(given.masks)), step=1)
    scene.labelled = list(range(first, count - first + 1, STEP))
    for name, mask in scene.painted().items():
        array = mask.astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, scene.node, name, scene.volume_node)
    scene.node.GetSegmentation().CollapseBinaryLabelmaps(False)
    scene.editor_node.SetSourceVolumeIntensityMask(True)
    scene.editor_node.SetSourceVolumeIntensityMaskRange(100, 2500)
    return scene


def run(scene: Scene) -> tuple[Steps, float]:
    """One run as the panel's timer drives it; the steps and the seconds from start to end."""
    steps, survey, runner = Steps(), Survey(), Runner(scene)
    stop = threading.Event()
    heart = threading.Thread(target=steps.beat, args=(stop,))
    steps.phase = "survey"
    heart.start()
    began = time.perf_counter()

    def poll_survey() -> None:
        if survey.poll(scene.nodes):
            select(survey.extents, read_record(scene.node), survey.grid.geometry.shape)

    survey.request(0.0)
    while survey.busy:
        steps.time("survey, a poll", poll_survey)
        time.sleep(TIMER_SECONDS)
    runnable_engine("auto")  # the panel has listed the engines by then
    steps.phase = "prepare"
    steps.time("start()", runner.start)
    controller = runner.controller
    while controller.state is not State.IDLE:
        time.sleep(TIMER_SECONDS)
        before = controller.state
        if before is State.RUNNING:
            survey.reset()  # as if the user painted all the time
            survey.request(0.0)
        name = {State.PREPARING: "tick, preparing", State.RUNNING: "tick, streaming"}.get(before, "tick, finishing")
        steps.time(name, controller.poll)
        steps.time("survey, a poll", poll_survey)
        if before is State.PREPARING and controller.state is State.RUNNING:
            steps.steps["preview made, worker started"].append(steps.steps[name].pop())
        if controller.state is State.IDLE:
            steps.steps["commit"].append(steps.steps[name].pop())
        steps.phase = {State.RUNNING: "stream", State.FINISHING: "finish"}.get(controller.state, steps.phase)
        assert controller.state is not State.STOPPED, controller.message
    seconds = time.perf_counter() - began
    stop.set()
    heart.join()
    print(f"{controller.message} {' '.join(controller.warnings)} Commit itself {controller.commit.seconds:.2f} s.")
    runner.undo_logic.Undo()
    controller.close()
    survey.close()
    return steps, seconds


def commit_alone(scene: Scene) -> None:
    """Commit the true labels while surfaces are shown in 3D, and print what each part takes."""
    assert scene.node.CreateClosedSurfaceRepresentation()
    runner, grids = Runner(scene), GridReader()
    grid = grids.read(scene.nodes)
    image = read_image(scene.volume_node, scene.node, grid.geometry)
    rules = EditRules.from_nodes(scene.node, scene.editor_node, False)

    def read(index: int) -> dict[str, np.ndarray]:
        masks = {name: scene.axis.slices(mask)[index] for name, mask in scene.case.masks.items()}
        return {name: mask for name, mask in masks.items() if mask.any()}

    table = Table("part", "s", title="Commit with surfaces shown in 3D")

    def timed(name: str, step: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = step()
        table.add_row(name, f"{time.perf_counter() - began:.3f}")
        return result

    filled = FilledSlices(scene.axis, scene.ids, scene.between, read)
    changes = timed("thread: changes", lambda: compute_changes(grid, image, filled, rules))
    layers = timed("thread: labelmaps", lambda: changed_layers(grid, changes))
    with TemporaryDirectory() as folder:
        settings = surface_settings(scene.node)
        made = timed("thread: masks", lambda: surface_run(Path(folder), grid, changes, settings))
        assert made is not None
        process = made.start(sys.executable)

        def wait() -> None:
            while process.running:
                process.poll()
                time.sleep(TIMER_SECONDS)

        timed("process: surfaces", wait)
        surfaces = timed("thread: surfaces read", made.read)

    def write() -> None:
        with ExitStack() as stack:
            stack.enter_context(all_or_nothing(ReferencedSegmentation(scene.node)))
            timed("main thread: copy to undo", lambda: runner.controller.editor.save_undo(scene.node))
            timed(
                "main thread: labels and surfaces",
                lambda: commit(scene.nodes, grid, changes, grids, surfaces, layers),
            )

    timed("main thread: the whole commit", write)
    points = sum(surface.GetNumberOfPoints() for surface in surfaces.values())
    segmentation = scene.node.GetSegmentation()
    segmentation.RemoveRepresentation(CLOSED_SURFACE)
    timed("Slicer's own conversion", lambda: segmentation.CreateRepresentation(CLOSED_SURFACE))
    runner.controller.close()
    console = Console(width=118)
    console.print(table)
    console.print(f"{len(surfaces)} surfaces of {points} points.")


def resident_mib() -> float:
    """Memory of this process; its peak where the system does not give the present value."""
    import resource

    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 300), metavar=("I", "J", "K"))
    parser.add_argument("--commit", action="store_true", help="time a commit with surfaces, without a run")
    options = parser.parse_args()
    size = tuple(options.size)
    scene = paint(large_case(size))
    if options.commit:
        commit_alone(scene)
        return
    base = resident_mib()
    plain, plain_seconds = run(scene)
    assert scene.node.CreateClosedSurfaceRepresentation()
    shown, shown_seconds = run(scene)

    table = Table(title=f"{' x '.join(map(str, size))} int16, {LABELS} labels, {len(scene.between)} slices filled")
    table.add_column("main thread, ms")
    for title in ("steps", "p99", "longest", "steps, surface", "p99, surface", "longest, surface"):
        table.add_column(title, justify="right")
    for name in plain.steps:
        row = [name]
        for steps in (plain, shown):
            values = np.array(steps.steps[name] or [0.0])
            row += [str(len(values)), f"{np.percentile(values, 99):.1f}", f"{values.max():.1f}"]
        table.add_row(*row)
    for phase in plain.gaps:
        table.add_row(
            f"heartbeat gap, {phase}", "", "", f"{plain.gaps[phase]:.1f}", "", "", f"{shown.gaps[phase]:.1f}"
        )
    console = Console(width=118)
    console.print(table)
    longest = max(max(steps.steps[n], default=0.0) for steps in (plain, shown) for n in plain.steps if n != "commit")
    voxels = np.prod(size)
    console.print(
        f"Longest step but the commit: {longest:.1f} ms (target {TARGET_MS:g}). From start to end "
        f"{plain_seconds:.0f} s and {shown_seconds:.0f} s. Memory of the host grew by {plain.most_mib - base:.0f} "
        f"MiB in the first run; the volume takes {voxels * 2 / 2**20:.0f} MiB, a label map "
        f"{voxels / 2**20:.0f} MiB.\n"
        "A step is what the timer's slot takes. A heartbeat gap is the longest time a thread that sleeps 1 ms did "
        "not get its turn, whoever held it up (interpreter lock, worker, other processes): an upper bound only."
    )
    slicer.mrmlScene.Clear(True)


if __name__ == "__main__":
    main()
