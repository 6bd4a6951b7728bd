"""Choice of one of several series of a DICOM folder, in every command that takes one."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.cli import main
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import write_label_maps
from pydicom import Dataset, dcmread
from support.image_series import add_other_object, write_series

pytestmark = pytest.mark.usefixtures("forked_workers")

GRID = Geometry((7, 24, 20), (0.8, 1.1, 2.5), (3.0, -4.0, 5.0))


@pytest.fixture
def case_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two series, a SEG and a localizer in `series`, and labels of all of its slices."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "data"))

    def numbered(dataset: Dataset, number: int) -> None:
        dataset.SeriesNumber = 4

    write_series(tmp_path / "series", grid=GRID)
    write_series(tmp_path / "other", numbered, GRID)
    for path in (tmp_path / "other").iterdir():
        shutil.move(path, tmp_path / "series" / f"other{path.name}")
    add_other_object(tmp_path / "series", "SEG")
    add_other_object(tmp_path / "series", "localizer")
    array = np.zeros(GRID.shape, np.uint8)
    array[::2, 6:18, 5:15] = 1
    write_label_maps(tmp_path / "labels.nrrd", [LabelMap(array, GRID, (Segment(value=1, name="liver"),))])
    return tmp_path


COMMANDS = {
    "fill": "fill series labels.nrrd -o out.nrrd --engine propagate --progress none",
    "suggest": "suggest series labels.nrrd",
    "compare": "compare series labels.nrrd -o report --engines propagate --sizes 2 --draws 1 --progress none",
    "library save": "library save task series labels.nrrd",
    "export to DICOM SEG": "export labels.nrrd --to dicom-seg --reference series -o seg.dcm --suggest-codes",
    "export to NIfTI": "export labels.nrrd --to nifti --reference series -o out.nii.gz",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_lists_the_series_and_accepts_a_choice(
    command: str, case_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = COMMANDS[command].split()
    assert main(arguments) == 2
    stderr = capsys.readouterr().err.splitlines()[-1]
    assert "2 DICOM series: 3 (7 CT images, such as 001.dcm), 4 (7 CT images, such as other001.dcm)" in stderr
    assert stderr.endswith("(--series)")
    assert main([*arguments, "--series", "9"]) == 2
    stderr = capsys.readouterr().err.splitlines()[-1]
    assert "holds no series 9; it holds 3 (7 CT images" in stderr
    uid = dcmread(case_folder / "series" / "other001.dcm").SeriesInstanceUID
    assert main([*arguments, "--series", "4"]) == 0
    printed = capsys.readouterr()
    assert uid not in printed.out + printed.err


@pytest.mark.parametrize("choice", ["number", "uid", "file"])
def test_a_segmentation_refers_to_the_series_that_was_chosen(choice: str, case_folder: Path) -> None:
    uid = dcmread(case_folder / "series" / "other001.dcm").SeriesInstanceUID
    value = {"number": "4", "uid": uid, "file": "other001.dcm"}[choice]
    assert main([*COMMANDS["export to DICOM SEG"].split(), "--series", value]) == 0
    assert dcmread(case_folder / "seg.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID == uid


def table(path: Path, **cells: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([cells, cells.values()])


def test_the_manifest_of_a_batch_has_a_column_for_the_series(
    case_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["batch", "cases.csv", "-o", "out", "--engine", "propagate", "--progress", "none"]
    table(case_folder / "cases.csv", image="series", support="labels.nrrd")
    assert main(arguments) == 1
    assert capsys.readouterr().err.rstrip().endswith("(column series)")
    shutil.rmtree(case_folder / "out")
    table(case_folder / "cases.csv", image="series", support="labels.nrrd", series="4")
    assert main(arguments) == 0
    assert "mean nothing" not in capsys.readouterr().err
    assert sitk.ReadImage(str(case_folder / "out" / "series" / "label.nii.gz")).GetSize() == GRID.shape[::-1]


def test_the_manifest_of_a_study_has_a_column_for_the_series(
    case_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "compare",
        "--study",
        "study.csv",
        "-o",
        "report",
        "--engines",
        "propagate",
        "--sizes",
        "2",
        "--draws",
        "1",
        "--progress",
        "none",
    ]
    table(case_folder / "study.csv", image="series", label="labels.nrrd", group="CT")
    assert main(arguments) == 2
    assert "(column series)" in capsys.readouterr().err
    table(case_folder / "study.csv", image="series", label="labels.nrrd", group="CT", series="4")
    assert main([*arguments[:4], "report2", *arguments[5:]]) == 0
