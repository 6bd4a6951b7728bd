"""Which image series and which segmentations are among some DICOM files, from their headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .folder import SEGMENTATIONS, image_headers, require_pydicom, suppress_dicom_warnings, usable_series
from .object_kind import storage_class

_MIN_IMAGES = 2


@dataclass(frozen=True)
class DicomObject:
    """A series of images, or a segmentation.

    Attributes
    ----------
    path : Path
        Folder of the series, or file of the segmentation.
    series : str
        Which series it is, as `read_volume` takes it; empty if the folder has no other.
    uid : str
        Series Instance UID of the images, or of those that the segmentation refers to.
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
    found = [one for one in usable_series(image_headers(files, folder)) if one.images >= _MIN_IMAGES]
    numbers = [one.number for one in found]
    return [
        DicomObject(
            folder,
            ""
            if len(found) == 1
            else str(one.number)
            if one.number is not None and numbers.count(one.number) == 1
            else one.first,
            one.uid,
        )
        for one in found
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
    """Series Instance UID of the images that a segmentation refers to; empty if it says none or several."""
    from pydicom import dcmread

    with suppress_dicom_warnings():
        try:
            header = dcmread(file, stop_before_pixels=True, specific_tags=["ReferencedSeriesSequence"], force=True)
            found = {str(one.SeriesInstanceUID) for one in header.ReferencedSeriesSequence}
        except Exception:  # pydicom raises anything at damaged data
            return ""
    return found.pop() if len(found) == 1 else ""
