"""LayerFolder: the job of one layer in a run folder, its input, and its result slice by slice.

`run_folder` describes the files, and creates, opens and resumes folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core import paths
from ..core.errors import InputError, Message
from ..core.events import Event, Expected, SliceDone
from ..core.expected_dice import ExpectedDice
from ..core.job import Job
from ..core.reading import DamagedContentError, read_json_as
from ..core.slice_axis import SliceAxis
from ..core.sparse_array import copy_nonzero, sparse_zeros
from ..core.storage import write_json
from ..core.support import Support
from ..core.volume import Geometry, Volume, present_values
from ..io.array_file import read_npy, read_npy_header
from .run_layout import (
    CHECKSUMS,
    FURTHER,
    IMAGE,
    LAYERS,
    SliceState,
    checksum_of,
    confidence_of,
    further_file,
)
from .work_folder import WorkFolder


class LayerFolder(WorkFolder):
    """One layer of a run folder.

    Parameters
    ----------
    path : Path
        The folder, which all layers share.
    description : dict
        Content of job.json.
    layer : int
        Position of the layer.

    Attributes
    ----------
    path : Path
    layer : int
    layer_path : Path
        Folder of the arrays of the layer.
    job : Job
    grid : Geometry
    further_grids : list of Geometry
        Grids of further channels.
    axis : SliceAxis
    shape : (int, int, int)
        Slices, rows and columns along the axis.
    indices : tuple of int
        The labelled slices.
    labels : tuple of int
        The label values to fill.
    annotated : bool ndarray, shape [len(indices), len(labels)]
        As in `Support`.
    fingerprint : str
        Digest of the volume and the labelled slices, see `fingerprints`.
    has_checksums : bool
        Whether there is a checksum of each slice; folders of version 0.1.0 have none.

    Raises
    ------
    ValueError, LookupError, TypeError
        The description is damaged.
    """

    def __init__(self, path: Path, description: dict[str, Any], layer: int = 0) -> None:
        super().__init__(path)
        self._description = description
        self.layer = layer
        if LAYERS in description:
            layer_description, self.layer_path = description[LAYERS][layer], path / LAYERS / str(layer)
        else:
            layer_description, self.layer_path = description, path
        self.grid = Geometry.from_json(description["grid"])
        self.further_grids = [Geometry.from_json(grid) for grid in description.get(FURTHER, [])]
        self.axis = SliceAxis(description["axis"])
        self.indices = tuple(int(index) for index in description["labelled"])
        self.job = Job.from_json(description["job"], self.indices)
        if LAYERS in description:
            self.job = replace(
                self.job, names={int(label): str(name) for label, name in layer_description["names"].items()}
            )
        self.labels = tuple(int(label) for label in layer_description["labels"])
        self.annotated = np.array(layer_description["known"], dtype=bool).reshape(len(self.indices), len(self.labels))
        self.fingerprint = str(layer_description["fingerprint"])
        self.has_checksums = bool(description.get("checksums", False))
        self.shape = self.axis.shape(self.grid)
        if not set(self.job.slices) <= set(range(self.shape[0])) - set(self.indices):
            raise ValueError("slices to fill are labelled or do not exist")
        if (self.indices or not self.job.model) and not _ascending(self.indices, 0, self.shape[0] - 1):
            raise ValueError("the labelled slices do not ascend or do not exist")
        if not _ascending(self.labels, 1, 65535):
            raise ValueError("the labels do not ascend or do not exist")

    @property
    def worker_arguments(self) -> list[str]:
        """The option that selects the layer that the worker fills."""
        return ["--layer", str(self.layer)]

    def array_path(self, name: str) -> Path:
        """File of an array: image, image-2, ..., support, result, confidence, finished or checksums."""
        return (self.path if name.startswith(IMAGE) else self.layer_path) / f"{name}.npy"

    def require_array(self, name: str, of_grid: tuple[int, ...] | None = None) -> None:
        """Raise `InputError` if an array is truncated or does not fit job.json.

        `of_grid` is the shape of a further channel, which has its own grid.
        """
        path = self.array_path(name)
        parents = () if self.layer_path == self.path else (self.layer_path, self.layer_path.parent)
        if any(map(paths.is_link, (path, *parents))):  # a worker writes into these files
            raise self.unreadable(Message("file_not_plain", file=path.name))
        try:
            layout = read_npy_header(path)
        except FileNotFoundError:
            raise self.unreadable(Message("file_is_missing", file=path.name)) from None
        except OSError as error:
            raise self.unreadable(Message("file_and_reason", file=path.name, reason=error.strerror)) from None
        except ValueError as error:
            raise self.unreadable(error) from None
        shapes = {"support": (len(self.indices), *self.shape[1:]), "finished": self.shape[:1]}
        types = {IMAGE: "iuf", "finished": "u1", "confidence": "u1", CHECKSUMS: "u4"}
        shape = of_grid or shapes.get(name, self.shape[:1] if name == CHECKSUMS else self.shape)
        allowed = "iuf" if of_grid else types.get(name, "u")
        fits = layout.dtype.kind in allowed if allowed.isalpha() else layout.dtype.str[1:] == allowed
        if layout.shape != shape or not fits:
            raise self.unreadable(Message("file_unfit", file=path.name))

    def unreadable(self, detail: object) -> InputError:
        """The error for a folder with missing or damaged files."""
        return InputError("job_folder_unreadable", path=self.path, detail=detail)

    def read_volume(self) -> Volume:
        """The volume and its further channels, memory-mapped."""
        further = (
            Volume(np.load(self.array_path(further_file(number)), mmap_mode="r"), grid)
            for number, grid in enumerate(self.further_grids)
        )
        return Volume(self.axis.restore(np.load(self.array_path(IMAGE), mmap_mode="r")), self.grid, tuple(further))

    def read_support(self) -> Support:
        """The labelled slices."""
        return Support(self.axis, self.indices, read_npy(self.array_path("support")), self.labels, self.annotated)

    def finished(self) -> np.ndarray:
        """Whether each slice has been written, as a draft or final, bool [n]."""
        return np.isin(self._flags(), (SliceState.DRAFT, SliceState.FINAL))

    def drafts(self) -> np.ndarray:
        """Whether each slice is a draft, bool [n]."""
        drafts: np.ndarray = self._flags() == SliceState.DRAFT
        return drafts

    def pending(self) -> list[int]:
        """Slices of the job that are not final, ascending."""
        flags = self._flags()
        return [index for index in self.job.slices if flags[index] != SliceState.FINAL]

    def _flags(self) -> np.ndarray:
        return read_npy(self.array_path("finished"))

    def expected(self) -> tuple[ExpectedDice, ...]:
        """Latest expected Dice of each label; empty if the engine has not estimated it or the file is damaged."""
        try:
            expected = read_json_as(self.layer_path / "expected.json", _expected_dice)
        except (OSError, DamagedContentError):
            return ()
        return expected if {label_dice.label for label_dice in expected} <= set(self.labels) else ()

    def write_expected_dice(self, expected: Sequence[ExpectedDice]) -> None:
        """Store the expected Dice atomically, replacing an earlier one."""
        write_json(self.layer_path / "expected.json", [label_dice.to_json() for label_dice in expected])

    def result_slice(self, index: int) -> np.ndarray:
        """Label values [h, w] of a finished slice."""
        labels: np.ndarray = read_npy(self.array_path("result"), index, 1)[0]
        return labels

    def confidence_slice(self, index: int) -> np.ndarray:
        """Confidence 0..1 of a finished slice, float32 [h, w]."""
        return confidence_of(self._quantised_confidence(index))

    def _quantised_confidence(self, index: int) -> np.ndarray:
        confidence: np.ndarray = read_npy(self.array_path("confidence"), index, 1)[0]
        return confidence

    def reset_damaged(self) -> None:
        """Mark finished slices as pending if they differ from what was written or contain unknown label values."""
        flags = self._flags()
        checksums = read_npy(self.array_path(CHECKSUMS)) if self.has_checksums else None
        damaged = [
            index
            for index in map(int, np.flatnonzero(self.finished()))
            if not self._is_sound(index, None if checksums is None else int(checksums[index]))
        ]
        if damaged:
            flags[damaged] = SliceState.PENDING
            path = self.array_path("finished")
            start = read_npy_header(path).start
            try:
                with path.open("r+b") as file:
                    file.seek(start)
                    file.write(flags.tobytes())
            except OSError as error:
                raise InputError("output_unwritable", path=self.path, detail=error.strerror) from None

    def _is_sound(self, index: int, checksum: int | None) -> bool:
        labels = self.result_slice(index)
        if checksum is None:  # a folder of an earlier version
            return set(present_values(labels[None])) <= set(self.labels)
        return checksum_of(labels, self._quantised_confidence(index)) == checksum

    def assemble_labels(self, support: Support) -> np.ndarray:
        """Labels of the labelled slices, which are copied bit for bit, and of the finished ones.

        Returns
        -------
        uint8 or uint16 ndarray, shape [k, j, i]
            0 on slices that are neither labelled nor finished. It takes memory only where it is not 0.
        """
        labelled = set(support.indices)
        slices = sparse_zeros(self.shape, read_npy_header(self.array_path("result")).dtype)
        for index in map(int, np.flatnonzero(self.finished())):
            if index not in labelled:
                copy_nonzero(slices[index : index + 1], self.result_slice(index)[None])
        for index, mask in zip(support.indices, support.masks, strict=True):
            copy_nonzero(slices[index : index + 1], mask[None])
        return self.axis.restore(slices)

    def lower_confidence(self, confidence: np.ndarray, support: Support) -> None:
        """Lower a confidence, float32 [k, j, i], to that of the result, in place.

        It stays as it is on labelled slices, and becomes 0 on slices that are neither labelled nor finished.
        """
        slices, labelled = self.axis.slices(confidence), set(support.indices)
        finished = self.finished()
        for index in range(len(slices)):
            if index not in labelled:
                np.minimum(slices[index], self.confidence_slice(index) if finished[index] else 0, out=slices[index])

    def concerns(self, event: Event) -> bool:
        """Whether an event can belong to this job: its slice or label exists."""
        if isinstance(event, SliceDone):
            return event.index in self.job.slices
        return not isinstance(event, Expected) or event.label in self.labels


def _ascending(numbers: tuple[int, ...], minimum: int, maximum: int) -> bool:
    """Whether there are numbers, in ascending order and within limits."""
    return (
        list(numbers) == sorted(set(numbers)) and bool(numbers) and numbers[0] >= minimum and numbers[-1] <= maximum
    )


def _expected_dice(entries: Sequence[Any]) -> tuple[ExpectedDice, ...]:
    return tuple(ExpectedDice.from_json(entry) for entry in entries)
