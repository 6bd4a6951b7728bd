"""`fewshot-annotate export` as its users meet it: a line for each thing that is missing, with the flag for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.export import delivery as deliver_module
from fewshot_annotate.export.verification import Difference
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from fewshot_annotate.io.label_names import sidecar_path
from pydicom import Dataset, dcmread
from support.dicom import cut_labels, cut_series, names_of, series_folder, two_layers
from support.labels import small_case
from support.processes import PACKAGE_PARENT


@dataclass
class Desk:
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

    def export(self, *words: object) -> tuple[int, list[str], list[str]]:
        """Exit code, lines on stdout and on stderr of an export to DICOM SEG."""
        return self.run("--to", "dicom-seg", "--reference", self.series, "-o", self.output, *words)

    def run(self, *words: object) -> tuple[int, list[str], list[str]]:
        code = main(["export", str(self.labels), *map(str, words)])
        captured = self.capture.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()


@pytest.fixture
def desk(awkward_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    desk = Desk(awkward_path, capsys)
    cut_series(desk.series)
    write_label_maps(desk.labels, [cut_labels()])
    return desk


def test_what_is_missing_is_listed_with_the_flags_that_resolve_it(desk: Desk) -> None:
    code, out, err = desk.export()
    assert (code, out) == (2, [])
    assert not desk.output.exists()
    (line,) = [line for line in err if not line.startswith("Note: ")]
    assert "liver: Liver" in line
    assert "adrenal_gland_right: Right Adrenal gland" in line
    assert line.endswith("(--suggest-codes or --code or --default-code)")


def test_one_command_writes_and_verifies(desk: Desk) -> None:
    code, out, err = desk.export("--suggest-codes", "--engine", "propagate", "--weights", "none")
    assert (code, out[:-1]) == (0, [f"{desk.output}: verified"])
    assert "pydicom" in out[-1]
    assert "highdicom" in out[-1]
    assert "voxels, geometry, names, colours and codes" in out[-1]
    assert [line for line in err if not line.startswith("Note: Codes suggested by name")] == []
    items = dcmread(desk.output).SegmentSequence
    assert [item.SegmentLabel for item in items] == names_of(cut_labels().segments)
    assert {item.SegmentAlgorithmName for item in items} == {"FewShotAnnotate propagate"}


def test_all_problems_are_listed_at_once(desk: Desk) -> None:
    desk.output.write_bytes(b"older")
    dcm = sorted(desk.series.iterdir())
    dcm[4].unlink()
    code, _, err = desk.export()
    assert code == 2
    flags = [line.rpartition("(")[2].rstrip(").") for line in err if not line.startswith("Note: ")]
    assert flags == ["--overwrite", "--leave-out-missing-slices", "--suggest-codes or --code or --default-code"]
    assert desk.output.read_bytes() == b"older"
    code, out, _ = desk.export("--overwrite", "--leave-out-missing-slices", "--suggest-codes")
    assert (code, out[:-1]) == (0, [f"{desk.output}: verified"])


def test_codes_are_given_by_name_structure_or_code(desk: Desk) -> None:
    code, _, _ = desk.export(
        *("--code", "liver=SCT^78961009^Spleen", "--code", "aorta=left kidney", "--code", "*=tissue")
    )
    assert code == 0
    kinds = {
        item.SegmentLabel: item.SegmentedPropertyTypeCodeSequence[0].CodeMeaning
        for item in dcmread(desk.output).SegmentSequence
    }
    assert kinds["liver"] == "Spleen"
    assert kinds["aorta"] == "Kidney"
    assert kinds["stomach"] == "Tissue"


def test_own_tables_count_first(desk: Desk) -> None:
    table = desk.folder / "own.csv"
    table.write_text(
        "name,category,category_meaning,type,type_meaning\nliver,123037004,Anatomical Structure,78961009,Spleen\n"
    )
    assert desk.export("--suggest-codes", "--structures", table)[0] == 0
    first = dcmread(desk.output).SegmentSequence[0]
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Spleen"


@pytest.mark.parametrize(
    ("words", "said"),
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
def test_bad_words_are_refused_in_one_line(desk: Desk, words: tuple[str, ...], said: str) -> None:
    code, out, err = desk.export(*words)
    assert (code, out, len(err)) == (2, [], 1)
    assert said in err[0]


def test_a_label_map_of_another_grid_is_refused_in_one_line(desk: Desk) -> None:
    write_label_maps(desk.labels, [small_case()[1]])
    code, _, err = desk.export("--code", "*=tissue")
    (line,) = [line for line in err if not line.startswith("Note: ")]
    assert code == 2
    assert str(desk.labels) in line
    assert line.endswith("(--resample)")


def test_two_series_in_the_folder_are_refused_in_one_line(desk: Desk) -> None:
    path = sorted(series_folder().iterdir())[0]
    dataset = dcmread(path, stop_before_pixels=True)
    dataset.SeriesInstanceUID = "1.2.3.4"
    dataset.save_as(desk.series / "other.dcm")
    code, _, err = desk.export("--suggest-codes")
    assert (code, len(err)) == (2, 1)
    assert "2 DICOM series" in err[0]


def test_label_map_type_refuses_overlap_and_names_the_flag(desk: Desk) -> None:
    desk.labels.unlink()
    sidecar_path(desk.labels).unlink()
    overlapping = desk.folder / "a.seg.nrrd"
    write_label_maps(overlapping, list(two_layers(cut_labels())))
    words = ["--to", "dicom-seg", "--reference", str(desk.series), "-o", str(desk.output), "--suggest-codes"]
    assert main(["export", str(overlapping), *words, "--type", "labelmap"]) == 2
    assert "(--type binary)" in desk.capture.readouterr().err
    assert main(["export", str(overlapping), *words]) == 0


def test_a_volume_without_dicom_gets_a_series_when_asked(desk: Desk) -> None:
    volume, label_map = small_case()
    image, labels, output = desk.folder / "image.nrrd", desk.folder / "l.nrrd", desk.folder / "seg2.dcm"
    write_array(image, volume.array, volume.geometry)
    write_label_maps(labels, [label_map])
    words = ["export", str(labels), "--to", "dicom-seg", "-o", str(output), "--code", "*=hippocampus"]
    assert main(words) == 2
    assert "(--reference or --derive-series)" in desk.capture.readouterr().err
    assert main([*words, "--derive-series", str(desk.folder / "made")]) == 2
    assert "--image" in desk.capture.readouterr().err
    more = ["--derive-series", str(desk.folder / "made"), "--image", str(image), "--modality", "MR"]
    assert main([*words, *more, "--patient-id", "4711"]) == 0
    printed = desk.capture.readouterr().out.splitlines()
    assert printed[:-1] == [f"{desk.folder / 'made'}: verified", f"{output}: verified"]
    assert dcmread(output).PatientID == "4711"


def test_nifti_gets_names_and_codes_beside_it(desk: Desk) -> None:
    output = desk.folder / "out.nii.gz"
    code, out, _ = desk.run("--to", "nifti", "-o", output, "--suggest-codes")
    assert (code, out[:-1]) == (0, [f"{output}: verified", f"{sidecar_path(output)}: verified"])
    assert "SimpleITK" in out[-1]
    described = json.loads(sidecar_path(output).read_text(encoding="utf-8"))
    assert described["5"]["name"] == "liver"
    assert "SCT^10200004^Liver" in described["5"]["tags"]["TerminologyEntry"]
    (found,) = read_label_maps(output)
    assert (found.array == cut_labels().array).all()


def test_nifti_needs_no_codes_and_does_not_ask_for_them(desk: Desk) -> None:
    code, _, err = desk.run("--to", "nifti", "-o", desk.folder / "out.nii.gz")
    assert code == 0
    assert err == []


def test_the_label_map_itself_is_never_replaced(desk: Desk) -> None:
    before = desk.labels.read_bytes()
    code, _, err = desk.run("--to", "nifti", "-o", desk.labels, "--overwrite")
    assert (code, len(err)) == (2, 1)
    assert desk.labels.read_bytes() == before


def test_what_differs_ends_with_failed_and_no_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    difference = Difference("voxels on 08.dcm, segment 1", "all the same", "3 others")
    monkeypatch.setattr(deliver_module, "compare_segmentation", lambda path, content: [difference])
    code, out, err = desk.export("--suggest-codes")
    assert (code, out) == (1, [])
    assert any(str(difference) in line for line in err)
    assert err[-1].endswith("not verified, nothing was kept.")
    assert not desk.output.exists()


@pytest.mark.parametrize("package", ["highdicom", "pydicom"])
def test_without_the_packages_one_line_says_what_to_install(desk: Desk, package: str) -> None:
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from fewshot_annotate.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["export", desk.labels, "--to", "dicom-seg", "--reference", desk.series, "-o", desk.output]
    command = [sys.executable, "-c", code, *map(str, words)]
    result = subprocess.run(command, env={"PYTHONPATH": str(PACKAGE_PARENT)}, capture_output=True, text=True)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert package in line
    assert "-m pip install --editable" in line
    assert line.endswith('[dicom]"')


def test_a_series_that_highdicom_refuses_is_told_in_one_line_that_holds_no_value(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**attributes: object) -> None:
        raise ValueError("'Geheim^Name'\nis no PatientName")

    monkeypatch.setattr("highdicom.seg.Segmentation", refuse)
    code, _, err = desk.export("--suggest-codes", "--engine", "propagate")
    assert (code, len([line for line in err if not line.startswith("Note: ")])) == (2, 1)
    assert "(see PatientName)" in err[-1]
    assert "Geheim" not in "".join(err)
    assert not desk.output.exists()


def test_no_name_of_the_patient_is_ever_printed(desk: Desk) -> None:
    shutil.rmtree(desk.series)

    def name(header: Dataset, place: int) -> None:
        header.PatientName = "Geheim^Name"

    cut_series(desk.series, name)
    for words in ((), ("--suggest-codes",)):
        _, out, err = desk.export(*words)
        assert "Geheim" not in "\n".join([*out, *err])
