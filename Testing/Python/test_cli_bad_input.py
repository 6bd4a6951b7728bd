"""Bad input of the command line is one clear line, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
from fewshot_annotate.core.volume import Geometry
from fewshot_annotate.io.files import write_array, write_label_maps
from support.case_folder import AXIS, CaseFolder
from support.labels import keep_slices, overlapping_layers, small_case
from support.processes import Spawned

pytestmark = pytest.mark.usefixtures("forked_workers")


def overwrite_image(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[CaseFolder], None]:
    def prepare(case_folder: CaseFolder) -> None:
        import SimpleITK as sitk

        array = change(case_folder.volume.array.astype(np.float32))
        sitk.WriteImage(
            sitk.GetImageFromArray(array, isVector=array.ndim == 4 and array.shape[-1] == 3), str(case_folder.image)
        )

    return prepare


def overwrite_labels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[CaseFolder], None]:
    def prepare(case_folder: CaseFolder) -> None:
        write_array(case_folder.labels, change(case_folder.support.array), case_folder.volume.geometry)

    return prepare


def with_voxel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array[3, 4, 5] = value
        return array

    return change


def another_grid(case_folder: CaseFolder) -> None:
    geometry = case_folder.volume.geometry
    write_array(
        case_folder.labels, case_folder.support.array, Geometry(geometry.shape, (1.0, 1.0, 1.5), geometry.origin)
    )


def preview_folder(case_folder: CaseFolder) -> None:
    (case_folder.folder / "a.png").mkdir()


def painted_across(case_folder: CaseFolder) -> None:
    _, label_map = small_case()
    axis = SliceAxis(2)
    labelled = labelled_indices(label_map.array, axis)
    across = keep_slices(label_map, axis, [labelled[len(labelled) // 2]])
    case_folder.put_support(case_folder.support.with_array(np.maximum(case_folder.support.array, across.array)))


def one_slice(case_folder: CaseFolder) -> None:
    case_folder.put_support(keep_slices(case_folder.support, AXIS, case_folder.indices[1:2]))


def neighbouring_slices(case_folder: CaseFolder) -> None:
    case_folder.put_support(keep_slices(small_case()[1], AXIS, [case_folder.indices[1], case_folder.indices[1] + 1]))


def truncate(name: str) -> Callable[[CaseFolder], None]:
    def prepare(case_folder: CaseFolder) -> None:
        path = case_folder.folder / name
        os.truncate(path, path.stat().st_size // 2)

    return prepare


def content(name: str, data: bytes) -> Callable[[CaseFolder], None]:
    def prepare(case_folder: CaseFolder) -> None:
        (case_folder.folder / name).write_bytes(data)

    return prepare


def remove(name: str) -> Callable[[CaseFolder], None]:
    return lambda case_folder: (case_folder.folder / name).unlink()


def used_job_folder(case_folder: CaseFolder) -> None:
    case_folder.job.mkdir()
    (case_folder.job / "notes.txt").write_text("mine")


def job_of_other_labels(case_folder: CaseFolder) -> None:
    assert main(case_folder.fill("--job-dir", case_folder.job)) == 0
    case_folder.output.unlink()
    array = case_folder.support.array.copy()
    AXIS.slices(array)[case_folder.indices[1]][:] = 0
    case_folder.put_support(case_folder.support.with_array(array))


def job_of_another_range(case_folder: CaseFolder) -> None:
    assert main(case_folder.fill("--job-dir", case_folder.job, "--slices", "all")) == 0
    case_folder.output.unlink()


def damaged_job(case_folder: CaseFolder) -> None:
    job_of_another_range(case_folder)
    truncate("job/layers/0/result.npy")(case_folder)


def linked_output(case_folder: CaseFolder) -> None:
    case_folder.output.symlink_to(case_folder.image)


def linked_preview(case_folder: CaseFolder) -> None:
    (case_folder.folder / "link.png").symlink_to(case_folder.folder / "a.nrrd")


def hard_linked_output(case_folder: CaseFolder) -> None:
    case_folder.output.hardlink_to(case_folder.labels)


def overlapping_segments(case_folder: CaseFolder) -> None:
    case_folder.labels.unlink()
    layers = [keep_slices(layer, AXIS, case_folder.indices) for layer in overlapping_layers(case_folder.support, 2)]
    write_label_maps(case_folder.folder / "support.seg.nrrd", layers)


def folder_as_support(case_folder: CaseFolder) -> None:
    case_folder.labels.unlink()
    case_folder.labels.mkdir()


def only_an_old_output(case_folder: CaseFolder) -> None:
    case_folder.image.unlink()
    case_folder.output.write_bytes(b"old")


def empty_image_folder(case_folder: CaseFolder) -> None:
    case_folder.image.unlink()
    case_folder.image.mkdir()


def unchanged(_case_folder: CaseFolder) -> None:
    pass


BAD_INPUT = {
    "no labelled slice": (overwrite_labels(np.zeros_like), [], "no slice is labelled"),
    "one labelled slice": (one_slice, [], "label one more slice"),
    "labels on crossing axes": (painted_across, [], "keep the painted slices of one axis"),
    "labels on crossing axes, axis given": (painted_across, ["--axis", "0"], "keep the painted slices of one axis"),
    "support grid differs": (another_grid, [], "lie on another grid than the image (spacing"),
    "2D image": (overwrite_image(lambda array: array[4]), [], "2 dimensions"),
    "4D image": (overwrite_image(lambda array: np.stack([array, array])), [], "4 dimensions"),
    "colour image": (overwrite_image(lambda array: np.stack([array] * 3, axis=-1)), [], "3 values per voxel"),
    "NaN": (overwrite_image(with_voxel(np.nan)), [], "voxels that are not finite numbers: 1;"),
    "constant": (overwrite_image(np.zeros_like), [], "every voxel has the same value"),
    "missing image": (remove("image.nii.gz"), [], "no such file"),
    "missing image, output exists": (only_an_old_output, [], "no such file"),
    "missing support": (remove("support.nii.gz"), [], "no such file"),
    "unreadable image": (content("image.nii.gz", b"garbage " * 99), [], "cannot be read"),
    "unreadable support": (content("support.nii.gz", b"garbage " * 99), [], "cannot be read"),
    "truncated image": (truncate("image.nii.gz"), [], "ends too early"),
    "truncated support": (truncate("support.nii.gz"), [], "ends too early"),
    "empty image": (content("image.nii.gz", b""), [], "empty"),
    "empty support": (content("support.nii.gz", b""), [], "empty"),
    "fractional labels": (overwrite_labels(with_voxel(1.5)), [], "found 1.5"),
    "negative labels": (overwrite_labels(with_voxel(-1)), [], "-1 is outside"),
    "damaged names": (content("support.nii.gz.labels.json", b"{"), [], "label names"),
    "axis 3": (unchanged, ["--axis", "3"], "Axis 3 does not exist"),
    "axis -1": (unchanged, ["--axis=-1"], "Axis -1 does not exist"),
    "axis x": (unchanged, ["--axis", "x"], "Axis x does not exist"),
    "labelled slice outside": (
        unchanged,
        ["--axis", "0", "--labelled-slices", "3,9999"],
        "Slice 9999 does not exist",
    ),
    "labelled slices without labels": (unchanged, ["--axis", "0", "--labelled-slices", "0"], "no slice is labelled"),
    "labelled slices malformed": (unchanged, ["--labelled-slices", "3:4"], "'3:4' is not a list"),
    "labelled slices empty": (unchanged, ["--labelled-slices", ""], "is not a list"),
    "slice range malformed": (unchanged, ["--slices", "some"], "'some' is not a slice range"),
    "slice range backwards": (unchanged, ["--slices", "9:3"], "'9:3' is not a slice range"),
    "slice range outside": (unchanged, ["--slices", "0:9999"], "Slice 9998 does not exist"),
    "nothing between": (neighbouring_slices, [], "every slice of axis 0 in the chosen range"),
    "another axis than the painted one": (unchanged, ["--axis", "1"], "axis that was painted along"),
    "support is a folder": (folder_as_support, [], "no DICOM segmentation lies in this folder itself"),
    "confidence as a segmentation": (unchanged, ["--confidence", "{folder}/a.seg.nrrd"], "no segmentation"),
    "output folder missing": (unchanged, ["-o", "{folder}/none/a.nii.gz"], "cannot be written"),
    "output folder is a file": (unchanged, ["-o", "{folder}/image.nii.gz/a.nii.gz"], "cannot be written"),
    "output folder not writable": (unchanged, ["-o", "/proc/a.nii.gz"], "cannot be written"),
    "output is a folder": (lambda case_folder: case_folder.output.mkdir(), [], "it is a folder"),
    "output is the image": (unchanged, ["-o", "{folder}/../{name}/image.nii.gz"], "replace the input"),
    "output is the support": (unchanged, ["-o", "{folder}/support.nii.gz"], "replace the input"),
    "output is a link to the image": (linked_output, [], "replace the input"),
    "output is another name of the support": (hard_linked_output, [], "replace the input"),
    "output of unknown type": (unchanged, ["-o", "{folder}/a.png"], "unknown file type"),
    "confidence is the image": (unchanged, ["--confidence", "{folder}/image.nii.gz"], "replace the input"),
    "confidence is the output": (
        unchanged,
        ["--confidence", "{folder}/filled.nii.gz"],
        "--confidence and --output name the same file",
    ),
    "statistics are the label names": (
        content("names.csv", b"1;one"),
        ["--labels", "{folder}/names.csv", "--statistics", "{folder}/names.csv"],
        "replace the input",
    ),
    "names of the output are the label names": (
        content("filled.nii.gz.labels.json", b"{}"),
        ["--labels", "{folder}/filled.nii.gz.labels.json"],
        "replace the input",
    ),
    "preview is the confidence": (
        linked_preview,
        ["--confidence", "{folder}/a.nrrd", "--preview", "{folder}/link.png"],
        "--preview and --confidence name the same file",
    ),
    "job folder is the output": (
        unchanged,
        ["--job-dir", "{folder}/filled.nii.gz"],
        "--job-dir and --output name the same file",
    ),
    "confidence of unknown type": (unchanged, ["--confidence", "{folder}/a.txt"], "unknown file type"),
    "folder of the preview missing": (unchanged, ["--preview", "{folder}/none/a.png"], "a.png: cannot be written"),
    "preview is a folder": (preview_folder, ["--preview", "{folder}/a.png"], "it is a folder"),
    "folder of the statistics missing": (unchanged, ["--statistics", "{folder}/none/a.csv"], "cannot be written"),
    "unknown engine": (unchanged, ["--engine", "magic"], "no engine named 'magic'"),
    "unknown option": (unchanged, ["--option", "speed=3"], "no option 'speed'; it has:"),
    "option without a value": (unchanged, ["--option", "speed"], "'speed' sets no option; write NAME=VALUE"),
    "option without a name": (unchanged, ["--option", "=3"], "'=3' sets no option"),
    "time limit 0": (unchanged, ["--budget", "0"], "'0' is no time limit"),
    "time limit negative": (unchanged, ["--budget=-3"], "'-3' is no time limit"),
    "time limit in words": (unchanged, ["--budget", "a minute"], "'a minute' is no time limit"),
    "time limit NaN": (unchanged, ["--budget", "nan"], "'nan' is no time limit"),
    "time limit infinite": (unchanged, ["--budget", "inf"], "'inf' is no time limit"),
    "engine without that device": (unchanged, ["--device", "cuda"], "cannot use device 'cuda'"),
    "job folder used": (used_job_folder, ["--job-dir", "{folder}/job"], "not an empty folder"),
    "job folder used, resume": (used_job_folder, ["--job-dir", "{folder}/job", "--resume"], "not an empty folder"),
    "job folder is a file": (unchanged, ["--job-dir", "{folder}/image.nii.gz"], "not an empty folder"),
    "job folder not writable": (unchanged, ["--job-dir", "/proc/none/job"], "cannot be written"),
    "resume without a folder": (unchanged, ["--resume"], "--job-dir"),
    "resume with other labels": (
        job_of_other_labels,
        ["--job-dir", "{folder}/job", "--resume"],
        "another image or labels",
    ),
    "resume with another range": (job_of_another_range, ["--job-dir", "{folder}/job", "--resume"], "slice range"),
    "resume of a damaged job": (damaged_job, ["--job-dir", "{folder}/job", "--resume"], "result.npy"),
    "image folder without images": (empty_image_folder, [], "no DICOM image series"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_reported_in_one_clear_line_and_changes_nothing(
    name: str, case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare, more, message = BAD_INPUT[name]
    prepare(case_folder)
    before = case_folder.files()
    capfd.readouterr()
    arguments = [text.format(folder=case_folder.folder, name=case_folder.folder.name) for text in more]
    code = main(case_folder.fill(*arguments, "--progress", "bar"))
    out, err = capfd.readouterr()
    assert code == 2
    assert err.count("\n") == 1, err
    assert err.startswith("fewshot-annotate: ")
    assert message in err
    assert out == ""
    assert case_folder.files() == before


def test_overlapping_segments_need_an_output_with_layers(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    overlapping_segments(case_folder)
    before = case_folder.files()
    assert (
        main(
            [
                "fill",
                str(case_folder.image),
                str(case_folder.folder / "support.seg.nrrd"),
                "-o",
                str(case_folder.output),
            ]
        )
        == 2
    )
    assert ".seg.nrrd" in capfd.readouterr().err
    assert case_folder.files() == before


@pytest.mark.parametrize("wrong", [["--device", "abacus"], ["--slices"], ["--no-such-option"], ["second", "third"]])
def test_wrong_arguments_are_reported_in_one_clear_line(
    wrong: list[str], case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(case_folder.fill(*wrong))
    out, err = capfd.readouterr()
    assert (stopped.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("fewshot-annotate: ")


@pytest.mark.parametrize("option", ["--also", "--preview", "--job-dir"])
def test_an_empty_name_is_not_taken_for_the_current_folder(
    option: str, case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(case_folder.fill(option, ""))
    assert stopped.value.code == 2
    assert f"argument {option}: the name is empty" in capfd.readouterr().err


def test_labels_on_slices_not_named_are_reported_as_ignored(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    first, *middle, last = case_folder.indices
    assert main(case_folder.fill("--axis", "0", "--labelled-slices", f"{first},{last}")) == 0
    err = capfd.readouterr().err
    assert "not named" in err
    assert ", ".join(map(str, middle)) in err


def test_an_existing_file_is_replaced_only_with_the_option_overwrite(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [argument for argument in case_folder.fill("--engine", "propagate") if argument != "--overwrite"]
    case_folder.output.write_bytes(b"corrected by hand")
    assert main(arguments) == 2
    assert "replace it (--overwrite)" in capfd.readouterr().err
    assert case_folder.output.read_bytes() == b"corrected by hand"


def test_bad_input_ends_the_program_with_exit_code_2(case_folder: CaseFolder, spawned: Spawned) -> None:
    program = spawned.cli(*case_folder.fill("--axis", "7"))
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (2, "")
    assert err.startswith("fewshot-annotate: Axis 7 does not exist; choose 0, 1 or 2")
    assert err.count("\n") == 1


def test_a_used_job_folder_is_refused_for_several_layers(
    case_folder: CaseFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    overlapping_segments(case_folder)
    used_job_folder(case_folder)
    before = case_folder.files()
    support, output = case_folder.folder / "support.seg.nrrd", case_folder.folder / "filled.seg.nrrd"
    command = ["fill", str(case_folder.image), str(support), "-o", str(output), "--job-dir", str(case_folder.job)]
    assert main(command) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert case_folder.files() == before
