"""DICOM Segmentation (PS3.3 A.51) and Label Map Segmentation (A.91) of label maps on a series, by highdicom."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..core.errors import InputError, Message
from ..core.layers import overlap
from ..core.terminology import Code, Terminology
from ..core.volume import LabelMap, Segment
from ..io.dicom.attributes import suppress_dicom_warnings
from ..io.dicom.functional_groups import LABELMAP_FRAME, read_seg_frames
from .algorithm import PRODUCT, Algorithm, AlgorithmType
from .dicom_series import DicomSeries
from .source_references import refer_to_frames, single_frame_sources

if TYPE_CHECKING:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription

UNKNOWN = "unknown"
# The best match in CID 7162: engines learn from the painted slices.
_FAMILY = Code("123110", "DCM", "Artificial Intelligence")
_SERIES_NUMBER_STEP = 100  # as Slicer numbers the segmentation of a series
_LABEL_LENGTH = 64  # characters of a LO, as all short texts are


class SegType(StrEnum):
    """DICOM's Segmentation Type (0062,0001): one bit per segment and voxel, or one label per voxel."""

    BINARY = "binary"
    LABELMAP = "labelmap"


@dataclass(frozen=True)
class CodedSegment:
    """A segment as written to the file.

    Attributes
    ----------
    number : int
        Segment Number, from 1 without gaps.
    layer : int
        The label map that holds its voxels, with the value `segment.value`.
    segment : Segment
    terminology : Terminology
    algorithm : Algorithm
        What created the segment.
    """

    number: int
    layer: int
    segment: Segment
    terminology: Terminology
    algorithm: Algorithm

    @property
    def label(self) -> str:
        """Segment Label."""
        return dicom_text(self.segment.name) or f"Segment {self.number}"


def dicom_text(text: str) -> str:
    """Text converted to a valid LO value: no backslash, no control characters, at most 64 characters."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.replace("\\", "/").strip()[:_LABEL_LENGTH].strip()


@dataclass(frozen=True)
class SegContent:
    """Content of a segmentation file.

    Attributes
    ----------
    series : DicomSeries
        The images that the segmentation refers to.
    layers : tuple of LabelMap
        On the grid of the series.
    segments : tuple of CodedSegment
        In the order of their Segment Numbers.
    type : SegType
    software_version : str
        Version of this program.
    """

    series: DicomSeries
    layers: tuple[LabelMap, ...]
    segments: tuple[CodedSegment, ...]
    type: SegType
    software_version: str

    def mask(self, segment: CodedSegment, k: int) -> np.ndarray:
        """Voxels of a segment on slice k of the grid, bool [j, i]."""
        return np.asarray(self.layers[segment.layer].array[k] == segment.segment.value)


def write_segmentation(path: Path, content: SegContent) -> None:
    """Write the file. Frames without voxels are left out; every frame refers to its source slice.

    To save memory, highdicom makes the header from slices of one pixel each, and the pixels of the frames that it
    lists are written one frame after the other.

    Raises
    ------
    InputError
        The headers of the series lack attributes that a segmentation needs.
    OSError
        It cannot be written.
    """
    with suppress_dicom_warnings(), tempfile.TemporaryFile(dir=path.parent) as pixels:
        try:
            segmentation = _header(content)
        except (ValueError, TypeError, AttributeError, KeyError) as error:  # attributes of the source are missing
            raise InputError("dicom_refused", path=content.series.path, detail=_attributes(error)) from None
        _, segmentation.Rows, segmentation.Columns = content.series.geometry.shape
        segmentation.SegmentsOverlap = "YES" if overlap(content.layers) else "NO"
        _write_pixels(pixels, segmentation, content)
        segmentation["PixelData"].value = pixels
        segmentation.save_as(path, enforce_file_format=True)


def _attributes(error: Exception) -> Message:
    """The DICOM attributes that a library's error message names; the message itself may contain patient data."""
    from pydicom.datadict import tag_for_keyword

    named = [keyword for keyword in re.findall(r"[A-Z]\w+", str(error)) if tag_for_keyword(keyword) is not None]
    if not named:
        return Message("dicom_headers_unfit")
    return Message("dicom_attributes", names=", ".join(dict.fromkeys(named)))


def _header(content: SegContent) -> Segmentation:
    """The segmentation, with frames of one pixel."""
    from highdicom import UID, PixelMeasuresSequence
    from highdicom.seg import Segmentation

    series = content.series
    sources = single_frame_sources(series)
    first = series.headers[0]
    normal = np.cross(*np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3))
    direction = series.geometry.direction_matrix[:, 2]
    gap = series.geometry.spacing[2] * float(normal @ direction)
    segmentation = Segmentation(
        source_images=sources,
        pixel_array=_presence(content),
        segmentation_type=content.type.name,
        segment_descriptions=[_description(segment) for segment in content.segments],
        series_instance_uid=UID(),
        series_number=_series_number(first),
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=PRODUCT,
        manufacturer_model_name=PRODUCT,
        software_versions=content.software_version,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="Segmentation",
        pixel_measures=PixelMeasuresSequence(
            pixel_spacing=[float(value) for value in first.PixelSpacing],
            slice_thickness=float(first.get("SliceThickness") or gap),
            spacing_between_slices=round(gap, 9),
        ),
    )
    refer_to_frames(segmentation, sources, series)
    segmentation.SpecificCharacterSet = "ISO_IR 192"  # segment names may be in any language
    segmentation.SeriesDescription = "Segmentation"
    return segmentation


def _presence(content: SegContent) -> np.ndarray:
    """Whether each segment is on each existing slice, as slices of a single pixel.

    Returns
    -------
    ndarray, uint8
        [slices, 1, 1, segments]; for a label map segmentation [slices, 1, 1], 1 if any segment is on the slice.
    """
    is_present = np.array(
        [[content.mask(segment, k).any() for segment in content.segments] for k in content.series.slice_indices]
    )
    pixels = np.any(is_present, axis=1) if content.type is SegType.LABELMAP else is_present
    return np.expand_dims(pixels, (1, 2)).astype(np.uint8)


def _write_pixels(stream: BinaryIO, segmentation: Segmentation, content: SegContent) -> None:
    """Write the pixels of the frames in their order; bits of consecutive frames may share a byte."""
    from pydicom.pixels import pack_bits

    slot_of = {source: slot for slot, source in enumerate(content.series.sources)}
    segment_of = {segment.number: segment for segment in content.segments}
    kind = np.uint16 if segmentation.BitsAllocated > 8 else np.uint8
    remainder = np.zeros(0, dtype=np.uint8)
    for frame in read_seg_frames(segmentation):
        (source,) = frame.sources
        k = content.series.slice_indices[slot_of[source]]
        if frame.segment == LABELMAP_FRAME:
            pixels = np.zeros(content.series.geometry.shape[1:], dtype=kind)
            for segment in content.segments:
                pixels[content.mask(segment, k)] = segment.number
            stream.write(pixels.astype(np.dtype(kind).newbyteorder("<")).tobytes())
            continue
        bits = np.concatenate([remainder, content.mask(segment_of[frame.segment], k).reshape(-1)])
        full_bytes = len(bits) // 8 * 8
        stream.write(pack_bits(bits[:full_bytes], pad=False))
        remainder = bits[full_bytes:]
    if len(remainder):
        stream.write(pack_bits(remainder, pad=False))
    if stream.tell() % 2:
        stream.write(b"\0")
    stream.seek(0)


def _description(segment: CodedSegment) -> SegmentDescription:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    algorithm, terms = segment.algorithm, segment.terminology
    red, green, blue = (round(255 * min(max(component, 0.0), 1.0)) for component in segment.segment.colour)
    description = SegmentDescription(
        segment.number,
        segment.label,
        _dicom(terms.category),
        _dicom(terms.type),
        str(algorithm.type),
        _identification(algorithm) if algorithm.type is not AlgorithmType.MANUAL else None,
        anatomic_regions=[_dicom(terms.region)] if terms.region else None,
        display_color=CIELabColor.from_rgb(red, green, blue),
    )
    if terms.modifier:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_dicom(terms.modifier)]
    if terms.region and terms.region_modifier:
        region = description.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [_dicom(terms.region_modifier)]
    return description


def _identification(algorithm: Algorithm) -> AlgorithmIdentificationSequence:
    from highdicom import AlgorithmIdentificationSequence

    return AlgorithmIdentificationSequence(
        name=dicom_text(algorithm.name),
        family=_dicom(_FAMILY),
        version=dicom_text(algorithm.version) or UNKNOWN,
        parameters={"weights": algorithm.weights} if algorithm.weights else None,
    )


def _dicom(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _series_number(header: Any) -> int:
    try:
        return int(header.get("SeriesNumber") or 0) + _SERIES_NUMBER_STEP
    except ValueError:
        return _SERIES_NUMBER_STEP
