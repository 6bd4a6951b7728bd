"""LibraryTask: a named set of labelled slices with their images, stored in a folder.

=================  ===================================================================================================
task.json          labels, and for each slice spacing, directions, intensities, annotated labels, provenance
NNNN.image.npy     [h, w] the slice at its own resolution, in its own dtype
NNNN.mask.npy      [h, w] label values, uint16
NNNN.png           thumbnail
=================  ===================================================================================================

It holds nothing that identifies a patient: no file names or paths, no position, no tags but terminology. Text burned
into the pixels remains.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError
from ...core.intensity import QUANTILES, IntensityWindow
from ...core.reading import DamagedContentError, read_json_as
from ...core.storage import write_json
from ...core.volume import Geometry, LabelMap, Segment, Volume
from ...io.array_file import read_npy, read_npy_header
from .thumbnail import write_thumbnail

TERMINOLOGY = "TerminologyEntry"
FILE_NUMBER = re.compile(r"\d{4}")
ARRAY_KINDS = ("image", "mask")
_VERSION = 1
# As large as the largest detectors; a file that claims more is refused before memory is allocated.
MAX_SLICE_PIXELS = 1 << 24
# Far above any image's, and no product of spacing and size overflows.
MAX_SPACING_MM = 1e6


class SliceOrigin(StrEnum):
    """Origin of the labels of a slice."""

    PAINTED = "painted"
    CORRECTED = "corrected"


@dataclass(frozen=True)
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
    origin : Origin
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
        one = cls(
            str(data["file"]),
            str(data["digest"]),
            (height, width),
            (rows_mm, columns_mm),
            tuple(float(value) for value in data["directions"]),
            tuple(float(value) for value in data["quantiles"]),
            tuple(int(value) for value in data["known"]),
            SliceOrigin(data["origin"]),
            str(data["added"]),
            str(data["program"]),
        )
        if not FILE_NUMBER.fullmatch(one.file) or len(one.quantiles) != len(QUANTILES):
            raise ValueError("not a slice of a task")
        if min(one.shape) < 1 or height * width > MAX_SLICE_PIXELS or max(one.spacing) > MAX_SPACING_MM:
            raise ValueError("not a slice of a task")
        Geometry.from_json(one.geometry.to_json())
        return one


@dataclass(frozen=True)
class LibraryTask:
    """A named set of labelled slices.

    Attributes
    ----------
    folder : Path
    segments : tuple of Segment
        Values 1, 2, ...
    plane : str
        'axial', 'coronal' or 'sagittal': the patient plane that is nearest to all of its slices.
    slices : tuple of LibrarySlice
    """

    folder: Path
    segments: tuple[Segment, ...]
    plane: str
    slices: tuple[LibrarySlice, ...]

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.folder.name

    def pixels(self, one: LibrarySlice) -> tuple[np.ndarray, np.ndarray]:
        """Image [h, w] in its own dtype and mask [h, w] of a slice.

        Raises
        ------
        InputError
            Its files are damaged.
        """
        files = [self.folder / f"{one.file}.{kind}.npy" for kind in ARRAY_KINDS]
        try:
            layouts = [read_npy_header(file) for file in files]
            if any(layout.shape != one.shape for layout in layouts) or layouts[1].dtype != np.uint16:
                raise ValueError("other arrays than task.json says")
            image, mask = map(read_npy, files)
        except (OSError, ValueError, IndexError):
            raise InputError("library_damaged", name=self.name, file=one.file) from None
        finite = image.dtype.kind in "iu" or (image.dtype.kind == "f" and np.isfinite(image).all())
        if not finite or mask.max() > len(self.segments):
            raise InputError("library_damaged", name=self.name, file=one.file)
        return image, mask

    def thumbnail(self, one: LibrarySlice) -> Path:
        """Path of the thumbnail of a slice."""
        return self.folder / f"{one.file}.png"

    def write_thumbnail(self, one: LibrarySlice) -> None:
        """Write the thumbnail of a slice."""
        image, mask = self.pixels(one)
        volume = Volume(image[None], one.geometry)
        label_map = LabelMap(mask[None], one.geometry, self.segments)
        write_thumbnail(self.thumbnail(one), volume, label_map, IntensityWindow.of_quantiles(one.quantiles))

    def write(self) -> None:
        """Write task.json atomically."""
        content = {
            "version": _VERSION,
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
            "slices": [one.to_json() for one in self.slices],
        }
        write_json(self.folder / "task.json", content, indent=1)


def read_task(folder: Path) -> LibraryTask:
    """Load the task of a folder.

    Raises
    ------
    InputError
        It is damaged or of a later version.
    """
    try:
        return read_json_as(folder / "task.json", lambda content: _task(folder, content))
    except (OSError, DamagedContentError):
        raise InputError("library_damaged", name=folder.name, file="task.json") from None


def _task(folder: Path, content: dict[str, Any]) -> LibraryTask:
    if content["version"] != _VERSION:
        raise ValueError("another version")
    segments = tuple(_segment(label) for label in content["labels"])
    slices = tuple(LibrarySlice.from_json(one) for one in content["slices"])
    values = [segment.value for segment in segments]
    known = {value for one in slices for value in one.annotated}
    unique = len({one.file for one in slices}) == len(slices)
    if values != list(range(1, len(values) + 1)) or not slices or not unique or not known <= set(values):
        raise ValueError("its labels and slices do not fit together")
    return LibraryTask(folder, segments, str(content["plane"]), slices)


def _segment(label: dict[str, Any]) -> Segment:
    red, green, blue = (float(part) for part in label["colour"])
    tags = {TERMINOLOGY: str(label["terminology"])} if label.get("terminology") else {}
    return Segment(int(label["value"]), str(label["name"]), (red, green, blue), tags)
