"""Verification of written files: they are read back and compared with the data that were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.errors import Message
from ..core.regrid import GridMismatch, align_grids, apply_alignment
from ..core.volume import SAME_VOXEL_TOLERANCE, Geometry, LabelMap, Volume, nearest_orthogonal_matrix
from ..io.files import image_suffix, read_label_maps, read_volume

_STEPS = 65535  # between the smallest and the largest 16-bit integer
COLOUR_TOLERANCE = 1.01 / 255  # DICOM stores 8-bit RGB colours as 16-bit CIELab


def difference(what: Message | str, expected: object, found: object) -> Message:
    """A value that was read back differently; `what` names it, by its DICOM keyword or header field if it has one."""
    return Message("read_back_otherwise", what=what, expected=str(expected), found=str(found))


def unreadable(reader: str, error: Exception) -> Message:
    """A written file that a reader cannot read."""
    reason = getattr(error, "strerror", None)
    return Message("unreadable_for", reader=reader, detail=reason or Message("no_reason_given"))


def compare_label_maps(path: Path, layers: Sequence[LabelMap]) -> list[Message]:
    """Differences between `layers` and an image file of label maps, as read by this package.

    Voxels, geometry, names, colours and tags are compared. See `other_readers` for other programs.
    """
    read_layers = read_label_maps(path)
    if len(read_layers) != len(layers):
        return [difference(Message("layer_count"), len(layers), len(read_layers))]
    differences = []
    for number, (expected, actual) in enumerate(zip(layers, read_layers, strict=True)):
        found = grid_difference(path, expected.geometry, actual.geometry)
        if found is None and (expected.array != actual.array).any():
            found = Message("voxels_differ", count=int(np.count_nonzero(expected.array != actual.array)))
        if found is not None:
            in_layer = Message("difference_in_layer", layer=number, difference=found)
            differences.append(in_layer if len(layers) > 1 else found)
        differences += _segment_differences(expected, actual)
    return differences


def _segment_differences(expected: LabelMap, actual: LabelMap) -> list[Message]:
    """Differences in names, tags and colours; an empty segment may be missing."""
    differences = []
    actual_segments = {segment.value: segment for segment in actual.segments}
    for segment in expected.segments:
        other = actual_segments.get(segment.value)
        if other is None:
            if (expected.array == segment.value).any():
                differences.append(Message("segment_not_read_back", segment=segment.name))
            continue
        for what, written, stored in (
            (Message("segment_name"), segment.name, other.name),
            (Message("segment_tags"), dict(segment.tags), dict(other.tags)),
        ):
            if written != stored:
                differences.append(difference(of_segment(what, segment.name), written, stored))
        if not np.allclose(segment.colour, other.colour, atol=COLOUR_TOLERANCE):
            what = of_segment(Message("segment_colour"), segment.name)
            differences.append(difference(what, segment.colour, other.colour))
    return differences


def of_segment(what: Message | str, name: str) -> Message:
    """A property of a segment, for `difference`."""
    return Message("property_of_segment", what=what, segment=name)


_GRID_PROPERTIES = {
    "size": Message("grid_size"),
    "spacing": Message("grid_spacing"),
    "origin": Message("grid_position"),
    "direction": Message("grid_direction"),
}


def grid_difference(path: Path, expected: Geometry, actual: Geometry) -> Message | None:
    """As `Geometry.difference`; in a NIfTI file with sheared axes, the nearest orthogonal axes are accepted too.

    ITK reads these from the qform, which cannot hold sheared axes; nibabel reads the sheared axes from the sform.
    """
    found = expected.difference(actual, SAME_VOXEL_TOLERANCE)
    if found is not None and image_suffix(path).startswith(".nii"):
        direction = tuple(nearest_orthogonal_matrix(expected.direction_matrix).ravel().tolist())
        orthogonal = Geometry(expected.shape, expected.spacing, expected.origin, direction)
        found = found if orthogonal.difference(actual, SAME_VOXEL_TOLERANCE) else None
    if found is None:
        return None
    name, expected_value, found_value = found
    return difference(_GRID_PROPERTIES[name], expected_value, found_value)


def compare_series(folder: Path, volume: Volume) -> list[Message]:
    """Differences between a derived series and the volume, beyond rounding to 16 bits."""
    series = read_volume(folder)
    geometry, grid = series.geometry, volume.geometry
    alignment = align_grids(geometry, grid)
    if isinstance(alignment, GridMismatch) or sorted(geometry.shape) != sorted(grid.shape):
        return [Message("derived_grid_differs")]
    values = apply_alignment(series.array, alignment, grid.shape)
    step = (float(volume.array.max()) - float(volume.array.min())) / _STEPS
    count = int(np.count_nonzero(np.abs(values - volume.array.astype(float)) > step))
    return [Message("derived_voxels_differ", count=count)] if count else []
