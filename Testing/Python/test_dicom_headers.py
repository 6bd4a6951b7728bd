"""Faulty headers, as scanners and archives write them, stop no fill or export, and no value is printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.volume import LabelMap, Segment
from fewshot_annotate.export.dicom_headers import normalised_headers
from fewshot_annotate.io.files import read_volume, write_label_maps
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.valuerep import validate_value
from support.image_series import GRID, assert_same_world, lenient, replace_bytes, values_by_pydicom, write_series
from support.processes import PACKAGE_PARENT

PLACEHOLDER = "N" * 64
NAMES = {
    "backslash first, kanji": ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", "iso2022_jp"),
    "kanji with a backslash in its bytes": ("\\ISO 2022 IR 87", "A^B=機能^表", "iso2022_jp"),
    "katakana and kanji": ("ISO 2022 IR 13\\ISO 2022 IR 87", "Yamada=山田^太郎", "iso2022_jp"),
    "hangul": ("\\ISO 2022 IR 149", "Hong^Gildong", "ascii"),
    "GB18030": ("GB18030", "Wang^XiaoDong=王^小东", "gb18030"),
    "GBK": ("GBK", "Wang^XiaoDong=王^小东", "gbk"),
    "UTF-8": ("ISO_IR 192", "Müller^Jürgen", "utf-8"),
    "lone code extension": ("ISO 2022 IR 100", "Müller^Jürgen", "latin-1"),
    "no space": ("ISO_IR100", "Müller^Jürgen", "latin-1"),
    "no underscore": ("ISO IR 100", "Müller^Jürgen", "latin-1"),
    "hyphens": ("ISO-IR-192", "Müller^Jürgen", "utf-8"),
    "Python's name": ("UTF-8", "Müller^Jürgen", "utf-8"),
    "Cyrillic": ("ISO_IR 144", "Люксембург", "iso8859_5"),
    "none declared, UTF-8 used": ("", "Müller^Jürgen", "utf-8"),
    "none declared, Latin-1 used": ("", "Müller^Jürgen", "latin-1"),
    "nonsense declared": ("WINDOWS", "Müller^Jürgen", "utf-8"),
}


def with_name(folder: Path, declared: str, raw: bytes) -> Path:
    """A series whose Specific Character Set and Patient's Name hold exactly these bytes."""

    def change(dataset: Dataset, index: int) -> None:
        dataset.SpecificCharacterSet = "C" * 40
        dataset.PatientName = PLACEHOLDER

    replace_bytes(write_series(folder, change), b"C" * 40, declared.encode().ljust(40))
    return replace_bytes(folder, PLACEHOLDER.encode(), raw.ljust(64))


def set_to(**values: object) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, index: int) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


def without(*names: str) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, index: int) -> None:
        for name in names:
            if name in dataset:
                delattr(dataset, name)

    return change


def item(**values: object) -> Dataset:
    dataset = Dataset()
    set_to(**values)(dataset, 0)
    return dataset


def raw(name: str, value: bytes) -> Callable[[Dataset, int], None]:
    """Set a value to these bytes, which pydicom might refuse."""

    def change(dataset: Dataset, index: int) -> None:
        tag = Tag(tag_for_keyword(name))
        dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)

    return change


SECRETS = ("1950", "Geheim", "7h30", "4.3.2.1.987654321")
# Fault -> change of each slice, and the attribute that the note names, or "" without a note.
FAULTS: dict[str, tuple[Callable[[Dataset, int], None], str]] = {
    "no slice thickness": (without("SliceThickness"), ""),
    "an empty slice thickness": (set_to(SliceThickness=None), ""),
    "no spacing between slices": (without("SpacingBetweenSlices"), ""),
    "no type 2 attributes": (
        without("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
        "",
    ),
    "empty type 2 attributes": (set_to(PatientName="", PatientID="", StudyDate="", AccessionNumber=""), ""),
    "no series number": (without("SeriesNumber"), ""),
    "no modality": (set_to(Modality=""), ""),
    "a year as birth date": (set_to(PatientBirthDate="1950"), "PatientBirthDate"),
    "an impossible birth date": (set_to(PatientBirthDate="19500231"), "PatientBirthDate"),
    "a date with hyphens": (set_to(StudyDate="2024-01-01"), "StudyDate"),
    "a date in words": (set_to(StudyDate="1 Jan 1950"), "StudyDate"),
    "a time in words": (set_to(StudyTime="7h30"), "StudyTime"),
    "a time out of range": (set_to(StudyTime="256199"), "StudyTime"),
    "a birth time in words": (set_to(PatientBirthTime="7h30"), "PatientBirthTime"),
    "an age in years": (set_to(PatientAge="45 years Geheim"), "PatientAge"),
    "a short age": (set_to(PatientAge="45Y"), "PatientAge"),
    "a sex in words": (set_to(PatientSex="Geheim"), "PatientSex"),
    "an overlong description": (set_to(StudyDescription="Geheim " * 20), "StudyDescription"),
    "an overlong comment": (set_to(PatientComments="Geheim " * 2000), "PatientComments"),
    "an overlong physician": (set_to(ReferringPhysicianName="Geheim" * 20), "ReferringPhysicianName"),
    "an overlong study id": (set_to(StudyID="Geheim" * 5), ""),
    "an overlong patient id": (set_to(PatientID="Geheim" * 12), ""),
    "a weight with its unit": (raw("PatientWeight", b"1950 kg "), "PatientWeight"),
    "a study sequence with a bad UID": (
        lambda dataset, index: set_to(
            ReferencedStudySequence=[
                item(ReferencedSOPClassUID="x.y", ReferencedSOPInstanceUID="4.3.2.1.987654321.x")
            ]
        )(dataset, index),
        "ReferencedStudySequence",
    ),
    "a one-word name": (set_to(PatientName="Geheim"), ""),
    "a name of too many parts": (set_to(PatientName="Geheim^a^b^c^d^e^f"), ""),
    "leading zeros in UIDs": (set_to(StudyInstanceUID="1.2.03.4"), ""),
    "a control character": (set_to(StudyDescription="Geheim\x07"), "StudyDescription"),
}


@pytest.fixture
def labels() -> LabelMap:
    array = np.zeros(GRID.shape, np.uint8)
    array[0, 1:5, 1:6] = array[4, 1:5, 1:6] = 1
    return LabelMap(array, GRID, (Segment(value=1, name="liver"),))


def export(folder: Path, capture: pytest.CaptureFixture[str]) -> tuple[int, Dataset | None, str]:
    """Exit code, segmentation and all that was printed of an export."""
    output = folder.parent / "seg.dcm"
    arguments = ["export", folder.parent / "labels.nrrd", "--to", "dicom-seg", "--reference", folder, "-o", output]
    code = main([*map(str, arguments), "--suggest-codes"])
    captured = capture.readouterr()
    return code, dcmread(output) if output.exists() else None, captured.out + captured.err


def notes_of(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if "break the standard" in line]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_series_with_a_fault_is_exported_and_the_change_reported(
    fault: str, tmp_path: Path, labels: LabelMap, capsys: pytest.CaptureFixture[str]
) -> None:
    change, attribute = FAULTS[fault]
    folder = write_series(tmp_path / "series", change)
    write_label_maps(tmp_path / "labels.nrrd", [labels])
    code, segmentation, printed = export(folder, capsys)
    assert code == 0, printed
    assert segmentation is not None
    notes = notes_of(printed)
    assert len(notes) == bool(attribute), printed
    assert all(note.endswith(f": {attribute}.") for note in notes)
    for secret in SECRETS:
        assert secret not in printed
    with lenient():
        source = dcmread(next(folder.iterdir()))
        for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert str(segmentation.get(name, "")) == str(source.get(name, ""))


@pytest.mark.parametrize("fault", FAULTS)
def test_reading_voxels_prints_no_warnings(fault: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_series(tmp_path / "series", FAULTS[fault][0])
    with lenient():
        expected = values_by_pydicom(folder)
    assert_same_world(read_volume(folder), expected)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", NAMES)
def test_names_are_exported_in_unicode_whatever_character_set_is_declared(
    kind: str, tmp_path: Path, labels: LabelMap, capsys: pytest.CaptureFixture[str]
) -> None:
    declared, name, encoding = NAMES[kind]
    folder = with_name(tmp_path / "series", declared, name.encode(encoding))
    write_label_maps(tmp_path / "labels.nrrd", [labels])
    assert read_volume(folder).array.shape == GRID.shape
    code, segmentation, printed = export(folder, capsys)
    assert code == 0, printed
    assert segmentation is not None
    assert segmentation.SpecificCharacterSet == "ISO_IR 192"
    assert str(segmentation.PatientName) == name
    assert not any(part in printed for part in ("山", "Müller", "Wang"))


EXTENDED = {  # examples of PS3.5 I.2 and J.3
    "\\ISO 2022 IR 149": (b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong^Gildong=洪^吉洞"),
    "\\ISO 2022 IR 58": (b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang^XiaoDong=张^小东"),
}


@pytest.mark.parametrize("declared", EXTENDED)
def test_names_with_code_extensions_are_exported_in_unicode(
    declared: str, tmp_path: Path, labels: LabelMap, capsys: pytest.CaptureFixture[str]
) -> None:
    name, expected = EXTENDED[declared]
    folder = with_name(tmp_path / "series", declared, name)
    write_label_maps(tmp_path / "labels.nrrd", [labels])
    code, segmentation, printed = export(folder, capsys)
    assert code == 0, printed
    assert segmentation is not None
    assert str(segmentation.PatientName) == expected


@pytest.mark.parametrize(
    ("declared", "noted"),
    [
        ("\\ISO 2022 IR 87", False),
        ("ISO 2022 IR 100", False),
        ("ISO_IR 100", False),
        ("", False),
        ("ISO_IR100", True),
    ],
)
def test_a_misspelt_character_set_is_noted(
    declared: str, noted: bool, tmp_path: Path, labels: LabelMap, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = with_name(tmp_path / "series", declared, b"Doe^Jane")
    write_label_maps(tmp_path / "labels.nrrd", [labels])
    assert bool(notes_of(export(folder, capsys)[2])) == noted


def test_several_faults_are_reported_in_one_note(
    tmp_path: Path, labels: LabelMap, capsys: pytest.CaptureFixture[str]
) -> None:
    change = set_to(PatientBirthDate="1950", StudyDate="2024-01-01", StudyTime="7h30", PatientSex="?")
    folder = write_series(tmp_path / "series", change)
    write_label_maps(tmp_path / "labels.nrrd", [labels])
    code, segmentation, printed = export(folder, capsys)
    assert code == 0
    (note,) = notes_of(printed)
    assert note.endswith(": StudyDate, StudyTime, PatientBirthDate, PatientSex.")
    assert segmentation is not None
    assert (segmentation.StudyDate, segmentation.StudyTime) == ("20240101", "")
    assert (segmentation.PatientBirthDate, segmentation.PatientSex) == ("", "")


def test_no_patient_data_is_printed_to_the_streams_of_the_process(tmp_path: Path, labels: LabelMap) -> None:
    change = set_to(
        PatientBirthDate="1950",
        PatientName="Geheim^a^b^c^d^e^f",
        StudyTime="7h30",
        StudyInstanceUID="4.3.2.1.987654321.x",
        SOPInstanceUID="4.3.2.1.987654321.y",
    )

    def change_slice(dataset: Dataset, index: int) -> None:
        change(dataset, index)
        for name in ("PatientWeight", "SliceThickness", "EchoTime"):
            raw(name, b"Geheim")(dataset, index)
        dataset.SOPInstanceUID = f"4.3.2.1.987654321.y{index}"

    folder = write_series(tmp_path / "series", change_slice)
    write_label_maps(tmp_path / "labels.nrrd", [labels])
    commands = (
        ["fill", folder, tmp_path / "labels.nrrd", "-o", tmp_path / "out.nrrd", "--engine", "propagate"],
        ["export", tmp_path / "labels.nrrd", "--to", "dicom-seg", "--reference", folder, "-o", tmp_path / "seg.dcm"],
    )
    for command in commands:
        arguments = [*map(str, command), *(["--suggest-codes"] if command[0] == "export" else [])]
        program = f"import sys; sys.path.insert(0, {str(PACKAGE_PARENT)!r}); from fewshot_annotate.cli import main"
        program = f"{program}; sys.exit(main({arguments!r}))"
        result = subprocess.run(
            [sys.executable, "-W", "default", "-c", program],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        assert result.returncode == 0, result.stderr
        for secret in SECRETS:
            assert secret not in result.stdout + result.stderr


@given(
    name=st.sampled_from(
        ("StudyDate", "StudyTime", "PatientBirthDate", "PatientSex", "PatientAge", "StudyID", "StudyDescription")
    ),
    content=st.binary(max_size=90).filter(lambda content: b"\\" not in content),
)
def test_any_bytes_become_valid_values(name: str, content: bytes) -> None:
    header = Dataset()
    raw(name, content)(header, 0)
    header.filename, header.file_meta = "slice.dcm", Dataset()
    (normal,), changed = normalised_headers([header], 1.0)
    value = normal.get(name)
    if name != "StudyID":  # an identifier is not shortened
        for part in [value] if isinstance(value, str) or value is None else value:
            validate_value(dictionary_VR(tag_for_keyword(name)), part, config.RAISE)
    assert set(changed) <= {name}
