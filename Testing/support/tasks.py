"""Tasks for tests: volumes made by a formula that a network learns within seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.status import CaseStatus, Status
from fewshot_annotate.datasets.task.adding import add_example
from fewshot_annotate.datasets.task.library import create_task, save_slices
from fewshot_annotate.datasets.task.task import Task
from fewshot_annotate.io.files import write_array, write_label_maps

from .labels import every_nth, small_case

SEGMENTS = (
    Segment(value=1, name="Core", colour=(1.0, 0.0, 0.0)),
    Segment(value=2, name="Rim", colour=(0.0, 1.0, 0.0)),
)
AXIS = SliceAxis(0)
SHAPE = (10, 20, 20)
GRID = Geometry(SHAPE, (1.0, 1.0, 2.0))


def ball(seed: int) -> tuple[Volume, LabelMap]:
    """A ball in noise, its two halves labelled; placed differently for each seed."""
    random = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE)
    centre = np.array(SHAPE) / 2 + random.uniform(-1.5, 1.5, 3)
    distance = np.sqrt((z - centre[0]) ** 2 + ((y - centre[1]) / 2) ** 2 + ((x - centre[2]) / 2) ** 2)
    labels = (distance < 3.5).astype(np.uint8)
    labels[(distance < 3.5) & (x > centre[2])] = 2
    image = (200 * labels + random.normal(0, 20, SHAPE)).astype(np.int16)
    return Volume(image, GRID), LabelMap(labels, GRID, SEGMENTS)


def task_of_balls(name: str, *seeds: int) -> Task:
    """A task with wholly labelled balls."""
    task = create_task(name)
    for seed in seeds:
        task = add_example(task.folder, *ball(seed)).task
    return task


def write_ball(folder: Path, seed: int) -> tuple[Path, Path]:
    """Image and label map of a ball as files."""
    volume, label_map = ball(seed)
    image, labels = folder / f"ball{seed}.nii.gz", folder / f"ball{seed}.labels.nii.gz"
    write_array(image, volume.array, GRID)
    write_label_maps(labels, [label_map])
    return image, labels


def batch_of_balls(folder: Path, accepted: tuple[str, ...] = ("0", "1")) -> BatchFolder:
    """A batch with three filled balls, as `batch` leaves it, some of them accepted."""
    made = BatchFolder(folder / "out")
    made.path.mkdir()
    for seed in (0, 1, 2):
        image, _ = write_ball(folder, seed)
        files = made.case(str(seed))
        files.folder.mkdir()
        write_label_maps(files.label, [ball(seed)[1]])
        expected = [{"label": 1, "dice": 0.8, "low": 0.7, "high": 0.9}]
        outcome = {
            "engine": "adapt",
            "version": "0.2.0",
            "axis": 0,
            "labelled_slices": [2, 6],
            "expected": expected,
            "names": {"1": "Core", "2": "Rim"},
        }
        write_array(files.confidence, np.where(ball(seed)[1].array == 1, 0.6, 0.9).astype(np.float32), GRID)
        files.write_record({"image": {"path": str(image)}}, outcome)
    made.status.change(
        lambda rows: [
            CaseStatus(name=str(seed), status=Status.DONE, seconds=1.0, message="", accepted=str(seed) in accepted)
            for seed in (0, 1, 2)
        ]
    )
    return made


def saved_task(name: str = "hippocampus", step: int = 1, **more: object) -> Task:
    """Save every few slices of a small volume as a task of the library."""
    volume, label_map = small_case()
    support = Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, step))
    return save_slices(name, volume, label_map, support, **more)  # type: ignore[arg-type]
