"""DICOM Segmentation (PS3.3 A.51) and Label Map Segmentation (A.91) of any writer as label maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError, Message
from ...core.layers import group_disjoint
from ...core.sparse_array import sparse_zeros
from ...core.volume import Geometry, LabelMap, Segment, default_segment, present_values
from .attributes import attribute, numbers, suppress_dicom_warnings
from .functional_groups import LABELMAP_FRAME, SegFrame, read_seg_frames
from .object_kind import find_segmentation
from .pixels import transfer_syntax
from .segments import read_segment
from .slice_stack import MAX_SLICES

_SAME_PLANE = 1e-3  # cosines
_SAME_SPACING = 1e-3  # of the spacing
_GAP_TOLERANCE = 0.05  # of a gap; positions are rounded
_MAX_GAP_DIVISOR = 16  # of the smallest distance between frames, if the slice distance is unknown
_FULL_FRACTION = 255


def read_segmentation(path: Path, grid: Geometry | None = None) -> list[LabelMap]:
    """Label maps of a segmentation: one, or several if its segments overlap.

    Their grid reaches from the first to the last frame of the file and includes empty slices that the file leaves
    out. Fractional segmentations are thresholded at half of the maximum.

    Parameters
    ----------
    path : Path
    grid : Geometry, optional
        Grid of the images; gives the distance between slices if frames are left out and the file does not state it.

    Raises
    ------
    InputError
        A package is missing; the file is damaged, or only one file of a segmentation in several files; or its frames
        do not lie on one grid.
    """
    dataset = _read_header(path)
    if attribute(dataset, "ConcatenationUID") and attribute(dataset, "InConcatenationTotalNumber") != 1:
        raise InputError("segmentation_part", path=path)
    try:
        with suppress_dicom_warnings():
            frames = read_seg_frames(dataset)
            described = _segments(dataset)
    except Exception:  # sequences are parsed on access, and pydicom raises errors of many types for damaged data
        raise InputError("segmentation_unplaced", path=path) from None
    geometry, slices = _lattice(frames, _size(dataset), grid, path)
    if len({(frame.segment, k) for frame, k in zip(frames, slices, strict=True)}) < len(frames):
        raise InputError("segmentation_grids", path=path)
    pixels = _pixels(dataset, path, len(frames))
    if frames[0].segment == LABELMAP_FRAME:
        return [_label_map(zip(slices, pixels, strict=True), geometry, described)]
    masks: dict[int, dict[int, np.ndarray]] = {}
    for frame, k, values in zip(frames, slices, pixels, strict=True):
        if values.any():  # one bit per pixel saves memory; whether segments overlap is known only at the end
            masks.setdefault(frame.segment, {})[k] = np.packbits(values)
    return _layers(masks, geometry, described)


def label_note(path: Path, name: object) -> Message | None:
    """Message on the threshold of the fractional segmentation `path`; None for any other file.

    `name` denotes the segmentation in the message.
    """
    segmentation = find_segmentation(path)
    if segmentation is None:
        return None  # without pydicom, which takes a quarter of a second to import
    dataset = _read_header(segmentation)
    with suppress_dicom_warnings():
        if attribute(dataset, "SegmentationType") != "FRACTIONAL":
            return None
        most = _max_fraction(dataset)
        is_occupancy = attribute(dataset, "SegmentationFractionalType") == "OCCUPANCY"
    return Message(
        "occupancies_as_labels" if is_occupancy else "probabilities_as_labels",
        path=name,
        least=f"{most / 2:g}",
        most=most,
    )


def _read_header(path: Path) -> Any:
    for package in ("pydicom", "highdicom"):
        if find_spec(package) is None:
            raise InputError("dicom_packages_missing", package=package, install='"fewshot-annotate[dicom]"')
    from pydicom import dcmread

    try:
        with suppress_dicom_warnings():
            return dcmread(path, stop_before_pixels=True, force=True)
    except Exception:  # pydicom raises errors of many types for damaged data, such as struct.error
        raise InputError("file_truncated", path=path, detail=Message("header_incomplete")) from None


def _size(dataset: Any) -> tuple[int, int]:
    """Rows and columns; 0 if the number is missing or damaged."""
    rows, columns = (numbers(dataset, name) for name in ("Rows", "Columns"))
    return int(rows[0]) if rows else 0, int(columns[0]) if columns else 0


def _max_fraction(dataset: Any) -> int:
    values = numbers(dataset, "MaximumFractionalValue")
    return int(values[0]) if values and values[0] else _FULL_FRACTION


def _segments(dataset: Any) -> dict[int, Segment]:
    """Segments by number, without the background, which label map segmentations may describe."""
    segments = [read_segment(item, dataset) for item in dataset.SegmentSequence if int(item.SegmentNumber) > 0]
    described = {segment.value: segment for segment in segments}
    if len(described) < len(segments):
        raise ValueError("two segments have the same number")
    return described


def _pixels(dataset: Any, path: Path, count: int) -> Iterator[np.ndarray]:
    """Yield the pixels of each frame: segment numbers in a label map segmentation, otherwise bool."""
    kind = str(attribute(dataset, "SegmentationType"))
    least = _max_fraction(dataset) / 2 if kind == "FRACTIONAL" else 1
    read = 0
    try:
        with suppress_dicom_warnings():
            for values in _stored_frames(dataset, path, count):
                yield values if kind == "LABELMAP" else values >= least
                read += 1
    except Exception:  # decoders raise errors of many types for damaged data
        raise InputError(
            "file_truncated", path=path, detail=Message("frame_of", found=read + 1, count=count)
        ) from None
    if read != count:
        raise InputError("file_truncated", path=path, detail=Message("frames_of", found=read, count=count))


def _stored_frames(dataset: Any, path: Path, count: int) -> Iterator[np.ndarray]:
    """Yield the stored values of each frame, shape [rows, columns]."""
    from pydicom import dcmread
    from pydicom.pixels import iter_pixels
    from pydicom.uid import UID

    is_stated = "TransferSyntaxUID" in dataset.file_meta
    syntax = UID(transfer_syntax(dataset))
    if int(dataset.BitsAllocated) > 1 or syntax.is_encapsulated:
        if is_stated and not syntax.is_deflated:
            yield from iter_pixels(path, raw=True)
            return
        # Given a path, pydicom would look for frames in a deflated file without inflating it.
        complete = dcmread(path, force=True)
        transfer_syntax(complete)
        yield from iter_pixels(complete, raw=True)
        return
    # pydicom expects each frame to start at a byte, but frames of single bits follow each other without padding.
    shape = _size(dataset)
    size = shape[0] * shape[1]
    content = np.frombuffer(dcmread(path, force=True, specific_tags=["PixelData"]).PixelData, dtype=np.uint8)
    for number in range(count):
        first, last = number * size, (number + 1) * size
        bits = np.unpackbits(content[first // 8 : -(-last // 8)], bitorder="little")
        yield bits[first % 8 :][:size].reshape(shape)


def _lattice(
    frames: Sequence[SegFrame], size: tuple[int, int], grid: Geometry | None, path: Path
) -> tuple[Geometry, list[int]]:
    """Grid from the first to the last frame, and the slice k of each frame."""
    first = frames[0]
    for frame in frames:
        turned = np.abs(np.subtract(frame.orientation, first.orientation)).max() > _SAME_PLANE
        if turned or not np.allclose(frame.spacing, first.spacing, rtol=_SAME_SPACING, atol=0):
            raise InputError("segmentation_grids", path=path)
    row, column = np.reshape(first.orientation, (2, 3))
    normal = np.cross(row, column)
    if min(*size, *first.spacing) <= 0 or not 0.99 < np.linalg.norm(normal) < 1.01:
        raise InputError("segmentation_unplaced", path=path)
    normal = normal / np.linalg.norm(normal)
    positions = np.array([frame.position for frame in frames])
    positions_along_normal = positions @ normal
    order = np.argsort(positions_along_normal, kind="stable")
    gap, steps = _gap(np.diff(positions_along_normal[order]), _gap_candidates(first, normal, grid))
    if not gap or steps.sum() >= MAX_SLICES:
        raise InputError("segmentation_grids", path=path)
    lattice_indices = np.concatenate(([0], np.cumsum(steps))).astype(int)
    count = int(lattice_indices[-1])
    start = positions[order[0]]
    step = (positions[order[-1]] - start) / count if count else gap * normal
    if np.abs(start + lattice_indices[:, None] * step - positions[order]).max() > _GAP_TOLERANCE * min(
        gap, *first.spacing
    ):
        raise InputError("segmentation_grids", path=path)
    slices = np.empty(len(frames), dtype=int)
    slices[order] = lattice_indices
    length = float(np.linalg.norm(step))
    direction = np.stack([row / np.linalg.norm(row), column / np.linalg.norm(column), step / length], axis=1)
    x, y, z = start.tolist()
    geometry = Geometry(
        (count + 1, *size),
        (first.spacing[1], first.spacing[0], length),
        (x, y, z),
        tuple(direction.reshape(-1).tolist()),
    )
    return geometry, slices.tolist()


def _gap_candidates(frame: SegFrame, normal: np.ndarray, grid: Geometry | None) -> list[float]:
    """Candidate distances between slices, from the images and the attributes of a frame, most reliable first."""
    gaps = []
    if grid is not None:
        cosines = np.abs(normal @ grid.direction_matrix)
        axis = int(cosines.argmax())
        gaps.append(grid.spacing[axis] * float(cosines[axis]))
    return [*gaps, frame.gap, frame.thickness]


def _gap(distances: np.ndarray, candidates: Sequence[float]) -> tuple[float, np.ndarray]:
    """Distance between slices of which all distances between frames are multiples, and the multiples.

    The distance is 0 if there is none. Frames of different segments have the same position.
    """
    apart = distances[distances > 1e-4]
    if not len(apart):
        positive = [candidate for candidate in candidates if candidate > 0]
        return (positive[0] if positive else 1.0), np.zeros(len(distances), dtype=int)
    least = float(apart.min())
    for gap in (*candidates, *(least / divisor for divisor in range(1, _MAX_GAP_DIVISOR + 1))):
        if gap <= 0:
            continue
        steps = np.rint(distances / gap)
        together = distances <= 1e-4
        fits = np.abs(distances - steps * gap) <= _GAP_TOLERANCE * gap * np.maximum(1, np.sqrt(steps))
        if fits.all() and (steps[~together] >= 1).all():
            return gap, steps
    return 0.0, distances


def _label_map(
    frames: Iterator[tuple[int, np.ndarray]], geometry: Geometry, described: dict[int, Segment]
) -> LabelMap:
    array = np.zeros(geometry.shape, dtype=np.uint16)
    for k, values in frames:
        array[k] = values
    present = present_values(array)
    if max((*present, *described), default=0) <= 255:
        array = array.astype(np.uint8)
    return LabelMap(array, geometry, _all_segments(described, present))


def _layers(
    masks: dict[int, dict[int, np.ndarray]], geometry: Geometry, described: dict[int, Segment]
) -> list[LabelMap]:
    """Label maps: each segment goes into the first one where it overlaps no other, empty segments into the first."""
    dtype = np.min_scalar_type(max((*masks, *described), default=0))
    size = geometry.shape[1] * geometry.shape[2]
    filled = sorted(masks)
    groups = [
        [filled[position] for position in group] for group in group_disjoint([masks[number] for number in filled])
    ]
    arrays = []
    for group in groups or [[]]:
        array = sparse_zeros(geometry.shape, dtype)
        for number in group:
            for k, bits in masks[number].items():
                array[k][_unpacked(bits, size, geometry.shape[1:])] = number
        arrays.append(array)
    numbers_of_layer = [set(group) for group in groups] or [set()]
    numbers_of_layer[0] |= set(described) - set(masks)
    segments = _all_segments(described, tuple(masks))
    return [
        LabelMap(array, geometry, tuple(segment for segment in segments if segment.value in numbers))
        for array, numbers in zip(arrays, numbers_of_layer, strict=True)
    ]


def _unpacked(bits: np.ndarray, size: int, shape: tuple[int, int]) -> np.ndarray:
    return np.unpackbits(bits, count=size).astype(bool).reshape(shape)


def _all_segments(described: dict[int, Segment], present: Sequence[int]) -> tuple[Segment, ...]:
    """The described segments, and default ones for segment numbers that occur without a description."""
    return (*described.values(), *(default_segment(number) for number in present if number not in described))
