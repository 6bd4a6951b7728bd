"""Read-back: a written file is read again, by another way than it was written, and compared with what went in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import read_label_maps, read_volume
from ..core.volume import SAME_GRID_TOLERANCE, LabelMap, Volume
from .algorithm import AlgorithmType
from .dicom_seg import UNKNOWN, CodedSegment, SegContent, SegType, dicom_text
from .dicom_series import file_name
from .placement import Fit, fit, place_array
from .terminology import Code

_SOP_CLASSES = {
    SegType.BINARY: "1.2.840.10008.5.1.4.1.1.66.4",
    SegType.LABELMAP: "1.2.840.10008.5.1.4.1.1.66.7",
}
_SAME_AS_SOURCE = ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")
_STEPS = 65535  # of a 16-bit integer
_POSITION_TOLERANCE = 1e-3  # mm
_DIRECTION_TOLERANCE = 1e-5
_COLOUR_TOLERANCE = 1.01 / 255  # DICOM keeps colours as 16-bit CIELab of 8-bit RGB


@dataclass(frozen=True)
class Difference:
    """One thing that came back other than it was."""

    what: str
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


def compare_segmentation(path: Path, content: SegContent) -> list[Difference]:
    """What a DICOM segmentation file says other than `content`: voxels, geometry, codes, references.

    Reads with pydicom alone, frame by frame.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, which show values of the patient
            dataset = dcmread(path)
            return [
                *_compare_header(dataset, content),
                *_compare_segments(dataset, content),
                *_compare_references(dataset, content),
                *_compare_frames(dataset, content),
            ]
    except (OSError, EOFError, InvalidDicomError, AttributeError, KeyError, IndexError, ValueError) as error:
        return [Difference("the file", "a readable segmentation", f"{type(error).__name__}: {error}")]


def compare_label_maps(path: Path, layers: Sequence[LabelMap]) -> list[Difference]:
    """What an image file of label maps says other than `layers`: voxels, geometry, names, colours, tags."""
    found = read_label_maps(path)
    if len(found) != len(layers):
        return [Difference("number of layers", len(layers), len(found))]
    differences = []
    for number, (one, two) in enumerate(zip(layers, found, strict=True)):
        where = f"layer {number}: " if len(layers) > 1 else ""
        off = one.geometry.difference(two.geometry, SAME_GRID_TOLERANCE)
        if off:
            differences.append(Difference(where + off[0], off[1], off[2]))
        elif (one.array != two.array).any():
            count = int(np.count_nonzero(one.array != two.array))
            differences.append(Difference(where + "voxels", "all the same", f"{count} others"))
        theirs = {segment.value: segment for segment in two.segments}
        for segment in one.segments:
            other = theirs.get(segment.value)
            if other is None:
                if (one.array == segment.value).any():
                    differences.append(Difference(f"segment {segment.name}", "there", "missing"))
                continue
            for what, own, others in (
                ("name", segment.name, other.name),
                ("tags", dict(segment.tags), dict(other.tags)),
            ):
                if own != others:
                    differences.append(Difference(f"{what} of segment {segment.name}", own, others))
            if not np.allclose(segment.colour, other.colour, atol=_COLOUR_TOLERANCE):
                differences.append(Difference(f"colour of segment {segment.name}", segment.colour, other.colour))
    return differences


def compare_series(folder: Path, volume: Volume) -> list[Difference]:
    """What a derived series shows other than the volume, beyond the rounding to 16 bits. Reads with ITK."""
    found = read_volume(folder)
    own, grid = found.geometry, volume.geometry
    if fit(own, grid) is not Fit.EXACT or sorted(own.shape) != sorted(grid.shape):
        return [Difference("grid of the derived series", grid, own)]
    values = place_array(found.array, own, grid)
    step = (float(volume.array.max()) - float(volume.array.min())) / _STEPS
    count = int(np.count_nonzero(np.abs(values - volume.array.astype(float)) > step))
    return [Difference("voxels of the derived series", "all the same", f"{count} others")] if count else []


def _compare_header(dataset: Any, content: SegContent) -> Iterator[Difference]:
    source = content.series.headers[0]
    for what, expected, found in (
        ("SOP class", _SOP_CLASSES[content.type], dataset.SOPClassUID),
        ("Segmentation Type", content.type.name, dataset.SegmentationType),
        ("Modality", "SEG", dataset.Modality),
    ):
        if expected != found:
            yield Difference(what, expected, found)
    for name in _SAME_AS_SOURCE:
        if str(source.get(name) or "") != str(dataset.get(name) or ""):
            yield Difference(name, "as in the images", "another")  # what it is concerns the patient only
    shared = dataset.SharedFunctionalGroupsSequence[0]
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, dtype=float)
    expected_spacing = np.array(source.PixelSpacing, dtype=float)
    if np.abs(spacing - expected_spacing).max() > _DIRECTION_TOLERANCE:
        yield Difference("pixel spacing in mm", expected_spacing.tolist(), spacing.tolist())
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    expected_orientation = np.array(source.ImageOrientationPatient, dtype=float)
    if np.abs(orientation - expected_orientation).max() > _DIRECTION_TOLERANCE:
        yield Difference("orientation", expected_orientation.tolist(), orientation.tolist())


def _compare_segments(dataset: Any, content: SegContent) -> Iterator[Difference]:
    items = {int(item.SegmentNumber): item for item in dataset.SegmentSequence}
    items.pop(0, None)  # background of a label map segmentation
    numbers = [segment.number for segment in content.segments]
    if sorted(items) != sorted(numbers):
        yield Difference("segment numbers", numbers, sorted(items))
        return
    for segment in content.segments:
        item = items[segment.number]
        for what, expected, found in _words(segment, item):
            if expected != found:
                yield Difference(f"{what} of segment {segment.label}", expected, found)
        colour = _colour(item)
        if not np.allclose(segment.segment.colour, colour, atol=_COLOUR_TOLERANCE):
            yield Difference(f"colour of segment {segment.label}", segment.segment.colour, colour)


def _words(segment: CodedSegment, item: Any) -> Iterator[tuple[str, object, object]]:
    """Text and codes of a segment: name, expected, found."""
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    region = _first(item, "AnatomicRegionSequence")
    found = (
        item.SegmentedPropertyCategoryCodeSequence[0],
        kind,
        _first(kind, "SegmentedPropertyTypeModifierCodeSequence"),
        region,
        _first(region, "AnatomicRegionModifierSequence"),
    )
    names = ("category", "type", "type modifier", "anatomic region", "anatomic region modifier")
    yield "label", segment.label, str(item.SegmentLabel)
    for name, code, other in zip(names, segment.terminology.codes, found, strict=True):
        yield name, code, _as_code(other)
    algorithm = segment.algorithm
    yield "algorithm type", str(algorithm.type), str(item.SegmentAlgorithmType)
    if algorithm.type is AlgorithmType.MANUAL:
        return
    identification = item.SegmentationAlgorithmIdentificationSequence[0]
    yield "algorithm name", dicom_text(algorithm.name), str(item.SegmentAlgorithmName)
    yield "algorithm version", dicom_text(algorithm.version) or UNKNOWN, str(identification.AlgorithmVersion)
    if algorithm.weights:
        yield "weights", f"weights={algorithm.weights}", str(identification.get("AlgorithmParameters", ""))


def _compare_references(dataset: Any, content: SegContent) -> Iterator[Difference]:
    """Every source slice is named in the file."""
    (series,) = dataset.ReferencedSeriesSequence
    source = content.series.headers[0]
    if series.SeriesInstanceUID != source.SeriesInstanceUID:
        yield Difference("referenced series", source.SeriesInstanceUID, series.SeriesInstanceUID)
    named = {str(item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence}
    expected = {str(header.SOPInstanceUID) for header in content.series.headers}
    if named != expected:
        yield Difference("referenced slices", len(expected), f"{len(named & expected)} of them, {len(named)} in all")


def _compare_frames(dataset: Any, content: SegContent) -> Iterator[Difference]:
    """Every frame lies on its source slice, names it, and holds the voxels; no labelled slice is left out."""
    series = content.series
    positions = series.positions
    expected = _expected_frames(content)
    for number, (frame, pixels) in enumerate(zip(*_frames(dataset), strict=True)):
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        distance = np.linalg.norm(positions - position, axis=1)
        slot = int(distance.argmin())
        if distance[slot] > _POSITION_TOLERANCE:
            yield Difference(f"position of frame {number + 1} in mm", positions[slot].tolist(), position.tolist())
            continue
        header = series.headers[slot]
        named = {
            str(source.ReferencedSOPInstanceUID)
            for derivation in frame.get("DerivationImageSequence", ())
            for source in derivation.SourceImageSequence
        }
        if named != {str(header.SOPInstanceUID)}:
            yield Difference(f"source of frame {number + 1}", file_name(header), f"{len(named)} others")
        segment = 0
        if content.type is SegType.BINARY:
            segment = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        wanted = expected.pop((segment, slot), None)
        if wanted is None:
            yield Difference(f"frame {number + 1}", "no such frame", f"segment {segment} on {file_name(header)}")
        elif (count := int(np.count_nonzero(wanted() != pixels))) > 0:
            yield Difference(f"voxels on {file_name(header)}, segment {segment}", "all the same", f"{count} others")
    if expected:
        yield Difference("frames with voxels", "all", f"{len(expected)} missing")


def _expected_frames(content: SegContent) -> dict[tuple[int, int], Any]:
    """(segment number, slot of the slice) -> function that gives the pixels [j, i]; segment 0 is the label map."""
    expected: dict[tuple[int, int], Any] = {}
    for slot, place in enumerate(content.series.places):
        present = [segment for segment in content.segments if content.mask(segment, place).any()]
        if content.type is SegType.BINARY:
            for segment in present:
                expected[segment.number, slot] = lambda segment=segment, place=place: content.mask(segment, place)
        elif present:

            def numbers(present: list[CodedSegment] = present, place: int = place) -> np.ndarray:
                return np.sum([segment.number * content.mask(segment, place) for segment in present], axis=0)

            expected[0, slot] = numbers
    return expected


def _frames(dataset: Any) -> tuple[Any, Iterator[np.ndarray]]:
    """Functional groups and pixels [j, i] of each frame of an uncompressed file."""
    groups = dataset.PerFrameFunctionalGroupsSequence
    return groups, (_frame_pixels(dataset, number) for number in range(len(groups)))


def _frame_pixels(dataset: Any, number: int) -> np.ndarray:
    shape, bits = (int(dataset.Rows), int(dataset.Columns)), int(dataset.BitsAllocated)
    size = shape[0] * shape[1]
    first, last = number * size * bits, (number + 1) * size * bits
    part = np.frombuffer(dataset.PixelData[first // 8 : -(-last // 8)], dtype=np.uint8)
    if bits > 1:
        return part.view(f"<u{bits // 8}").reshape(shape)
    # Frames of single bits follow each other without gaps: one may begin within a byte.
    return np.unpackbits(part, bitorder="little")[first % 8 :][:size].reshape(shape)


def _colour(item: Any) -> tuple[float, ...]:
    from highdicom.color import CIELabColor

    values = [int(value) for value in item.RecommendedDisplayCIELabValue]
    return tuple(part / 255 for part in CIELabColor.from_dicom_value(values).to_rgb(clip=True))


def _first(item: Any, name: str) -> Any:
    found = item.get(name) if item is not None else None
    return found[0] if found else None


def _as_code(item: Any) -> Code | None:
    if item is None:
        return None
    return Code(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
