"""Task: a named labelling job with its labelled examples, stored in a folder.

==============================  ======================================================================================
task.json                       segments; for each example and slice geometry, intensities, provenance, checksums
examples/NNNN/image.nii.gz      a volume at its own resolution, in its own dtype
examples/NNNN/labels.nii.gz     label values of the task on its grid
models/NNNN                     a model that was trained on the examples, see `models.py`
NNNN.image.npy                  [h, w] a slice that is kept without its volume, in its own dtype
NNNN.mask.npy                   [h, w] label values, uint16
NNNN.png                        thumbnail
==============================  ======================================================================================

It holds nothing that identifies a patient: no file names or paths, no position, no tags but terminology. Text burned
into the pixels remains.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError
from ...core.intensity import QUANTILES, IntensityRange
from ...core.memo import Memo
from ...core.reading import DamagedContentError, json_as, read_bytes
from ...core.slice_axis import Plane
from ...core.storage import write_json
from ...core.training_example import TrainingExample
from ...core.volume import Geometry, LabelMap, Segment, Volume
from ...io.array_file import read_npy, read_npy_header
from ...io.slice_picture import write_thumbnail
from .example import TaskExample, task_error

TERMINOLOGY = "TerminologyEntry"
FILE_NUMBER = re.compile(r"\d{4}")
ARRAY_KINDS = ("image", "mask")
TASK_FILE = "task.json"
# Version 1 held labelled slices without their volumes. It is still written for tasks that hold nothing else.
_SLICES_VERSION = 1
_VERSION = 2
# As large as the largest detectors; a file that claims more is refused before memory is allocated.
MAX_SLICE_PIXELS = 1 << 24
# Far above any image's, and no product of spacing and size overflows.
MAX_SPACING_MM = 1e6


class SliceOrigin(StrEnum):
    """Origin of the labels of a slice."""

    PAINTED = "painted"
    CORRECTED = "corrected"


@dataclass(frozen=True, kw_only=True)
class LibrarySlice:
    """One labelled slice of a task.

    Attributes
    ----------
    file : str
        Four digits with which the names of its files start.
    digest : str
        Hash of the image, by which duplicates are found.
    shape : (int, int)
    spacing : (float, float)
        Distance between rows and between columns in mm.
    directions : tuple of 9 floats
        Unit vectors (LPS) of increasing slice, row and column index, concatenated.
    quantiles : tuple of 5 floats
        See `Example`.
    annotated : tuple of int
        Label values that were annotated on the slice; one that is not in the mask is absent. `known` in the file.
    origin : SliceOrigin
    added : str
        Date on which it was added, as YYYY-MM-DD.
    program : str
        Version of this program that added it.
    """

    file: str
    digest: str
    shape: tuple[int, int]
    spacing: tuple[float, float]
    directions: tuple[float, ...]
    quantiles: tuple[float, ...]
    annotated: tuple[int, ...]
    origin: SliceOrigin
    added: str
    program: str

    @property
    def geometry(self) -> Geometry:
        """Geometry of the slice as an array [1, h, w], with its origin at 0."""
        normal, rows, columns = np.reshape(self.directions, (3, 3))
        direction = tuple(float(value) for value in np.stack([columns, rows, normal], axis=1).ravel())
        return Geometry((1, *self.shape), (self.spacing[1], self.spacing[0], 1.0), direction=direction)

    def to_json(self) -> dict[str, Any]:
        """Dict of plain lists, numbers and strings."""
        content = {"known" if name == "annotated" else name: value for name, value in self.__dict__.items()}
        return dict(json.loads(json.dumps(content)))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LibrarySlice:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, KeyError, TypeError
            The data does not describe a slice.
        """
        height, width = (int(size) for size in data["shape"])
        rows_mm, columns_mm = (float(value) for value in data["spacing"])
        library_slice = cls(
            file=str(data["file"]),
            digest=str(data["digest"]),
            shape=(height, width),
            spacing=(rows_mm, columns_mm),
            directions=tuple(float(value) for value in data["directions"]),
            quantiles=tuple(float(value) for value in data["quantiles"]),
            annotated=tuple(int(value) for value in data["known"]),
            origin=SliceOrigin(data["origin"]),
            added=str(data["added"]),
            program=str(data["program"]),
        )
        if not FILE_NUMBER.fullmatch(library_slice.file) or len(library_slice.quantiles) != len(QUANTILES):
            raise ValueError("not a slice of a task")
        if (
            min(library_slice.shape) < 1
            or height * width > MAX_SLICE_PIXELS
            or max(library_slice.spacing) > MAX_SPACING_MM
        ):
            raise ValueError("not a slice of a task")
        Geometry.from_json(library_slice.geometry.to_json())
        return library_slice


@dataclass(frozen=True)
class Task:
    """A named labelling job: its segments, and the examples that were labelled for it.

    Attributes
    ----------
    folder : Path
    segments : tuple of Segment
        Values 1, 2, ...
    plane : str
        'axial', 'coronal' or 'sagittal': the patient plane that is nearest to all labelled slices; empty if only
        whole volumes are labelled.
    slices : tuple of LibrarySlice
        Labelled slices that were kept without their volumes.
    examples : tuple of TaskExample
        Volumes of which all or some slices are labelled.
    """

    folder: Path
    segments: tuple[Segment, ...]
    plane: str
    slices: tuple[LibrarySlice, ...]
    examples: tuple[TaskExample, ...] = ()

    def training_examples(self) -> list[TrainingExample]:
        """All examples as `fit_specialist` takes them. Slices with the same quantiles are of the same volume."""
        examples = [example.for_training(self.folder, len(self.segments)) for example in self.examples]
        for library_slice in self.slices:
            if len(library_slice.annotated) == len(self.segments):
                volume = hashlib.sha256(repr(library_slice.quantiles).encode()).hexdigest()
                load = partial(self._slice_as_volume, library_slice)
                examples.append(TrainingExample(patient=volume, load=load, axis=0, labelled_slices=(0,)))
        return examples

    def _slice_as_volume(self, library_slice: LibrarySlice) -> tuple[Volume, np.ndarray]:
        image, mask = self.pixels(library_slice)
        return Volume(image[None], library_slice.geometry), mask[None]

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.folder.name

    def pixels(self, library_slice: LibrarySlice) -> tuple[np.ndarray, np.ndarray]:
        """Image [h, w] in its own dtype and mask [h, w] of a slice.

        Raises
        ------
        InputError
            Its files are damaged.
        """
        files = [self.folder / f"{library_slice.file}.{kind}.npy" for kind in ARRAY_KINDS]
        try:
            layouts = [read_npy_header(file) for file in files]
            if any(layout.shape != library_slice.shape for layout in layouts) or layouts[1].dtype != np.uint16:
                raise ValueError("other arrays than task.json says")
            image, mask = map(read_npy, files)
        except (OSError, ValueError, IndexError) as error:
            raise task_error(self.folder, library_slice.file, error) from None
        finite = image.dtype.kind in "iu" or (image.dtype.kind == "f" and np.isfinite(image).all())
        if not finite or mask.max() > len(self.segments):
            raise InputError("library_damaged", name=self.name, file=library_slice.file)
        return image, mask

    def thumbnail(self, library_slice: LibrarySlice) -> Path:
        """Path of the thumbnail of a slice."""
        return self.folder / f"{library_slice.file}.png"

    def write_thumbnail(self, library_slice: LibrarySlice) -> None:
        """Write the thumbnail of a slice."""
        image, mask = self.pixels(library_slice)
        volume = Volume(image[None], library_slice.geometry)
        label_map = LabelMap(mask[None], library_slice.geometry, self.segments)
        write_thumbnail(
            self.thumbnail(library_slice), volume, label_map, IntensityRange.of_quantiles(library_slice.quantiles)
        )

    def write(self) -> None:
        """Write task.json atomically."""
        content: dict[str, Any] = {
            "version": _VERSION if self.examples or not self.slices else _SLICES_VERSION,
            "plane": self.plane,
            "labels": [
                {
                    "value": segment.value,
                    "name": segment.name,
                    "colour": list(segment.colour),
                    "terminology": segment.tags.get(TERMINOLOGY, ""),
                }
                for segment in self.segments
            ],
            "slices": [library_slice.to_json() for library_slice in self.slices],
        }
        if self.examples:
            content["examples"] = [example.to_json() for example in self.examples]
        write_json(self.folder / TASK_FILE, content)


def read_task(folder: Path, memo: Memo | None = None) -> Task:
    """Load the task of a folder.

    Parameters
    ----------
    folder : Path
    memo : Memo, optional
        Where the task is kept: one of thousands of examples takes long to read.

    Raises
    ------
    InputError
        It is damaged, of a later version of this program, or cannot be read.
    """
    try:
        content = read_bytes(folder / TASK_FILE)
        kept = memo or Memo()
        return kept.of(("task", folder), content, lambda: json_as(content, partial(_task, folder, kept)))
    except (OSError, DamagedContentError) as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise task_error(folder, TASK_FILE, error) from None


def _task(folder: Path, memo: Memo, content: dict[str, Any]) -> Task:
    if content["version"] not in (_SLICES_VERSION, _VERSION):
        if isinstance(content["version"], int) and content["version"] > _VERSION:
            raise InputError("task_of_later_version", name=folder.name)
        raise ValueError("another version")
    segments = tuple(_segment(label) for label in content["labels"])
    slices = tuple(LibrarySlice.from_json(entry) for entry in content["slices"])
    values = [segment.value for segment in segments]
    names = {segment.name.casefold() for segment in segments}
    plane = str(content["plane"])
    if len(names) < len(segments) or plane not in ("", *Plane):
        raise ValueError("two segments have the same name, or the plane is none")
    annotated = {value for library_slice in slices for value in library_slice.annotated}
    unique = len({library_slice.file for library_slice in slices}) == len(slices)
    if values != list(range(1, len(values) + 1)) or not unique or not annotated <= set(values):
        raise ValueError("its labels and slices do not fit together")
    if content["version"] == _SLICES_VERSION and not slices:
        raise ValueError("it holds no slices")
    examples = tuple(
        memo.of(("example", folder, index), entry, partial(TaskExample.from_json, entry))
        for index, entry in enumerate(content.get("examples", ()))
    )
    if len({example.number for example in examples}) < len(examples) or any(
        len(example.voxels) != len(segments) for example in examples
    ):
        raise ValueError("its labels and examples do not fit together")
    return Task(folder, segments, plane, slices, examples)


def _segment(label: dict[str, Any]) -> Segment:
    red, green, blue = (float(component) for component in label["colour"])
    tags = {TERMINOLOGY: str(label["terminology"])} if label.get("terminology") else {}
    return Segment(value=int(label["value"]), name=str(label["name"]), colour=(red, green, blue), tags=tags)
