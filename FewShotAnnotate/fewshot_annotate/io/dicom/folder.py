"""Headers of the DICOM image series in a folder; other objects are ignored, and no pixels are decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...core import paths
from ...core.errors import InputError, Message
from .attributes import SEGMENTATIONS, require_pydicom, suppress_dicom_warnings
from .functional_groups import FUNCTIONAL_GROUPS
from .series_choice import NamedSeries, choose_series, named_series

if TYPE_CHECKING:
    from pydicom import Dataset

# Length in bytes of the preamble of a DICOM file, which its signature follows.
_PREAMBLE_BYTES = 128


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its signature, or by the first element of a file without the usual preamble."""
    if not paths.is_file(path):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(_PREAMBLE_BYTES + 4)
    except OSError:
        return False
    return start[_PREAMBLE_BYTES:] == b"DICM" or _is_bare(start)


def read_image_headers(path: Path, series: str | None = None) -> list[Dataset]:
    """Headers of one image series: of a file, of a folder, or of the folders within a folder without images.

    Segmentations, structure sets, reports, presentation states, images without a position and duplicate files are
    ignored; localizers, dose maps and colour images too if there are other images.

    Parameters
    ----------
    path : Path
    series : str, optional
        Series Instance UID, Series Number or the name of a file of the series.

    Raises
    ------
    InputError
        The path does not exist, holds no image or several series of which none was chosen, or a file is damaged.
    """
    paths.require_existing(path)
    if not paths.is_folder(path):
        return choose_series(image_headers([path]), path, series)
    headers = image_headers(filter(paths.is_file, paths.entries(path)))
    if not headers:
        headers = image_headers(_files_below(path))
    return choose_series(headers, path, series)


def image_headers(files: Iterable[Path]) -> list[Dataset]:
    """Headers without pixel data of the images among some files.

    Raises
    ------
    InputError
        A file that is damaged.
    """
    require_pydicom()
    with suppress_dicom_warnings():
        headers = [header for file in files if (header := _image_header(file)) is not None]
    return headers


def image_series(folder: Path) -> list[NamedSeries]:
    """The image series in a folder, without those in folders within it, as `read_image_headers` takes them.

    Series that only accompany others, such as localizers, are left out, and damaged files are ignored.

    Raises
    ------
    InputError
        pydicom is not installed.
    """
    headers = []
    for file in filter(paths.is_file, paths.entries(folder)):
        try:
            headers += image_headers([file])
        except InputError as error:
            if error.code == "package_missing":
                raise
    return named_series(headers)


def _files_below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for name in sorted(names) if paths.is_file(path := Path(root, name)))


def _is_bare(start: bytes) -> bool:
    """Whether a file begins with an element of group 2 or 8 in little or big endian, without preamble."""
    if start[:2] in (b"\x02\x00", b"\x08\x00"):
        length = start[4:8]
        explicit = length[:2].isalpha() and length[:2].isupper()
        return start[3:4] == b"\x00" and (explicit or length[2:] == b"\x00\x00")
    return start[:2] == b"\x00\x08" and start[2:3] == b"\x00" and start[4:6].isalpha() and start[4:6].isupper()


def _image_header(file: Path) -> Dataset | None:
    """Header of a file, or None if it is no image."""
    from pydicom import dcmread

    if not is_dicom(file):
        if file.suffix.lower() == ".dcm" and not file.name.startswith("."):
            raise InputError("file_unreadable", path=file, detail=Message("no_dicom_file"))
        return None
    try:
        header = dcmread(file, stop_before_pixels=True, force=True)
        kind = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", ""))
        if kind in SEGMENTATIONS or header.get("Modality") in ("SEG", "PR"):
            return None
        if header.get("Rows") is None or header.get("Columns") is None:
            if not _is_image_storage(kind):
                return None
            raise ValueError("an image without a size")
        _decode_groups(header)
    except Exception:  # pydicom raises errors of many types for damaged data
        raise InputError("file_unreadable", path=file, detail=Message("slice_damaged")) from None
    return header


def _decode_groups(header: Dataset) -> None:
    """Decode the sequences that describe frames; if one is damaged, frames would get wrong positions."""
    for name in FUNCTIONAL_GROUPS:
        for item in header.get(name) or ():
            for group in item:
                assert group is not None


def _is_image_storage(kind: str) -> bool:
    from pydicom.uid import UID

    return UID(kind).name.endswith("Image Storage")
