"""Data sets that list their own cases: volumes are found, added, filled and accepted."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.folder_names import folder_name_key
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.datasets.accepted_examples import add_accepted
from fewshot_annotate.datasets.accepting import LabelHistory, accept_case
from fewshot_annotate.datasets.batch import run_batch
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.case_folders import find_pairs
from fewshot_annotate.datasets.case_plan import BatchSettings
from fewshot_annotate.datasets.found_volumes import find_volumes
from fewshot_annotate.datasets.image_and_label_names import IMAGE_SUFFIXES
from fewshot_annotate.datasets.listed_cases import (
    add_volumes,
    cases_path,
    create_dataset,
    dataset_task,
    listed_cases,
    set_dataset_task,
)
from fewshot_annotate.datasets.overview import read_overview
from fewshot_annotate.datasets.review_lock import ReviewLock
from fewshot_annotate.datasets.reviewed_case import read_case
from fewshot_annotate.datasets.reviewing import read_review_table, reset_case, write_acceptance
from fewshot_annotate.datasets.status import CaseStatus, Status
from fewshot_annotate.datasets.task.advice import TrainingAdvice, training_advice
from fewshot_annotate.datasets.task.example import TaskExample
from fewshot_annotate.datasets.task.library import create_task, task_folder
from fewshot_annotate.datasets.task.task import read_task
from fewshot_annotate.io.files import read_label_maps, write_label_maps
from pydicom import Dataset
from support.batches import read_valid_manifest
from support.disk import largest_file
from support.image_series import change_slices
from support.synthetic_dicom import write_ct_series
from support.tasks import GRID, SEGMENTS, ball, batch_of_balls, task_of_balls, write_ball

HISTORY = LabelHistory(axis=SliceAxis(0), painted=(2, 6), engine="adapt")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with the volumes of two balls and their label maps."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in (0, 1):
        write_ball(folder, seed)
    return folder


@pytest.fixture
def dataset(tmp_path: Path, images: Path) -> BatchFolder:
    """A data set of two cases of the task `balls`, which has no examples yet."""
    create_task("balls", SEGMENTS)
    folder = create_dataset(tmp_path / "set")
    add_volumes(folder, find_volumes(images).volumes)
    set_dataset_task(folder, "balls")
    return folder


def test_volumes_of_all_kinds_are_found_and_label_maps_are_not(images: Path) -> None:
    patient = images / "patient 1"
    patient.mkdir()
    write_ct_series(patient / "ct")
    (patient / "t1.nii.gz").write_bytes(b"")
    (patient / "t1_seg.nii.gz").write_bytes(b"")
    (patient / "painted.nii.gz").write_bytes(b"")
    (patient / "Segmentation.seg.nrrd").write_bytes(b"")
    (patient / "notes.txt").write_text("not DICOM")
    found = {volume.name: volume.path.relative_to(images).as_posix() for volume in find_volumes(images).volumes}
    assert found == {
        "ball0": "ball0.nii.gz",
        "ball1": "ball1.nii.gz",
        "patient-1-t1": "patient 1/t1.nii.gz",
        "patient-1-ct": "patient 1/ct",
    }


def test_files_in_folders_of_label_maps_are_not_listed_as_volumes(tmp_path: Path) -> None:
    for name in ("a/imagesTr/x", "a/labelsTr/x", "p1/t1", "p1/labels/t1", "p1/segmentations/liver", "all/Masks/p/y"):
        path = tmp_path / "labels" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = [volume.path.relative_to(tmp_path).as_posix() for volume in find_volumes(tmp_path / "labels").volumes]
    assert found == ["labels/a/imagesTr/x.nii.gz", "labels/p1/t1.nii.gz"]


def test_what_is_left_out_of_a_data_set_is_said(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(7):
        (images / f"ball{number}_seg.nii.gz").write_bytes(b"")
    (images / "link.nii.gz").symlink_to(images / "ball0.nii.gz")
    assert main(["dataset", "add", str(tmp_path / "set"), str(images)]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[-1].endswith("cases.csv: 2 cases added, 0 were there")
    assert "label maps (by the names of files and folders) are left out: ball0.labels.nii.gz, " in output.err
    assert "ball2_seg.nii.gz and 4 more." in output.err
    assert "links to volumes that are listed by themselves are left out: 1." in output.err


def test_a_folder_of_label_maps_alone_is_refused_as_one(tmp_path: Path) -> None:
    (tmp_path / "a_seg.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"all 1 image files there, .*, such as a_seg\.nii\.gz;"):
        find_volumes(tmp_path)


def test_volumes_of_the_same_name_are_named_by_their_whole_path(tmp_path: Path) -> None:
    for name in ("p1/anat/t1", "p2/anat/t1", "p2/anat/t2"):
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert [volume.name for volume in find_volumes(tmp_path).volumes] == ["p1-anat-t1", "p2-anat-t1", "anat-t2"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("imagesTr/case_1_0000", "imagesTr/case_2_0000"), ["case_1", "case_2"]),
        (("case_1_0000", "case_2_0000"), ["case_1", "case_2"]),
        (("imagesTr/a_0000", "imagesTs/a_0000"), ["imagesTr-a_0000", "imagesTs-a_0000"]),
        (("a_0000", "a_0001"), ["a_0000", "a_0001"]),
        (("visit_2019", "scan_0007"), ["scan_0007", "visit_2019"]),
        (("p1/images/ct",), ["p1-ct"]),
    ],
)
def test_cases_of_a_data_set_of_nnu_net_have_the_names_of_their_label_maps(
    files: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    for name in files:
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert [volume.name for volume in find_volumes(tmp_path).volumes] == expected


@pytest.mark.parametrize("suffix", [suffix for suffix in IMAGE_SUFFIXES if suffix != ".seg.nrrd"])
def test_data_sets_and_manifests_find_the_same_image_files(suffix: str, tmp_path: Path) -> None:
    images, labels = tmp_path / "scans", tmp_path / "painted"
    for folder in (images, labels):
        folder.mkdir()
        (folder / f"p1{suffix.upper()}").write_bytes(b"")
    assert [pair.image.path.name for pair in find_pairs(images, labels).pairs] == [f"p1{suffix.upper()}"]
    assert [volume.name for volume in find_volumes(images).volumes] == ["p1"]


def test_series_of_one_patient_have_one_pseudonym_and_the_patient_id_is_nowhere(tmp_path: Path, images: Path) -> None:
    def write(name: str, patient: str, study: str) -> None:
        def identify(header: Dataset, _slice_index: int) -> None:
            header.PatientID, header.StudyInstanceUID = patient, study

        change_slices(write_ct_series(images / name), identify)

    for name, patient, study in (
        ("a", "DOE-1942", "1.2.1"),
        ("b", "ROE-1950", "1.2.2"),
        ("c", "ANONYMOUS", "1.2.3"),
        ("d", "ANONYMOUS", "1.2.4"),
    ):
        write(name, patient, study)
    found = find_volumes(images)
    add_volumes(create_dataset(tmp_path / "set"), found.volumes)
    write("e", "DOE-1942 ", "1.2.5")  # found later
    write("f", "Anonymous", "1.2.4")
    folder = create_dataset(tmp_path / "set")
    assert add_volumes(folder, find_volumes(images).volumes) == ["e", "f"]
    patients = {name: status.patient for name, status in folder.status.read().items()}
    assert patients == {name: case.patient for name, case in listed_cases(folder).items()}
    assert patients["ball0"] == patients["ball1"] == ""
    assert patients["a"] == patients["e"]
    assert patients["d"] == patients["f"], "a study has one patient"
    assert len({patients[name] for name in "abcd"} - {""}) == 4
    written = b"".join(path.read_bytes() for path in folder.path.iterdir() if path.is_file())
    assert b"1942" not in written + repr(found).encode()
    add_volumes(create_dataset(tmp_path / "other"), found.volumes)
    assert listed_cases(create_dataset(tmp_path / "other"))["a"].patient not in ("", patients["a"])


def test_names_that_no_case_may_have_and_names_that_are_one_on_some_systems_get_others(tmp_path: Path) -> None:
    volumes = tmp_path / "volumes"
    volumes.mkdir()
    for name in ("cancel", "status.csv", "Herz", "herz", "caf\u00e9", "cafe\u0301"):
        (volumes / f"{name}.nii.gz").write_bytes(b"")
    folder = create_dataset(tmp_path / "set")
    names = add_volumes(folder, find_volumes(volumes).volumes)
    assert {folder_name_key(name) for name in names} == {
        "case",
        "case-2",
        "herz",
        "herz-2",
        "caf\u00e9",
        "caf\u00e9-2",
    }
    assert list(folder.status.read()) == list(listed_cases(folder)) == names


def test_each_series_of_a_folder_is_a_volume_of_its_own(tmp_path: Path) -> None:
    folder = write_ct_series(tmp_path / "scan")
    write_ct_series(tmp_path / "other")
    for path in (tmp_path / "other").iterdir():
        path.rename(folder / f"b{path.name}")
    (tmp_path / "other").rmdir()
    assert [(volume.name, volume.path.name, bool(volume.series)) for volume in find_volumes(tmp_path).volumes] == [
        ("scan-001.dcm", "scan", True),
        ("scan-b001.dcm", "scan", True),
    ]


def test_results_of_a_batch_are_not_listed_as_volumes(tmp_path: Path) -> None:
    batch_of_balls(tmp_path)
    assert [volume.name for volume in find_volumes(tmp_path).volumes] == ["ball0", "ball1", "ball2"]
    with pytest.raises(InputError, match="no volume was found there"):
        find_volumes(tmp_path / "out")


def test_added_volumes_become_cases_of_a_batch_and_none_is_added_twice(
    dataset: BatchFolder, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(listed_cases(dataset)) == list(dataset.status.read()) == ["ball0", "ball1"]
    write_ball(images, 2)
    assert main(["dataset", "add", str(dataset.path), str(images)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "ball2"
    manifest = read_valid_manifest(cases_path(dataset), "balls")
    assert [case.image.name for case in manifest.cases] == ["ball0.nii.gz", "ball1.nii.gz", "ball2.nii.gz"]
    assert main(["dataset", "list", str(dataset.path)]) == 0
    assert "3 cases: 3 to do" in capsys.readouterr().out


def test_a_file_and_a_link_to_it_are_one_case(dataset: BatchFolder, images: Path) -> None:
    write_ball(images, 2)
    (images / "a link.nii.gz").symlink_to(images / "ball2.nii.gz")
    assert add_volumes(dataset, find_volumes(images).volumes) == ["ball2"]


def test_a_data_set_finds_its_images_after_both_were_moved(dataset: BatchFolder, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("images", "set"):
        (tmp_path / name).rename(moved / name)
    assert [case.image.is_file() for case in listed_cases(BatchFolder(moved / "set")).values()] == [True, True]


def test_filled_cases_stay_done_and_accepted_ones_are_exported_after_a_move(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    _, labels = write_ball(tmp_path / "here", 0)
    manifest = f'image,support,name,axis,labelled_slices,patient\nball0.nii.gz,{labels.name},a,0,"3,6",P1\n'
    (tmp_path / "here" / "cases.csv").write_text(manifest)
    arguments = ["--engine", "propagate", "--progress", "none"]
    assert main(["batch", str(tmp_path / "here/cases.csv"), "-o", str(tmp_path / "here/out"), *arguments]) == 0
    assert main(["dataset", "accept", str(tmp_path / "here/out"), "a"]) == 0
    assert BatchFolder(tmp_path / "here/out").status.read()["a"].patient == "P1"
    (tmp_path / "here" / "cases.csv").write_text(manifest.replace("P1", "P2"))
    (tmp_path / "here").rename(tmp_path / "there")
    out = tmp_path / "there/out"
    assert main(["dataset", "accept", str(out), "a", "--undo"]) == 0
    filled = (out / "a/case.json").stat().st_mtime_ns
    assert main(["batch", str(tmp_path / "there/cases.csv"), "-o", str(out), "--resume", *arguments]) == 0
    assert (out / "a/case.json").stat().st_mtime_ns == filled
    assert BatchFolder(out).status.read()["a"].patient == "P2"
    assert main(["dataset", "accept", str(out), "a"]) == 0
    assert main(["dataset", "export", str(out), "--format", "monai", "-o", str(tmp_path / "exported")]) == 0
    assert ": 1 case, 1 for training and 0 for validation;" in capsys.readouterr().out


def test_a_moved_data_set_takes_no_other_image_of_the_same_name(tmp_path: Path) -> None:
    batch = batch_of_balls(tmp_path)
    files = batch.case("0")
    image = tmp_path / "ball0.nii.gz"
    files.write_record({"image": {"path": str(image), "bytes": image.stat().st_size}}, {"axis": 0})
    image.unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/ball0.nii.gz").write_bytes(b"of another patient")
    batch.path.rename(tmp_path / "other/out")
    record = BatchFolder(tmp_path / "other/out").case("0").read_record()
    assert record is not None
    assert record[0]["image"]["path"] == str(image)


def test_a_case_of_a_killed_batch_is_to_do(dataset: BatchFolder, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.status.update([CaseStatus(name="ball0", status=Status.RUNNING)])
    with dataset.exclusive(resume=True):
        assert main(["dataset", "list", str(dataset.path)]) == 0
        assert "2 cases: 1 being filled, 1 to do" in capsys.readouterr().out
    assert main(["dataset", "list", str(dataset.path)]) == 0
    assert "2 cases: 2 to do" in capsys.readouterr().out


def test_labels_saved_under_another_name_are_not_left_out_silently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = batch_of_balls(tmp_path)
    label = batch.case("2").label
    saved = label.with_name("label.seg.nrrd")
    write_label_maps(saved, [ball(2)[1]])
    os.utime(saved, ns=(0, label.stat().st_mtime_ns + 1_000_000))
    assert main(["dataset", "accept", str(batch.path), "2"]) == 2
    assert "label.seg.nrrd: this file was saved later than label.nii.gz" in capsys.readouterr().err
    batch.status.set_accepted("2", True)  # in a spreadsheet
    export = ["dataset", "export", str(batch.path), "--format", "monai", "-o", str(tmp_path / "exported")]
    assert main(export) == 2
    os.utime(label)
    assert main(export) == 0


def test_columns_and_cases_added_by_users_are_kept(dataset: BatchFolder, images: Path) -> None:
    path = cases_path(dataset)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([f"{lines[0]},remark", f"{lines[1]},rare", lines[2]]) + "\n", encoding="utf-8")
    write_ball(images, 2)
    add_volumes(dataset, find_volumes(images).volumes)
    assert "rare" in path.read_text(encoding="utf-8").splitlines()[1]
    assert len(listed_cases(dataset)) == 3


def test_a_folder_with_other_files_is_refused_as_a_data_set(images: Path) -> None:
    with pytest.raises(InputError, match="it holds other files and no batch"):
        create_dataset(images)
    assert not (images / "status.csv").exists()


def test_a_link_that_leads_to_no_folder_is_refused_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "set").symlink_to("/dev/null")
    with pytest.raises(InputError) as refused:
        create_dataset(tmp_path / "set")
    assert (refused.value.code, str(refused.value.data["path"])) == ("not_a_folder", str(tmp_path / "set"))


def test_damaged_settings_are_refused_in_one_clear_line(dataset: BatchFolder) -> None:
    (dataset.path / "dataset.json").write_text("[]")
    with pytest.raises(InputError, match="choose the task again"):
        dataset_task(dataset)
    set_dataset_task(dataset, "balls")
    assert dataset_task(dataset) == "balls"


def test_a_case_that_no_batch_filled_is_accepted_with_its_painted_and_filled_slices(dataset: BatchFolder) -> None:
    case = read_case(dataset, "ball0", SEGMENTS)
    assert not case.is_filled
    assert not case.label_map.array.any()
    assert [segment.name for segment in case.label_map.segments] == ["Core", "Rim"]
    dataset.case("ball0").folder.mkdir()
    labels = ball(0)[1]
    acceptance = write_acceptance(case, labels, dataset, HISTORY)
    assert acceptance.refusal is None
    assert dataset.status.read()["ball0"] == CaseStatus(name="ball0", status=Status.DONE, accepted=True)
    (written,) = read_label_maps(dataset.case("ball0").label, GRID)
    np.testing.assert_array_equal(written.array, labels.array)
    (example,) = read_task(task_folder("balls")).examples
    assert example.origins == {"painted": 2, "corrected": 0, "accepted": 8}
    assert example.engine.startswith("adapt")
    again = read_case(dataset, "ball0")
    assert (again.is_filled, again.labelled) == (True, (2, 6))
    assert not dataset.case("ball0").corrected()
    reset_case(again, dataset, flagged=True)
    assert read_task(task_folder("balls")).examples == ()
    assert [str(row.state) for row in read_review_table(dataset).rows] == ["flagged", "to do"]


def test_the_command_line_keeps_the_task_in_step_with_the_review(
    dataset: BatchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.case("ball0").folder.mkdir()
    write_acceptance(read_case(dataset, "ball0", SEGMENTS), ball(0)[1], dataset, HISTORY)

    def examples_after(*arguments: str) -> int:
        assert main(["dataset", arguments[0], str(dataset.path), "ball0", *arguments[1:]]) == 0
        return len(read_task(task_folder("balls")).examples)

    assert examples_after("flag") == 0
    assert examples_after("flag", "--undo") == 0
    assert examples_after("accept") == 1
    assert examples_after("accept", "--undo") == 0
    set_dataset_task(dataset, "gone")
    capsys.readouterr()
    assert main(["dataset", "accept", str(dataset.path), "ball0"]) == 1
    out, err = capsys.readouterr()
    assert out == "1 case accepted\n"
    assert f"{dataset.path}: There is no task 'gone'" in err
    assert dataset.status.read()["ball0"].accepted


def test_a_case_that_does_not_fit_its_task_is_accepted_and_the_reason_reported(dataset: BatchFolder) -> None:
    case = read_case(dataset, "ball0", SEGMENTS)
    dataset.case("ball0").folder.mkdir()
    set_dataset_task(dataset, "gone")
    acceptance = write_acceptance(case, ball(0)[1], dataset, HISTORY)
    assert acceptance.refusal is not None
    assert acceptance.refusal.code == "library_unknown"
    assert dataset.status.read()["ball0"].accepted


def test_a_label_map_that_appeared_meanwhile_is_kept_beside_the_accepted_one(dataset: BatchFolder) -> None:
    case = read_case(dataset, "ball0", SEGMENTS)
    files = dataset.case("ball0")
    files.folder.mkdir()
    files.label.write_bytes(b"of somebody else")
    accept_case(case, ball(0)[1], dataset, HISTORY)
    assert [path.read_bytes() for path in files.folder.glob("label.2*.nii.gz")] == [b"of somebody else"]


def test_filled_cases_come_first_then_those_to_do_then_flagged_ones(tmp_path: Path) -> None:
    folder = batch_of_balls(tmp_path, ("0",))
    table = read_review_table(folder)
    assert [table.next(None), table.next("1"), table.next("2")] == ["1", "2", "1"]
    (folder.case("1").folder / "flagged").touch()
    assert [read_review_table(folder).next(name) for name in ("0", "2")] == ["2", "1"]


def test_a_case_in_review_is_not_filled(dataset: BatchFolder, tmp_path: Path) -> None:
    manifest = cases_path(dataset)
    support = write_ball(tmp_path, 0)[1]
    text = manifest.read_text(encoding="utf-8").replace("ball0.nii.gz,,", f"ball0.nii.gz,{support},")
    manifest.write_text(text.replace("ball1.nii.gz,,", f"ball1.nii.gz,{support},"), encoding="utf-8")
    files = dataset.case("ball0")
    files.folder.mkdir()
    lock = ReviewLock(files)
    submitted = []

    class Pool:
        """Ends each case at once."""

        def slots(self) -> int:
            return 1

        def submit(self, case_job: object) -> None:
            submitted.append(case_job.case.name)  # type: ignore[attr-defined]

        def poll(self, seconds: float) -> list[CaseStatus]:
            return [CaseStatus(name=submitted[-1], status=Status.DONE)]

        def close(self) -> None:
            pass

    results = run_batch(
        read_valid_manifest(manifest), dataset.path, BatchSettings(), Pool, engine="propagate", resume=True
    )
    lock.release()
    assert submitted == ["ball1"]
    assert (results["ball0"].status, results["ball0"].message) == (Status.SKIPPED, "in review")


@pytest.mark.parametrize(("examples", "worthwhile"), [(0, False), (1, False), (2, True)])
def test_a_first_training_is_worthwhile_with_two_patients(examples: int, worthwhile: bool) -> None:
    task = task_of_balls("few", *range(examples)) if examples else create_task("few", SEGMENTS)
    assert training_advice(task) == TrainingAdvice(examples, examples, None, "", worthwhile)


def test_the_overview_has_the_task_and_the_cases_to_fill_or_the_reason_why_none_can_be(dataset: BatchFolder) -> None:
    overview = read_overview(dataset, read_review_table(dataset))
    assert (overview.task, overview.to_fill, overview.is_trained) == ("balls", 2, False)
    set_dataset_task(dataset, "gone")
    error = read_overview(dataset, read_review_table(dataset)).error
    assert error is not None
    assert error.code == "library_unknown"


def test_a_case_is_unlocked_even_if_the_disk_is_full(tmp_path: Path) -> None:
    files = BatchFolder(tmp_path).case("case")
    files.folder.mkdir()
    with largest_file(0):
        ReviewLock(files).release()
    ReviewLock(files).release()


def test_adding_a_batch_to_a_task_fails_as_a_whole_or_in_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_task("balls", SEGMENTS)
    batch = batch_of_balls(tmp_path)
    batch.case("1").label.write_text("damaged")
    add = ["task", "add", "balls", str(batch.path)]
    assert main(add) == 1
    assert "1 example, Core, Rim; 1 case added, 1 not accepted yet" in capsys.readouterr().out
    batch.status.set_accepted("0", False)
    assert main(add) == 2
    assert "1 example, Core, Rim; 0 cases added" in capsys.readouterr().out


def test_memory_for_adding_cases_does_not_grow_with_the_task(tmp_path: Path) -> None:
    task, before = task_of_balls("balls", 3, 4, 5, 6).folder, len(examples_in_memory())
    result = add_accepted(task, batch_of_balls(tmp_path, ("0", "1", "2")))
    assert [name for name, _ in result.added] == ["0", "1", "2"]
    assert len(examples_in_memory()) - before == 3, "as many for each case as the task has examples"
    assert len(read_task(task).examples) == 7


def examples_in_memory() -> list[TaskExample]:
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, TaskExample)]


def test_an_image_that_is_gone_does_not_keep_other_cases_from_being_shown_and_added(
    dataset: BatchFolder, images: Path
) -> None:
    (images / "ball0.nii.gz").unlink()
    assert read_case(dataset, "ball1", SEGMENTS).volume.geometry == GRID
    with pytest.raises(InputError, match=r"ball0\.nii\.gz: no such file"):
        read_case(dataset, "ball0", SEGMENTS)
    write_ball(images, 2)
    assert add_volumes(dataset, find_volumes(images).volumes) == ["ball2"]
    write_ball(images, 0)
    assert add_volumes(dataset, find_volumes(images).volumes) == []
    path = cases_path(dataset)
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([f"{head},axis", *(f"{line},oblique" for line in lines)]), encoding="utf-8")
    assert add_volumes(dataset, find_volumes(images).volumes) == []
