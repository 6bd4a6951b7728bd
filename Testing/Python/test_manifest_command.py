"""`manifest`: the table of cases from folders, in the layouts that data sets have."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from fewshot_annotate import export_labels
from fewshot_annotate.cli import main
from fewshot_annotate.core.exit_codes import ExitCode
from fewshot_annotate.io.files import write_label_maps
from support.batches import read_valid_manifest
from support.synthetic_dicom import random_labels, write_ct_series

Rows = list[tuple[str, str, str]]


def write_files(root: Path, *names: str) -> None:
    """Write files of these names; their content does not matter here."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def run(root: Path, *arguments: str) -> int:
    """Run the command on folders of `root`; arguments that begin with - or contain * are options."""
    folders = [str(root / argument) for argument in arguments if not argument.startswith("-") and "*" not in argument]
    options = [argument for argument in arguments if argument.startswith("-") or "*" in argument]
    return main(["manifest", *folders, *options, "-o", str(root / "manifest.csv")])


def rows_of(root: Path, *arguments: str) -> Rows:
    """Name, image and support of each row that the command writes, which `batch` can read."""
    assert run(root, *arguments) == ExitCode.DONE
    read_valid_manifest(root / "manifest.csv", task="any")
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [(row["name"], row["image"], row["support"]) for row in csv.DictReader(file)]


def refusal(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Lines of a refusal; nothing is written."""
    assert run(root, *arguments) == ExitCode.BAD_INPUT
    assert not (root / "manifest.csv").exists()
    return [line.removeprefix(f"fewshot-annotate: {root}/") for line in capsys.readouterr().err.splitlines()]


LAYOUTS: dict[str, Rows] = {
    "two folders": [("a", "i/a.nii.gz", "l/a.nii.gz"), ("b", "i/b.nrrd", "l/b.seg.nrrd")],
    "suffixes of names": [("a", "i/a_image.nii.gz", "l/a_seg.nii.gz"), ("b", "i/b.mha", "l/b-label.nrrd")],
    "the same subfolders": [
        ("p1_s1", "i/p1/s1.nii.gz", "l/p1/s1.nii.gz"),
        ("p2_s1", "i/p2/s1.nii.gz", "l/p2/s1.nii.gz"),
    ],
    "a folder for each case": [("p1", "i/p1/ct.nii.gz", "l/p1/seg.nii.gz"), ("p2", "i/p2/t.nii.gz", "l/p2/x.mha")],
    "case folders of label maps": [("p1", "i/p1.nii.gz", "l/p1/painted.nii.gz")],
    "case folders of images": [("p1", "i/p1/ct/a.nii.gz", "l/p1.nii.gz")],
    "channels of nnU-Net": [("case_1", "i/case_1_0000.nii.gz", "l/case_1.nii.gz")],
    "numbers that are no channels": [
        ("x_0001", "i/x_0001.nii", "l/x_0001.nii"),
        ("x_0002", "i/x_0002.nii", "l/x_0002.nii"),
    ],
    "names that tables and systems refuse": [("case con", "i/con.nii", "l/con.nii"), ("a", "i/=a.nii", "l/=a.nii")],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_images_and_label_maps_of_two_folders_are_paired_by_their_names(layout: Rows, tmp_path: Path) -> None:
    for _, image, support in layout:
        write_files(tmp_path, image, support)
    write_files(tmp_path, "i/.hidden.nii.gz", "i/notes.txt")
    assert sorted(rows_of(tmp_path, "i", "l")) == sorted(layout)


def test_in_one_folder_names_distinguish_label_maps_from_images(tmp_path: Path) -> None:
    write_files(tmp_path, "p1/ct.nii.gz", "p1/ct_seg.nii.gz", "p2/ct.nii.gz", "p2/painted.seg.nrrd")
    assert rows_of(tmp_path, ".", ".") == [
        ("p1_ct", "p1/ct.nii.gz", "p1/ct_seg.nii.gz"),
        ("p2", "p2/ct.nii.gz", "p2/painted.seg.nrrd"),
    ]


LAYOUTS_OF_ONE_FOLDER: dict[str, Rows] = {
    "a file named label": [(name, f"{name}/image.nii", f"{name}/label.nii") for name in ("p1", "p2")],
    "a folder of labels for each case": [(f"{n}_t1", f"{n}/t1.nii", f"{n}/labels/t1.nii") for n in ("p1", "p2")],
    "folders by the kind of file": [(f"p{n}", f"images/p{n}.nii", f"masks/p{n}.nii") for n in (1, 2)],
    "nnU-Net within": [("a_Tr_x", "a/imagesTr/x_0000.nii", "a/labelsTr/x.nii")],
}


@pytest.mark.parametrize("layout", LAYOUTS_OF_ONE_FOLDER.values(), ids=LAYOUTS_OF_ONE_FOLDER)
def test_names_of_folders_distinguish_label_maps_from_images(layout: Rows, tmp_path: Path) -> None:
    for _, image, support in layout:
        write_files(tmp_path, image, support)
    assert rows_of(tmp_path, ".", ".") == layout


def test_without_a_folder_of_labels_no_label_map_becomes_an_image(tmp_path: Path) -> None:
    write_files(tmp_path, "p1/ct.nii.gz", "p1/ct_seg.nii.gz", "p2/ct.nii.gz", "p2/labels/ct.nii.gz")
    assert [image for _, image, _ in rows_of(tmp_path, ".", "--unlabelled")] == ["p1/ct.nii.gz", "p2/ct.nii.gz"]


def test_label_maps_are_no_images_and_are_named_unless_a_pattern_asks_for_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "p1/ct.nii.gz", "p1/ct_mask.nii.gz", "p2/ct.nii.gz", "p2/segmentations/liver.nii.gz")
    cts = [("p1_ct", "p1/ct.nii.gz", ""), ("p2_ct", "p2/ct.nii.gz", "")]
    assert rows_of(tmp_path, ".", "--unlabelled") == cts
    assert "without an image are left out: p1/ct_mask, p2/segmentations/liver." in capsys.readouterr().err
    assert rows_of(tmp_path, ".", "--unlabelled", "--images=*_mask*", "--overwrite") == [
        ("p1_ct_mask", "p1/ct_mask.nii.gz", "")
    ]


def test_patterns_choose_among_several_images_and_label_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "p1/ct.nii.gz", "p1/pet.nii.gz", "p1/first_seg.nii.gz", "p1/second_seg.nii.gz")
    line, _ = refusal(tmp_path, capsys, ".", ".")
    assert line.startswith("p1/first_seg.nii.gz: several images fit these labels (p1/ct, p1/pet)")
    assert "--images" in line
    (line,) = refusal(tmp_path, capsys, ".", ".", "--images=*/ct.nii.gz")
    assert line.startswith("p1/ct.nii.gz: several label maps fit this image (p1/first_seg, p1/second_seg)")
    assert "--supports" in line
    assert rows_of(tmp_path, ".", ".", "--images=*/ct.nii.gz", "--supports=*second*") == [
        ("p1", "p1/ct.nii.gz", "p1/second_seg.nii.gz")
    ]


def test_unpaired_files_in_a_folder_are_not_mistaken_for_a_pair(tmp_path: Path) -> None:
    write_files(tmp_path, "i/p/a.nii.gz", "i/p/b.nii.gz", "l/p/a.nii.gz", "l/p/c.nii.gz")
    assert rows_of(tmp_path, "i", "l") == [("p_a", "i/p/a.nii.gz", "l/p/a.nii.gz")]


def test_every_ambiguous_pair_has_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path, "i/a_0000.nii.gz", "i/a_0001.nii.gz", "i/b_0000.nii.gz", "i/b_0001.nii.gz", "i/c.nii.gz")
    write_files(tmp_path, "l/a.nii.gz", "l/b.nii.gz", "l/c.nii.gz")
    assert [line.partition(":")[0] for line in refusal(tmp_path, capsys, "i", "l")] == ["l/a.nii.gz", "l/b.nii.gz"]


def test_nnunets_raw_data_need_no_second_folder(tmp_path: Path) -> None:
    write_files(tmp_path, *(f"imagesTr/{name}_0000.nrrd" for name in "ab"), "imagesTs/c_0000.nrrd")
    write_files(tmp_path, *(f"labelsTr/{name}.nrrd" for name in "ab"))
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": {"liver": 1}}))
    assert rows_of(tmp_path, ".") == [(name, f"imagesTr/{name}_0000.nrrd", f"labelsTr/{name}.nrrd") for name in "ab"]
    assert rows_of(tmp_path, "imagesTs", "--unlabelled", "--overwrite") == [("c", "imagesTs/c_0000.nrrd", "")]


def decathlon(root: Path, training: object) -> None:
    write_files(root, "imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "labelsTr/a.nii.gz", "labelsTr/other.nii.gz")
    (root / "dataset.json").write_text(json.dumps({"labels": {"1": "liver"}, "training": training}))


def test_the_decathlons_list_of_cases_pairs_images_and_labels(tmp_path: Path) -> None:
    decathlon(tmp_path, [{"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/other.nii.gz"}])
    assert rows_of(tmp_path, ".") == [("b", "imagesTr/b.nii.gz", "labelsTr/other.nii.gz")]


def test_images_missing_from_the_decathlons_list_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decathlon(tmp_path, [{"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/other.nii.gz"}])
    rows_of(tmp_path, ".")
    assert "images that dataset.json does not list are left out: a." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ([{"image": "imagesTr/a.nii.gz", "label": "none.nii.gz"}], "none.nii.gz: no such file"),
        ([{"image": "imagesTr/a.nii.gz"}], "dataset.json: the list of cases cannot be read (it is not a list of"),
        ([{"image": "", "label": "labelsTr/a.nii.gz"}], ": no such file or folder"),
        (5, "dataset.json: the list of cases cannot be read (it is not a list of"),
        ([{"image": ["1", "2"], "label": "labelsTr/a.nii.gz"}], "labelsTr/a.nii.gz: several images"),
    ],
)
def test_a_list_of_cases_that_does_not_fit_is_refused(
    training: object, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decathlon(tmp_path, training)
    assert any(expected in line for line in refusal(tmp_path, capsys, "."))


def test_dicom_segmentations_find_their_series_in_a_tree_whatever_their_names(tmp_path: Path) -> None:
    for folder in ("i/p1", "i/p2"):
        (tmp_path / folder).mkdir(parents=True)
        write_ct_series(tmp_path / folder / "ct")
    write_label_maps(tmp_path / "labels.seg.nrrd", [random_labels(1)])
    (tmp_path / "l").mkdir()
    export_labels(
        tmp_path / "labels.seg.nrrd",
        tmp_path / "l/of_the_second.dcm",
        reference=tmp_path / "i/p2/ct",
        default_code=True,
    )
    assert rows_of(tmp_path, "i", "l") == [("p2_ct", "i/p2/ct", "l/of_the_second.dcm")]


def test_series_in_one_folder_are_distinguished_and_label_files_pair_with_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "i").mkdir()
    write_ct_series(tmp_path / "i/p1")
    write_files(tmp_path, "l/p1.nii.gz")
    assert rows_of(tmp_path, "i", "l") == [("p1", "i/p1", "l/p1.nii.gz")]
    (tmp_path / "manifest.csv").unlink()
    for file in write_ct_series(tmp_path / "again").iterdir():
        file.rename(tmp_path / "i/p1" / f"again_{file.name}")
    (line,) = refusal(tmp_path, capsys, "i", "l")
    assert "several images fit these labels (p1 (series 001.dcm), p1 (series again_001.dcm))" in line


def test_files_without_a_counterpart_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "i/a.nii.gz", "i/b.nii.gz", "l/a.nii.gz", "l/c.nii.gz")
    assert len(rows_of(tmp_path, "i", "l")) == 1
    notes = capsys.readouterr().err
    assert "images without labels are left out: b." in notes
    assert "label maps without an image are left out: c." in notes


def test_a_file_of_label_names_is_given_to_every_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path, "i/a.nii.gz", "l/a.nii.gz")
    names = tmp_path / "names.txt"
    names.write_text('1 255 0 0 1 1 1 "liver"\n')
    assert run(tmp_path, "i", "l", f"--labels={names}") == ExitCode.DONE
    (case,) = read_valid_manifest(tmp_path / "manifest.csv").cases
    assert case.labels == names
    names.write_text("nonsense")
    assert run(tmp_path, "i", "l", f"--labels={names}", "--overwrite") == ExitCode.BAD_INPUT
    assert "names.txt: the list of label names cannot be read" in capsys.readouterr().err


def test_empty_folders_existing_tables_and_files_in_place_of_folders_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "i/a.nii.gz", "l/b.nii.gz", "file")
    assert "i: no image with labels of a fitting name" in refusal(tmp_path, capsys, "i", "l")[0]
    assert "this is no folder" in refusal(tmp_path, capsys, "file", "l")[0]
    assert "no such file or folder" in refusal(tmp_path, capsys, "i", "none")[0]
    write_files(tmp_path, "manifest.csv", "l/a.nii.gz")
    assert run(tmp_path, "i", "l") == ExitCode.BAD_INPUT
    assert (tmp_path / "manifest.csv").read_text() == "manifest.csv"
