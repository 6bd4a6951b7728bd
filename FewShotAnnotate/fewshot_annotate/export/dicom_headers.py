"""Normalisation of the headers of source images to the DICOM standard.

A segmentation copies the patient and study attributes, of which highdicom accepts conforming values only. So texts
are decoded (and written as UTF-8), dates and times are reformatted, and values that cannot be repaired are left
empty. Identifiers that other objects refer to are never changed.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..io.dicom.attributes import suppress_dicom_warnings
from ..io.dicom.frames import Frame
from ..io.dicom.segments import without_designations

if TYPE_CHECKING:
    from pydicom import Dataset

_PATIENT_GROUPS = (0x0010, 0x0012)  # patient, clinical trial
_STUDY = (
    *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianName", "ReferringPhysicianIdentificationSequence"),
    *("ConsultingPhysicianName", "ConsultingPhysicianIdentificationSequence"),
    *("PhysiciansOfRecord", "PhysiciansOfRecordIdentificationSequence"),
    *("NameOfPhysiciansReadingStudy", "PhysiciansReadingStudyIdentificationSequence"),
    *("ProcedureCodeSequence", "ReasonForPerformedProcedureCodeSequence", "ReferencedStudySequence"),
    *("RequestingService", "RequestingServiceCodeSequence", "ReasonForVisit", "ReasonForVisitCodeSequence"),
    *("AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence"),
    *("AdmissionID", "IssuerOfAdmissionIDSequence"),
    *("ServiceEpisodeID", "ServiceEpisodeDescription", "IssuerOfServiceEpisodeIDSequence", "PatientState"),
)
_IMAGE = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PatientID", "Modality", "SeriesNumber", "InstanceNumber", "PositionReferenceIndicator"),
    *("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("SliceThickness", "SpacingBetweenSlices"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
# Type 2 attributes of patient and study, which must be present but may be empty. Some writers leave them out.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
# Identifiers, by which archives store objects; those of the patient's other objects are the same, conforming or not.
_IDENTITY = {
    *("PatientID", "PatientName", "AccessionNumber", "StudyID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID"),
}
_CHARACTER_SET = 0x00080005
_MAX_CHARACTERS = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240, "UC": 2**32 - 2, "UT": 2**32 - 2, "PN": 64}
_PARAGRAPHS = ("ST", "LT", "UT")  # of one value, which may have several lines
_SEXES = {"MALE": "M", "FEMALE": "F", "OTHER": "O"}
_DATE = re.compile(r"(\d{4})[-./]?(\d\d)[-./]?(\d\d)")
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(\.\d{1,6})?\d*)?)?")
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_CODE = re.compile(r"[A-Z0-9 _]{0,16}")


@suppress_dicom_warnings()
def normalised_headers(headers: Sequence[Dataset], gap: float) -> tuple[tuple[Dataset, ...], tuple[str, ...]]:
    """The attributes that a segmentation needs from the headers of a series, and those that violated the standard.

    Parameters
    ----------
    headers : sequence of pydicom.Dataset
    gap : float
        Distance between slices in mm, for those without Slice Thickness.

    Returns
    -------
    headers : tuple of pydicom.Dataset
        The first one with all attributes of patient and study, the others with position and identifiers.
    changed : tuple of str
        Keywords of attributes whose values were repaired or left empty.
    """
    from pydicom.valuerep import format_number_as_ds

    changed: dict[str, None] = {}
    result = []
    for number, header in enumerate(headers):
        tags = _wanted_tags(header, complete=number == 0)
        normal = _normalised(header, tags, _encodings(header, changed), changed)
        for name in _MAY_BE_EMPTY:
            if name not in normal:
                setattr(normal, name, "")
        if not normal.get("SliceThickness"):
            normal.SliceThickness = format_number_as_ds(gap)
        normal.SpecificCharacterSet = "ISO_IR 192"
        normal.filename, normal.file_meta = header.filename, header.file_meta
        result.append(normal)
    return tuple(result), tuple(changed)


def image_header(frame: Frame) -> Dataset:
    """Header of a frame as if it were a single-frame image, with its position outside of functional groups."""
    from pydicom import Dataset
    from pydicom.valuerep import format_number_as_ds

    if not frame.is_of_many:
        return frame.header
    header = Dataset()
    header.update(frame.header)
    header.filename, header.file_meta = frame.header.filename, frame.header.file_meta
    for name, values in (
        ("ImagePositionPatient", frame.plane.position),
        ("ImageOrientationPatient", (*frame.plane.row, *frame.plane.column)),
        ("PixelSpacing", frame.spacing),
    ):
        setattr(header, name, [format_number_as_ds(value) for value in values])
    header.SliceThickness = format_number_as_ds(frame.thickness) if frame.thickness else None
    return header


def _wanted_tags(header: Any, complete: bool) -> Iterator[Any]:
    from pydicom.datadict import tag_for_keyword

    named = {tag_for_keyword(name) for name in (*_IMAGE, *(_STUDY if complete else ()))}
    tags = sorted(header.keys())  # iterating over the data set itself would convert its values
    return (tag for tag in tags if tag in named or (complete and tag.group in _PATIENT_GROUPS))


def _normalised(source: Any, tags: Iterable[Any], encodings: Sequence[str], changed: dict[str, None]) -> Dataset:
    from pydicom import DataElement, Dataset
    from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag

    result = Dataset()
    for tag in tags:
        if not dictionary_has_tag(tag):
            continue
        name, vr = keyword_for_tag(tag), dictionary_VR(tag)
        try:
            if vr == "SQ":
                items = [_item(item, encodings) for item in source[tag].value]
                result.add(DataElement(tag, "SQ", items))
            elif vr in _MAX_CHARACTERS or vr in _FORMS:
                texts, altered = _repaired(name, vr, _texts(source, tag, vr, encodings))
                if altered:
                    changed[name] = None
                result.add(DataElement(tag, vr, texts[0] if len(texts) == 1 else texts or ""))
            else:
                result.add(source[tag])
        except Exception:  # _IrreparableError, and pydicom raises errors of many types for damaged data
            changed[name] = None
            if vr != "SQ":
                result.add(DataElement(tag, vr, None))
    return result


class _IrreparableError(Exception):
    """A sequence has a value that would have to be left empty."""


def _item(item: Any, encodings: Sequence[str]) -> Dataset:
    """Item of a sequence. Its values depend on each other, so the sequence is useless if one cannot be repaired."""
    changed: dict[str, None] = {}
    if "SpecificCharacterSet" in item:
        encodings = _encodings(item, changed)
    tags = [tag for tag in sorted(item.keys()) if tag != _CHARACTER_SET]
    normal = _normalised(item, tags, encodings, changed)
    if any(not normal.get(name) for name in changed):
        raise _IrreparableError
    return normal


def _encodings(header: Any, changed: dict[str, None]) -> list[str]:
    """Python's names of the known character sets that a header declares."""
    from pydicom.charset import python_encoding

    name = "SpecificCharacterSet"
    if name not in header:
        return []
    encodings = []
    for term in [term.strip() for term in _declared(header)]:
        standard = _standard_term(term)
        if standard != term or standard not in python_encoding:
            changed[name] = None
        if standard in python_encoding:
            encodings.append(python_encoding[standard])
    return encodings if any(_declared(header)) else []


def _declared(header: Any) -> list[str]:
    raw = header.get_item("SpecificCharacterSet").value
    text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
    return [value.strip(" \0") for value in (text.split("\\") if isinstance(text, str) else map(str, text or ()))]


def _standard_term(term: str) -> str:
    """The defined term of Specific Character Set for a common misspelling."""
    compact = re.sub(r"[\s_-]+", "", term.upper())
    if match := re.fullmatch(r"ISO2022IR(\d+)", compact):
        return f"ISO 2022 IR {match[1]}"
    if match := re.fullmatch(r"(?:ISO)?IR(\d+)", compact):
        return f"ISO_IR {match[1]}"
    if match := re.fullmatch(r"(?:ISO)?8859(\d)|LATIN(1)", compact):
        return {"1": "ISO_IR 100", "2": "ISO_IR 101", "5": "ISO_IR 144"}.get(match[1] or match[2], term)
    return {"UTF8": "ISO_IR 192", "ASCII": "", "GBK": "GBK", "GB18030": "GB18030"}.get(compact, term)


def _texts(source: Any, tag: Any, vr: str, encodings: Sequence[str]) -> list[str]:
    """Values of an element as text."""
    raw = source.get_item(tag).value
    if isinstance(raw, bytes):
        text = _decoded(raw, encodings) if vr in _MAX_CHARACTERS else raw.decode("ascii", "replace")
        values = [text] if vr in _PARAGRAPHS else text.split("\\")
    elif raw is None:
        values = []
    elif isinstance(raw, Sequence) and not isinstance(raw, str):
        values = [str(value) for value in raw]
    else:
        values = [str(raw)]
    return [value.rstrip(" \0") if vr in _PARAGRAPHS else value.strip(" \0") for value in values]


def _decoded(raw: bytes, encodings: Sequence[str]) -> str:
    """Decode bytes by the declared character sets; if these do not fit, as UTF-8 or else as Latin-1."""
    from pydicom.charset import decode_bytes

    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if encodings:
        text = without_designations(decode_bytes(raw, list(encodings), {ord("^"), ord("=")}))
        if "\ufffd" not in text and "\x1b" not in text:
            return text
    for encoding in ("utf-8", *(("iso2022_jp_2", "iso2022_kr") if b"\x1b" in raw else ())):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x1b" not in text:
            return text
    return raw.decode("latin-1")


def _repaired(name: str, vr: str, texts: Sequence[str]) -> tuple[list[str], bool]:
    """Conforming values, and whether one had to be changed."""
    if name in _IDENTITY:
        printable_texts = [_printable(text, vr) for text in texts]
        return printable_texts, printable_texts != list(texts)
    form: Callable[[str], str] = _FORMS.get(vr) or (lambda text: _of_length(_printable(text, vr), vr))
    if name == "PatientSex":
        form = _sex
    values = [form(text) for text in texts]
    altered = values != list(texts)
    # If one of several values were left out, the others would change their position.
    return ([""] if altered and not all(values) and len(values) > 1 else values), altered


def _printable(text: str, vr: str) -> str:
    lines = "\r\n\t\f" if vr in _PARAGRAPHS else ""
    return "".join(letter for letter in text if letter in lines or letter.isprintable())


def _of_length(text: str, vr: str) -> str:
    """The text, or empty if it is longer than its VR allows, because a cut text may have another meaning."""
    if vr == "PN":
        groups = text.split("=")
        fits = len(groups) <= 3 and all(len(group) <= 64 and group.count("^") <= 4 for group in groups)
    else:
        fits = len(text) <= _MAX_CHARACTERS[vr]
    return text if fits else ""


def _date(text: str) -> str:
    match = _DATE.fullmatch(text)
    if match is None:
        return ""
    try:
        datetime.date(*map(int, match.groups()))
    except ValueError:
        return ""
    return "".join(match.groups())


def _time(text: str) -> str:
    match = _TIME.fullmatch(text)
    return "".join(group or "" for group in match.groups()) if match else ""


def _date_time(text: str) -> str:
    from pydicom.valuerep import DT

    try:
        return text if DT(text) is not None else ""
    except (ValueError, TypeError):
        return ""


def _age(text: str) -> str:
    match = _AGE.fullmatch(text.upper())
    return f"{int(match[1]):03}{match[2]}" if match else ""


def _code(text: str) -> str:
    return text.upper() if _CODE.fullmatch(text.upper()) else ""


def _sex(text: str) -> str:
    value = _SEXES.get(text.upper(), text.upper())
    return value if value in _SEXES.values() else ""


def _uid(text: str) -> str:
    return text if len(text) <= 64 and re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", text) else ""


def _decimal(text: str) -> str:
    from pydicom.valuerep import format_number_as_ds

    value = float(text)  # an error leaves the element empty
    return text if len(text) <= 16 and text.isascii() and "_" not in text else str(format_number_as_ds(value))


def _integer(text: str) -> str:
    return str(int(text)) if re.fullmatch(r"[+-]?0*\d{1,10}", text) and abs(int(text)) < 2**31 else ""


_FORMS: dict[str, Callable[[str], str]] = {
    "DA": _date,
    "TM": _time,
    "DT": _date_time,
    "AS": _age,
    "CS": _code,
    "UI": _uid,
    "DS": _decimal,
    "IS": _integer,
}
