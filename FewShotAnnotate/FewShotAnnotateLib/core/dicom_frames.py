"""Frames of a DICOM series: where each 2D image lies and how its stored values are rescaled.

A frame is a single-frame file or one frame of a multi-frame file, whose functional groups (PS3.3 C.7.6.16) describe
it; both are treated alike from here on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .dicom_folder import file_name, frame_count, numbers
from .dicom_stack import SlicePlace
from .errors import InputError
from .functional_groups import functional_group

if TYPE_CHECKING:
    from pydicom import Dataset

_SPACING_TOLERANCE = 1e-4  # mm
# Attributes that tell volumes in one multi-frame file apart: the functional group that holds them, and in words.
_DISTINGUISHING = {
    "StackID": ("FrameContentSequence", "stacks"),
    "TemporalPositionIndex": ("FrameContentSequence", "time points"),
    "EffectiveEchoTime": ("MREchoSequence", "echoes"),
    "DiffusionBValue": ("MRDiffusionSequence", "diffusion weightings"),
    "ComplexImageComponent": ("MRImageFrameTypeSequence", "kinds of image"),
}
_PER_FRAME_TOO = "TemporalPositionIndex"  # some writers number frames with it that lie beside each other


@dataclass(frozen=True)
class Frame:
    """One 2D image.

    Attributes
    ----------
    header : pydicom.Dataset
        Of its file, without pixel data.
    number : int
        Of the frame in its file, from 0.
    place : SlicePlace
    spacing : (float, float)
        Distance of rows and of columns in mm.
    slope, intercept : float
        value = slope * stored value + intercept
    """

    header: Dataset
    number: int
    place: SlicePlace
    spacing: tuple[float, float]
    slope: float
    intercept: float

    @property
    def file(self) -> Path:
        """File that holds the frame."""
        return Path(str(self.header.filename))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.header.Rows), int(self.header.Columns)


def frames_of(headers: Sequence[Dataset], path: Path) -> list[Frame]:
    """Frames of the images of a series, in the order of the files.

    Raises
    ------
    InputError
        Colour, several volumes in one series, images that differ in size, or that do not say where they lie.
    """
    for header in headers:
        _require_grey(header, path)
    frames = [frame for header in headers for frame in _frames_of_file(header, path)]
    _require_one_volume(headers, path)
    _require_one_size(frames, path)
    return frames


def _require_grey(header: Any, path: Path) -> None:
    kind = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if (header.get("SamplesPerPixel") or 1) != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError("series_colour", path=path, first=file_name(header))


def _frames_of_file(header: Any, path: Path) -> Iterator[Frame]:
    count = frame_count(header)
    groups = list(header.get("PerFrameFunctionalGroupsSequence") or ())
    if groups and len(groups) != count:
        raise InputError("file_unreadable", path=_path(header), detail="its frames are not all described")
    offsets = numbers(header, "GridFrameOffsetVector")
    for number in range(count):
        name = file_name(header) if count == 1 else f"frame {number + 1} of {file_name(header)}"
        position = _of_frame(header, number, "PlanePositionSequence", "ImagePositionPatient")
        orientation = _of_frame(header, number, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _of_frame(header, number, "PixelMeasuresSequence", "PixelSpacing")
        if len(position) != 3 or len(orientation) != 6 or (count > 1 and not groups and len(offsets) != count):
            raise InputError("series_no_place", path=path, first=name)
        if len(spacing) != 2 or min(spacing) <= 0:
            raise InputError("series_no_spacing", path=path, first=name)
        row, column = _unit_vectors(orientation, path, name)
        if count > 1 and not groups:
            position = tuple((np.array(position) + offsets[number] * np.cross(row, column)).tolist())
        place = SlicePlace(name, (position[0], position[1], position[2]), row, column)
        slope, intercept = _rescale(header, number)
        yield Frame(header, number, place, (spacing[0], spacing[1]), slope, intercept)


def _unit_vectors(orientation: Sequence[float], path: Path, name: str) -> tuple[tuple[float, float, float], ...]:
    """Directions of a row and of a column, perpendicular and of length 1; headers hold rounded ones."""
    row, column = np.reshape(orientation, (2, 3))
    if np.linalg.norm(np.cross(row, column)) < 0.5:
        raise InputError("series_no_place", path=path, first=name)
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    (a, b, c), (d, e, f) = row.tolist(), column.tolist()
    return (a, b, c), (d, e, f)


def _of_frame(header: Any, number: int, group: str, name: str) -> tuple[float, ...]:
    """Numbers of an attribute of a frame's functional group, else of the image."""
    for item in functional_group(header, number, group):
        if found := numbers(item, name):
            return found
    return numbers(header, name)


def _rescale(header: Any, number: int) -> tuple[float, float]:
    """Rescale slope and intercept, 1 and 0 where they are missing; of a dose map its scaling.

    A slope of 0 is an error of the writer and counts as 1, as in ITK.
    """
    group = "PixelValueTransformationSequence"
    slope = _of_frame(header, number, group, "RescaleSlope") or numbers(header, "DoseGridScaling") or (1.0,)
    intercept = _of_frame(header, number, group, "RescaleIntercept") or (0.0,)
    return slope[0] or 1.0, intercept[0]


def _require_one_volume(headers: Sequence[Any], path: Path) -> None:
    """Refuse several stacks, time points or echoes in the functional groups of a series."""
    for name, (sequence, words) in _DISTINGUISHING.items():
        values = [
            str(value)
            for header in headers
            for number in range(frame_count(header))
            for item in functional_group(header, number, sequence)
            if (value := item.get(name)) is not None
        ]
        kinds = len(set(values))
        if kinds > 1 and not (name == _PER_FRAME_TOO and kinds == len(values)):
            raise InputError("series_many_volumes", path=path, count=kinds, what=words)


def _require_one_size(frames: Sequence[Frame], path: Path) -> None:
    first = frames[0]
    for frame in frames:
        if frame.shape != first.shape:
            what = "Rows" if frame.shape[0] != first.shape[0] else "Columns"
            raise InputError("series_sizes", path=path, what=what, first=frame.place.name)
        if np.abs(np.subtract(frame.spacing, first.spacing)).max() > _SPACING_TOLERANCE:
            raise InputError("series_sizes", path=path, what="PixelSpacing", first=frame.place.name)


def _path(header: Any) -> Path:
    return Path(str(header.filename))
