"""Names of labels beside a label map, in the forms that other programs write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.terminology import segment_terminology
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from fewshot_annotate.io.label_names import named_from, read_list

SHAPE = (2, 3, 4)


def label_file(folder: Path, name: str = "case.nii.gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    array = np.arange(24, dtype=np.uint8).reshape(SHAPE) % 4
    write_array(folder / name, array, Geometry(SHAPE))
    return folder / name


def names(path: Path) -> list[str]:
    (label_map,) = read_label_maps(path)
    assert label_map.values == (1, 2, 3)
    return [segment.name for segment in label_map.segments]


FORMS: dict[str, Any] = {
    "bare": {"1": "liver", "3": "Milz 脾"},
    "with background": {"0": "background", "1": "liver", "3": "Milz 脾"},
    "names first": {"background": 0, "liver": 1, "Milz 脾": 3},
    "Decathlon": {"name": "Task", "labels": {"0": "background", "1": "liver", "3": "Milz 脾"}},
    "nnU-Net": {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "Milz 脾": 3},
        "numTraining": 9,
    },
    "nnU-Net regions": {"labels": {"background": 0, "whole": [1, 2, 3], "liver": 1, "Milz 脾": 3, "ignore": 4}},
    "label values as texts": {"labels": {"background": "0", "liver": "1", "Milz 脾": "3"}},
    "of this program": {"1": {"name": "liver", "colour": [1, 0, 0]}, "3": {"name": "Milz 脾", "tags": {"a": "b"}}},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    ("list_name", "labels"),
    [
        ("case.nii.gz.labels.json", "case.nii.gz"),
        ("labels.json", "case.nii.gz"),
        ("labels.json", "case.nrrd"),
        ("dataset.json", "case.mha"),
        ("dataset.json", "labelsTr/case.nii.gz"),
    ],
)
def test_a_list_of_names_beside_a_label_map_names_its_labels(
    form: dict[str, Any], list_name: str, labels: str, tmp_path: Path
) -> None:
    if list_name == "dataset.json" and "labels" not in form:
        form = {"labels": form}
    path = label_file((tmp_path / labels).parent, Path(labels).name)
    (tmp_path / list_name).write_text(json.dumps(form), encoding="utf-8")
    assert names(path) == ["liver", "Label 2", "Milz 脾"]


@pytest.mark.parametrize("list_name", ["case.nii.gz.labels.json", "dataset.json"])
def test_a_byte_order_mark_is_ignored(list_name: str, tmp_path: Path) -> None:
    path = label_file(tmp_path, "case.nii.gz")
    (tmp_path / list_name).write_text(json.dumps({"labels": FORMS["bare"]}), encoding="utf-8-sig")
    assert names(path) == ["liver", "Label 2", "Milz 脾"]


def test_the_most_specific_list_of_names_is_used(tmp_path: Path) -> None:
    path = label_file(tmp_path / "labelsTr")
    expected = ["Label 1", "Label 2", "Label 3"]
    assert names(path) == expected
    for list_path, name in (
        (tmp_path / "dataset.json", "above"),
        (path.with_name("dataset.json"), "data set"),
        (path.with_name("labels.json"), "folder"),
        (path.with_name("case.nii.gz.labels.json"), "own"),
    ):
        list_path.write_text(json.dumps({"labels": {"1": name}}), encoding="utf-8")
        assert names(path) == [name, *expected[1:]]


def test_written_names_have_precedence_over_other_lists(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('{"1": "other"}', encoding="utf-8")
    array = np.arange(24, dtype=np.uint8).reshape(SHAPE) % 2
    write_label_maps(tmp_path / "a.nii.gz", [LabelMap(array, Geometry(SHAPE), (Segment(value=1, name="liver"),))])
    (read,) = read_label_maps(tmp_path / "a.nii.gz")
    assert [segment.name for segment in read.segments] == ["liver"]


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"labels": {"liver": "many"}}', '{"1": 5}'])
def test_an_invalid_list_of_names_is_refused_with_its_path(content: str, tmp_path: Path) -> None:
    path = label_file(tmp_path)
    (tmp_path / "labels.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        read_label_maps(path)
    assert refused.value.code == "sidecar_unreadable"
    assert str(tmp_path / "labels.json") in str(refused.value)


@pytest.mark.parametrize("content", ["", "[", "[1]", "{}", '{"labels": 3}', '{"description": "something else"}'])
def test_a_data_set_file_without_names_is_ignored(content: str, tmp_path: Path) -> None:
    path = label_file(tmp_path)
    (tmp_path / "dataset.json").write_text(content, encoding="utf-8")
    assert names(path) == ["Label 1", "Label 2", "Label 3"]


@pytest.mark.parametrize("offset", [1e-7, -1e-7, 1e-4, -0.009])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_real_numbers_within_rounding_of_whole_numbers_are_labels(
    offset: float, kind: type[np.floating], tmp_path: Path
) -> None:
    array = np.arange(24, dtype=kind).reshape(SHAPE) % 4
    write_array(tmp_path / "a.nii.gz", (array + kind(offset)).astype(kind), Geometry(SHAPE))
    (read,) = read_label_maps(tmp_path / "a.nii.gz")
    assert np.array_equal(read.array, array)


@pytest.mark.parametrize("value", [0.5, 1.02, -0.02, np.inf, np.nan])
def test_other_real_numbers_are_refused_as_labels(value: float, tmp_path: Path) -> None:
    array = np.zeros(SHAPE, dtype=np.float32)
    array[0, 0, 0] = value
    write_array(tmp_path / "a.nrrd", array, Geometry(SHAPE))
    with pytest.raises(InputError) as refused:
        read_label_maps(tmp_path / "a.nrrd")
    assert refused.value.code == "label_not_integer"


ITK_SNAP = """################################################
# ITK-SnAP Label Description File
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "liver"
    3     0  128  255        1  1  0    "Milz 脾"
"""


@pytest.mark.parametrize("list_name", ["labels.txt", "labels.label", "atlas.label"])
def test_a_label_description_of_itk_snap_beside_a_label_map_names_its_labels(list_name: str, tmp_path: Path) -> None:
    path = label_file(tmp_path)
    (tmp_path / list_name).write_text(ITK_SNAP, encoding="utf-8")
    assert names(path) == ["liver", "Label 2", "Milz 脾"]
    (label_map,) = read_label_maps(path)
    assert label_map.segments[2].colour == pytest.approx((0, 128 / 255, 1))


@pytest.mark.parametrize("suffix", ["ctbl", "txt", "csv"])
def test_a_colour_table_that_slicer_wrote_names_labels(suffix: str, tmp_path: Path) -> None:
    slicer = pytest.importorskip("slicer")
    path = label_file(tmp_path)
    node, storage, scene = (
        slicer.vtkMRMLColorTableNode(),
        slicer.vtkMRMLColorTableStorageNode(),
        slicer.vtkMRMLScene(),
    )
    scene.AddNode(node), scene.AddNode(storage)
    node.SetTypeToUser()
    node.SetNumberOfColors(2)
    node.SetColor(1, "left kidney", 1.0, 0.0, 0.2, 1.0)
    node.SetTerminologyFromString(1, f"List~{'~'.join(CODES)}~Anatomic codes~^^~^^")
    storage.SetFileName(str(tmp_path / f"labels.{suffix}"))
    assert storage.WriteData(node)
    (label_map,) = read_label_maps(path)
    kidney = label_map.segments[0]
    assert kidney.name == "left kidney"
    assert kidney.colour == pytest.approx((1.0, 0.0, 0.2))
    found = segment_terminology(kidney)
    assert suffix != "csv" or (found is not None and found.description == "Left Kidney")


CODES = ("SCT^123037004^Anatomical Structure", "SCT^64033007^Kidney", "SCT^7771000^Left")


@pytest.mark.parametrize("text", ["", "no table", '1 255 0 0 1 1 "liver"', "LabelValue,Name\n1,liver\n", "1 a 0 0 0"])
def test_an_invalid_colour_table_is_refused_if_given_and_ignored_if_found(text: str, tmp_path: Path) -> None:
    path = label_file(tmp_path)
    (tmp_path / "labels.txt").write_text(text)
    assert names(path) == ["Label 1", "Label 2", "Label 3"]
    with pytest.raises(InputError, match=r"labels\.txt: the list of label names cannot be read"):
        named_from(read_label_maps(path), tmp_path / "labels.txt")


def test_two_colour_tables_of_other_names_are_ignored(tmp_path: Path) -> None:
    path = label_file(tmp_path)
    for name in ("a.label", "b.ctbl"):
        (tmp_path / name).write_text(ITK_SNAP, encoding="utf-8")
    assert names(path) == ["Label 1", "Label 2", "Label 3"]


def test_a_given_file_names_its_labels_and_others_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("1 right_lung 0 0 255 255\n")
    layers = read_label_maps(label_file(tmp_path))
    (label_map,) = named_from(layers, tmp_path / "given.txt")
    assert [segment.name for segment in label_map.segments] == ["right lung", "Label 2", "Label 3"]


@pytest.mark.parametrize(
    "name",
    ["x" * 257, "liver\nspleen", "liver\r", "a\x1b[31mb", "a\0", "a\ud800b", "a\u2028b", "ab\u202etxt"],
    ids=ascii,
)
def test_a_name_that_cannot_stand_in_a_table_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(json.dumps({"1": "liver", "3": name}), encoding="utf-8")
    with pytest.raises(
        InputError, match="the name of label value 3 has more than 256 characters, or holds"
    ) as refused:
        read_list(tmp_path / "names.json")
    assert name not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    ["x" * 256, "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627", "Milz 脾", "a\u00a0b", "👩\u200d🔬", "liver / 2"],
    ids=ascii,
)
def test_names_of_any_language_are_accepted(name: str, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(json.dumps({"3": name}), encoding="utf-8")
    assert read_list(tmp_path / "names.json")[3].name == name


@pytest.mark.parametrize(
    ("list_name", "content", "entry"),
    [
        ("labels.json", '{"1": "liver", "1": "spleen"}', "1"),
        ("labels.json", '{"1": "liver", "01": "spleen"}', "1"),
        ("labels.json", '{"liver": 1, "spleen": 1}', "1"),
        ("labels.json", '{"liver": 1, "liver": 2}', "liver"),
        ("labels.json", '{"labels": {"1": "liver", "1": "spleen"}}', "1"),
        ("names.label", '1 9 9 9 1 1 1 "liver"\n1 8 8 8 1 1 1 "spleen"', "1"),
        ("names.ctbl", "1 liver 9 9 9 255\n1 spleen 8 8 8 255", "1"),
    ],
)
def test_a_list_with_two_names_of_one_label_is_refused(
    list_name: str, content: str, entry: str, tmp_path: Path
) -> None:
    path = tmp_path / list_name
    path.write_text(content)
    with pytest.raises(InputError, match=rf"'{entry}' twice") as refused:
        read_list(path)
    assert refused.value.code == "label_listed_twice"
    assert str(path) in str(refused.value)


def test_the_regions_of_nnunet_are_no_second_names_of_their_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"labels": {"background": 0, "whole tumour": [1, 2], "oedema": 1, "core": 2}}')
    assert {value: segment.name for value, segment in read_list(path).items()} == {1: "oedema", 2: "core"}
