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
from support.desk import AXIS, Desk
from support.labels import keep_slices, overlapping_layers, small_case
from support.processes import Spawned


def overwrite_image(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Desk], None]:
    def prepare(desk: Desk) -> None:
        import SimpleITK as sitk

        array = change(desk.volume.array.astype(np.float32))
        sitk.WriteImage(
            sitk.GetImageFromArray(array, isVector=array.ndim == 4 and array.shape[-1] == 3), str(desk.image)
        )

    return prepare


def overwrite_labels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Desk], None]:
    def prepare(desk: Desk) -> None:
        write_array(desk.labels, change(desk.support.array), desk.volume.geometry)

    return prepare


def with_voxel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array[3, 4, 5] = value
        return array

    return change


def another_grid(desk: Desk) -> None:
    geometry = desk.volume.geometry
    write_array(desk.labels, desk.support.array, Geometry(geometry.shape, (1.0, 1.0, 1.5), geometry.origin))


def painted_across(desk: Desk) -> None:
    _, label_map = small_case()
    other = SliceAxis(2)
    held = labelled_indices(label_map.array, other)
    across = keep_slices(label_map, other, [held[len(held) // 2]])
    desk.put_support(desk.support.with_array(np.maximum(desk.support.array, across.array)))


def one_slice(desk: Desk) -> None:
    desk.put_support(keep_slices(desk.support, AXIS, desk.indices[1:2]))


def neighbours(desk: Desk) -> None:
    desk.put_support(keep_slices(small_case()[1], AXIS, [desk.indices[1], desk.indices[1] + 1]))


def truncate(name: str) -> Callable[[Desk], None]:
    def prepare(desk: Desk) -> None:
        path = desk.folder / name
        os.truncate(path, path.stat().st_size // 2)

    return prepare


def content(name: str, data: bytes) -> Callable[[Desk], None]:
    def prepare(desk: Desk) -> None:
        (desk.folder / name).write_bytes(data)

    return prepare


def remove(name: str) -> Callable[[Desk], None]:
    return lambda desk: (desk.folder / name).unlink()


def used_job_folder(desk: Desk) -> None:
    desk.job.mkdir()
    (desk.job / "notes.txt").write_text("mine")


def job_of_other_labels(desk: Desk) -> None:
    assert main(desk.fill("--job-dir", desk.job)) == 0
    desk.output.unlink()
    array = desk.support.array.copy()
    AXIS.slices(array)[desk.indices[1]][:] = 0
    desk.put_support(desk.support.with_array(array))


def job_of_another_range(desk: Desk) -> None:
    assert main(desk.fill("--job-dir", desk.job, "--slices", "all")) == 0
    desk.output.unlink()


def damaged_job(desk: Desk) -> None:
    job_of_another_range(desk)
    truncate("job/layers/0/result.npy")(desk)


def linked_output(desk: Desk) -> None:
    desk.output.symlink_to(desk.image)


def hard_linked_output(desk: Desk) -> None:
    desk.output.hardlink_to(desk.labels)


def overlapping_segments(desk: Desk) -> None:
    desk.labels.unlink()
    layers = [keep_slices(layer, AXIS, desk.indices) for layer in overlapping_layers(desk.support, 2)]
    write_label_maps(desk.folder / "support.seg.nrrd", layers)


def folder_as_support(desk: Desk) -> None:
    desk.labels.unlink()
    desk.labels.mkdir()


def only_an_old_output(desk: Desk) -> None:
    desk.image.unlink()
    desk.output.write_bytes(b"old")


def empty_image_folder(desk: Desk) -> None:
    desk.image.unlink()
    desk.image.mkdir()


def nothing(_desk: Desk) -> None:
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
    "NaN": (overwrite_image(with_voxel(np.nan)), [], "1 voxels are not finite"),
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
    "axis 3": (nothing, ["--axis", "3"], "Axis 3 does not exist"),
    "axis -1": (nothing, ["--axis=-1"], "Axis -1 does not exist"),
    "axis x": (nothing, ["--axis", "x"], "Axis x does not exist"),
    "labelled slice outside": (nothing, ["--axis", "0", "--labelled-slices", "3,9999"], "Slice 9999 does not exist"),
    "labelled slices without labels": (nothing, ["--axis", "0", "--labelled-slices", "0"], "no slice is labelled"),
    "labelled slices malformed": (nothing, ["--labelled-slices", "3:4"], "'3:4' is not a list"),
    "labelled slices empty": (nothing, ["--labelled-slices", ""], "is not a list"),
    "slice range malformed": (nothing, ["--slices", "some"], "'some' is not a slice range"),
    "slice range backwards": (nothing, ["--slices", "9:3"], "'9:3' is not a slice range"),
    "slice range outside": (nothing, ["--slices", "0:9999"], "Slice 9998 does not exist"),
    "nothing between": (neighbours, [], "every slice of axis 0 in the chosen range"),
    "another axis than the painted one": (nothing, ["--axis", "1"], "axis that was painted along"),
    "support is a folder": (folder_as_support, [], "no DICOM segmentation lies in this folder itself"),
    "confidence as a segmentation": (nothing, ["--confidence", "{folder}/a.seg.nrrd"], "no segmentation"),
    "output folder missing": (nothing, ["-o", "{folder}/none/a.nii.gz"], "cannot be written"),
    "output folder is a file": (nothing, ["-o", "{folder}/image.nii.gz/a.nii.gz"], "cannot be written"),
    "output folder not writable": (nothing, ["-o", "/proc/a.nii.gz"], "cannot be written"),
    "output is a folder": (lambda desk: desk.output.mkdir(), [], "it is a folder"),
    "output is the image": (nothing, ["-o", "{folder}/../{name}/image.nii.gz"], "replace the input"),
    "output is the support": (nothing, ["-o", "{folder}/support.nii.gz"], "replace the input"),
    "output is a link to the image": (linked_output, [], "replace the input"),
    "output is another name of the support": (hard_linked_output, [], "replace the input"),
    "output of unknown type": (nothing, ["-o", "{folder}/a.png"], "unknown file type"),
    "confidence is the image": (nothing, ["--confidence", "{folder}/image.nii.gz"], "replace the input"),
    "confidence is the output": (nothing, ["--confidence", "{folder}/filled.nii.gz"], "choose another name"),
    "confidence of unknown type": (nothing, ["--confidence", "{folder}/a.txt"], "unknown file type"),
    "unknown engine": (nothing, ["--engine", "magic"], "no engine named 'magic'"),
    "unknown option": (nothing, ["--option", "speed=3"], "no option 'speed'; it knows:"),
    "option without a value": (nothing, ["--option", "speed"], "'speed' sets no option; write NAME=VALUE"),
    "option without a name": (nothing, ["--option", "=3"], "'=3' sets no option"),
    "time limit 0": (nothing, ["--budget", "0"], "'0' is no time limit"),
    "time limit negative": (nothing, ["--budget=-3"], "'-3' is no time limit"),
    "time limit in words": (nothing, ["--budget", "a minute"], "'a minute' is no time limit"),
    "time limit NaN": (nothing, ["--budget", "nan"], "'nan' is no time limit"),
    "time limit infinite": (nothing, ["--budget", "inf"], "'inf' is no time limit"),
    "engine without that device": (nothing, ["--device", "cuda"], "cannot use device 'cuda'"),
    "job folder used": (used_job_folder, ["--job-dir", "{folder}/job"], "not an empty folder"),
    "job folder used, resume": (used_job_folder, ["--job-dir", "{folder}/job", "--resume"], "not an empty folder"),
    "job folder is a file": (nothing, ["--job-dir", "{folder}/image.nii.gz"], "not an empty folder"),
    "job folder not writable": (nothing, ["--job-dir", "/proc/none/job"], "cannot be written"),
    "resume without a folder": (nothing, ["--resume"], "--job-dir"),
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
def test_bad_input_is_one_clear_line_and_changes_nothing(
    name: str, desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare, more, said = BAD_INPUT[name]
    prepare(desk)
    before = desk.files()
    capfd.readouterr()
    arguments = [text.format(folder=desk.folder, name=desk.folder.name) for text in more]
    code = main(desk.fill(*arguments, "--progress", "bar"))
    out, err = capfd.readouterr()
    assert code == 2
    assert err.count("\n") == 1, err
    assert err.startswith("fewshot-annotate: ")
    assert said in err
    assert out == ""
    assert desk.files() == before


def test_overlapping_segments_need_an_output_with_layers(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    overlapping_segments(desk)
    before = desk.files()
    assert main(["fill", str(desk.image), str(desk.folder / "support.seg.nrrd"), "-o", str(desk.output)]) == 2
    assert ".seg.nrrd" in capfd.readouterr().err
    assert desk.files() == before


@pytest.mark.parametrize("wrong", [["--device", "abacus"], ["--slices"], ["--no-such-option"], ["second", "third"]])
def test_wrong_arguments_are_one_clear_line(wrong: list[str], desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(desk.fill(*wrong))
    out, err = capfd.readouterr()
    assert (stopped.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("fewshot-annotate: ")


def test_labels_on_slices_not_named_are_said_not_to_count(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    first, *middle, last = desk.indices
    assert main(desk.fill("--axis", "0", "--labelled-slices", f"{first},{last}")) == 0
    err = capfd.readouterr().err
    assert "not named" in err
    assert ", ".join(map(str, middle)) in err


def test_a_file_that_is_there_is_replaced_only_if_asked(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    words = [word for word in desk.fill("--engine", "propagate") if word != "--overwrite"]
    desk.output.write_bytes(b"corrected by hand")
    assert main(words) == 2
    assert "replace it (--overwrite)" in capfd.readouterr().err
    assert desk.output.read_bytes() == b"corrected by hand"


def test_bad_input_is_exit_code_2_of_the_real_program(desk: Desk, spawned: Spawned) -> None:
    program = spawned.cli(*desk.fill("--axis", "7"))
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (2, "")
    assert err.startswith("fewshot-annotate: Axis 7 does not exist; choose 0, 1 or 2")
    assert err.count("\n") == 1


def test_several_layers_are_not_put_into_a_used_job_folder(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    overlapping_segments(desk)
    used_job_folder(desk)
    before = desk.files()
    support, output = desk.folder / "support.seg.nrrd", desk.folder / "filled.seg.nrrd"
    command = ["fill", str(desk.image), str(support), "-o", str(output), "--job-dir", str(desk.job)]
    assert main(command) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert desk.files() == before
