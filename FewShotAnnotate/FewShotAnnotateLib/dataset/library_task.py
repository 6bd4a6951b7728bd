"""LibraryTask: a named set of labelled slices with their images, as a folder holds it.

=================  ===================================================================================================
task.json          labels, and of each slice its spacing, directions, intensities, labels it speaks about, provenance
NNNN.image.npy     [h, w] the slice at its own resolution, in its own dtype
NNNN.mask.npy      [h, w] label values, uint16
NNNN.png           thumbnail
=================  ===================================================================================================

Nothing in it says whose slices they are: no names or paths of files, no position, no tags but terminology. What is
burned into the pixels stays.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from ..core.array_file import layout_of, read_parts
from ..core.errors import InputError
from ..core.example import QUANTILES
from ..core.reading import read_json
from ..core.storage import write_json
from ..core.volume import Geometry, LabelMap, Segment, Volume
from .thumbnail import write_thumbnail

TERMINOLOGY = "TerminologyEntry"
FILE = re.compile(r"\d{4}")
KINDS = ("image", "mask")
_VERSION = 1
# Of the largest detectors; no memory is taken for more, whatever a file says.
MAX_SLICE_PIXELS = 1 << 24


class Origin(StrEnum):
    """How a slice came by its labels."""

    PAINTED = "painted"
    CORRECTED = "corrected"


@dataclass(frozen=True)
class LibrarySlice:
    """One labelled slice of a task.

    Attributes
    ----------
    file : str
        Four digits that its files are named by.
    digest : str
        Of the image: the same slice is kept once.
    shape : (int, int)
    spacing : (float, float)
        Distance of rows and of columns in mm.
    directions : tuple of 9 floats
        Unit vectors (LPS) along which slices, rows and columns are counted, one after the other.
    quantiles : tuple of 5 floats
        See `Example`.
    known : tuple of int
        Label values that the slice speaks about.
    origin : Origin
    added : str
        Day it was added, as YYYY-MM-DD.
    program : str
        Version of this program that added it.
    """

    file: str
    digest: str
    shape: tuple[int, int]
    spacing: tuple[float, float]
    directions: tuple[float, ...]
    quantiles: tuple[float, ...]
    known: tuple[int, ...]
    origin: Origin
    added: str
    program: str

    @property
    def geometry(self) -> Geometry:
        """Grid of the slice alone, as an array [1, h, w] at the origin."""
        normal, rows, columns = np.reshape(self.directions, (3, 3))
        direction = tuple(float(value) for value in np.stack([columns, rows, normal], axis=1).ravel())
        return Geometry((1, *self.shape), (self.spacing[1], self.spacing[0], 1.0), direction=direction)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and texts."""
        return dict(json.loads(json.dumps(self.__dict__)))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LibrarySlice:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, KeyError, TypeError
            Something else.
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
            Origin(data["origin"]),
            str(data["added"]),
            str(data["program"]),
        )
        if not FILE.fullmatch(one.file) or len(one.quantiles) != len(QUANTILES):
            raise ValueError("not a slice of a task")
        if min(one.shape) < 1 or height * width > MAX_SLICE_PIXELS:
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
        """What users call it."""
        return self.folder.name

    def pixels(self, one: LibrarySlice) -> tuple[np.ndarray, np.ndarray]:
        """Image [h, w] in its own dtype and mask [h, w] of a slice.

        Raises
        ------
        InputError
            Its files are damaged.
        """
        files = [self.folder / f"{one.file}.{kind}.npy" for kind in KINDS]
        try:
            layouts = [layout_of(file) for file in files]
            if any(layout.shape != one.shape for layout in layouts) or layouts[1].dtype != np.uint16:
                raise ValueError("other arrays than task.json says")
            image, mask = map(read_parts, files)
        except (OSError, ValueError, IndexError):
            raise InputError("library_damaged", name=self.name, file=one.file) from None
        finite = image.dtype.kind in "iu" or (image.dtype.kind == "f" and np.isfinite(image).all())
        if not finite or mask.max() > len(self.segments):
            raise InputError("library_damaged", name=self.name, file=one.file)
        return image, mask

    def thumbnail(self, one: LibrarySlice) -> Path:
        """Picture of a slice."""
        return self.folder / f"{one.file}.png"

    def write_thumbnail(self, one: LibrarySlice) -> None:
        """Make the picture of a slice anew."""
        image, mask = self.pixels(one)
        volume = Volume(image[None], one.geometry)
        label_map = LabelMap(mask[None], one.geometry, self.segments)
        write_thumbnail(self.thumbnail(one), volume, label_map, (one.quantiles[1], one.quantiles[3]))

    def write(self) -> None:
        """Write task.json, whole or not at all."""
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
    """The task in a folder.

    Raises
    ------
    InputError
        It is damaged or of a later version.
    """
    try:
        content = read_json(folder / "task.json")
        if content["version"] != _VERSION:
            raise ValueError("another version")
        segments = tuple(_segment(label) for label in content["labels"])
        slices = tuple(LibrarySlice.from_json(one) for one in content["slices"])
        task = LibraryTask(folder, segments, str(content["plane"]), slices)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InputError("library_damaged", name=folder.name, file="task.json") from None
    values = [segment.value for segment in segments]
    known = {value for one in slices for value in one.known}
    unique = len({one.file for one in slices}) == len(slices)
    if values != list(range(1, len(values) + 1)) or not slices or not unique or not known <= set(values):
        raise InputError("library_damaged", name=folder.name, file="task.json")
    return task


def _segment(label: dict[str, Any]) -> Segment:
    red, green, blue = (float(part) for part in label["colour"])
    tags = {TERMINOLOGY: str(label["terminology"])} if label.get("terminology") else {}
    return Segment(int(label["value"]), str(label["name"]), (red, green, blue), tags)
