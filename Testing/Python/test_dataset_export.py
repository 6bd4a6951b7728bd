"""Export of data sets for other programs: layouts, split by patient, data sheet, and unusual cases."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.datasets.export.checks import findings
from fewshot_annotate.datasets.export.delivery import same_patients, validation_patients
from fewshot_annotate.datasets.export.facts import CaseFacts
from fewshot_annotate.datasets.export.source import dataset_source
from fewshot_annotate.datasets.task.adding import Provenance, add_example
from fewshot_annotate.datasets.task.example import LabelOrigin
from fewshot_annotate.datasets.task.library import create_task
from fewshot_annotate.datasets.task.task import read_task
from fewshot_annotate.io.files import read_label_maps, read_volume, write_label_maps
from support.batches import read_valid_manifest
from support.tasks import GRID, SEGMENTS, ball, batch_of_balls, task_of_balls

SEEDS = (0, 1, 2)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder."""
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def export(source: object, out: Path, layout: str, *more: str) -> int:
    arguments = ["dataset", "export", str(source), "--format", layout, "-o", str(out)]
    return main([*arguments, "--progress", "none", "--no-previews", *more])


def test_the_nnunet_layout_has_numbered_files_a_description_and_a_split(tmp_path: Path) -> None:
    task_of_balls("balls", *SEEDS)
    assert export("balls", tmp_path / "raw", "nnunet") == 0
    folder = tmp_path / "raw" / "Dataset501_balls"
    content = json.loads((folder / "dataset.json").read_text())
    assert content == {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "Core": 1, "Rim": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    for number, seed in zip(("001", "002", "003"), SEEDS, strict=True):
        volume, label_map = ball(seed)
        np.testing.assert_array_equal(
            read_volume(folder / f"imagesTr/balls_{number}_0000.nii.gz").array, volume.array
        )
        (labels,) = read_label_maps(folder / f"labelsTr/balls_{number}.nii.gz")
        np.testing.assert_array_equal(labels.array, label_map.array)
    (split,) = json.loads((folder / "splits_final.json").read_text())
    assert (len(split["train"]), len(split["val"])) == (2, 1)


# nnunetv2 brings many packages, so the tests do not install it: pip install nnunetv2.
if importlib.util.find_spec("nnunetv2"):

    @pytest.mark.slow
    def test_nnunet_accepts_the_exported_data_set(tmp_path: Path) -> None:
        task_of_balls("balls", *SEEDS)
        assert export("balls", tmp_path / "raw", "nnunet") == 0
        check = (
            "from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity\n"
            f"verify_dataset_integrity({str(tmp_path / 'raw' / 'Dataset501_balls')!r}, 1)"
        )
        subprocess.run([sys.executable, "-c", check], check=True)


def test_the_decathlon_description_lists_every_pair_once(tmp_path: Path) -> None:
    task_of_balls("balls", *SEEDS)
    assert export("balls", tmp_path / "msd", "msd", "--number", "7", "--name", "two balls") == 0
    folder = tmp_path / "msd" / "Task07_twoballs"
    content = json.loads((folder / "dataset.json").read_text())
    assert (content["numTraining"], len(content["training"]), len(content["validation"])) == (2, 2, 1)
    assert content["labels"] == {"0": "background", "1": "Core", "2": "Rim"}
    pairs = [*content["training"], *content["validation"]]
    assert {pair["image"] for pair in pairs} == {f"./imagesTr/twoballs_{number:03}.nii.gz" for number in (1, 2, 3)}
    for pair in pairs:
        assert read_volume(folder / pair["image"]).geometry.shape == GRID.shape
        assert (folder / pair["label"]).is_file()
    assert main(["manifest", str(folder), "-o", str(tmp_path / "cases.csv")]) == 0
    assert [case.name for case in read_valid_manifest(tmp_path / "cases.csv").cases] == [
        Path(pair["label"]).name.removesuffix(".nii.gz") for pair in pairs
    ]


@pytest.mark.slow
def test_monai_reads_the_data_list(tmp_path: Path) -> None:
    from monai.data import load_decathlon_datalist

    task_of_balls("balls", *SEEDS)
    assert export("balls", tmp_path / "monai", "monai") == 0
    lists = {
        name: load_decathlon_datalist(str(tmp_path / "monai" / "datalist.json"), data_list_key=name)
        for name in ("training", "validation")
    }
    assert {name: len(found) for name, found in lists.items()} == {"training": 2, "validation": 1}
    for pair in (*lists["training"], *lists["validation"]):
        assert Path(pair["image"]).is_file()
        assert Path(pair["label"]).is_file()


def test_bids_has_a_subject_for_each_patient_and_a_run_for_each_image(tmp_path: Path) -> None:
    task = create_task("balls")
    for seed, patient in ((0, "A"), (1, "B"), (2, "A")):
        add_example(task.folder, *ball(seed), provenance=Provenance(patient=patient))
    assert export("balls", tmp_path / "bids", "bids", "--suffix", "T2w") == 0
    names = sorted(path.name for path in (tmp_path / "bids").rglob("*_dseg.nii.gz"))
    assert names == [
        "sub-001_run-01_desc-accepted_dseg.nii.gz",
        "sub-001_run-02_desc-accepted_dseg.nii.gz",
        "sub-002_run-01_desc-accepted_dseg.nii.gz",
    ]
    assert len(list((tmp_path / "bids").rglob("*_T2w.nii.gz"))) == 3
    description = json.loads((tmp_path / "bids" / "dataset_description.json").read_text())
    assert (description["DatasetType"], description["GeneratedBy"][0]["Name"]) == ("derivative", "FewShotAnnotate")
    assert (tmp_path / "bids" / "desc-accepted_dseg.tsv").read_text().splitlines()[2] == "1\tCore"


def test_names_in_the_table_of_bids_are_text_in_one_cell(tmp_path: Path) -> None:
    task = create_task("balls")
    volume, labels = ball(0)
    names = ('=HYPERLINK("x")', "two\tcells\n+1")
    named = tuple(replace(segment, name=name) for segment, name in zip(labels.segments, names, strict=True))
    add_example(task.folder, volume, replace(labels, segments=named))
    assert export("balls", tmp_path / "bids", "bids", "--suffix", "T2w") == 0
    rows = (tmp_path / "bids" / "desc-accepted_dseg.tsv").read_text().splitlines()
    assert rows[2:] == ['1\t\'=HYPERLINK("x")', r"2	two\tcells\n+1"]


def test_a_case_with_a_comma_in_its_name_is_chosen_in_quotes(tmp_path: Path) -> None:
    batch = batch_of_balls(tmp_path)
    batch.case("1").folder.rename(batch.path / "a, b#1")
    text = batch.status.path.read_text()
    batch.status.path.write_text(text.replace("\n1,", '\n"a, b#1",'))
    assert export(batch.path, tmp_path / "monai", "monai", "--cases", '0, "a, b#1"') == 0
    assert export(batch.path, tmp_path / "other", "monai", "--cases", "0, a") == 2
    assert len(list((tmp_path / "monai" / "labels").iterdir())) == 2


def test_cases_of_one_patient_in_a_batch_are_on_one_side_of_the_split(tmp_path: Path) -> None:
    batch = batch_of_balls(tmp_path, accepted=("0", "1", "2"))
    lines = batch.status.path.read_text().splitlines()
    patients = ("patient", "A", "B", "A")  # in a spreadsheet
    rows = [f"{line},{cell}" for line, cell in zip(lines, patients, strict=True)]
    batch.status.path.write_text("\n".join(rows) + "\n")
    assert export(batch.path, tmp_path / "bids", "bids", "--suffix", "T2w", "--validation", "0.5") == 0
    rows = (tmp_path / "bids" / "participants.tsv").read_text().splitlines()
    assert sorted(row.split("\t")[1] for row in rows[1:]) == ["training", "validation"]
    assert json.loads((tmp_path / "bids" / "data_sheet.json").read_text())["patients"] == 2
    task = create_task("balls")
    assert main(["task", "add", "balls", str(batch.path)]) == 0
    first, second, third = (example.patient for example in read_task(task.folder).examples)
    assert first == third != second


def test_cases_that_share_a_patient_id_are_told_when_none_can_be_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batch_of_balls(tmp_path, accepted=("0", "1", "2"))
    header, *rows = batch.status.path.read_text().splitlines()
    batch.status.path.write_text("\n".join([f"{header},patient", *(f"{row},anonymous" for row in rows)]) + "\n")
    assert export(batch.path, tmp_path / "split", "monai", "--validation", "0.3") == 0
    told = capsys.readouterr()
    assert "All 3 cases are of one patient" in told.out + told.err
    assert "All 3 cases are of one patient" in (tmp_path / "split" / "README.md").read_text()
    assert export(batch.path, tmp_path / "whole", "monai", "--validation", "0") == 0
    told = capsys.readouterr()
    assert "one patient" not in told.out + told.err


def test_images_and_pseudonyms_together_say_what_is_of_one_patient() -> None:
    pairs = (("a", "1"), ("b", "2"), ("P", "1"), ("P", "3"), ("c", "4"), ("Q", "2"))
    cases = same_patients([facts(0, patient=patient, digest=digest) for patient, digest in pairs])
    assert [cases[0].patient == case.patient for case in cases] == [True, False, True, True, False, False]
    assert cases[1].patient == cases[5].patient != cases[4].patient


def test_no_patient_is_on_both_sides_of_the_split() -> None:
    patients = [f"p{number}" for number in range(10)]
    validation = validation_patients([*patients, *patients], 0.3)
    assert len(validation) == 3
    assert validation_patients(reversed(patients), 0.3) == validation
    assert validation_patients(patients, 0.3, seed=1) != validation
    assert len(validation_patients(["a", "b"], 0.1)) == 1
    assert validation_patients(patients, 0) == validation_patients(["a"], 0.5) - {"a"} == frozenset()


@pytest.mark.parametrize("chosen", [(), ("--cases", "0001,0002")])
def test_examples_of_which_only_slices_are_labelled_are_left_out(tmp_path: Path, chosen: tuple[str, ...]) -> None:
    task = create_task("balls")
    add_example(task.folder, *ball(0))
    add_example(task.folder, *ball(1), axis=SliceAxis(0), labelled_slices=[5])
    code = export("balls", tmp_path / "out", "monai", *chosen)
    assert code == (2 if chosen else 0)
    exported = [path.name for path in (tmp_path / "out").glob("labels/*")]
    assert exported == ([] if chosen else ["balls_001.nii.gz"])


def test_label_values_do_not_depend_on_the_segments_that_the_first_case_shows(tmp_path: Path) -> None:
    batch = batch_of_balls(tmp_path)
    label = batch.case("0").label
    (label_map,) = read_label_maps(label)
    write_label_maps(label, [label_map.with_array(np.where(label_map.array == 2, label_map.array, 0))])
    assert [segment.name for segment in dataset_source(str(batch.path)).segments] == ["Core", "Rim"]


def test_a_label_map_corrected_by_a_program_that_keeps_no_names_has_those_of_the_fill(tmp_path: Path) -> None:
    batch = batch_of_balls(tmp_path)
    batch.case("0").names.unlink()
    assert [segment.name for segment in dataset_source(str(batch.path)).segments] == ["Core", "Rim"]
    (loaded, _) = (case.load() for case in dataset_source(str(batch.path)).cases)
    np.testing.assert_array_equal(loaded.labels, ball(0)[1].array)


def test_only_accepted_cases_are_exported_with_who_made_their_slices(tmp_path: Path) -> None:
    batch = batch_of_balls(tmp_path)
    files = batch.case("1")
    (label_map,) = read_label_maps(files.label)
    write_label_maps(files.filled, [label_map])
    corrected = label_map.array.copy()
    corrected[5] = 0
    write_label_maps(files.label, [label_map.with_array(corrected)])
    assert export(batch.path, tmp_path / "raw", "nnunet", "--validation", "0.5") == 0
    folder = tmp_path / "raw" / "Dataset501_out"
    sheet = json.loads((folder / "data_sheet.json").read_text())
    assert (sheet["cases"], sheet["patients"], sheet["training"]) == (2, 2, 1)
    assert sheet["engines"] == {"adapt 0.2.0": 2}
    assert sheet["labelled_by"] == {"painted": 0.2, "corrected": 0.05, "accepted": 0.75}
    core = sheet["segments"][0]
    assert core["expected_dice"] == {"mean": 0.8, "low": 0.7, "high": 0.9, "cases": 2}
    millilitres = [(array == 1).sum() * 2 / 1000 for array in (ball(0)[1].array, corrected)]
    assert core["ml"]["mean"] == pytest.approx(np.mean(millilitres))
    readme = (folder / "README.md").read_text()
    assert "2 accepted cases of 2 patients: 1 for training, 1 for validation." in readme
    figures = (np.mean(millilitres), np.std(millilitres), min(millilitres), max(millilitres))
    row = " | ".join(f"{figure:.3g}" for figure in figures)
    assert f"| 1 | Core | 2 | {row} | 0.800 (0.700 to 0.900) |" in readme
    assert "5.0% of the slices filled by an engine and corrected by a person" in readme
    (labels,) = read_label_maps(folder / "labelsTr/out_002.nii.gz")
    np.testing.assert_array_equal(labels.array, corrected)
    assert not any("ball" in path.name for path in folder.rglob("*"))  # names of files may be those of patients


def test_segments_are_listed_without_the_images_which_are_read_once_when_they_are_exported(tmp_path: Path) -> None:
    batch = batch_of_balls(tmp_path)
    (tmp_path / "ball1.nii.gz").unlink()
    source = dataset_source(str(batch.path))
    assert [segment.name for segment in source.segments] == ["Core", "Rim"]
    with pytest.raises(InputError, match=r"ball1\.nii\.gz: no such file"):
        source.cases[1].load()


def test_all_images_that_are_missing_are_counted_before_the_first_case_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batch_of_balls(tmp_path, ("0", "1", "2"))
    for seed in (1, 2):
        (tmp_path / f"ball{seed}.nii.gz").unlink()
    arguments = ["dataset", "export", str(batch.path), "--format", "monai", "-o", str(tmp_path / "out2")]
    assert main([*arguments, "--progress", "json", "--no-previews"]) == 2
    printed = capsys.readouterr()
    assert f"The images of 2 cases are missing: 1, 2; such as {tmp_path / 'ball1.nii.gz'}" in printed.err
    assert printed.err.count("\n") == 1
    assert '"case"' not in printed.out
    assert main([*arguments, "--progress", "none", "--no-previews", "--cases", "0"]) == 0


def test_previews_show_each_case(tmp_path: Path) -> None:
    task_of_balls("balls", 0)
    arguments = [
        "dataset",
        "export",
        "balls",
        "--format",
        "monai",
        "-o",
        str(tmp_path / "monai"),
        "--progress",
        "none",
    ]
    assert main(arguments) == 0
    assert [path.name for path in (tmp_path / "monai" / "previews").iterdir()] == ["balls_001.png"]


def facts(number: int, **more: object) -> CaseFacts:
    """A usual case, in which the left kidney lies 40 mm to the left of the right one."""
    usual = CaseFacts(
        number=f"c{number}",
        name=f"c{number}",
        patient=str(number),
        digest=str(number),
        geometry=Geometry((10, 10, 10), (1.0, 1.0, 3.0)),
        millilitres=(150.0, 160.0, 1500.0),
        centres=((40.0, 0.0, 0.0), (0.0, 0.0, 0.0), (-30.0, 0.0, 0.0)),
        quantiles=(0.0, 1.0, 2.0, 3.0, 4.0),
        origins={LabelOrigin.PAINTED: 10},
        engine="",
        expected={},
    )
    return replace(usual, **more)  # type: ignore[arg-type]


KIDNEYS = (
    Segment(value=1, name="left kidney"),
    Segment(value=2, name="right kidney"),
    Segment(value=3, name="liver"),
)
UNUSUAL = {
    "nothing": ({}, ""),
    "sides too near to tell": ({"centres": ((0.0, 0.0, 0.0), (3.0, 0.0, 0.0), (-30.0, 0.0, 0.0))}, ""),
    "absent": (
        {"millilitres": (150.0, 160.0, 0.0), "centres": ((40.0, 0.0, 0.0), (0.0, 0.0, 0.0), None)},
        "'liver' is in nearly all cases, but not in: c9",
    ),
    "spacing": ({"geometry": Geometry((10, 10, 10), (1.0, 1.0, 8.0))}, "its spacing of 1 x 1 x 8 mm is far"),
    "volume": ({"millilitres": (150.0, 160.0, 15.0)}, "15 ml of 'liver' are far from the others (typically 1.5e+03"),
    "missing": (
        {"millilitres": (150.0, 0.0, 1500.0)},
        "'right kidney' is in nearly all cases, but not in: c9",
    ),
    "named sides": (
        {"centres": ((0.0, 0.0, 0.0), (40.0, 0.0, 0.0), (-30.0, 0.0, 0.0))},
        "'left kidney' lies to the right of 'right kidney'",
    ),
    "other sides": (
        {"centres": ((40.0, 0.0, 0.0), (0.0, 0.0, 0.0), (90.0, 0.0, 0.0))},
        "'left kidney' and 'liver' are swapped between left and right",
    ),
}


@pytest.mark.parametrize(("change", "message"), UNUSUAL.values(), ids=UNUSUAL.keys())
def test_unusual_values_are_reported_by_case(change: dict[str, object], message: str) -> None:
    found = [
        str(finding) for finding in findings(KIDNEYS, [*(facts(number) for number in range(9)), facts(9, **change)])
    ]
    assert len(found) == bool(message)
    assert all(message in text and "c9" in text for text in found)


@pytest.mark.parametrize(("usual_cases", "reported"), [(4, True), (3, False)])
def test_five_cases_are_needed_to_call_a_volume_unusual(usual_cases: int, reported: bool) -> None:
    odd = facts(9, millilitres=(150.0, 160.0, 15.0))
    found = findings(KIDNEYS, [*(facts(number) for number in range(usual_cases)), odd])
    assert [finding.code for finding in found] == (["dataset_volume"] if reported else [])


@pytest.mark.parametrize("i_runs_to_the_left", [True, False])
def test_sides_are_those_of_the_patient_whatever_the_order_of_the_voxels(
    i_runs_to_the_left: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign = 1.0 if i_runs_to_the_left else -1.0
    grid = Geometry((4, 6, 40), (1.0, 1.0, 3.0), (-7.0, 5.0, 90.0), (sign, 0, 0, 0, 1, 0, 0, 0, 1))
    labels = np.zeros(grid.shape, np.uint8)
    labels[1:3, 2:4, 30:36], labels[1:3, 2:4, 4:10] = 1, 2
    task = create_task("kidneys", KIDNEYS[:2])
    volume = Volume(np.random.default_rng(0).normal(size=grid.shape), grid)
    add_example(task.folder, volume, LabelMap(labels, grid, KIDNEYS[:2]))
    assert export("kidneys", tmp_path / "out", "monai") == 0
    reported = "'left kidney' lies to the right of 'right kidney'" in capsys.readouterr().err
    assert reported is not i_runs_to_the_left


def test_a_duplicate_image_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = batch_of_balls(tmp_path)
    duplicate = batch.case("1")
    record = json.loads(duplicate.record.read_text())
    record["request"]["image"]["path"] = str(tmp_path / "ball0.nii.gz")
    duplicate.record.write_text(json.dumps(record))
    assert export(batch.path, tmp_path / "raw", "nnunet") == 0
    assert "These cases have the same image: 0, 1." in capsys.readouterr().err


REFUSED = {
    "not accepted": ("{batch} --format monai --cases 0,2", "case '2' is not accepted"),
    "no case": ("{batch} --format monai --cases 0,7", "this batch has no case '7'"),
    "no example": ("{task} --format monai --cases 0001,0007", "Task 'task' has no example 0007; it has: 0001."),
    "reserved name": ("{task} --format nnunet", "nnU-Net does not take 'background' for a segment"),
    "slices only": ("{slices} --format monai", "Task 'slices' has no example that is labelled completely"),
    "none accepted": ("{none} --format monai", "no accepted case is there"),
    "there already": ("{batch} --format monai -o {batch}", "it is there already"),
    "kind of image": ("{batch} --format bids", "give one (--suffix): T1w"),
    "no batch": ("{folder} --format monai", "no batch was written here"),
    "nowhere": ("{none}/nowhere --format monai", "this is not the folder of a task"),
    "suffix": ("{batch} --format nnunet --suffix T2w", "--suffix is the kind of images in BIDS"),
    "share": ("{batch} --format monai --validation 1", "'1' is no share of the patients"),
    "number": ("{batch} --format msd --number 0", "from 1 to 999"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_invalid_exports_are_refused_in_one_line(
    options: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    folders = {"batch": batch_of_balls(tmp_path / "a").path, "none": batch_of_balls(tmp_path / "b", ()).path}
    folders["task"] = create_task(str(tmp_path / "task"), (Segment(value=1, name="background"), SEGMENTS[1])).folder
    add_example(folders["task"], ball(0)[0], LabelMap(ball(0)[1].array, GRID))
    (tmp_path / "empty").mkdir()
    folders["folder"] = tmp_path / "empty"
    folders["slices"] = create_task(str(tmp_path / "slices")).folder
    add_example(folders["slices"], *ball(0), axis=SliceAxis(0), labelled_slices=[5])
    arguments = [option.format(**folders) for option in options.split()]
    out = tmp_path / "exported"
    assert main(["dataset", "export", "-o", str(out), "--progress", "none", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_a_segment_in_no_case_and_an_unreadable_image_stop_the_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = create_task("balls", (*SEGMENTS, Segment(value=3, name="Shell")))
    volume, label_map = ball(0)
    add_example(task.folder, volume, label_map)
    assert export("balls", tmp_path / "exported", "monai") == 2
    assert "Segment 'Shell' is in no case" in capsys.readouterr().err
    batch = batch_of_balls(tmp_path)
    (tmp_path / "ball1.nii.gz").write_bytes(b"")
    assert export(batch.path, tmp_path / "exported", "monai") == 2
    assert "the file is empty" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()
    assert not list(tmp_path.glob(".fsa-*"))
