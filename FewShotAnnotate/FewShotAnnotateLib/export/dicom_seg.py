"""DICOM Segmentation (PS3.3 A.51) and Label Map Segmentation (A.91) of label maps on a series, by highdicom."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from ..core.volume import LabelMap, Segment
from .algorithm import PRODUCT, Algorithm, AlgorithmType
from .dicom_series import DicomSeries
from .terminology import Code, Terminology

if TYPE_CHECKING:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription

UNKNOWN = "unknown"
# The nearest of CID 7162: engines learn from the painted slices.
_FAMILY = Code("123110", "DCM", "Artificial Intelligence")
_SERIES_NUMBER_STEP = 100  # as Slicer numbers the segmentation of a series
_DETAIL_LENGTH = 200
_LABEL_LENGTH = 64  # characters of a LO, as all short texts are


class SegType(StrEnum):
    """DICOM's Segmentation Type (0062,0001): one bit per segment and voxel, or one label per voxel."""

    BINARY = "binary"
    LABELMAP = "labelmap"


@dataclass(frozen=True)
class CodedSegment:
    """A segment as it stands in the file.

    Attributes
    ----------
    number : int
        Segment Number, from 1 without gaps.
    layer : int
        The label map that holds its voxels, with the value `segment.value`.
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
    """What DICOM can hold of a short text: no backslash, no control characters, at most 64 characters."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.replace("\\", "/").strip()[:_LABEL_LENGTH].strip()


@dataclass(frozen=True)
class SegContent:
    """All that a segmentation file says.

    Attributes
    ----------
    layers : tuple of LabelMap
        On the grid of the series.
    """

    series: DicomSeries
    layers: tuple[LabelMap, ...]
    segments: tuple[CodedSegment, ...]
    type: SegType
    software_version: str

    def mask(self, segment: CodedSegment, place: int) -> np.ndarray:
        """Voxels of a segment on slice k of the grid, bool [j, i]."""
        return np.asarray(self.layers[segment.layer].array[place] == segment.segment.value)


def write_segmentation(path: Path, content: SegContent) -> None:
    """Write the file. Frames without voxels are left out; every frame refers to its source slice.

    Raises
    ------
    InputError
        The headers of the series are not such that a segmentation can belong to it.
    OSError
        It cannot be written.
    """
    with warnings.catch_warnings():
        # highdicom warns of what the source's own headers hold, such as a name of one word.
        warnings.simplefilter("ignore")
        try:
            segmentation = _segmentation(content)
        except (ValueError, TypeError, AttributeError, KeyError) as error:  # what the source's headers lack
            detail = " ".join(str(error).split())[:_DETAIL_LENGTH] or type(error).__name__
            raise InputError("dicom_refused", path=content.series.path, detail=detail) from None
        segmentation.save_as(path, enforce_file_format=True)


def _segmentation(content: SegContent) -> Segmentation:
    from highdicom import UID, PixelMeasuresSequence
    from highdicom.seg import Segmentation

    series = content.series
    first = series.headers[0]
    normal = np.cross(*np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3))
    direction = np.array(series.geometry.direction).reshape(3, 3)[:, 2]
    gap = series.geometry.spacing[2] * float(normal @ direction)
    segmentation = Segmentation(
        source_images=list(series.headers),
        pixel_array=_pixels(content),
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
    segmentation.SpecificCharacterSet = "ISO_IR 192"  # names of segments are of any language
    segmentation.SeriesDescription = "Segmentation"
    return segmentation


def _pixels(content: SegContent) -> np.ndarray:
    """Segment numbers [slices, rows, columns] of the slices that are there; of layers, masks [..., segments]."""
    places = list(content.series.places)
    if len(content.layers) == 1:
        (layer,) = content.layers
        numbers = np.zeros(int(layer.array.max()) + 1, dtype=np.uint16 if len(content.segments) > 255 else np.uint8)
        for segment in content.segments:
            numbers[segment.segment.value] = segment.number
        return np.asarray(numbers[layer.array[places]])
    shape = (len(places), *content.series.geometry.shape[1:], len(content.segments))
    masks = np.zeros(shape, dtype=np.uint8)
    for segment in content.segments:
        masks[..., segment.number - 1] = content.layers[segment.layer].array[places] == segment.segment.value
    return masks


def _description(segment: CodedSegment) -> SegmentDescription:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    algorithm, terms = segment.algorithm, segment.terminology
    red, green, blue = (round(255 * min(max(part, 0.0), 1.0)) for part in segment.segment.colour)
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
