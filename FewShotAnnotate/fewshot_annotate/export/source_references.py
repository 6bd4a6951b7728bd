"""What a segmentation refers to: whole images, or frames of multi-frame images, of which a series may hold several.

highdicom takes either single-frame images or one multi-frame image. The volume of a series may as well lie in several
multi-frame files (a concatenation, or one file for each slice), so that highdicom is given each slice as an image of
its own, and the references to those are replaced by such to the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .dicom_series import DicomSeries

if TYPE_CHECKING:
    from pydicom import Dataset

_SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture Image Storage


def single_frame_sources(series: DicomSeries) -> list[Dataset]:
    """Headers of the slices as if each were an image of its own, of one pixel, for highdicom to build on."""
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    headers = []
    for header, frame in zip(series.headers, series.frame_numbers, strict=True):
        single = Dataset()
        single.update(header)
        single.file_meta = header.file_meta
        for name in ("Rows", "Columns"):  # elements of its own; the others are shared with the header
            single.add_new(name, "US", 1)
        if frame:
            single.add_new("SOPClassUID", "UI", _SINGLE_FRAME)
            single.add_new("SOPInstanceUID", "UI", generate_uid(prefix=None))
        headers.append(single)
    return headers


def refer_to_frames(segmentation: Dataset, sources: Sequence[Dataset], series: DicomSeries) -> None:
    """Let a segmentation that was made of `single_frame_sources` refer to the images and frames of the series."""
    slot_of = {str(source.SOPInstanceUID): slot for slot, source in enumerate(sources)}
    references = {
        id(reference): reference  # the frames of a slice may share it
        for groups in segmentation.PerFrameFunctionalGroupsSequence
        for derivation in groups.DerivationImageSequence
        for reference in derivation.SourceImageSequence
    }
    for reference in references.values():
        slot = slot_of[str(reference.ReferencedSOPInstanceUID)]
        _name_image(reference, series.headers[slot])
        if frame := series.frame_numbers[slot]:
            reference.ReferencedFrameNumber = frame
    images = {str(header.SOPInstanceUID): header for header in series.headers}
    segmentation.SourceImageSequence = [_image_reference(header) for header in images.values()]
    (referenced,) = segmentation.ReferencedSeriesSequence
    referenced.ReferencedInstanceSequence = [_image_reference(header) for header in images.values()]


def _image_reference(header: Any) -> Dataset:
    from pydicom import Dataset

    reference = Dataset()
    _name_image(reference, header)
    return reference


def _name_image(reference: Dataset, header: Any) -> None:
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
