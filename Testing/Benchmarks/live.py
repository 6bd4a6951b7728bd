"""Delay of the preview after a stroke, and longest pauses of the host meanwhile. Real MRML, real worker.

A brain resampled to 256x256x100 int16, its 4 largest labels painted on every 10th slice. A live run is started; then
strokes change labelled slices, or label new ones, and each is timed until the last slice beside it is in the preview.
Each step of the timer is timed too.

    python Testing/Benchmarks/live.py [--size 256 256 100] [--strokes 8]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]
importlib.import_module("support")  # first: it provides the stand-ins that host code needs

import numpy as np
import slicer
from fewshot_annotate.host.annotation.survey import Survey
from fewshot_annotate.host.fill.run_state import State
from fewshot_annotate.host.mrml.reading import image_array
from host_pause import large_case
from rich.console import Console
from rich.table import Table
from support.scene_cases import Runner, Scene, scene_of

STEP = 10
BUSY_SECONDS = 0.02  # of the effect's timer
TARGET_SECONDS, TARGET_MS = 1.0, 50.0


class Session:
    """What the effect's timer does while a live run is under way."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.runner, self.survey = scene, Runner(scene), Survey()
        self.longest_ms = 0.0
        self._settings = replace(
            scene.settings(), live=True, engine="propagate", slices=range(len(scene.case.volume.array))
        )

    def timed(self, step: Callable[[], Any]) -> Any:
        """Take a step of the main thread."""
        began = time.perf_counter()
        result = step()
        self.longest_ms = max(self.longest_ms, (time.perf_counter() - began) * 1e3)
        return result

    def start(self) -> float:
        """Start the run; seconds until everything is filled."""
        began = time.perf_counter()
        controller = self.runner.controller
        controller.start(self.scene.nodes, self._settings)
        self._until(lambda: controller.state is State.RUNNING and controller.outstanding > 0)
        self._until(lambda: controller.outstanding == 0)
        return time.perf_counter() - began

    def stroke(self, index: int, shift: int) -> tuple[int, float, float]:
        """Paint a slice; slices to update, seconds until they are asked for, and until they are shown."""
        for name, mask in self.scene.case.masks.items():
            segment = self.scene.node.GetSegmentation().GetSegment(name)
            image = segment.GetRepresentation("Binary labelmap")
            layer = image_array(image)
            layer[index][layer[index] == segment.GetLabelValue()] = 0
            layer[index][np.roll(mask[index], shift, axis=1)] = segment.GetLabelValue()
        image.Modified()
        labelled = sorted({*self.scene.labelled, index})
        self._settings = replace(self._settings, labelled=labelled)
        self.scene.labelled = labelled
        controller = self.runner.controller
        began = time.perf_counter()
        self.survey.request(0.0)
        while self.survey.busy:
            self.timed(lambda: self.survey.poll(self.scene.nodes))
            time.sleep(BUSY_SECONDS)
        self.timed(lambda: controller.update(self.scene.nodes, lambda: self._settings))
        self._until(lambda: controller.outstanding > 0)
        count, asked = controller.outstanding, time.perf_counter() - began
        self._until(lambda: controller.outstanding == 0)
        return count, asked, time.perf_counter() - began

    def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self.timed(self.runner.controller.poll)
            assert self.runner.controller.state not in (State.STOPPED, State.IDLE), self.runner.controller.message
            if not reached():
                time.sleep(BUSY_SECONDS)


def main() -> None:
    """Paint strokes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, nargs=3, default=(256, 256, 100), metavar=("I", "J", "K"))
    parser.add_argument("--strokes", type=int, default=8)
    options = parser.parse_args()
    scene = scene_of(large_case(tuple(options.size)), step=STEP)
    session = Session(scene)
    started = session.start()
    inner = scene.labelled[2:-2]
    table = Table("stroke on", "slices updated", "asked for, s", "shown, s")
    seconds = []
    for number in range(options.strokes):
        new = number % 4 == 3
        index = inner[number % len(inner)] + (STEP // 2 if new else 0)
        count, asked, shown = session.stroke(index, 1 + number % 3)
        seconds.append(shown)
        table.add_row("a new slice" if new else "a labelled slice", str(count), f"{asked:.2f}", f"{shown:.2f}")
    session.runner.controller.cancel(keep=False)
    session.runner.controller.close()
    session.survey.close()
    console = Console(width=118)
    console.print(table)
    console.print(
        f"{' x '.join(map(str, options.size))}, {len(scene.case.masks)} labels, every {STEP}th slice labelled. "
        f"Everything filled {started:.1f} s after the start. From the end of a stroke to the last slice beside it: "
        f"median {np.median(seconds):.2f} s, longest {max(seconds):.2f} s (target {TARGET_SECONDS:g}). Longest step "
        f"of the main thread {session.longest_ms:.0f} ms (target {TARGET_MS:g})."
    )
    slicer.mrmlScene.Clear(True)


if __name__ == "__main__":
    main()
