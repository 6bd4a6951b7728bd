"""Frames of a DICOM series: position, orientation and rescaling of each 2D image.

A frame is a single-frame file or one frame of a multi-frame file, whose functional groups (PS3.3 C.7.6.16) describe
it; both are treated alike from here on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError, Message
from .attributes import attribute, file_name, frame_count, numbers
from .functional_groups import FUNCTIONAL_GROUPS, functional_group
from .slice_stack import ImagePlane

if TYPE_CHECKING:
    from pydicom import Dataset

_SPACING_TOLERANCE_MM = 1e-4  # mm
# Attributes that distinguish volumes in one multi-frame file: the functional group that holds them, and what differs.
_DISTINGUISHING = {
    "StackID": ("FrameContentSequence", Message("volumes_stacks")),
    "TemporalPositionIndex": ("FrameContentSequence", Message("volumes_times")),
    "EffectiveEchoTime": ("MREchoSequence", Message("volumes_echoes")),
    "DiffusionBValue": ("MRDiffusionSequence", Message("volumes_diffusion")),
    "ComplexImageComponent": ("MRImageFrameTypeSequence", Message("volumes_kinds")),
}
_MAY_NUMBER_SLICES = "TemporalPositionIndex"  # some writers number the slices of one volume with it


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One 2D image.

    Attributes
    ----------
    header : pydicom.Dataset
        Header of its file, without pixel data.
    number : int
        Number of the frame in its file, from 0.
    plane : ImagePlane
    spacing : (float, float)
        Distance between rows and between columns in mm.
    thickness : float
        Slice Thickness in mm; 0 if it is missing.
    slope, intercept : float
        value = slope * stored value + intercept
    """

    header: Dataset
    number: int
    plane: ImagePlane
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float

    @property
    def file(self) -> Path:
        """File that holds the frame."""
        return Path(str(self.header.filename))

    @property
    def is_of_many(self) -> bool:
        """Whether its file is a multi-frame image, even if it has one frame."""
        return frame_count(self.header) > 1 or any(name in self.header for name in FUNCTIONAL_GROUPS)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; raises `InputError` if the header gives several values or none."""
        try:
            return int(self.header.Rows), int(self.header.Columns)
        except (AttributeError, TypeError, ValueError):
            raise InputError("file_unreadable", path=self.file, detail=Message("header_without_size")) from None


def frames_of(headers: Sequence[Dataset], path: Path) -> list[Frame]:
    """Frames of the images of a series, in the order of the files.

    Raises
    ------
    InputError
        The images are in colour, of several volumes, of different sizes, or without a position.
    """
    _require_complete_concatenations(headers, path)
    for header in headers:
        _require_grey(header, path)
    frames = [frame for header in headers for frame in _frames_of_file(header, path)]
    _require_one_volume(headers, path)
    _require_one_size(frames, path)
    return frames


def _require_complete_concatenations(headers: Sequence[Dataset], path: Path) -> None:
    """Refuse a concatenation (PS3.3 C.7.6.16.2.2) of which files are missing.

    If the files do not state their number, there are at least two, and at least as many as the largest number of a
    file.
    """
    concatenations: dict[str, list[Any]] = {}
    for header in headers:
        if uid := attribute(header, "ConcatenationUID"):
            concatenations.setdefault(str(uid), []).append(header)
    for files in concatenations.values():
        present = {int(number) for header in files for number in numbers(header, "InConcatenationNumber")}
        stated = {int(number) for header in files for number in numbers(header, "InConcatenationTotalNumber")}
        count = max((stated or {2}) | present)
        found = len(present) or len(files)
        if found < count:
            raise InputError(
                "series_part",
                path=path,
                found=found,
                count=count if stated else Message("count_or_more", count=count),
            )


def _require_grey(header: Any, path: Path) -> None:
    kind = str(attribute(header, "PhotometricInterpretation") or "MONOCHROME2")
    if (attribute(header, "SamplesPerPixel") or 1) != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError("series_colour", path=path, first=file_name(header))


def _frames_of_file(header: Any, path: Path) -> Iterator[Frame]:
    count = frame_count(header)
    groups = list(attribute(header, "PerFrameFunctionalGroupsSequence") or ())
    if groups and len(groups) != count:
        raise InputError("file_unreadable", path=_path(header), detail=Message("frames_undescribed"))
    offsets = numbers(header, "GridFrameOffsetVector")
    for number in range(count):
        name = file_name(header) if count == 1 else f"frame {number + 1} of {file_name(header)}"
        position = _frame_numbers(header, number, "PlanePositionSequence", "ImagePositionPatient")
        orientation = _frame_numbers(header, number, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _frame_numbers(header, number, "PixelMeasuresSequence", "PixelSpacing")
        if len(position) != 3 or len(orientation) != 6 or (count > 1 and not groups and len(offsets) != count):
            raise InputError("series_no_place", path=path, first=name)
        if len(spacing) != 2 or min(spacing) <= 0:
            raise InputError("series_no_spacing", path=path, first=name)
        row, column = _unit_vectors(orientation, path, name)
        if count > 1 and not groups:
            position = tuple((np.array(position) + offsets[number] * np.cross(row, column)).tolist())
        plane = ImagePlane(name, (position[0], position[1], position[2]), row, column)
        slope, intercept = _rescale(header, number)
        thickness = next(iter(_frame_numbers(header, number, "PixelMeasuresSequence", "SliceThickness")), 0.0)
        yield Frame(
            header=header,
            number=number,
            plane=plane,
            spacing=(spacing[0], spacing[1]),
            thickness=thickness,
            slope=slope,
            intercept=intercept,
        )


def _unit_vectors(orientation: Sequence[float], path: Path, name: str) -> tuple[tuple[float, float, float], ...]:
    """Directions of a row and of a column, made perpendicular and of length 1, because headers hold rounded ones."""
    row, column = np.reshape(orientation, (2, 3))
    if np.linalg.norm(np.cross(row, column)) < 0.5:
        raise InputError("series_no_place", path=path, first=name)
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    (a, b, c), (d, e, f) = row.tolist(), column.tolist()
    return (a, b, c), (d, e, f)


def _frame_numbers(header: Any, number: int, group: str, name: str) -> tuple[float, ...]:
    """Numbers of an attribute, from a functional group of the frame or else from the image."""
    for item in functional_group(header, number, group):
        if values := numbers(item, name):
            return values
    return numbers(header, name)


def _rescale(header: Any, number: int) -> tuple[float, float]:
    """Rescale Slope and Rescale Intercept, 1 and 0 if missing; Dose Grid Scaling of a dose map.

    A slope of 0 is an error of the writer and counts as 1, as in ITK.
    """
    group = "PixelValueTransformationSequence"
    slope = _frame_numbers(header, number, group, "RescaleSlope") or numbers(header, "DoseGridScaling") or (1.0,)
    intercept = _frame_numbers(header, number, group, "RescaleIntercept") or (0.0,)
    return slope[0] or 1.0, intercept[0]


def _require_one_volume(headers: Sequence[Any], path: Path) -> None:
    """Refuse several stacks, time points or echoes in the functional groups of a series."""
    for name, (sequence, keywords) in _DISTINGUISHING.items():
        values = [
            str(value)
            for header in headers
            for number in range(frame_count(header))
            for item in functional_group(header, number, sequence)
            if (value := attribute(item, name)) is not None
        ]
        kinds = len(set(values))
        if kinds > 1 and not (name == _MAY_NUMBER_SLICES and kinds == len(values)):
            raise InputError("series_many_volumes", path=path, count=kinds, what=keywords)


def _require_one_size(frames: Sequence[Frame], path: Path) -> None:
    first = frames[0]
    for frame in frames:
        if frame.shape != first.shape:
            what = "Rows" if frame.shape[0] != first.shape[0] else "Columns"
            raise InputError("series_sizes", path=path, what=what, first=frame.plane.name)
        if np.abs(np.subtract(frame.spacing, first.spacing)).max() > _SPACING_TOLERANCE_MM:
            raise InputError("series_sizes", path=path, what="PixelSpacing", first=frame.plane.name)


def _path(header: Any) -> Path:
    return Path(str(header.filename))
