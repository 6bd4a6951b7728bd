"""JobFolder: the files through which host and worker exchange the job of a layer and its result.

========================  ============================================================================================
job.json                  job, grid, axis, labelled slices; labels, names and fingerprint of the input of each layer
image.npy                 [n, h, w] slices along the job's axis, the volume's own dtype
image-2.npy, ...          [k, j, i] voxels of each further channel on its own grid, which job.json gives
layers/K/support.npy      [m, h, w] label values of the labelled slices of layer K, counted from 0
layers/K/result.npy       [n, h, w] label values, written slice by slice
layers/K/confidence.npy   [n, h, w] uint8, 0..255 for 0..1, written slice by slice
layers/K/finished.npy     [n] uint8, a slice of both is: 0 not yet written, 1 a draft, 2 final
layers/K/checksums.npy    [n] uint32, CRC-32 of both as they were written
layers/K/expected.json    the Dice that the engine expects of its result, once it said so
events.jsonl              one event a line, appended
cancel                    its presence asks the worker to stop
worker.lock               held by the one worker of this folder
worker.log                what the last worker printed to stderr
========================  ============================================================================================

Overlapping segments lie in different layers, which workers fill one after the other.

Folders of version 0.1 are read and continued: they hold the files of one layer in the folder itself, in 0.1.0 without
checksums.npy; several layers lie in folders named layerN, each with an image of its own.

A folder is made under worker.lock, so of two programs that make the same one the second is refused. job.json is
written as job.json.partial first and renamed last: a folder with only the latter is left over from a process that
died while it made the folder, and is made anew.

A final slice is written over its draft and flagged after that. If the worker dies in between, its checksum does not
match when the job is taken up again, and the slice is done anew.

All room is taken when the folder is made, so a full disk is found before the work and not in the middle of it.
Written files are read and written by plain input and output, never mapped, so they can be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..core import paths
from ..core.errors import InputError
from ..core.events import Event, Expected, SliceDone
from ..core.expected_dice import ExpectedDice
from ..core.job import Job
from ..core.locks import locked_folder
from ..core.reading import DamagedContentError, decoding, read_json_as
from ..core.slice_axis import SliceAxis
from ..core.sparse_array import copy_nonzero, sparse_zeros
from ..core.storage import write_json
from ..core.support import Support
from ..core.volume import Geometry, Volume, present_values
from ..io.array_file import read_npy, read_npy_header
from .fingerprints import fingerprints
from .run_layout import (
    ARRAYS,
    CHECKSUMS,
    FURTHER,
    IMAGE,
    JOB,
    LAYERS,
    folders_of_layers,
    further_file,
    is_incomplete,
    read_description,
    write_files,
)
from .slice_writer import CONFIDENCE_SCALE, SliceState, checksum_of
from .work_folder import LOCK, WorkFolder


class JobFolder(WorkFolder):
    """The job of one layer on disk. Make one with `create`, `create_layers`, `open` or `open_layers`.

    Attributes
    ----------
    path : Path
        The folder, which all layers share.
    layer : int
    layer_path : Path
        Where the arrays of the layer lie.
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
        self._further_grids = [Geometry.from_json(grid) for grid in description.get(FURTHER, [])]
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

    @classmethod
    def create(cls, path: str | Path, job: Job, volume: Volume, support: Support) -> JobFolder:
        """Write a new folder with one layer, see `create_layers`."""
        (folder,) = cls.create_layers(path, [job], volume, [support])
        return folder

    @classmethod
    def create_layers(
        cls, path: str | Path, jobs: Sequence[Job], volume: Volume, supports: Sequence[Support]
    ) -> list[JobFolder]:
        """Write a new folder; nothing is left behind if that fails.

        Parameters
        ----------
        path : path
        jobs : sequence of Job
            Those of the layers, which differ in names only.
        volume : Volume
        supports : sequence of Support
            Those of the layers, with the same axis and labelled slices.

        Raises
        ------
        InputError
            The folder holds something already, or cannot be written.
        """
        path = Path(path)
        if paths.would_be_overwritten(path) and not is_incomplete(path):
            raise InputError("job_folder_used", path=path)
        if len({(support.axis, support.indices) for support in supports}) > 1 or any(
            replace(job, names=jobs[0].names) != jobs[0] for job in jobs
        ):
            raise ValueError("layers must have the same job, axis and labelled slices")
        described = [
            {
                "labels": list(support.labels),
                "known": support.annotated.tolist(),
                "fingerprint": digest,
                "names": dict(job.names),
            }
            for job, support, digest in zip(jobs, supports, fingerprints(volume, supports), strict=True)
        ]
        description = {
            "job": replace(jobs[0], names={}).to_json(),
            "grid": volume.geometry.to_json(),
            "axis": supports[0].axis.index,
            "labelled": list(supports[0].indices),
            LAYERS: described,
            "checksums": True,
        }
        if volume.further:
            description[FURTHER] = [channel.geometry.to_json() for channel in volume.further]
        folders = [cls(path, description, layer) for layer in range(len(supports))]
        try:
            with locked_folder(path, LOCK) as acquired:
                if not acquired:
                    raise InputError("job_busy", path=path)
                if not is_incomplete(path):
                    raise InputError("job_folder_used", path=path)
                write_files(path, description, volume, supports)
        except OSError as error:
            # numpy's own error for a full disk carries no system message
            detail = error.strerror or "the disk is full"
            raise InputError("output_unwritable", path=path, detail=detail) from None
        return folders

    @classmethod
    def open(cls, path: str | Path, layer: int = 0) -> JobFolder:
        """One layer of an existing folder.

        Raises
        ------
        InputError
            No job or no such layer there, one of another version, or one with files missing or cut short.
        """
        path = Path(path)
        return cls._open_described(path, read_description(path), layer)

    @classmethod
    def open_layers(cls, path: str | Path) -> list[JobFolder]:
        """All layers of an existing folder, also of one of version 0.1.

        Raises
        ------
        InputError
            As `open`.
        """
        path = Path(path)
        if older := folders_of_layers(path):
            return [cls.open(folder) for folder in older]
        description = read_description(path)
        layers = description.get(LAYERS, [description])
        if not isinstance(layers, list) or not layers:
            raise InputError("job_folder_unreadable", path=path, detail="job.json is damaged")
        return [cls._open_described(path, description, layer) for layer in range(len(layers))]

    @classmethod
    def _open_described(cls, path: Path, description: dict[str, Any], layer: int) -> JobFolder:
        try:
            with decoding():
                folder = cls(path, description, layer)
        except DamagedContentError:
            raise InputError("job_folder_unreadable", path=path, detail="job.json is damaged") from None
        for name in (*ARRAYS, *([CHECKSUMS] if folder.has_checksums else [])):
            folder._require_array(name)
        for number, grid in enumerate(folder._further_grids):
            folder._require_array(further_file(number), grid.shape)
        return folder

    @classmethod
    def reopen(cls, path: str | Path) -> JobFolder:
        """The only layer of a folder to go on with, see `reopen_layers`."""
        (folder,) = cls.reopen_layers(path)
        return folder

    @classmethod
    def reopen_layers(cls, path: str | Path) -> list[JobFolder]:
        """All layers of a folder to go on with: what was damaged since it was written is found.

        Takes as long as reading all of it. Finished slices that are not as they were written count as not done.

        Raises
        ------
        InputError
            As `open`; image or labels are not those that the job was made with; a worker is at work in it.
        """
        folders = cls.open_layers(path)
        for _, shared in groupby(folders, lambda folder: folder.path):
            cls._require_undamaged(list(shared))
        return folders

    @staticmethod
    def _require_undamaged(folders: Sequence[JobFolder]) -> None:
        """Check layers that share a folder, and flag their damaged slices as not done."""
        first = folders[0]
        first.require_own_files()
        with first.exclusive():
            digests = fingerprints(first.read_volume(), [folder.read_support() for folder in folders])
            for folder, digest in zip(folders, digests, strict=True):
                if digest != folder.fingerprint:
                    raise folder._unreadable("its image or labels are damaged")
                folder._reset_damaged()

    @property
    def worker_arguments(self) -> list[str]:
        """Which layer the worker fills."""
        return ["--layer", str(self.layer)]

    def array_path(self, name: str) -> Path:
        """File of an array: image, image-2, ..., support, result, confidence, finished or checksums."""
        return (self.path if name.startswith(IMAGE) else self.layer_path) / f"{name}.npy"

    def _require_array(self, name: str, of_grid: tuple[int, ...] | None = None) -> None:
        """Raise `InputError` if an array is not what job.json says, or cut short.

        `of_grid` is the shape of a further channel, which has a grid of its own.
        """
        path = self.array_path(name)
        above = () if self.layer_path == self.path else (self.layer_path, self.layer_path.parent)
        if any(map(paths.is_link, (path, *above))):  # a worker writes into these files
            raise self._unreadable(f"{name}.npy is no plain file")
        try:
            layout = read_npy_header(path)
        except FileNotFoundError:
            raise self._unreadable(f"{name}.npy is missing") from None
        except OSError as error:
            raise self._unreadable(f"{name}.npy: {error.strerror}") from None
        except ValueError as error:
            raise self._unreadable(error) from None
        shapes = {"support": (len(self.indices), *self.shape[1:]), "finished": self.shape[:1]}
        types = {IMAGE: "iuf", "finished": "u1", "confidence": "u1", CHECKSUMS: "u4"}
        shape = of_grid or shapes.get(name, self.shape[:1] if name == CHECKSUMS else self.shape)
        allowed = "iuf" if of_grid else types.get(name, "u")
        fits = layout.dtype.kind in allowed if allowed.isalpha() else layout.dtype.str[1:] == allowed
        if layout.shape != shape or not fits:
            raise self._unreadable(f"{name}.npy does not fit job.json")

    def _unreadable(self, detail: object) -> InputError:
        return InputError("job_folder_unreadable", path=self.path, detail=detail)

    @staticmethod
    def holds_job(path: str | Path) -> bool:
        """Whether a complete job folder was made there."""
        path = Path(path)
        return paths.is_file(path / JOB) or bool(folders_of_layers(path))

    def require_same_input(self, job: Job, fingerprint: str) -> None:
        """Raise `InputError` if this folder's job is not the one described, so it cannot be continued.

        Parameters
        ----------
        job : Job
            Its time limit may be another one.
        fingerprint : str
            Of the volume and the labelled slices.
        """
        if self.fingerprint != fingerprint:  # first, as other labels make other slices to fill
            raise InputError("job_differs", path=self.path, what="image or labels")
        if replace(self.job, budget=job.budget) != job:
            raise InputError("job_differs", path=self.path, what="engine, slice range or option")

    def set_budget(self, budget: float | None) -> None:
        """Give the job another time limit, which the next worker counts from its start.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        if budget == self.job.budget:
            return
        self.job = replace(self.job, budget=budget)
        self._description["job"] |= {"budget": budget}
        write_json(self.path / JOB, self._description)

    # --- input, as the worker reads it

    def read_volume(self) -> Volume:
        """The volume and its further channels, memory-mapped."""
        further = (
            Volume(np.load(self.array_path(further_file(number)), mmap_mode="r"), grid)
            for number, grid in enumerate(self._further_grids)
        )
        return Volume(self.axis.restore(np.load(self.array_path(IMAGE), mmap_mode="r")), self.grid, tuple(further))

    def read_support(self) -> Support:
        """The labelled slices."""
        return Support(self.axis, self.indices, read_npy(self.array_path("support")), self.labels, self.annotated)

    # --- output

    def finished(self) -> np.ndarray:
        """Which slices are written, be it as drafts, bool [n]."""
        return np.isin(self._flags(), (SliceState.DRAFT, SliceState.FINAL))

    def drafts(self) -> np.ndarray:
        """Which slices hold drafts, to be replaced by final ones, bool [n]."""
        drafts: np.ndarray = self._flags() == SliceState.DRAFT
        return drafts

    def pending(self) -> list[int]:
        """Slices of the job that are not final, ascending."""
        flags = self._flags()
        return [index for index in self.job.slices if flags[index] != SliceState.FINAL]

    def _flags(self) -> np.ndarray:
        return read_npy(self.array_path("finished"))

    def expected(self) -> tuple[ExpectedDice, ...]:
        """What the engine said last of the Dice to expect; empty if it said nothing, or if the file is damaged."""
        try:
            expected = read_json_as(self.layer_path / "expected.json", _expected_dice)
        except (OSError, DamagedContentError):
            return ()
        return expected if {label_dice.label for label_dice in expected} <= set(self.labels) else ()

    def write_expected_dice(self, expected: Sequence[ExpectedDice]) -> None:
        """Keep what the engine said; a reader sees the old or the new, never a part."""
        write_json(self.layer_path / "expected.json", [label_dice.to_json() for label_dice in expected])

    def result_slice(self, index: int) -> np.ndarray:
        """Label values [h, w] of a finished slice."""
        labels: np.ndarray = read_npy(self.array_path("result"), index, 1)[0]
        return labels

    def confidence_slice(self, index: int) -> np.ndarray:
        """Confidence 0..1 of a finished slice, float32 [h, w]."""
        return self._scaled_confidence(index).astype(np.float32) / np.float32(CONFIDENCE_SCALE)

    def _scaled_confidence(self, index: int) -> np.ndarray:
        confidence: np.ndarray = read_npy(self.array_path("confidence"), index, 1)[0]
        return confidence

    def _reset_damaged(self) -> None:
        """Flag finished slices as not done that are not as they were written, or hold values that are no label."""
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
        return checksum_of(labels, self._scaled_confidence(index)) == checksum

    def assemble(self, support: Support | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Labelled and finished slices together.

        Parameters
        ----------
        support : Support, optional
            The labelled slices as the user has them, which come out bit for bit; default: the folder's copy.

        Returns
        -------
        labels : uint8 or uint16 ndarray [k, j, i]
            0 on slices that are neither.
        confidence : float32 ndarray [k, j, i]
            1 on labelled slices, 0 on slices that are neither.
        """
        support = support or self.read_support()
        confidence = self.axis.restore(np.ones(self.shape, dtype=np.float32))
        self.lower_confidence(confidence, support)
        return self.assemble_labels(support), confidence

    def assemble_labels(self, support: Support) -> np.ndarray:
        """The labels of `assemble` alone; they take memory only where they are not 0."""
        labelled = set(support.indices)
        slices = sparse_zeros(self.shape, read_npy_header(self.array_path("result")).dtype)
        for done in map(int, np.flatnonzero(self.finished())):
            if done not in labelled:
                copy_nonzero(slices[done : done + 1], self.result_slice(done)[None])
        for index, mask in zip(support.indices, support.masks, strict=True):
            copy_nonzero(slices[index : index + 1], mask[None])
        return self.axis.restore(slices)

    def lower_confidence(self, confidence: np.ndarray, support: Support) -> None:
        """Lower a confidence, float32 [k, j, i], to that of `assemble`, in place."""
        slices, labelled = self.axis.slices(confidence), set(support.indices)
        finished = self.finished()
        for index in range(len(slices)):
            if index not in labelled:
                np.minimum(slices[index], self.confidence_slice(index) if finished[index] else 0, out=slices[index])

    # --- signals

    def concerns(self, event: Event) -> bool:
        """Whether an event can be about this job: one about a slice or a label names one that is there."""
        if isinstance(event, SliceDone):
            return event.index in self.job.slices
        return not isinstance(event, Expected) or event.label in self.labels


def _ascending(numbers: tuple[int, ...], minimum: int, maximum: int) -> bool:
    """Whether there are numbers, each larger than the one before, all within limits."""
    return (
        list(numbers) == sorted(set(numbers)) and bool(numbers) and numbers[0] >= minimum and numbers[-1] <= maximum
    )


def _expected_dice(entries: Sequence[Any]) -> tuple[ExpectedDice, ...]:
    return tuple(ExpectedDice.from_json(entry) for entry in entries)
