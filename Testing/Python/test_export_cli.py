"""`fewshot-annotate export`: one line for each missing item, with the option that supplies it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import Message
from fewshot_annotate.export import delivery as deliver_module
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from fewshot_annotate.io.label_names import sidecar_path
from pydicom import Dataset, dcmread
from support.dicom import cropped_labels, names_of, series_folder, two_layers, write_cropped_headers
from support.labels import small_case
from support.processes import PACKAGE_PARENT


@dataclass
class CaseFolder:
    """A folder with a series and a label map on it, as a user has them."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    @property
    def labels(self) -> Path:
        return self.folder / "painted été.nii.gz"

    @property
    def series(self) -> Path:
        return self.folder / "series"

    @property
    def output(self) -> Path:
        return self.folder / "seg.dcm"

    def export(self, *arguments: object) -> tuple[int, list[str], list[str]]:
        """Exit code, lines on stdout and on stderr of an export to DICOM SEG."""
        return self.run("--to", "dicom-seg", "--reference", self.series, "-o", self.output, *arguments)

    def run(self, *arguments: object) -> tuple[int, list[str], list[str]]:
        code = main(["export", str(self.labels), *map(str, arguments)])
        captured = self.capture.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()


@pytest.fixture
def case_folder(awkward_path: Path, capsys: pytest.CaptureFixture[str]) -> CaseFolder:
    case_folder = CaseFolder(awkward_path, capsys)
    write_cropped_headers(case_folder.series)
    write_label_maps(case_folder.labels, [cropped_labels()])
    return case_folder


def test_missing_items_are_listed_with_the_options_that_supply_them(case_folder: CaseFolder) -> None:
    code, out, err = case_folder.export()
    assert (code, out) == (2, [])
    assert not case_folder.output.exists()
    (line,) = [line for line in err if not line.startswith("Note: ")]
    assert "liver: Liver" in line
    assert "adrenal_gland_right: Right Adrenal gland" in line
    assert line.endswith("(--suggest-codes or --code or --default-code)")


def test_one_command_writes_and_verifies_the_file(case_folder: CaseFolder) -> None:
    code, out, err = case_folder.export("--suggest-codes", "--engine", "propagate", "--weights", "none")
    assert (code, out[:-1]) == (0, [f"{case_folder.output}: verified"])
    assert "pydicom" in out[-1]
    assert "highdicom" in out[-1]
    assert "voxels, geometry, names, colours and codes" in out[-1]
    assert [line for line in err if not line.startswith("Note: Codes suggested by name")] == []
    items = dcmread(case_folder.output).SegmentSequence
    assert [item.SegmentLabel for item in items] == names_of(cropped_labels().segments)
    assert {item.SegmentAlgorithmName for item in items} == {"FewShotAnnotate propagate"}


def test_all_problems_are_listed_at_once(case_folder: CaseFolder) -> None:
    case_folder.output.write_bytes(b"older")
    dcm = sorted(case_folder.series.iterdir())
    dcm[4].unlink()
    code, _, err = case_folder.export()
    assert code == 2
    flags = [line.rpartition("(")[2].rstrip(").") for line in err if not line.startswith("Note: ")]
    assert flags == ["--overwrite", "--leave-out-missing-slices", "--suggest-codes or --code or --default-code"]
    assert case_folder.output.read_bytes() == b"older"
    code, out, _ = case_folder.export("--overwrite", "--leave-out-missing-slices", "--suggest-codes")
    assert (code, out[:-1]) == (0, [f"{case_folder.output}: verified"])


def test_codes_are_given_by_name_structure_or_code(case_folder: CaseFolder) -> None:
    code, _, _ = case_folder.export(
        *("--code", "liver=SCT^78961009^Spleen", "--code", "aorta=left kidney", "--code", "*=tissue")
    )
    assert code == 0
    kinds = {
        item.SegmentLabel: item.SegmentedPropertyTypeCodeSequence[0].CodeMeaning
        for item in dcmread(case_folder.output).SegmentSequence
    }
    assert kinds["liver"] == "Spleen"
    assert kinds["aorta"] == "Kidney"
    assert kinds["stomach"] == "Tissue"


def test_the_users_table_of_structures_has_precedence(case_folder: CaseFolder) -> None:
    table = case_folder.folder / "own.csv"
    table.write_text(
        "name,category,category_meaning,type,type_meaning\nliver,123037004,Anatomical Structure,78961009,Spleen\n"
    )
    assert case_folder.export("--suggest-codes", "--structures", table)[0] == 0
    first = dcmread(case_folder.output).SegmentSequence[0]
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Spleen"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--code", "kidney=liver"), "There is no segment named 'kidney'"),
        (("--code", "liver=gizmo"), "'gizmo' is no known structure and no code"),
        (("--code", "liver"), "'liver' sets no option; write NAME=VALUE."),
        (("--engine", ":1"), "':1' is no engine"),
        (("--engine", "e" * 41), "is no engine"),
        (("--one-file-per-segment",), "leave out --one-file-per-segment"),
        (("--series", "1.2.3"), "holds no series 1.2.3"),
        (("--derive-series", "x", "--reference", "nowhere"), "nowhere: no such file or folder"),
    ],
)
def test_invalid_options_are_refused_in_one_line(
    case_folder: CaseFolder, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = case_folder.export(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert message in err[0]


def test_a_label_map_of_another_grid_is_refused_in_one_line(case_folder: CaseFolder) -> None:
    write_label_maps(case_folder.labels, [small_case()[1]])
    code, _, err = case_folder.export("--code", "*=tissue")
    (line,) = [line for line in err if not line.startswith("Note: ")]
    assert code == 2
    assert str(case_folder.labels) in line
    assert line.endswith("(--resample)")


def test_two_series_in_the_folder_are_refused_in_one_line(case_folder: CaseFolder) -> None:
    path = sorted(series_folder().iterdir())[0]
    dataset = dcmread(path, stop_before_pixels=True)
    dataset.SeriesInstanceUID = "1.2.3.4"
    dataset.save_as(case_folder.series / "other.dcm")
    code, _, err = case_folder.export("--suggest-codes")
    assert (code, len(err)) == (2, 1)
    assert "2 DICOM series" in err[0]


def test_the_label_map_type_refuses_overlap_and_names_the_option(case_folder: CaseFolder) -> None:
    case_folder.labels.unlink()
    sidecar_path(case_folder.labels).unlink()
    overlapping = case_folder.folder / "a.seg.nrrd"
    write_label_maps(overlapping, list(two_layers(cropped_labels())))
    arguments = [
        "--to",
        "dicom-seg",
        "--reference",
        str(case_folder.series),
        "-o",
        str(case_folder.output),
        "--suggest-codes",
    ]
    assert main(["export", str(overlapping), *arguments, "--type", "labelmap"]) == 2
    assert "(--type binary)" in case_folder.capture.readouterr().err
    assert main(["export", str(overlapping), *arguments]) == 0


def test_a_series_is_derived_for_a_volume_without_dicom_on_request(case_folder: CaseFolder) -> None:
    volume, label_map = small_case()
    image, labels, output = (
        case_folder.folder / "image.nrrd",
        case_folder.folder / "l.nrrd",
        case_folder.folder / "seg2.dcm",
    )
    write_array(image, volume.array, volume.geometry)
    write_label_maps(labels, [label_map])
    arguments = ["export", str(labels), "--to", "dicom-seg", "-o", str(output), "--code", "*=hippocampus"]
    assert main(arguments) == 2
    assert "(--reference or --derive-series)" in case_folder.capture.readouterr().err
    assert main([*arguments, "--derive-series", str(case_folder.folder / "derived")]) == 2
    assert "--image" in case_folder.capture.readouterr().err
    more = ["--derive-series", str(case_folder.folder / "derived"), "--image", str(image), "--modality", "MR"]
    assert main([*arguments, *more, "--patient-id", "4711"]) == 0
    printed = case_folder.capture.readouterr().out.splitlines()
    assert printed[:-1] == [f"{case_folder.folder / 'derived'}: verified", f"{output}: verified"]
    assert dcmread(output).PatientID == "4711"


def test_names_and_codes_are_written_beside_nifti(case_folder: CaseFolder) -> None:
    output = case_folder.folder / "out.nii.gz"
    code, out, _ = case_folder.run("--to", "nifti", "-o", output, "--suggest-codes")
    assert (code, out[:-1]) == (0, [f"{output}: verified", f"{sidecar_path(output)}: verified"])
    assert "SimpleITK" in out[-1]
    described = json.loads(sidecar_path(output).read_text(encoding="utf-8"))
    assert described["5"]["name"] == "liver"
    assert "SCT^10200004^Liver" in described["5"]["tags"]["TerminologyEntry"]
    (found,) = read_label_maps(output)
    assert (found.array == cropped_labels().array).all()


def test_nifti_needs_no_codes(case_folder: CaseFolder) -> None:
    code, _, err = case_folder.run("--to", "nifti", "-o", case_folder.folder / "out.nii.gz")
    assert code == 0
    assert err == []


def test_the_label_map_itself_is_never_replaced(case_folder: CaseFolder) -> None:
    before = case_folder.labels.read_bytes()
    code, _, err = case_folder.run("--to", "nifti", "-o", case_folder.labels, "--overwrite")
    assert (code, len(err)) == (2, 1)
    assert case_folder.labels.read_bytes() == before


def test_a_difference_found_by_reading_back_leaves_no_file(
    case_folder: CaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    difference = Message("voxels_of_slice_differ", count=3, segment="liver", slice="08.dcm")
    monkeypatch.setattr(deliver_module, "compare_segmentation", lambda path, content: [difference])
    code, out, err = case_folder.export("--suggest-codes")
    assert (code, out) == (1, [])
    assert any(line.endswith("differs: 3 voxels of segment liver differ on 08.dcm") for line in err)
    assert err[-1].endswith("not verified, nothing was kept.")
    assert not case_folder.output.exists()


@pytest.mark.parametrize("package", ["highdicom", "pydicom"])
def test_missing_packages_are_named_in_one_line(case_folder: CaseFolder, package: str) -> None:
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from fewshot_annotate.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = [
        "export",
        case_folder.labels,
        "--to",
        "dicom-seg",
        "--reference",
        case_folder.series,
        "-o",
        case_folder.output,
    ]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, env={"PYTHONPATH": str(PACKAGE_PARENT)}, capture_output=True, text=True)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert package in line
    assert "-m pip install --editable" in line
    assert line.endswith('[dicom]"')


def test_a_series_that_highdicom_refuses_is_reported_in_one_line_without_values(
    case_folder: CaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**attributes: object) -> None:
        raise ValueError("'Geheim^Name'\nis no PatientName")

    monkeypatch.setattr("highdicom.seg.Segmentation", refuse)
    code, _, err = case_folder.export("--suggest-codes", "--engine", "propagate")
    assert (code, len([line for line in err if not line.startswith("Note: ")])) == (2, 1)
    assert "(see PatientName)" in err[-1]
    assert "Geheim" not in "".join(err)
    assert not case_folder.output.exists()


def test_no_name_of_the_patient_is_ever_printed(case_folder: CaseFolder) -> None:
    shutil.rmtree(case_folder.series)

    def name(header: Dataset, index: int) -> None:
        header.PatientName = "Geheim^Name"

    write_cropped_headers(case_folder.series, name)
    for arguments in ((), ("--suggest-codes",)):
        _, out, err = case_folder.export(*arguments)
        assert "Geheim" not in "\n".join([*out, *err])
