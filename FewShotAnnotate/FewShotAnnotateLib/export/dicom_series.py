"""The DICOM series that a segmentation belongs to: its headers in spatial order and its grid. No pixel is decoded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import paths
from ..core.dicom_folder import choose_series, file_name, frame_count, image_headers, quiet_dicom, read_image_headers
from ..core.dicom_frames import frames_of
from ..core.dicom_series import stack_geometry
from ..core.dicom_stack import missing_words, stack_slices
from ..core.errors import InputError
from ..core.volume import Geometry
from .dicom_headers import normalised_headers

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DicomSeries", "file_name", "read_series", "read_series_files", "require_packages"]
# What must be there and the same in all slices of a series that a segmentation can refer to.
_SHARED = ("StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID")


@dataclass(frozen=True)
class DicomSeries:
    """A series of single-frame images.

    Attributes
    ----------
    path : Path
        Its folder.
    headers : tuple of pydicom.Dataset
        One for each slice that is there, in spatial order: what a segmentation takes from it, in UTF-8.
    places : tuple of int
        Slice number k of each header on the grid.
    geometry : Geometry
        The grid with its missing slices; with a tilted gantry k is not perpendicular to i and j.
    tilt : float
        Gantry tilt in degrees.
    missing : str
        Where slices are missing, in words; empty if none is.
    changed : tuple of str
        Attributes whose values broke the standard, so that `headers` hold them otherwise or empty.
    """

    path: Path
    headers: tuple[Dataset, ...]
    places: tuple[int, ...]
    geometry: Geometry
    tilt: float
    missing: str
    changed: tuple[str, ...] = ()

    @property
    def positions(self) -> np.ndarray:
        """Centres of the first pixels in mm, LPS, shape [len(headers), 3]."""
        return np.array([header.ImagePositionPatient for header in self.headers], dtype=float)


def require_packages() -> None:
    """Raise `InputError` if the packages for DICOM are not installed."""
    for package in ("pydicom", "highdicom"):
        if find_spec(package) is None:
            raise InputError("dicom_packages_missing", package=package)


def read_series(folder: str | Path, series: str | None = None) -> DicomSeries:
    """The image series of a folder. Other objects in it, such as segmentations or reports, are left aside.

    Parameters
    ----------
    folder : path
    series : str, optional
        Series Instance UID, Series Number or the name of a file, where the folder holds several series.

    Raises
    ------
    InputError
        No folder, none or several series, slices that differ in size, are not parallel, doubled or unevenly spaced.
    """
    require_packages()
    folder = Path(folder)
    if not S_ISDIR(paths.require_there(folder).st_mode):
        raise InputError("series_is_file", path=folder)
    return _as_series(read_image_headers(folder, series), folder)


def read_series_files(files: Iterable[Path], path: Path, series: str | None = None) -> DicomSeries:
    """As `read_series`, of these files; `path` names them in errors."""
    require_packages()
    return _as_series(choose_series(image_headers(files, path), path, series), path)


def _as_series(headers: list[Dataset], path: Path) -> DicomSeries:
    with quiet_dicom():
        for header in headers:
            if frame_count(header) > 1 or "SharedFunctionalGroupsSequence" in header:
                raise InputError("series_multiframe", path=path, first=file_name(header))
        if len(headers) < 2:
            raise InputError("series_one_slice", path=path)
        _require_alike(headers, path)
        frames = frames_of(headers, path)
        slices = [frame.place for frame in frames]
        stack = stack_slices(slices, path)
        ordered = [frames[number] for number in stack.order]
        geometry = stack_geometry(ordered, stack)
        normal, changed = normalised_headers([frame.header for frame in ordered], float(geometry.spacing[2]))
    return DicomSeries(path, normal, stack.places, geometry, stack.tilt, missing_words(stack, slices), changed)


def _require_alike(headers: list[Any], path: Path) -> None:
    """Refuse slices that do not name their study, class or frame of reference, or name others."""
    for header in headers:
        for name in _SHARED:
            value = header.get(name)
            if not value:
                raise InputError("series_frames", path=path, first=file_name(header), what=name)
            if value != headers[0].get(name):
                raise InputError("series_sizes", path=path, what=name, first=file_name(header))
