"""Choice of one image series among DICOM headers."""

from __future__ import annotations

import filecmp
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...core.numbers import int_or_none
from .attributes import DOSE, attribute, file_name, frame_count, has_position, numbers, suppress_dicom_warnings

if TYPE_CHECKING:
    from pydicom import Dataset

# Codes of errors that are resolved by choosing a series.
SERIES_ERRORS = ("many_series", "series_unknown")
# Attributes that are equal in all images of a series. Positions in several frames of reference can't be compared.
_SHARED = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")
# Patient IDs that many patients have: programs that remove names write them.
_NO_PATIENT = re.compile(
    r"\W*|[0\W]+|x+|anon[a-z]*|de-?identified|unknown|none|n/?a|no[ _-]?id|removed", re.IGNORECASE
)
# Maximum number of series that an error lists.
_MAX_LISTED = 8


@dataclass(frozen=True)
class SeriesSummary:
    """An image series: its Series Instance UID and Series Number, name of its first file, number of its images."""

    uid: str
    number: int | None
    first: str
    images: int


@dataclass(frozen=True)
class NamedSeries:
    """An image series.

    Attributes
    ----------
    name : str
        As `choose_series` takes it: Series Number, or name of a file.
    patient : str
        The same for all series of one patient, as far as that is known: Patient ID, or Study Instance UID where that
        is missing or says that it was removed. It is to be compared, and neither stored nor displayed.
    """

    name: str
    patient: str = field(repr=False)


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
        images = _single_images(_without_images(chosen[0], _is_accessory), path)
        _require_shared_attributes(images, path)
        return images


def named_series(headers: Sequence[Dataset]) -> list[NamedSeries]:
    """The series of some headers, without those that only accompany others."""
    with suppress_dicom_warnings():
        groups = _without_accessories(_by_series(headers))
        series_numbers = [_number(group) for group in groups]
        return [
            NamedSeries(
                file_name(group[0]) if number is None or series_numbers.count(number) > 1 else str(number),
                _patient(group[0]),
            )
            for group, number in zip(groups, series_numbers, strict=True)
        ]


def _patient(header: Dataset) -> str:
    patient, study = (str(attribute(header, name) or "").strip() for name in ("PatientID", "StudyInstanceUID"))
    return study if _NO_PATIENT.fullmatch(patient) else f"patient {patient}"


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
    """Description of series without patient data, such as '3 (20 CT images, such as 001.dcm)'."""
    descriptions = []
    for group in groups[:_MAX_LISTED]:
        number, count = _number(group), sum(map(frame_count, group))
        kind = "".join(letter for letter in str(attribute(group[0], "Modality") or "") if letter.isalnum())[:16]
        images = " ".join(filter(None, (str(count), kind, "image" if count == 1 else "images")))
        name = "one without a number" if number is None else str(number)
        descriptions.append(f"{name} ({images}, such as {file_name(group[0])})")
    return ", ".join(descriptions) + (" ..." if len(groups) > _MAX_LISTED else "")


def _lacks_position(header: Any) -> bool:
    return not has_position(header)


def _is_accessory(header: Any) -> bool:
    """Whether an image only accompanies others: a localizer, dose map or colour image."""
    kinds = attribute(header, "ImageType") or ()
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    colours = attribute(header, "SamplesPerPixel") or 1
    return "LOCALIZER" in kinds or attribute(header, "SOPClassUID") == DOSE or colours != 1


def _without_accessories(groups: list[list[Dataset]]) -> list[list[Dataset]]:
    return _without_series_of(_without_series_of(groups, _lacks_position), _is_accessory)


def _without_series_of(groups: list[list[Dataset]], unwanted: Any) -> list[list[Dataset]]:
    """The series with at least one image that is not `unwanted`; all series if there is none."""
    return [group for group in groups if not all(map(unwanted, group))] or groups


def _without_images(group: list[Dataset], unwanted: Any) -> list[Dataset]:
    """The images of a series that are not `unwanted`; all images if there is none."""
    return [header for header in group if not unwanted(header)] or group


def _single_images(group: list[Dataset], path: Path) -> list[Dataset]:
    """The images of a series that have a position; images of another SOP class, as screenshots, may have none."""
    placed = [header for header in group if has_position(header)]
    kinds = {str(attribute(header, "SOPClassUID")) for header in placed}
    for header in group:
        if not has_position(header) and (not placed or str(attribute(header, "SOPClassUID")) in kinds):
            raise InputError("series_no_place", path=path, first=file_name(header))
    return placed


def _require_shared_attributes(images: Sequence[Dataset], path: Path) -> None:
    """Refuse images of several patients, studies or frames of reference; the error names a file, not the value.

    Images of as many studies, or frames of reference, as there are images pass: some writers, such as GDCM, make up
    a UID for each.
    """
    for keyword in _SHARED:
        values = [str(attribute(image, keyword) or "").strip() for image in images]
        counts = Counter(filter(None, values))  # files that lack the attribute may belong to the others
        (usual, most), *rest = counts.most_common() or [("", 0)]
        if rest and (most > 1 or keyword == "PatientID"):
            others = [image for image, value in zip(images, values, strict=True) if value not in ("", usual)]
            raise InputError(
                "series_patients",
                path=path,
                what=keyword,
                count=len(others),
                total=len(images),
                first=file_name(others[0]),
            )
