"""Verification of a DICOM segmentation: it is read back and compared with the data that were written.

highdicom made the header of the file, this package wrote the pixel data. pydicom reads the header and functional
groups, highdicom the voxels of each segment on each source slice, as other programs do.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import Message
from ..io.dicom.functional_groups import read_seg_frames
from ..io.dicom.segments import segment_codes, segment_colour
from .algorithm import AlgorithmType
from .dicom_seg import UNKNOWN, CodedSegment, SegContent, SegType, dicom_text
from .verification import COLOUR_TOLERANCE, difference, of_segment, unreadable

_SOP_CLASSES = {
    SegType.BINARY: "1.2.840.10008.5.1.4.1.1.66.4",
    SegType.LABELMAP: "1.2.840.10008.5.1.4.1.1.66.7",
}
_SAME_AS_SOURCE = ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")
_CODE_SEQUENCES = (
    "SegmentedPropertyCategoryCodeSequence",
    "SegmentedPropertyTypeCodeSequence",
    "SegmentedPropertyTypeModifierCodeSequence",
    "AnatomicRegionSequence",
    "AnatomicRegionModifierSequence",
)
_POSITION_TOLERANCE_MM = 1e-3  # mm
_DIRECTION_TOLERANCE = 1e-5
_MAX_BLOCK_BYTES = 1 << 26  # of voxels read at a time; a byte per voxel and segment


def compare_segmentation(path: Path, content: SegContent) -> list[Message]:
    """Differences between a DICOM segmentation file and `content`: voxels, geometry, codes, references."""
    from highdicom.seg import segread
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of pydicom quote patient data
        try:
            dataset = dcmread(path, stop_before_pixels=True)
            differences = [
                *_compare_header(dataset, content),
                *_compare_segments(dataset, content),
                *_compare_references(dataset, content),
                *_compare_frames(dataset, content),
            ]
            return differences + list(_compare_voxels(segread(path), content))
        except Exception as error:  # readers raise errors of many types for an incorrect file
            return [unreadable("highdicom", error)]


def _compare_header(dataset: Any, content: SegContent) -> Iterator[Message]:
    source = content.series.headers[0]
    for what, expected, found in (
        ("SOPClassUID", _SOP_CLASSES[content.type], dataset.SOPClassUID),
        ("SegmentationType", content.type.name, dataset.SegmentationType),
        ("Modality", "SEG", dataset.Modality),
    ):
        if expected != found:
            yield difference(what, expected, found)
    for name in _SAME_AS_SOURCE:
        if str(source.get(name) or "") != str(dataset.get(name) or ""):
            yield Message("not_that_of_images", attribute=name)  # without the value, which may be patient data


def _compare_segments(dataset: Any, content: SegContent) -> Iterator[Message]:
    items = {int(item.SegmentNumber): item for item in dataset.SegmentSequence}
    items.pop(0, None)  # background of a label map segmentation
    numbers = [segment.number for segment in content.segments]
    if sorted(items) != sorted(numbers):
        yield difference("SegmentNumber", numbers, sorted(items))
        return
    for segment in content.segments:
        item = items[segment.number]
        for what, expected, found in _segment_attributes(segment, item):
            if expected != found:
                yield difference(of_segment(what, segment.label), expected, found)
        colour = segment_colour(item)
        if colour is None or not np.allclose(segment.segment.colour, colour, atol=COLOUR_TOLERANCE):
            yield difference(of_segment(Message("segment_colour"), segment.label), segment.segment.colour, colour)


def _segment_attributes(segment: CodedSegment, item: Any) -> Iterator[tuple[str, object, object]]:
    """Texts and codes of a segment: keyword, expected, found."""
    yield "SegmentLabel", segment.label, str(item.SegmentLabel)
    yield from zip(_CODE_SEQUENCES, segment.terminology.codes, segment_codes(item), strict=True)
    algorithm = segment.algorithm
    yield "SegmentAlgorithmType", str(algorithm.type), str(item.SegmentAlgorithmType)
    if algorithm.type is AlgorithmType.MANUAL:
        return
    identification = item.SegmentationAlgorithmIdentificationSequence[0]
    yield "SegmentAlgorithmName", dicom_text(algorithm.name), str(item.SegmentAlgorithmName)
    yield "AlgorithmVersion", dicom_text(algorithm.version) or UNKNOWN, str(identification.AlgorithmVersion)
    if algorithm.weights:
        yield (
            "AlgorithmParameters",
            f"weights={algorithm.weights}",
            str(identification.get("AlgorithmParameters", "")),
        )


def _compare_references(dataset: Any, content: SegContent) -> Iterator[Message]:
    """Whether the file refers to all source slices."""
    (series,) = dataset.ReferencedSeriesSequence
    if series.SeriesInstanceUID != content.series.headers[0].SeriesInstanceUID:
        yield Message("not_that_of_images", attribute="ReferencedSeriesSequence")
    named = {str(item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence}
    expected = {str(header.SOPInstanceUID) for header in content.series.headers}
    if named != expected:
        others = len(named - expected)
        yield Message("references_differ", count=len(expected), found=len(named & expected), others=others)


def _compare_frames(dataset: Any, content: SegContent) -> Iterator[Message]:
    """Whether every frame has the position of a source slice and refers to it."""
    headers, sources, positions = content.series.headers, content.series.sources, content.series.positions
    spacing, orientation = (
        np.array(headers[0].get(name), dtype=float) for name in ("PixelSpacing", "ImageOrientationPatient")
    )
    for frame in read_seg_frames(dataset):
        for what, expected, found in (
            ("PixelSpacing", spacing, frame.spacing),
            ("ImageOrientationPatient", orientation, frame.orientation),
        ):
            if np.abs(expected - found).max() > _DIRECTION_TOLERANCE:
                yield difference(_of_frame(what, frame.number), expected.tolist(), list(found))
        distance = np.linalg.norm(positions - frame.position, axis=1)
        slot = int(distance.argmin())
        if distance[slot] > _POSITION_TOLERANCE_MM:
            position = _of_frame("ImagePositionPatient", frame.number)
            yield difference(position, positions[slot].tolist(), list(frame.position))
        elif frame.sources != {sources[slot]}:
            name = content.series.slice_name(slot)
            yield Message("source_of_frame_differs", frame=frame.number + 1, slice=name)


def _of_frame(keyword: str, index: int) -> Message:
    return Message("attribute_of_frame", attribute=keyword, frame=index + 1)


def _compare_voxels(segmentation: Any, content: SegContent) -> Iterator[Message]:
    """Compare each segment on each source slice, a few slices at a time."""
    series, segments = content.series, content.segments
    combined = content.type is SegType.LABELMAP  # without combining, highdicom cuts numbers above 255 to 8 bits
    options = {
        "segment_numbers": [segment.number for segment in segments],
        "combine_segments": combined,
        "assert_missing_frames_are_empty": True,
    }
    for slots in _blocks(content):
        sources = [series.sources[slot] for slot in slots]
        if sources[0].frame:
            numbers = [source.frame for source in sources]
            frames = segmentation.get_pixels_by_source_frame(sources[0].instance, numbers, **options)
        else:
            frames = segmentation.get_pixels_by_source_instance([source.instance for source in sources], **options)
        for slot, pixels in zip(slots, frames, strict=True):
            for channel, segment in enumerate(segments):
                mask = pixels == segment.number if combined else pixels[..., channel]
                differing = int(np.count_nonzero(content.mask(segment, series.slice_indices[slot]) != mask))
                if differing:
                    name = series.slice_name(slot)
                    yield Message("voxels_of_slice_differ", count=differing, segment=segment.label, slice=name)


def _blocks(content: SegContent) -> Iterator[list[int]]:
    """Yield blocks of existing slices, by number; each has single-frame images or one multi-frame image as source."""
    series = content.series
    _, rows, columns = series.geometry.shape
    count = max(1, _MAX_BLOCK_BYTES // (rows * columns * len(content.segments)))
    of_image: dict[str, list[int]] = {}
    for slot, source in enumerate(series.sources):
        of_image.setdefault(source.instance if source.frame else "", []).append(slot)
    for slots in of_image.values():
        yield from (slots[start : start + count] for start in range(0, len(slots), count))
