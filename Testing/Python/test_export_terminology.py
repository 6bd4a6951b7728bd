"""Codes: Slicer's tag, the table of common structures, suggestions by name, and how users override them."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path

import pytest
from fewshot_annotate.core import structures as structures_module
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.structures import LEFT, RIGHT, as_terminology, common_structures
from fewshot_annotate.core.terminology import Code, Terminology, format_tag, parse_tag, segment_terminology
from fewshot_annotate.core.volume import Segment
from support import mrml
from support.data import every_case
from support.labels import TERMINOLOGY

TABLE = Path(structures_module.__file__).with_name("structures.csv")
# SNOMED CT codes of the table that PS3.16 does not list; all are in the TotalSegmentator table of Slicer's extension.
NOT_IN_DICOM = {
    "74281007": "Myocardium",
    "110765007": "Portal vein and splenic vein",
    "48535007": "First rib",
    "78247007": "Second rib",
    "25888004": "Third rib",
    "25523003": "Fourth rib",
    "15339008": "Fifth rib",
    "59558009": "Sixth rib",
    "24915002": "Seventh rib",
    "5953002": "Eighth rib",
    "22565002": "Ninth rib",
    "77644006": "Tenth rib",
    "58830002": "Eleventh rib",
    "43993008": "Twelfth rib",
    "181674001": "Gluteus maximus muscle",
    "78333006": "Gluteus medius muscle",
    "75297007": "Gluteus minimus muscle",
    "244849004": "Deep muscle of back",
    "68455001": "Iliopsoas muscle",
    "67769002": "Subcutaneous fatty tissue",
}
# Meanings of Slicer's "General Anatomy list" that DICOM's lists word differently.
SLICER_MEANINGS = {
    "123037004": "Anatomical Structure",
    "113345001": "Abdomen",
    "51185008": "Chest",
    "119410002": "Nerve",
    "113343008": "Organ",
    "80621003": "Choroid plexus",
}


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@cache
def dicom_meanings() -> dict[str, set[str]]:
    """SNOMED CT code -> its meanings in DICOM's lists, as pydicom contains them, in lower case."""
    from pydicom.sr._concepts_dict import concepts

    meanings: dict[str, set[str]] = {}
    for coded in concepts["SCT"].values():
        for value, (meaning, _) in coded.items():
            meanings.setdefault(value, set()).add(meaning.lower())
    return meanings


def verhoeff(number: str) -> int:
    """0 if the check digit at the end, which every SNOMED CT identifier has, is right (Verhoeff 1969)."""
    checksum = 0
    for position, digit in enumerate(reversed(number)):
        checksum = _multiply(checksum, _permute(position % 8, int(digit)))
    return checksum


def _multiply(a: int, b: int) -> int:
    """Product in the dihedral group of the pentagon."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def _permute(times: int, digit: int) -> int:
    for _ in range(times):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def codes_of_the_table() -> list[tuple[str, str]]:
    columns = (("category", "category_meaning"), ("type", "type_meaning"), ("region", "region_meaning"))
    return sorted({(row[value], row[meaning]) for row in rows() for value, meaning in columns if row[value]})


def test_check_digits_follow_the_published_rule():
    assert verhoeff("2363") == 0
    assert verhoeff("2364") != 0


def test_every_code_of_the_table_is_in_snomed_ct_with_this_meaning():
    known = {**NOT_IN_DICOM, **SLICER_MEANINGS}
    wrong = [
        (value, meaning)
        for value, meaning in codes_of_the_table()
        if verhoeff(value) != 0
        or not Code(value, "SCT", meaning).is_valid
        or (known[value] != meaning if value in known else meaning.lower() not in dicom_meanings().get(value, ()))
    ]
    assert wrong == []
    assert not NOT_IN_DICOM.keys() & dicom_meanings().keys()


def test_no_two_structures_of_the_table_share_a_name():
    names = [row["name"] for row in rows()]
    assert len(names) == len(set(names))
    for row in rows():
        for name in (row["name"], *filter(None, row["synonyms"].split("|"))):
            found = common_structures().suggest(name)
            assert found is not None
            assert (found.category.value, found.type.value) == (row["category"], row["type"]), name


def test_slicer_and_this_library_read_each_others_terminology_tags():
    mrml.start_mrml()
    import slicer

    terminology = Terminology(
        Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        Code("367643001", "SCT", "Cyst"),
        None,
        Code("64033007", "SCT", "Kidney"),
        LEFT,
    )
    logic = slicer.modules.terminologies.logic()
    entry = slicer.vtkSlicerTerminologyEntry()
    assert logic.DeserializeTerminologyEntry(format_tag(terminology), entry)
    assert entry.GetTypeObject().GetCodeValue() == "367643001"
    assert entry.GetRegionObject().GetCodeMeaning() == "Kidney"
    assert entry.GetRegionModifierObject().GetCodeMeaning() == "Left"
    assert parse_tag(logic.SerializeTerminologyEntry(entry)) == terminology


def test_a_tag_of_slicer_is_read():
    terminology = segment_terminology(Segment(value=1, name="x", tags={"TerminologyEntry": TERMINOLOGY}))
    assert terminology is not None
    assert terminology.type == Code("10200004", "SCT", "Liver")
    assert terminology.codes[2:] == (None, None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "~",
        "~~~~~~",
        "context~SCT^123037004^Anatomical Structure~^^~^^~~^^~^^",
        "context~^^~SCT^10200004^Liver~^^~~^^~^^",
        "context~SCT^123037004~SCT^10200004^Liver~^^~~^^~^^",
        f"context~SCT^123037004^Anatomical Structure~SCT^{'1' * 17}^Liver~^^~~^^~^^",
        f"context~SCT^123037004^Anatomical Structure~SCT^10200004^{'L' * 65}~^^~~^^~^^",
        "context~SCT^123037004^Anatomical Structure~SCT^10200004^A\\B~^^~~^^~^^",
    ],
)
def test_a_malformed_tag_is_ignored(text: str):
    assert parse_tag(text) is None


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("kidney_left", "Left Kidney"),
        ("Kidney (right)", "Right Kidney"),
        ("LeftKidney", "Left Kidney"),
        ("L-cerebral-WM", "Left Cerebral White Matter"),
        ("vertebrae_T12", "T12 vertebra"),
        ("rib_right_11", "Right Eleventh rib"),
        ("Left atrium", "Left atrium"),
        ("heart_ventricle_left", "Left Ventricle"),
        ("LIVER segmentation", "Liver"),
        ("lesion_3", "Lesion"),
        ("left lung nodule", "Nodule of Left Lung"),
        ("oesophagus", "Esophagus"),
        ("tumours", "Neoplasm"),
    ],
)
def test_a_name_suggests_codes(name: str, description: str):
    suggestion = common_structures().suggest(name)
    assert suggestion is not None
    assert suggestion.description == description


@pytest.mark.parametrize("name", ["", "Segment_1", "Label 4", "left", "7", "thing", "left right kidney", "肝"])
def test_a_vague_name_suggests_no_code(name: str):
    assert common_structures().suggest(name) is None


@pytest.mark.parametrize("case", [parameter for parameter in every_case() if "ct_" in str(parameter.id)])
def test_names_of_the_real_cases_suggest_codes(case: Path):
    unknown = [
        name
        for name in json.loads((case / "labels.json").read_text(encoding="utf-8")).values()
        if common_structures().suggest(name) is None
    ]
    assert unknown == []


def test_the_table_of_a_user_has_precedence(tmp_path: Path):
    table = tmp_path / "own.csv"
    table.write_text(
        "name,synonyms,scheme,category,category_meaning,type,type_meaning\n"
        "liver,,99LOCAL,C1,Organs of ours,T1,Our liver\n"
        "gizmo,widget|gadget,SCT,260787004,Physical object,40388003,Implant\n",
        encoding="utf-8",
    )
    own = common_structures().with_table(table)
    liver, widget, spleen = own.suggest("Liver"), own.suggest("right widget"), own.suggest("spleen")
    assert liver
    assert widget
    assert spleen
    assert liver.type == Code("T1", "99LOCAL", "Our liver")
    assert (widget.type.value, widget.modifier) == ("40388003", RIGHT)
    assert common_structures().suggest("gizmo") is None


@pytest.mark.parametrize(
    "text", ["name,code\nliver,1\n", "name,category,category_meaning,type,type_meaning\nx,1,a,,b\n"]
)
def test_an_incomplete_table_of_a_user_is_refused_with_its_row(text: str, tmp_path: Path):
    table = tmp_path / "own.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="row 2"):
        common_structures().with_table(table)


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("left kidney", "Left Kidney"),
        ("SCT^10200004^Liver", "Liver"),
        (TERMINOLOGY, "Liver"),
    ],
)
def test_a_code_can_be_given_in_several_ways(text: str, description: str):
    assert as_terminology(text, common_structures()).description == description


@pytest.mark.parametrize("text", ["", "gizmo", "SCT^10200004", "SCT^^Liver", "^^"])
def test_malformed_codes_are_refused_in_one_line(text: str):
    with pytest.raises(InputError) as refused:
        as_terminology(text, common_structures())
    assert refused.value.code == "code_malformed"
    assert "\n" not in str(refused.value)
