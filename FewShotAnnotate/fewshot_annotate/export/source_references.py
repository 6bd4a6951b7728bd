"""References of a segmentation to its source: images, or frames of one or several multi-frame images.

highdicom accepts either single-frame images or one multi-frame image. A series may also consist of several
multi-frame files (a concatenation, or one file per slice), so each slice is given to highdicom as a single-frame
image, and the references to these are replaced by references to the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .dicom_series import DicomSeries

if TYPE_CHECKING:
    from pydicom import Dataset

_SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture Image Storage


def single_frame_sources(series: DicomSeries) -> list[Dataset]:
    """Headers of the slices as single-frame images of one pixel, as input of highdicom."""
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    headers = []
    for header, frame in zip(series.headers, series.frame_numbers, strict=True):
        single = Dataset()
        single.update(header)
        single.file_meta = header.file_meta
        for name in ("Rows", "Columns"):  # new elements; the others are shared with the header
            single.add_new(name, "US", 1)
        if frame:
            single.add_new("SOPClassUID", "UI", _SINGLE_FRAME)
            single.add_new("SOPInstanceUID", "UI", generate_uid(prefix=None))
        headers.append(single)
    return headers


def refer_to_frames(segmentation: Dataset, sources: Sequence[Dataset], series: DicomSeries) -> None:
    """Replace the references to `single_frame_sources` in a segmentation by references to the series."""
    slot_of = {str(source.SOPInstanceUID): slot for slot, source in enumerate(sources)}
    references = {
        id(reference): reference  # the frames on one slice may share it
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
