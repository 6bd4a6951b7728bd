"""Headers of the DICOM image series in a folder; other objects are ignored, and no pixels are decoded."""

from __future__ import annotations

import contextlib
import filecmp
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core import paths
from ...core.errors import InputError
from ...core.numbers import int_or_none
from .functional_groups import FUNCTIONAL_GROUPS

if TYPE_CHECKING:
    from pydicom import Dataset

# Storage classes of pixels that are no images: segmentations, kept with one bit or one label per voxel.
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
# Codes of errors that are resolved by choosing a series.
SERIES_ERRORS = ("many_series", "series_unknown")
_PREAMBLE = 128
_LISTED = 8


@contextlib.contextmanager
def suppress_dicom_warnings() -> Iterator[None]:
    """Context manager: suppress warnings of pydicom and highdicom, which quote patient data, and value validation."""
    from pydicom.config import disable_value_validation

    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def require_pydicom() -> None:
    """Raise `InputError` if pydicom is not installed."""
    if find_spec("pydicom") is None:
        raise InputError("package_missing", package="pydicom", install="pydicom")


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its signature, or by the first element of a file without the usual preamble."""
    if not paths.is_file(path):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(_PREAMBLE + 4)
    except OSError:
        return False
    return start[_PREAMBLE:] == b"DICM" or _is_bare(start)


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
        return choose_series(image_headers([path], path), path, series)
    headers = image_headers(filter(paths.is_file, paths.entries(path)), path)
    if not headers:
        headers = image_headers(_files_below(path), path)
    return choose_series(headers, path, series)


def image_headers(files: Iterable[Path], path: Path) -> list[Dataset]:
    """Headers without pixel data of the images among some files; `path` names them in errors.

    Raises
    ------
    InputError
        A file that is damaged.
    """
    require_pydicom()
    with suppress_dicom_warnings():
        headers = [header for file in files if (header := _image_header(file)) is not None]
    return headers


@dataclass(frozen=True)
class SeriesSummary:
    """An image series: its Series Instance UID and Series Number, name of its first file, number of its images."""

    uid: str
    number: int | None
    first: str
    images: int


def usable_series(headers: Sequence[Dataset]) -> list[SeriesSummary]:
    """The series of some headers, without those that only accompany others, such as localizers."""
    with suppress_dicom_warnings():
        groups = _by_series(_without_copies(headers))
        return [
            SeriesSummary(
                str(attribute(group[0], "SeriesInstanceUID") or ""),
                _number(group),
                file_name(group[0]),
                sum(map(frame_count, group)),
            )
            for group in _without_accessories(groups)
        ]


def choose_series(headers: Sequence[Dataset], path: Path, series: str | None = None) -> list[Dataset]:
    """The images of one series, as `read_image_headers` describes it."""
    if not headers:
        raise InputError("no_series", path=path)
    with suppress_dicom_warnings():
        groups = _by_series(_without_copies(headers))
        if series is not None:
            chosen = [group for group in groups if _is_named(group, series.strip())]
            if not chosen:
                raise InputError("series_unknown", path=path, series=series, known=_listed(groups))
        else:
            chosen = _without_accessories(groups)
        if len(chosen) > 1:
            raise InputError("many_series", path=path, count=len(chosen), known=_listed(chosen))
        return _single_images(_without_images(chosen[0], _is_accessory), path)


def image_series(folder: Path) -> list[str]:
    """The image series that lie in a folder itself, as `read_image_headers` takes them: by number or name of a file.

    Series that only accompany others, such as localizers, are left out. A damaged file is left to whoever reads its
    series.

    Raises
    ------
    InputError
        pydicom is not installed.
    """
    headers = []
    for file in filter(paths.is_file, paths.entries(folder)):
        try:
            headers += image_headers([file], folder)
        except InputError as error:
            if error.code == "package_missing":
                raise
    with suppress_dicom_warnings():
        groups = _without(_without(_by_series(headers), _has_no_position), _is_accessory)
    known = [_number(group) for group in groups]
    return [
        file_name(group[0]) if number is None or known.count(number) > 1 else str(number)
        for group, number in zip(groups, known, strict=True)
    ]


def file_name(header: Any) -> str:
    """Name of the file that a header was read from."""
    return Path(str(header.filename)).name


def frame_count(header: Any) -> int:
    """Number of Frames, 1 where it is missing."""
    try:
        return max(int(attribute(header, "NumberOfFrames") or 1), 1)
    except (TypeError, ValueError, OverflowError):
        return 1


def has_position(header: Any) -> bool:
    """Whether a header gives the position and orientation of its image or of each frame."""
    if attribute(header, "PerFrameFunctionalGroupsSequence"):
        return True
    return all(len(numbers(header, name)) == count for name, count in _PLANE.items())


_PLANE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6}


def attribute(dataset: Any, name: str) -> Any:
    """Value of an attribute; None where it is missing or damaged.

    pydicom decodes a value when it is asked for, and raises anything at one that is damaged: its own
    BytesLengthException, struct.error, OSError, NotImplementedError.
    """
    try:
        return dataset.get(name)
    except Exception:
        return None


def numbers(dataset: Any, name: str) -> tuple[float, ...]:
    """Numbers of an attribute; empty where it is missing, empty, damaged or not made of finite numbers."""
    try:
        value = attribute(dataset, name) if dataset is not None else None
        if value is None or value == "":
            return ()
        found = tuple(float(part) for part in ([value] if isinstance(value, (int, float, str)) else value))
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if all(abs(part) < float("inf") for part in found) else ()


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
            raise InputError("file_unreadable", path=file, detail="its name ends in .dcm, but it is no DICOM file")
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
    except Exception:  # pydicom raises anything at damaged data
        raise InputError("file_unreadable", path=file, detail="the slice is damaged") from None
    return header


def _decode_groups(header: Dataset) -> None:
    """Decode the sequences that describe frames: without one of them, frames would seem to lie elsewhere."""
    for name in FUNCTIONAL_GROUPS:
        for item in header.get(name) or ():
            for group in item:
                assert group is not None


def _is_image_storage(kind: str) -> bool:
    from pydicom.uid import UID

    return UID(kind).name.endswith("Image Storage")


def _without_copies(headers: Sequence[Dataset]) -> list[Dataset]:
    """The headers without those of files that are, byte for byte, copies of an earlier one."""
    kept: dict[str, list[Dataset]] = {}
    for header in headers:
        same = kept.setdefault(str(attribute(header, "SOPInstanceUID") or ""), [])
        if not any(filecmp.cmp(str(header.filename), str(other.filename), shallow=False) for other in same):
            same.append(header)
    return [header for same in kept.values() for header in same]


def _by_series(headers: Sequence[Dataset]) -> list[list[Dataset]]:
    groups: dict[str, list[Dataset]] = {}
    for header in headers:
        groups.setdefault(str(attribute(header, "SeriesInstanceUID") or ""), []).append(header)
    return sorted(groups.values(), key=lambda group: (_number(group) is None, _number(group), file_name(group[0])))


def _number(group: Sequence[Dataset]) -> int | None:
    """Series Number."""
    found = numbers(group[0], "SeriesNumber")
    return int(found[0]) if found else None


def _is_named(group: Sequence[Dataset], series: str) -> bool:
    names = (str(attribute(group[0], "SeriesInstanceUID")), *map(file_name, group))
    if series in names:
        return True
    number = int_or_none(series)
    return number is not None and number == _number(group)


def _listed(groups: Sequence[Sequence[Dataset]]) -> str:
    """Series in words, without anything of the patient: '3 (20 CT images, such as 001.dcm)'."""
    words = []
    for group in groups[:_LISTED]:
        number, count = _number(group), sum(map(frame_count, group))
        kind = "".join(letter for letter in str(attribute(group[0], "Modality") or "") if letter.isalnum())[:16]
        images = " ".join(filter(None, (str(count), kind, "image" if count == 1 else "images")))
        name = "one without a number" if number is None else str(number)
        words.append(f"{name} ({images}, such as {file_name(group[0])})")
    return ", ".join(words) + (" ..." if len(groups) > _LISTED else "")


def _has_no_position(header: Any) -> bool:
    return not has_position(header)


def _is_accessory(header: Any) -> bool:
    """Whether an image only accompanies others: a localizer, dose map or colour image."""
    kinds = attribute(header, "ImageType") or ()
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    colours = attribute(header, "SamplesPerPixel") or 1
    return "LOCALIZER" in kinds or attribute(header, "SOPClassUID") == _DOSE or colours != 1


def _without_accessories(groups: list[list[Dataset]]) -> list[list[Dataset]]:
    return _without(_without(groups, _has_no_position), _is_accessory)


def _without(groups: list[list[Dataset]], unwanted: Any) -> list[list[Dataset]]:
    """The series that hold a wanted image; all if none does."""
    return [group for group in groups if not all(map(unwanted, group))] or groups


def _without_images(group: list[Dataset], unwanted: Any) -> list[Dataset]:
    """The wanted images of a series; all if there is none."""
    return [header for header in group if not unwanted(header)] or group


def _single_images(group: list[Dataset], path: Path) -> list[Dataset]:
    """The images of a series that say where they lie; a screenshot among them, of another class, is left aside."""
    placed = [header for header in group if has_position(header)]
    kinds = {str(attribute(header, "SOPClassUID")) for header in placed}
    for header in group:
        if not has_position(header) and (not placed or str(attribute(header, "SOPClassUID")) in kinds):
            raise InputError("series_no_place", path=path, first=file_name(header))
    return placed
