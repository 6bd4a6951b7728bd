"""RunPlan and PreparedRun: all that is needed to finish a run, kept in its folder so that any process can do so."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError, Message
from ...core.job import Job
from ...core.reading import DamagedContentError, read_json_as
from ...core.slice_axis import SliceAxis
from ...core.storage import write_json
from ...core.volume import Geometry
from ...jobs.run_folder import JobFolder
from .run_store import PLAN_FILE

PLAN_VERSION = 1
# A worker notices within about this time that its host has exited.
_WORKER_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Plan of a run, without voxels.

    Attributes
    ----------
    axis : SliceAxis
    names : mapping of str to str
        Segments to fill: segment id -> name when the run began.
    labelled : tuple of int, ascending
        Slices that the engine learns from.
    painted, keep : tuples of int
        Labelled slices that count as painted, and those, such as accepted ones, that do not.
    job : Job
    may_overwrite : bool
        Whether other segments may lose voxels.
    geometry : Geometry
        The segmentation's grid.
    first : (int, int, int)
        Slicer's own number (i, j, k) of its first voxel.
    grid_to_array : tuple of 16 floats, or None
        Array index in the grid -> array index in the volume, row by row; None if the grids are the same.
    sample : str
        Checksum of some voxels of the volume.
    live : bool
        Whether it followed what was painted. Then only its finished slices can be used in another process, as the
        job has all slices, also those that are not between labelled ones.
    """

    axis: SliceAxis
    names: Mapping[str, str]
    labelled: tuple[int, ...]
    painted: tuple[int, ...]
    keep: tuple[int, ...]
    job: Job
    may_overwrite: bool
    geometry: Geometry
    first: tuple[int, int, int]
    grid_to_array: tuple[float, ...] | None
    sample: str
    live: bool = False

    @property
    def segment_ids(self) -> tuple[str, ...]:
        """Segments to fill."""
        return tuple(self.names)

    @property
    def query_slices(self) -> list[int]:
        """The slices to fill, ascending."""
        return list(self.job.slices)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **vars(self),
            "axis": self.axis.index,
            "names": dict(self.names),
            "job": self.job.to_json(),
            "geometry": self.geometry.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunPlan:
        """The inverse of `to_json`.

        Raises
        ------
        InputError, ValueError, KeyError, TypeError, AttributeError, OverflowError
            Not a plan.
        """
        i, j, k = map(int, data["first"])
        matrix = data["grid_to_array"]
        if matrix is not None and len(matrix) != 16:
            raise ValueError("grid_to_array needs 16 numbers")
        labelled = tuple(map(int, data["labelled"]))
        return cls(
            axis=SliceAxis(data["axis"]),
            names={str(name): str(text) for name, text in data["names"].items()},
            labelled=labelled,
            painted=tuple(map(int, data["painted"])),
            keep=tuple(map(int, data["keep"])),
            job=Job.from_json(data["job"], labelled),
            may_overwrite=bool(data["may_overwrite"]),
            geometry=Geometry.from_json(data["geometry"]),
            first=(i, j, k),
            grid_to_array=None if matrix is None else tuple(map(float, matrix)),
            sample=str(data["sample"]),
            live=bool(data.get("live", False)),  # missing in files of version 0.1
        )


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready for the worker, begun or not.

    Attributes
    ----------
    plan : RunPlan
    layers : list of lists of str
        Segments of each layer; those that overlap are in different ones. Label 1 + n is a layer's n-th segment.
    folders : list of JobFolder
        One for each layer.
    at_start : mapping of str to mapping of int to int
        Segment id -> slice to fill -> checksum of its voxels when the run began; slices without any are left out.
    """

    plan: RunPlan
    layers: Sequence[Sequence[str]]
    folders: Sequence[JobFolder]
    at_start: Mapping[str, Mapping[int, int]]

    def save(self, run_folder: Path) -> None:
        """Write everything but the job folders into the run's folder, which counts as a run from then on.

        Raises
        ------
        InputError
            It cannot be written.
        """
        data = {
            "version": PLAN_VERSION,
            "plan": self.plan.to_json(),
            "layers": self.layers,
            "at_start": self.at_start,
        }
        write_json(run_folder / PLAN_FILE, data)

    @classmethod
    def open(cls, run_folder: Path) -> PreparedRun:
        """A run from its folder.

        Raises
        ------
        InputError
            There is none, it is damaged, or another version of this program made it.
        """
        try:
            plan, layers, at_start = read_json_as(run_folder / PLAN_FILE, _prepared)
        except (OSError, DamagedContentError):
            detail = Message("run_plan_unreadable", file=PLAN_FILE)
            raise InputError("job_folder_unreadable", path=run_folder, detail=detail) from None
        folders = JobFolder.open_layers(run_folder)
        if len(folders) != len(layers):
            raise InputError("job_folder_unreadable", path=run_folder, detail=Message("run_other_segments"))
        for folder, layer in zip(folders, layers, strict=True):
            if folder.grid.shape != plan.geometry.shape or folder.axis != plan.axis:
                raise InputError("job_folder_unreadable", path=folder.path, detail=Message("run_other_grid"))
            if folder.labels != tuple(range(1, len(layer) + 1)):
                raise InputError("job_folder_unreadable", path=folder.path, detail=Message("run_other_segments"))
        return cls(plan, layers, folders, at_start)

    @classmethod
    def open_when_released(cls, run_folder: Path) -> PreparedRun:
        """As `open`, once a worker whose host has exited has released the folder; checks it. For a background thread.

        Raises
        ------
        InputError
            As `open`; image or labels are damaged; a worker is still running.
        """
        prepared = cls.open(run_folder)
        end = time.monotonic() + _WORKER_SECONDS
        while any(folder.busy() for folder in prepared.folders) and time.monotonic() < end:
            time.sleep(0.02)
        return replace(prepared, folders=JobFolder.reopen_layers(run_folder))

    def finished(self) -> np.ndarray:
        """Whether each slice is written in every layer, as a draft or final, bool [n]."""
        finished: np.ndarray = np.logical_and.reduce([folder.finished() for folder in self.folders])
        return finished

    def drafts(self) -> np.ndarray:
        """Whether each slice is a draft in any layer, bool [n]."""
        drafts: np.ndarray = np.logical_or.reduce([folder.drafts() for folder in self.folders])
        return drafts


def _prepared(data: Mapping[str, Any]) -> tuple[RunPlan, list[list[str]], dict[str, dict[int, int]]]:
    """The plan of a run, the names of the segments of each layer, and the digests of their slices at the start."""
    if data["version"] != PLAN_VERSION:
        raise ValueError("another version")
    plan = RunPlan.from_json(data["plan"])
    layers = [[str(name) for name in layer] for layer in data["layers"]]
    if not layers or not {name for layer in layers for name in layer} <= set(plan.segment_ids):
        raise ValueError("its layers are not those of its segments")
    at_start = {
        str(name): {int(index): int(digest) for index, digest in digests.items()}
        for name, digests in data["at_start"].items()
    }
    return plan, layers, at_start
