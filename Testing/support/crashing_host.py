"""A host of its own process that fills until some slices are finished, saves the scene and waits for its end.

Run as `python -m support.crashing_host FOLDER SLICES`: the scene is saved as FOLDER/scene/scene.mrml and
FOLDER/scene.mrb, the run lies below FOLDER/runs, and "ready" is printed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from support.saved_scenes import save_scene
from support.scene_cases import Runs, case, scene_of

CASE = "ct_vertebrae"


def main(folder: Path, slices: int) -> None:
    scene = scene_of(case(CASE))
    runner = Runs(folder)(scene)
    runner.start(engine="propagate")
    runner.until(lambda: runner.shown() == slices)
    save_scene(folder / "scene" / "scene.mrml")
    save_scene(folder / "scene.mrb")
    print("ready", flush=True)
    while True:
        runner.controller.poll()
        time.sleep(0.01)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
