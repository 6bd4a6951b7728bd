"""The DICOM series that a segmentation belongs to: its headers in spatial order and its grid. No pixel is decoded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import paths
from ..core.errors import InputError, Message
from ..core.volume import Geometry
from ..io.dicom.attributes import attribute, file_name, frame_count, suppress_dicom_warnings
from ..io.dicom.folder import image_headers, is_dicom, read_image_headers
from ..io.dicom.frames import frames_of
from ..io.dicom.functional_groups import SourceImage
from ..io.dicom.object_kind import require_image
from ..io.dicom.series import stack_geometry
from ..io.dicom.series_choice import choose_series
from ..io.dicom.slice_stack import describe_missing, stack_slices
from .dicom_headers import image_header, normalised_headers

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DicomSeries", "file_name", "read_series", "read_series_files", "require_packages"]
# Attributes that must be present and equal in all slices, so that a segmentation can refer to the series.
_SHARED = ("StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID")


@dataclass(frozen=True, kw_only=True)
class DicomSeries:
    """A series of images, single-frame or multi-frame.

    Attributes
    ----------
    path : Path
        Its folder, or the multi-frame file.
    headers : tuple of pydicom.Dataset
        One for each existing slice, in spatial order, with the attributes that a segmentation needs, in UTF-8. The
        header of a frame is like that of a single-frame image.
    frame_numbers : tuple of int
        Frame number of each header in its multi-frame image, from 1; 0 for a single-frame image.
    slice_indices : tuple of int
        Slice number k of each header on the grid.
    geometry : Geometry
        The grid, including missing slices; if the gantry was tilted, k is not perpendicular to i and j.
    tilt : float
        Gantry tilt in degrees.
    missing : str
        Description of where slices are missing; empty if none is.
    changed : tuple of str
        Attributes whose values violated the standard; in `headers` they are repaired or empty.
    """

    path: Path
    headers: tuple[Dataset, ...]
    frame_numbers: tuple[int, ...]
    slice_indices: tuple[int, ...]
    geometry: Geometry
    tilt: float
    missing: str
    changed: tuple[str, ...] = ()

    @property
    def positions(self) -> np.ndarray:
        """Centres of the first pixels in mm, LPS, shape [len(headers), 3]."""
        return np.array([header.ImagePositionPatient for header in self.headers], dtype=float)

    @property
    def sources(self) -> tuple[SourceImage, ...]:
        """Image or frame that a segmentation refers to, for each existing slice."""
        uids = [str(header.SOPInstanceUID) for header in self.headers]
        return tuple(map(SourceImage, uids, self.frame_numbers))

    def slice_name(self, slot: int) -> Message | str:
        """Name of an existing slice in messages: its file, and its frame number in a multi-frame file."""
        name, frame = file_name(self.headers[slot]), self.frame_numbers[slot]
        return Message("frame_of_file", frame=frame, file=name) if frame else name


def require_packages() -> None:
    """Raise `InputError` if the packages for DICOM are not installed."""
    for package in ("pydicom", "highdicom"):
        if find_spec(package) is None:
            raise InputError("dicom_packages_missing", package=package, install='"fewshot-annotate[dicom]"')


def read_series(path: str | Path, series: str | None = None) -> DicomSeries:
    """The image series of a folder or of a multi-frame file.

    Other objects in a folder, such as segmentations or reports, are ignored.

    Parameters
    ----------
    path : path
    series : str, optional
        Series Instance UID, Series Number or the name of a file; needed if the folder holds several series.

    Raises
    ------
    InputError
        The path does not exist, is a file of one slice, or holds no or several series; or slices differ in size, are
        not parallel, duplicate or unevenly spaced.
    """
    require_packages()
    path = Path(path)
    paths.require_existing(path)
    if not paths.is_folder(path):
        require_image(path)
        if not is_dicom(path):
            raise InputError("series_is_file", path=path)
    return _as_series(read_image_headers(path, series), path)


def read_series_files(files: Iterable[Path], path: Path) -> DicomSeries:
    """As `read_series`, for these files; `path` denotes them in errors."""
    require_packages()
    return _as_series(choose_series(image_headers(files), path), path)


def _as_series(headers: list[Dataset], path: Path) -> DicomSeries:
    with suppress_dicom_warnings():
        if sum(map(frame_count, headers)) < 2:
            raise InputError("series_one_slice" if paths.is_folder(path) else "series_is_file", path=path)
        _require_alike(headers, path)
        frames = frames_of(headers, path)
        slices = [frame.plane for frame in frames]
        stack = stack_slices(slices, path)
        ordered = [frames[number] for number in stack.order]
        geometry = stack_geometry(ordered, stack)
        normal, changed = normalised_headers([image_header(frame) for frame in ordered], float(geometry.spacing[2]))
    return DicomSeries(
        path=path,
        headers=normal,
        frame_numbers=tuple(frame.number + 1 if frame.is_of_many else 0 for frame in ordered),
        slice_indices=stack.lattice_indices,
        geometry=geometry,
        tilt=stack.tilt,
        missing=describe_missing(stack, slices),
        changed=changed,
    )


def _require_alike(headers: list[Any], path: Path) -> None:
    """Refuse slices whose study, SOP class or frame of reference is missing or differs."""
    for header in headers:
        for name in _SHARED:
            value = attribute(header, name)
            if not value:
                raise InputError("series_frames", path=path, first=file_name(header), what=name)
            if value != attribute(headers[0], name):
                raise InputError("series_sizes", path=path, what=name, first=file_name(header))
