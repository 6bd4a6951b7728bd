"""Every command that resamples labels reports it, in the same words."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import fewshot_annotate as fsa
import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import Message
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, to_image
from fewshot_annotate.evaluation.study_manifest import read_study_manifest
from fewshot_annotate.io.dicom.segmentation import label_note
from fewshot_annotate.io.files import write_label_maps
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from highdicom.uid import UID
from pydicom import dcmread
from support.synthetic_dicom import GRID, write_ct_series

pytestmark = pytest.mark.usefixtures("forked_workers")

QUICK = ["--engines", "propagate", "--sizes", "1", "--draws", "1", "--progress", "none"]
SEGMENT = Segment(value=1, name="liver")


def painted() -> np.ndarray:
    array = np.zeros(GRID.shape, np.uint8)
    array[[0, 2, 4], 2:5, 3:7] = 1
    return array


def on_the_grid(path: Path, series: Path) -> Path:
    write_label_maps(path / "a.nrrd", [LabelMap(painted(), GRID, (SEGMENT,))])
    return path / "a.nrrd"


def rows_flipped(path: Path, series: Path) -> Path:
    origin = np.add(GRID.origin, (0, (GRID.shape[1] - 1) * GRID.spacing[1], 0))
    flipped = Geometry(GRID.shape, GRID.spacing, tuple(origin.tolist()), (1, 0, 0, 0, -1, 0, 0, 0, 1))
    write_label_maps(path / "a.nii.gz", [LabelMap(painted()[:, ::-1].copy(), flipped, (SEGMENT,))])
    return path / "a.nii.gz"


def cropped(path: Path, series: Path) -> Path:
    origin = np.add(GRID.origin, (3 * GRID.spacing[0], 2 * GRID.spacing[1], 0))
    box = painted()[:5, 2:5, 3:7].copy()
    write_label_maps(
        path / "a.seg.nrrd", [LabelMap(box, Geometry(box.shape, GRID.spacing, tuple(origin.tolist())), (SEGMENT,))]
    )
    return path / "a.seg.nrrd"


def fractional(path: Path, series: Path) -> Path:
    code = CodedConcept("10200004", "SCT", "Liver")
    described = SegmentDescription(1, "liver", CodedConcept("123037004", "SCT", "Organ"), code, "MANUAL")
    headers = sorted((dcmread(file) for file in series.iterdir()), key=lambda header: header.InstanceNumber)
    Segmentation(
        headers, painted().astype(np.float32) * 0.75, "FRACTIONAL", [described],
        UID(), 1, UID(), 1, "maker", "model", "1", "0", max_fractional_value=200,
    ).save_as(path / "a.dcm")  # fmt: skip
    return path / "a.dcm"


# How labels are stored, and the note about it.
NOTES = {
    rows_flipped: "the labels were put on the image's grid voxel by voxel: their axes were flipped or permuted",
    cropped: "the labels were put on the image's grid voxel by voxel: they cover a part of it",
    fractional: "the segmentation holds fractions (probability); voxels of 100 of 200 or more are labelled.",
}


def manifest(folder: Path, header: str, row: str) -> str:
    (folder / "cases.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
    return str(folder / "cases.csv")


def to_nifti(image: Path, labels: Path, out: Path) -> list[str]:
    return ["export", str(labels), "--to", "nifti", "--reference", str(image), "-o", str(out / "out.nii.gz")]


def to_dicom(image: Path, labels: Path, out: Path) -> list[str]:
    options = ["--reference", str(image), "--default-code", "-o", str(out / "out.dcm")]
    return ["export", str(labels), "--to", "dicom-seg", *options]


def study(image: Path, labels: Path, out: Path) -> list[str]:
    table = manifest(out, "image,label,group,name", f"{image},{labels},CT,first")
    return ["compare", "--study", table, "-o", str(out / "study"), *QUICK]


def batch(image: Path, labels: Path, out: Path) -> list[str]:
    table = manifest(out, "image,support,name", f"{image},{labels},first")
    return ["batch", table, "-o", str(out / "out"), "--engine", "propagate", "--progress", "none"]


COMMANDS: dict[str, Callable[[Path, Path, Path], list[str]]] = {
    "fill": lambda image, labels, out: ["fill", str(image), str(labels), "-o", str(out / "out.nii.gz"),
                                        "--engine", "propagate", "--progress", "none"],
    "suggest": lambda image, labels, out: ["suggest", str(image), str(labels)],
    "compare": lambda image, labels, out: ["compare", str(image), str(labels), "-o", str(out / "report"), *QUICK],
    "study": study,
    "batch": batch,
    "library": lambda image, labels, out: ["library", "save", "livers", str(image), str(labels)],
    "export to nifti": to_nifti,
    "export to DICOM": to_dicom,
}  # fmt: skip


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    array = np.full(GRID.shape, 100, np.int16) + np.random.default_rng(0).integers(0, 9, GRID.shape, dtype=np.int16)
    array[:, 2:5, 3:7] += 700
    return write_ct_series(tmp_path / "series", array=array)


# Comparisons take seconds each, so each of them is tested with one kind of label file.
PAIRS = [
    (command, write_labels)
    for command in COMMANDS
    for write_labels in NOTES
    if (command, write_labels)
    not in {("study", cropped), ("study", rows_flipped), ("compare", cropped), ("compare", fractional)}
]


@pytest.mark.parametrize(
    ("command", "write_labels"), PAIRS, ids=[f"{command}-{write_labels.__name__}" for command, write_labels in PAIRS]
)
def test_changes_of_labels_are_reported_once(
    command: str,
    write_labels: Callable[[Path, Path], Path],
    image: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    labels = write_labels(tmp_path, image)
    assert main(COMMANDS[command](image, labels, tmp_path)) == 0
    notes = [line for line in capfd.readouterr().err.splitlines() if NOTES[write_labels] in line]
    subject = {"study": "first", "batch": f"first: {labels}"}.get(command, labels)
    assert len(notes) == 1
    assert notes[0].startswith(f"Note: {subject}: ")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("compare", "study")])
def test_unchanged_labels_are_not_reported(
    command: str, image: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(COMMANDS[command](image, on_the_grid(tmp_path, image), tmp_path)) == 0
    err = capfd.readouterr().err
    assert "grid" not in err
    assert "fractions" not in err


@pytest.mark.parametrize("write_labels", NOTES)
def test_the_python_api_returns_the_notes_that_the_command_line_prints(
    write_labels: Callable[[Path, Path], Path], image: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path, image)
    assert main(COMMANDS["fill"](image, labels, tmp_path)) == 0
    printed = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Note: ")]
    notes = fsa.fill(image, labels, engine="propagate").notes
    assert [f"Note: {note}" for note in notes] == printed
    assert NOTES[write_labels] in printed[0]
    assert fsa.fill(fsa.read_volume(image), labels, engine="propagate").notes == notes
    found: list[Message] = []
    fsa.suggest(image, labels, count=1, on_note=found.append)
    assert tuple(found) == notes
    fsa.compare(image, labels, engines=["propagate"], sizes=[2], draws=1, held_out=1, on_note=found.append)
    assert tuple(found) == (*notes, *notes)


def test_notes_of_the_python_api_concern_patients_images_in_memory_and_slices_that_were_not_named(
    image: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(image, other)
    for file in other.iterdir():
        dataset = dcmread(file)
        dataset.PatientID = "another"
        dataset.save_as(file)
    assert fsa.fill(image, painted(), engine="propagate").notes == ()
    notes = fsa.fill(image, painted(), engine="propagate", also=[other], labelled_slices=[0, 2]).notes
    assert [note.code for note in notes] == ["of_another_patient", "labels_on_other_slices"]
    assert str(other) in str(notes[0])
    assert "another." not in str(notes[0])
    flipped = sitk.Flip(to_image(painted(), GRID), (False, True, False))
    (note,) = fsa.fill(image, flipped, engine="propagate").notes
    assert str(note).startswith("The labels: ")


def test_a_study_accepts_labels_painted_on_different_slices(image: Path, tmp_path: Path) -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[[0, 2, 4], 2:5, 3:5] = 1
    array[[1, 3, 5], 2:5, 5:7] = 2
    write_label_maps(tmp_path / "a.nrrd", [LabelMap(array, GRID, (SEGMENT, Segment(value=2, name="spleen")))])
    assert main([*study(image, tmp_path / "a.nrrd", tmp_path), "--partial"]) == 0
    annotated = [
        read_study_manifest(tmp_path / "cases.csv", complete=bool(complete))[0].read().supports[0].annotated
        for complete in (0, 1)
    ]
    assert annotated[0].tolist() == [[True, False], [False, True]] * 3
    assert annotated[1].all()


def test_labels_of_another_format_are_read_without_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pydicom", "pydicom.config"):
        monkeypatch.setitem(sys.modules, name, None)
    assert label_note(rows_flipped(tmp_path, tmp_path), "labels") is None
