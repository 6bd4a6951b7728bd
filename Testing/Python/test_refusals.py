"""Refusals are one line without words of a library, and change nothing."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core import paths
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.volume import Geometry, LabelMap
from fewshot_annotate.io.files import write_array, write_label_maps
from support.processes import PACKAGE_PARENT
from support.synthetic_dicom import GRID as SERIES_GRID
from support.synthetic_dicom import write_ct_series

HUGE = "9" * 5000


@pytest.fixture
def case_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image and labels, as the current folder, and an empty one for temporary files."""
    folder = tmp_path / "case_folder"
    folder.mkdir()
    (tmp_path / "tmp").mkdir()
    grid = Geometry((6, 12, 12))
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[[1, 4], 3:8, 3:8] = 1
    write_array(folder / "image.nii.gz", np.arange(864, dtype=np.int16).reshape(grid.shape), grid)
    write_label_maps(folder / "support.nii.gz", [LabelMap(labels, grid)])
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if paths.is_file(path) else b"" for path in folder.rglob("*")}


def refused(words: list[str], case_folder: Path, capsys: pytest.CaptureFixture) -> str:
    before = contents(case_folder)
    assert main(words) == 2
    assert contents(case_folder) == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


def program(words: list[str], case_folder: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with its own folder for temporary files."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(PACKAGE_PARENT),
        "TMPDIR": str(case_folder.parent / "tmp"),
    }
    environment[HOME_VARIABLE] = str(case_folder.parent / "home")
    command = [sys.executable, "-m", "fewshot_annotate.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=case_folder, env=environment)


# --- words


@pytest.mark.parametrize("option", ["--device=--", "--budget=--", "--axis=--", "--engine=--", "--confidence=--"])
def test_two_dashes_are_refused_as_a_value(option: str, case_folder: Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(case_folder)
    with pytest.raises(SystemExit) as ended:
        main(["fill", "image.nii.gz", "support.nii.gz", "-o", "out.nii.gz", option])
    assert ended.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err
    assert contents(case_folder) == before


@pytest.mark.parametrize("words", [[HUGE], ["fill", f"--device={HUGE}"], ["suggest", "a", "b", HUGE], [f"--{HUGE}"]])
def test_a_very_long_word_is_shortened_in_the_middle(words: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 900


# --- files


@pytest.mark.parametrize("series", [HUGE, "\u0661", "\u00b2", "nan", "-7", "1e0"])
def test_an_invalid_series_number_is_refused(series: str, case_folder: Path, capsys: pytest.CaptureFixture) -> None:
    write_ct_series(case_folder / "series")
    line = refused(["suggest", "series", "support.nii.gz", f"--series={series}"], case_folder, capsys)
    assert "holds no series" in line


@pytest.mark.parametrize(
    ("field", "value"), [("byte skip", HUGE), ("byte skip", "x"), ("line skip", "nan"), ("line skip", "-1")]
)
def test_an_nrrd_without_a_finite_origin_is_refused(
    field: str, value: str, case_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (case_folder / "image.nrrd").write_bytes(nrrd([f"{field}: {value}"]))
    assert "header is damaged" in refused(["suggest", "image.nrrd", "support.nii.gz"], case_folder, capsys)


@pytest.mark.parametrize(
    "line", ["dimension: 3", "sizes: 12 12 6", "sizes: 6 12 12", "Type: uint8", "encoding: gzip"]
)
def test_an_nrrd_with_a_duplicate_field_is_refused(
    line: str, case_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (case_folder / "image.nrrd").write_bytes(nrrd([line]))
    assert "twice" in refused(["suggest", "image.nrrd", "support.nii.gz"], case_folder, capsys)


def nrrd(lines: list[str]) -> bytes:
    head = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 12 12 6", "encoding: raw", *lines, "", ""]
    return "\n".join(head).encode("ascii") + bytes(range(216)) * 4


@pytest.mark.parametrize("partner", [HUGE, "x" * 256, "loop", ".", "pipe", "../case_folder", "a\0b"])
@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_a_header_without_finite_positions_is_refused(
    kind: str, partner: str, case_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (case_folder / "loop").symlink_to("loop")
    os.mkfifo(case_folder / "pipe")
    if kind == "mhd":
        text = f"NDims = 3\nDimSize = 12 12 6\nElementType = MET_UCHAR\nElementDataFile = {partner}\n"
    else:
        text = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 12 12 6\nencoding: raw\ndata file: {partner}\n\n"
    (case_folder / f"image.{kind}").write_text(text, encoding="ascii")
    assert f"image.{kind}" in refused(["suggest", f"image.{kind}", "support.nii.gz"], case_folder, capsys)


def test_a_header_with_the_longest_name_and_no_partner_is_refused(
    case_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    name = "n" * 251 + ".hdr"
    header = bytearray(gzip.decompress((case_folder / "image.nii.gz").read_bytes())[:348])
    header[344:348] = b"ni1\0"
    (case_folder / name).write_bytes(header)
    assert "is not beside it" in refused(["suggest", name, "support.nii.gz"], case_folder, capsys)


def test_a_file_that_cannot_be_read_from_is_refused(case_folder: Path, capsys: pytest.CaptureFixture) -> None:
    (case_folder / "odd.seg.nrrd").symlink_to("/proc/self/mem")
    assert main(["suggest", "image.nii.gz", "odd.seg.nrrd"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "odd.seg.nrrd" in line


def test_warnings_of_libraries_are_not_shown(case_folder: Path) -> None:
    series = write_ct_series(case_folder / "series")
    for path in series.iterdir():
        header = pydicom.dcmread(path)
        element = header["SeriesNumber"]
        header[element.tag] = pydicom.dataelem.RawDataElement(element.tag, "IS", 8, b"Doe^Jane", 0, False, True)
        header.save_as(path)
    write_label_maps(case_folder / "labels.nii.gz", [LabelMap(np.zeros(SERIES_GRID.shape, np.uint8), SERIES_GRID)])
    ended = program(["suggest", "series", "labels.nii.gz", "--progress", "none"], case_folder)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("fewshot-annotate: labels.nii.gz")
    assert "Doe" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("damage", ["image.npy", "mask.npy", "png", "pipe", "huge"])
def test_a_damaged_task_of_the_library_is_not_exported(
    damage: str, case_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(case_folder.parent / "home"))
    assert main(["library", "save", "liver", "image.nii.gz", "support.nii.gz"]) == 0
    picture = next((case_folder.parent / "home" / "library" / "liver").glob("*.png"))
    if damage == "huge":
        with picture.open("r+b") as file:
            file.truncate(1 << 40)
    elif damage in ("png", "pipe"):
        picture.unlink()
        _ = os.mkfifo(picture) if damage == "pipe" else None
    else:
        array = next(picture.parent.glob(f"*.{damage}"))
        array.write_bytes(array.read_bytes()[:-1])
    capsys.readouterr()
    assert "is damaged" in refused(["library", "export", "liver", "-o", "out.zip"], case_folder, capsys)


def test_files_that_cannot_be_removed_from_a_task_cause_no_error(
    case_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(case_folder.parent / "home"))
    assert main(["library", "save", "liver", "image.nii.gz", "support.nii.gz"]) == 0
    (case_folder.parent / "home" / "library" / "liver" / "0099.mask.npy").mkdir()
    assert main(["library", "add", "liver", "image.nii.gz", "support.nii.gz"]) == 0


# --- folders


@pytest.mark.parametrize("rows", [("odd",), ("good", "odd")])
def test_a_study_that_is_refused_leaves_no_folder(
    rows: tuple[str, ...], case_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (case_folder / "odd.nii.gz").write_bytes(b"no image")
    (case_folder / "good.nii.gz").write_bytes((case_folder / "image.nii.gz").read_bytes())
    listed = "".join(f"{name}.nii.gz,support.nii.gz,a\n" for name in rows)
    (case_folder / "study.csv").write_text(f"image,label,group\n{listed}", encoding="ascii")
    line = refused(
        ["compare", "--study", "study.csv", "-o", "new/report", "--engines", "propagate"], case_folder, capsys
    )
    assert "odd.nii.gz" in line
    (case_folder / "empty").mkdir()
    refused(["compare", "--study", "study.csv", "-o", "empty", "--engines", "propagate"], case_folder, capsys)


def test_the_demo_makes_no_folder_for_an_unknown_engine(case_folder: Path, capsys: pytest.CaptureFixture) -> None:
    refused(["demo", "-o", "new", "--engine", "nothing"], case_folder, capsys)


def test_a_batch_leaves_nothing_in_the_folder_for_temporary_files(case_folder: Path) -> None:
    (case_folder / "cases.csv").write_text("image,support\nimage.nii.gz,support.nii.gz\n", encoding="ascii")
    words = ["batch", "cases.csv", "-o", "out", "--engine", "propagate", "--progress", "none"]
    ended = program(words, case_folder)
    assert ended.returncode == 0, ended.stderr
    assert not list((case_folder.parent / "tmp").iterdir())


def test_a_batch_whose_scheduler_cannot_be_reached_changes_nothing(
    case_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (case_folder / "cases.csv").write_text("image,support\nimage.nii.gz,support.nii.gz\n", encoding="ascii")
    words = ["batch", "cases.csv", "-o", "out", "--engine", "propagate", "--progress", "none"]
    assert main(words) == 0
    capsys.readouterr()
    (case_folder / "out" / "image" / "case.json").unlink()
    refused([*words, "--resume", "--scheduler", "no address"], case_folder, capsys)
