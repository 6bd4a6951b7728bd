"""Listing of the image series and segmentations among DICOM files, from their headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .attributes import SEGMENTATIONS, require_pydicom, suppress_dicom_warnings
from .folder import image_headers
from .object_kind import storage_class
from .series_choice import usable_series

_MIN_IMAGES = 2


@dataclass(frozen=True)
class DicomObject:
    """A series of images, or a segmentation.

    Attributes
    ----------
    path : Path
        Folder of the series, or file of the segmentation.
    series : str
        Name of the series, as `read_volume` takes it; empty if the folder has no other.
    uid : str
        Series Instance UID of the images, or of the images that the segmentation refers to.
    """

    path: Path
    series: str = ""
    uid: str = ""


def list_series(files: Sequence[Path], folder: Path) -> list[DicomObject]:
    """Image series of more than one image among the files of a folder.

    Raises
    ------
    InputError
        pydicom is missing, or a file is damaged.
    """
    listed = [series for series in usable_series(image_headers(files)) if series.images >= _MIN_IMAGES]
    numbers = [series.number for series in listed]
    return [
        DicomObject(
            folder,
            ""
            if len(listed) == 1
            else str(series.number)
            if series.number is not None and numbers.count(series.number) == 1
            else series.first,
            series.uid,
        )
        for series in listed
    ]


def list_segmentations(files: Sequence[Path], folder: Path) -> list[DicomObject]:
    """DICOM segmentations among files.

    Raises
    ------
    InputError
        pydicom is missing.
    """
    require_pydicom()
    return [DicomObject(file, uid=_referenced_series(file)) for file in files if storage_class(file) in SEGMENTATIONS]


def _referenced_series(file: Path) -> str:
    """Series Instance UID of the images that a segmentation refers to; empty if there is none or several."""
    from pydicom import dcmread

    with suppress_dicom_warnings():
        try:
            header = dcmread(file, stop_before_pixels=True, specific_tags=["ReferencedSeriesSequence"], force=True)
            uids = {str(item.SeriesInstanceUID) for item in header.ReferencedSeriesSequence}
        except Exception:  # pydicom raises errors of many types for damaged data
            return ""
    return uids.pop() if len(uids) == 1 else ""
