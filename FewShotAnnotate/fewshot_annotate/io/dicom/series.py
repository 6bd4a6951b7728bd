"""A volume from DICOM images: single-frame files of one series, or multi-frame files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core import paths
from ...core.errors import InputError
from ...core.volume import Geometry, Volume
from .attributes import suppress_dicom_warnings
from .folder import read_image_headers
from .frames import Frame, frames_of
from .pixels import frame_values
from .slice_stack import SliceStack, describe_missing, stack_slices


def read_dicom_volume(path: Path, series: str | None = None) -> Volume:
    """Read the volume of one image series, with slices sorted along their normal and rescaled individually.

    Parameters
    ----------
    path : Path
        Folder of the series, or a multi-frame file.
    series : str, optional
        Series Instance UID, Series Number or the name of a file, where the folder holds several series.

    Raises
    ------
    InputError
        It is not one series of evenly spaced, parallel greyscale slices with a position; a slice is missing or
        damaged; or the gantry was tilted.
    """
    headers = read_image_headers(path, series)
    with suppress_dicom_warnings():
        frames = frames_of(headers, path)
        if len(frames) < 2:
            if paths.is_folder(path):
                raise InputError("not_3d", path=path, dimension=2)
            raise InputError("series_is_file", path=path)
        planes = [frame.plane for frame in frames]
        stack = stack_slices(planes, path)
        if stack.missing:
            raise InputError("series_gap", path=path, missing=describe_missing(stack, planes))
        if stack.tilt:
            raise InputError("series_tilted", path=path, angle=stack.tilt)
        ordered = [frames[number] for number in stack.order]
        return Volume(frame_values(ordered, path), stack_geometry(ordered, stack))


def stack_geometry(ordered: Sequence[Frame], stack: SliceStack) -> Geometry:
    """Grid of frames in the order of their stack, including missing slices.

    If the gantry was tilted, the third direction is not perpendicular to the others.
    """
    first = ordered[0]
    row, column = np.array(first.plane.row), np.array(first.plane.column)
    normal = np.cross(row, column)
    gap = float(np.linalg.norm(stack.step)) if stack.tilt else float(stack.step @ normal)
    across = stack.step / gap if stack.tilt else normal
    direction = np.stack([row, column, across], axis=1)
    row_spacing, column_spacing = first.spacing
    return Geometry(
        (stack.count, *first.shape),
        (column_spacing, row_spacing, gap),
        first.plane.position,
        tuple(float(value) for value in direction.reshape(-1)),
    )
