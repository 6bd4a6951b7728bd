"""The command line as its users meet it: one clear line for bad input, and files for good input."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fewshot_annotate import __version__
from fewshot_annotate.cli import demo, main
from fewshot_annotate.core.events import (
    Cancelled,
    Event,
    Expected,
    Finished,
    Progress,
    SliceDone,
    Stage,
    Started,
    event_from_line,
)
from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.export.algorithm import Algorithm, tagged
from fewshot_annotate.io.files import read_label_maps, read_volume, write_array, write_label_maps
from fewshot_annotate.jobs import layers as layers_module
from fewshot_annotate.jobs import process as process_module
from fewshot_annotate.jobs.layers import LayerRun, OverallProgress, layer_runs
from fewshot_annotate.jobs.process import WorkerProcess, run_in_worker
from fewshot_annotate.jobs.run_folder import JobFolder
from support import stepwise
from support.data import CARRIED, load_case
from support.labels import every, keep_slices, long_case, overlapping_layers, small_case
from support.processes import Spawned, alive, make_folder, paused, slices_done, wait_for

AXIS = SliceAxis(0)


@dataclass
class Desk:
    """A folder with an image and its support, as a user has it."""

    folder: Path
    volume: Volume
    support: LabelMap
    indices: list[int]

    @property
    def image(self) -> Path:
        return self.folder / "image.nii.gz"

    @property
    def labels(self) -> Path:
        return self.folder / "support.nii.gz"

    @property
    def output(self) -> Path:
        return self.folder / "filled.nii.gz"

    @property
    def job(self) -> Path:
        return self.folder / "job"

    def fill(self, *more: object) -> list[str]:
        """Arguments of the plain command."""
        return ["fill", *map(str, (self.image, self.labels, "-o", self.output, "--progress", "none", *more))]

    def files(self) -> dict[str, bytes | None]:
        """Everything in the folder, with its bytes."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else None
            for path in self.folder.rglob("*")
        }

    def put_support(self, label_map: LabelMap) -> None:
        write_label_maps(self.labels, [label_map])


def make_desk(folder: Path) -> Desk:
    volume, label_map = small_case()
    label_map = LabelMap(label_map.array, label_map.geometry, label_map.segments)
    indices = every(label_map, AXIS, 8)
    desk = Desk(folder, volume, keep_slices(label_map, AXIS, indices), indices)
    write_array(desk.image, volume.array, volume.geometry)
    desk.put_support(desk.support)
    return desk


@pytest.fixture
def desk(awkward_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    temporary = awkward_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return make_desk(awkward_path)


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
    "nothing between": (neighbours, [], "every slice of axis 0 in the asked range"),
    "another axis than the painted one": (nothing, ["--axis", "1"], "axis that was painted along"),
    "support is a folder": (folder_as_support, [], "holds no DICOM segmentation"),
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


def test_bad_input_is_exit_code_2_of_the_real_program(desk: Desk, spawned: Spawned) -> None:
    program = spawned.cli(*desk.fill("--axis", "7"))
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (2, "")
    assert err.startswith("fewshot-annotate: Axis 7 does not exist; choose 0, 1 or 2")
    assert err.count("\n") == 1


# --- what comes out


def test_labelled_slices_come_back_exactly_and_those_between_are_filled(desk: Desk) -> None:
    assert main(desk.fill()) == 0
    (filled,) = read_label_maps(desk.output, desk.volume.geometry)
    assert filled.geometry.difference(desk.volume.geometry, 1e-6) is None
    slices = AXIS.slices(filled.array)
    for index in desk.indices:
        assert np.array_equal(slices[index], AXIS.slices(desk.support.array)[index])
    between = [index for index in range(desk.indices[0], desk.indices[-1]) if index not in desk.indices]
    assert slices[between].any(axis=(1, 2)).all()
    assert not slices[: desk.indices[0]].any()
    assert not slices[desk.indices[-1] + 1 :].any()
    assert sorted(file.name for file in desk.folder.iterdir() if "filled" in file.name)[0] == desk.output.name
    assert not list((desk.folder / "temporary").iterdir()), "the temporary job folder is gone"


@pytest.mark.parametrize(("axis", "suffix"), [(0, ".seg.nrrd"), (1, ".nrrd"), (1, ".mha"), (2, ".nii")])
def test_any_axis_and_any_format(axis: int, suffix: str, desk: Desk) -> None:
    label_map = small_case()[1]
    painted = SliceAxis(axis)
    indices = every(label_map, painted, 8)
    support = keep_slices(label_map, painted, indices)
    desk.put_support(support)
    output = desk.folder / f"out{suffix}"
    assert main(desk.fill("-o", output)) == 0
    (filled,) = read_label_maps(output, desk.volume.geometry)
    assert np.array_equal(painted.slices(filled.array)[indices], painted.slices(support.array)[indices])
    assert np.count_nonzero(filled.array) > 2 * np.count_nonzero(support.array)
    assert [segment.name for segment in filled.segments] == [segment.name for segment in support.segments]


def test_all_slices_are_filled_when_asked(desk: Desk) -> None:
    first, last = desk.indices[1], desk.indices[2]
    desk.put_support(keep_slices(desk.support, AXIS, [first, last]))
    assert main(desk.fill("--slices", "all")) == 0
    slices = AXIS.slices(read_label_maps(desk.output, desk.volume.geometry)[0].array)
    assert slices[first - 1].any()
    assert slices[last + 1].any()


def test_a_range_of_slices_is_filled_when_asked(desk: Desk) -> None:
    first, second = desk.indices[:2]
    assert main(desk.fill("--slices", f"{first + 2}:{second - 1}")) == 0
    slices = AXIS.slices(read_label_maps(desk.output, desk.volume.geometry)[0].array)
    assert np.flatnonzero(slices.any(axis=(1, 2))).tolist() == sorted({*desk.indices, *range(first + 2, second - 1)})


def test_a_slice_labelled_and_empty_stays_empty(desk: Desk) -> None:
    empty = desk.indices[1]
    desk.put_support(keep_slices(desk.support, AXIS, [index for index in desk.indices if index != empty]))
    named = ",".join(map(str, desk.indices))
    assert main(desk.fill("--axis", "0", "--labelled-slices", named)) == 0
    slices = AXIS.slices(read_label_maps(desk.output, desk.volume.geometry)[0].array)
    assert not slices[empty].any()


def test_slices_that_are_not_named_do_not_leak_into_the_result(desk: Desk) -> None:
    complete = small_case()[1]
    desk.put_support(complete)
    named = ",".join(map(str, desk.indices))
    assert main(desk.fill("--axis", "0", "--labelled-slices", named)) == 0
    from_complete = desk.output.read_bytes()
    desk.put_support(keep_slices(complete, AXIS, desk.indices))
    assert main(desk.fill("--axis", "0")) == 0
    assert desk.output.read_bytes() == from_complete


def test_the_confidence_is_between_0_and_1_and_1_on_labelled_slices(desk: Desk) -> None:
    path = desk.folder / "confidence.nii.gz"
    assert main(desk.fill("--confidence", path)) == 0
    confidence = read_volume(path)
    slices = AXIS.slices(confidence.array)
    assert confidence.geometry.difference(desk.volume.geometry, 1e-6) is None
    assert 0 <= slices.min() <= slices.max() <= 1
    assert (slices[desk.indices] == 1).all()
    assert slices[desk.indices[0] + 3].min() > 0
    assert not slices[: desk.indices[0]].any()


@pytest.mark.parametrize("count", [2, 3])
def test_overlapping_segments_are_filled_each_on_its_own_with_their_names_and_colours(count: int, desk: Desk) -> None:
    layers = [keep_slices(layer, AXIS, desk.indices) for layer in overlapping_layers(small_case()[1], count)]
    support, output = desk.folder / "support.seg.nrrd", desk.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)
    assert main(["fill", str(desk.image), str(support), "-o", str(output), "--progress", "none"]) == 0
    filled = read_label_maps(output, desk.volume.geometry)
    assert len(filled) == count
    for before, after in zip(layers, filled, strict=True):
        (marked,) = tagged([before], Algorithm("FewShotAnnotate propagate", __version__))
        assert after.segments == marked.segments
        assert np.array_equal(AXIS.slices(after.array)[desk.indices], AXIS.slices(before.array)[desk.indices])
        assert AXIS.slices(after.array)[desk.indices[0] + 3].any()
    both = (filled[0].array != 0) & (filled[1].array != 0)
    assert AXIS.slices(both)[desk.indices[0] + 3].any(), "they still overlap between the labelled slices"


def test_layers_that_do_not_overlap_fit_into_one_label_map(desk: Desk) -> None:
    layers = [
        LabelMap(
            (desk.support.array == value).astype(np.uint8), desk.support.geometry, (Segment(1, f"part {value}"),)
        )
        for value in (1, 2)
    ]
    support = desk.folder / "support.seg.nrrd"
    write_label_maps(support, layers)
    assert main(["fill", str(desk.image), str(support), "-o", str(desk.output), "--progress", "none"]) == 0
    (filled,) = read_label_maps(desk.output, desk.volume.geometry)
    assert [segment.name for segment in filled.segments] == ["part 1", "part 2"]
    expected = np.where(desk.support.array <= 2, desk.support.array, 0)
    assert np.array_equal(AXIS.slices(filled.array)[desk.indices], AXIS.slices(expected)[desk.indices])


def test_a_layer_without_labels_on_the_named_slices_comes_out_empty(desk: Desk) -> None:
    first, *rest = desk.indices
    layers = overlapping_layers(small_case()[1], 2)
    layers = [keep_slices(layers[0], AXIS, rest), keep_slices(layers[1], AXIS, [first])]
    support, output = desk.folder / "support.seg.nrrd", desk.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)
    named = ",".join(map(str, rest))
    command = ["fill", str(desk.image), str(support), "-o", str(output), "--progress", "none"]
    assert main([*command, "--axis", "0", "--labelled-slices", named]) == 0
    filled = read_label_maps(output, desk.volume.geometry)
    assert filled[0].array.any()
    assert not filled[1].array.any()


def test_several_layers_are_not_put_into_a_used_job_folder(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    overlapping_segments(desk)
    used_job_folder(desk)
    before = desk.files()
    support, output = desk.folder / "support.seg.nrrd", desk.folder / "filled.seg.nrrd"
    command = ["fill", str(desk.image), str(support), "-o", str(output), "--job-dir", str(desk.job)]
    assert main(command) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert desk.files() == before


def test_a_dicom_folder_is_an_image(tmp_path: Path) -> None:
    image = read_volume(CARRIED / "dicom_ct" / "series")
    full = load_case("dicom_ct")[1]
    aorta = LabelMap((full.array == 52).astype(np.uint8), image.geometry)
    write_label_maps(tmp_path / "support.nrrd", [keep_slices(aorta, AXIS, [4, 7])])
    series = str(CARRIED / "dicom_ct" / "series")
    output = tmp_path / "out.nrrd"
    assert main(["fill", series, str(tmp_path / "support.nrrd"), "-o", str(output), "--progress", "none"]) == 0
    (filled,) = read_label_maps(output, image.geometry)
    assert AXIS.slices(filled.array)[5].any()
    assert main(["fill", series, str(tmp_path / "support.nrrd"), "-o", f"{series}/out.nrrd"]) == 2


# --- what is said meanwhile


def test_progress_json_prints_events_and_nothing_else(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*desk.fill(), "--progress", "json"]) == 0
    out, err = capfd.readouterr()
    events = [event_from_line(line) for line in out.splitlines()]
    assert None not in events
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    between = set(range(desk.indices[0], desk.indices[-1])) - set(desk.indices)
    assert set(slices_done([event for event in events if event])) == between
    assert err == ""


def test_progress_none_prints_the_summary_only(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(desk.fill()) == 0
    out, err = capfd.readouterr()
    assert re.fullmatch(r".*filled\.nii\.gz: \d+ slices filled, \d+ were labelled \(axis 0 \(axial\), .*s\n", out)
    assert err == ""


def test_the_bar_goes_to_stderr(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*desk.fill(), "--progress", "bar"]) == 0
    out, err = capfd.readouterr()
    assert out.count("\n") == 1
    assert "slices" in err


@pytest.fixture
def stepwise_engine(python_with_stepwise: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an engine that drafts, fits and refines."""
    monkeypatch.setattr(layers_module, "run_in_worker", partial(run_in_worker, python=python_with_stepwise))
    return stepwise.NAME


def test_options_of_the_engine_reach_it_with_their_types(desk: Desk, stepwise_engine: str) -> None:
    more = ["--option", "fit=0", "--option", "talks=False", "--option", "fit=0.25", "--option", "trouble="]
    assert main(desk.fill("--engine", stepwise_engine, "--job-dir", desk.job, *more)) == 0
    job = JobFolder.open(desk.job).job
    assert job.options == {"fit": 0.25, "talks": False, "trouble": ""}
    assert job.budget is None


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("fit=soon", "Option fit of engine stepwise cannot be 'soon'; it must be a number of at least 0."),
        ("fit=-1", "cannot be -1.0"),
        ("fit=nan", "cannot be 'nan'"),
        ("talks=1", "Option talks of engine stepwise cannot be '1'; it must be true or false."),
        ("talks=", "cannot be ''"),
    ],
)
def test_an_option_of_another_type_is_one_clear_line(
    option: str, said: str, desk: Desk, stepwise_engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = desk.files()
    assert main(desk.fill("--engine", stepwise_engine, "--option", option)) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert desk.files() == before


def test_the_expected_dice_ends_what_is_printed(
    desk: Desk, stepwise_engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command = desk.fill("--engine", stepwise_engine, "--option", "fit=0")
    assert main(command) == 0
    first, *more = capfd.readouterr().out.splitlines()
    assert "slices filled" in first
    assert [re.sub(" +", " ", line) for line in more] == [
        f" Expected Dice {segment.name} 0.800 (9 times of 10 from 0.600 to 0.900)"
        for segment in desk.support.segments
    ]
    assert main([*command, "--progress", "json"]) == 0
    events = [event_from_line(line) for line in capfd.readouterr().out.splitlines()]
    told = [event.dice for event in events if isinstance(event, Expected)]
    assert told == [0.5] * len(more) + [0.8] * len(more), "of the drafts, then of the result"


def test_a_time_limit_ends_the_fit_and_is_shared_by_layers(desk: Desk, stepwise_engine: str) -> None:
    layers = [keep_slices(layer, AXIS, desk.indices) for layer in overlapping_layers(small_case()[1], 2)]
    support, output = desk.folder / "support.seg.nrrd", desk.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)
    more = ["--engine", stepwise_engine, "--option", "fit=1000", "--budget", "3", "--job-dir", desk.job]
    began = time.monotonic()
    assert main(["fill", *map(str, (desk.image, support, "-o", output, *more)), "--progress", "none"]) == 0
    assert time.monotonic() - began < 30
    assert [layer.job.budget for layer in JobFolder.open_layers(desk.job)] == [1.5, 1.5]
    assert len(read_label_maps(output, desk.volume.geometry)) == 2


def test_layers_are_all_drafted_before_the_first_is_refined(
    desk: Desk, stepwise_engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    layers = [keep_slices(layer, AXIS, desk.indices) for layer in overlapping_layers(small_case()[1], 2)]
    support, output = desk.folder / "support.seg.nrrd", desk.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)
    command = ["fill", *map(str, (desk.image, support, "-o", output, "--engine", stepwise_engine))]
    assert main([*command, "--option", "fit=0.6", "--progress", "json"]) == 0
    events = [event for event in map(event_from_line, capfd.readouterr().out.splitlines()) if event]
    half = len(slices_done(events)) // 2
    assert [event.draft for event in events if isinstance(event, SliceDone)] == [True] * half + [False] * half
    progress = [event for event in events if isinstance(event, Progress)]
    assert {event.total for event in progress} == {half}
    for figures in (
        [event.done for event in progress],
        [event.done - event.drafts for event in progress],
        [event.fraction for event in progress],
    ):
        assert figures == sorted(figures)
    assert list(dict.fromkeys(event.stage for event in progress)) == list(Stage)
    assert progress[-1] == Progress(half, half, 0.0, 1.0, 0, Stage.REFINING)
    assert [isinstance(event, Finished) for event in events].index(True) == len(events) - 1
    assert layer_runs("propagate", 2) == [LayerRun(0), LayerRun(1)], "without drafts there is nothing to go back for"
    assert layer_runs(stepwise_engine, 1) == [LayerRun(0)]


def test_a_job_is_continued_with_another_time_limit(desk: Desk) -> None:
    assert main(desk.fill("--job-dir", desk.job, "--budget", "50")) == 0
    assert JobFolder.open(desk.job).job.budget == 50
    assert main(desk.fill("--job-dir", desk.job, "--resume")) == 0
    assert JobFolder.open(desk.job).job.budget is None


def test_the_bar_tells_what_is_being_done(
    desk: Desk, stepwise_engine: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    more = ["--engine", stepwise_engine, "--option", "fit=0.7", "--option", "pause=0.02", "--progress", "bar"]
    assert main(desk.fill(*more)) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capfd.readouterr().err)
    count = len(set(range(desk.indices[0], desk.indices[-1])) - set(desk.indices))
    assert re.search(rf"Drafting .* \d+/{count} slices", shown)
    assert re.search(rf"Refining .* 0/{count} slices", shown)
    assert re.search(rf"Refining .* {count}/{count} slices", shown)


def test_models_list_names_every_engine_and_whether_it_can_run(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    out, _ = capfd.readouterr()
    (line,) = [line for line in out.splitlines() if "│ propagate" in line]
    assert "ready" in line
    (line,) = [line for line in out.splitlines() if "│ sam-vit-b" in line]
    assert "Apache-2.0" in line


def test_models_list_fits_a_terminal_of_80_columns(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models", "list"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) < 60
    assert all(len(line) <= 80 for line in lines if "│" in line)


def test_models_info_lists_the_options_of_an_engine(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", "adapt"]) == 0
    out, _ = capfd.readouterr()
    assert "a whole number from 1 to 100000" in out
    assert "--option NAME=VALUE" in out


def test_the_demo_fills_a_brain_and_prints_dice(tmp_path: Path, spawned: Spawned) -> None:
    from PIL import Image

    output = tmp_path / "made" / "demo"
    program = spawned.cli("demo", "-o", output, "--progress", "none")
    out, err = program.communicate(timeout=200)
    assert (program.returncode, err) == (0, "")
    scores = {name: float(score) for name, score in re.findall(r"Dice (\w+ matter)\s+(0\.\d+)", out)}
    assert set(scores) == {"grey matter", "white matter"}
    assert min(scores.values()) > 0.6
    volume, _ = load_case("mni152")
    (filled,) = read_label_maps(output / "label.nii.gz", volume.geometry)
    assert [segment.name for segment in filled.segments] == ["grey matter", "white matter"]
    with Image.open(output / "contact-sheet.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 20


def test_the_demo_refuses_a_file_as_its_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["demo", "-o", str(tmp_path / "file")]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_progress_of_several_layers_is_one_count_that_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    overall = OverallProgress(2)
    for number in range(2):
        report = overall.reporter(LayerRun(number), number == 1, told.append)
        report(Progress(0, 10, None))
        monkeypatch.setattr(time, "monotonic", partial(lambda now: now, time.monotonic() + 10))
        for done, eta in ((5, 10.0), (10, 0.0)):
            report(Progress(done, 10, eta, done / 10))
        report(Finished(20.0))
        monkeypatch.undo()
    assert told[-1] == Finished(20.0)
    progress = [event for event in told[:-1] if isinstance(event, Progress)]
    assert [event.done for event in progress] == [0, 5, 10, 10, 15, 20]
    assert {event.total for event in progress} == {20}
    assert [event.fraction for event in progress] == [0, 0.25, 0.5, 0.5, 0.75, 1]
    first, second = (
        [round(event.eta) for event in part if event.eta is not None] for part in (progress[:3], progress[3:])
    )
    assert first == [30, 10], "the second layer will take as long as the first"
    assert second == [10, 0]


# --- interrupted

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="watches processes through /proc")


@pytest.fixture(scope="module")
def long_desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("long") / "deuxième étude"
    folder.mkdir()
    volume, one = long_case()
    held = labelled_indices(one.array, AXIS)
    indices = [held[1], held[-2]]
    desk = Desk(folder, volume, keep_slices(one, AXIS, indices), indices)
    write_array(desk.image, volume.array, volume.geometry)
    desk.put_support(desk.support)
    assert main([*desk.fill("-o", folder / "expected.nii.gz"), "--slices", "all"]) == 0
    return desk


def worker_in_the_middle(desk: Desk) -> tuple[JobFolder, int]:
    """The job of a running command line and its worker's process id, once three slices are finished."""
    wait_for(lambda: JobFolder.holds_job(desk.job))
    folder = JobFolder.open(desk.job)
    wait_for(lambda: np.count_nonzero(folder.finished()) >= 3)
    started = [event_from_line(line) for line in folder.events_path.read_text().splitlines()]
    return folder, [event.pid for event in started if isinstance(event, Started)][-1]


def require_resumes(desk: Desk, spawned: Spawned, kept: int) -> None:
    program = spawned.cli(*desk.fill("--slices", "all", "--job-dir", desk.job, "--resume"), "--progress", "json")
    out, err = program.communicate(timeout=120)
    assert (program.returncode, err) == (0, "")
    events = [event for event in map(event_from_line, out.splitlines()) if event]
    assert len(slices_done(events)) + kept == desk.volume.array.shape[0] - len(desk.indices)
    assert desk.output.read_bytes() == (desk.folder / "expected.nii.gz").read_bytes()
    desk.output.unlink()
    shutil.rmtree(desk.job)


@needs_proc
def test_ctrl_c_keeps_the_job_and_it_can_be_resumed(long_desk: Desk, spawned: Spawned) -> None:
    program = spawned.cli(*long_desk.fill("--slices", "all", "--job-dir", long_desk.job))
    folder, pid = worker_in_the_middle(long_desk)
    with paused(pid):
        program.send_signal(signal.SIGINT)
        wait_for(folder.cancel_requested)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert (out, err.count("\n")) == ("", 1)
    assert "--resume" in err
    assert not long_desk.output.exists()
    assert not alive(pid)
    require_resumes(long_desk, spawned, np.count_nonzero(folder.finished()))


@needs_proc
def test_ctrl_c_is_not_lost_wherever_it_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted at every call on the way, not only while it sleeps."""
    for moment in ("start", "running", "poll"):
        folder = make_folder(tmp_path / moment, *long_case(), AXIS, 82)

        class Interrupted(WorkerProcess):
            def __getattribute__(self, name: str, moment: str = moment) -> object:
                if name == moment and not vars(self).get("told"):
                    self.told = True
                    signal.raise_signal(signal.SIGINT)
                return super().__getattribute__(name)

        monkeypatch.setattr(process_module, "WorkerProcess", Interrupted)
        if moment == "start":  # nothing is finished yet that could be kept
            with pytest.raises(KeyboardInterrupt):
                run_in_worker(folder, lambda event: None)
        else:
            assert isinstance(run_in_worker(folder, lambda event: None), Cancelled)
        assert folder.pending()


@needs_proc
def test_ctrl_c_at_the_end_of_a_layer_does_not_start_the_next(
    desk: Desk, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [keep_slices(layer, AXIS, desk.indices) for layer in overlapping_layers(small_case()[1], 2)]
    support, output = desk.folder / "support.seg.nrrd", desk.folder / "filled.seg.nrrd"
    write_label_maps(support, layers)

    def interrupted_at_its_end(folder: JobFolder, *more: Any, **options: Any) -> Event:
        ending = run_in_worker(folder, *more, **options)
        assert isinstance(ending, Finished)
        folder.request_cancel()
        return ending

    monkeypatch.setattr(layers_module, "run_in_worker", interrupted_at_its_end)
    command = ["fill", *map(str, (desk.image, support, "-o", output, "--job-dir", desk.job))]
    assert main([*command, "--progress", "none"]) == 130
    assert "cancelled; no output was written. Continue" in capfd.readouterr().err
    assert len(JobFolder.open(desk.job, layer=1).pending()) > 0
    assert not output.exists()


@needs_proc
def test_a_second_ctrl_c_ends_a_worker_that_does_not_react(long_desk: Desk, spawned: Spawned) -> None:
    program = spawned.cli(*long_desk.fill("--slices", "all", "--job-dir", long_desk.job))
    folder, pid = worker_in_the_middle(long_desk)
    with paused(pid):
        program.send_signal(signal.SIGINT)
        wait_for(folder.cancel_requested)
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=60)
        assert (program.returncode, err.count("\n")) == (130, 1)
        wait_for(lambda: not alive(pid))
    shutil.rmtree(long_desk.job)


@needs_proc
def test_a_killed_command_line_ends_its_worker_and_the_job_can_be_resumed(long_desk: Desk, spawned: Spawned) -> None:
    program = spawned.cli(*long_desk.fill("--slices", "all", "--job-dir", long_desk.job))
    folder, pid = worker_in_the_middle(long_desk)
    with paused(pid):
        program.kill()
        program.wait()
    wait_for(lambda: not alive(pid), 5)
    assert not long_desk.output.exists()
    require_resumes(long_desk, spawned, np.count_nonzero(folder.finished()))


@needs_proc
def test_a_worker_killed_under_the_command_line_is_one_plain_line(long_desk: Desk, spawned: Spawned) -> None:
    program = spawned.cli(*long_desk.fill("--slices", "all", "--job-dir", long_desk.job))
    folder, pid = worker_in_the_middle(long_desk)
    os.kill(pid, signal.SIGKILL)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 1
    assert (out, err.count("\n")) == ("", 1)
    assert "--resume" in err
    require_resumes(long_desk, spawned, np.count_nonzero(folder.finished()))


@needs_proc
def test_ctrl_c_without_a_kept_job_leaves_nothing(long_desk: Desk, spawned: Spawned, tmp_path: Path) -> None:
    before = long_desk.files()
    program = spawned.cli(
        *long_desk.fill("--slices", "all"), "--progress", "json", environment={"TMPDIR": str(tmp_path)}
    )
    assert program.stdout is not None
    while '"slice"' not in program.stdout.readline():
        pass
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert err == "fewshot-annotate: cancelled; no output was written.\n"
    assert long_desk.files() == before
    assert not list(tmp_path.iterdir())


def test_a_reader_that_goes_away_gets_no_traceback(long_desk: Desk, spawned: Spawned) -> None:
    program = spawned.cli(*long_desk.fill("--slices", "all"), "--progress", "json")
    assert program.stdout is not None
    program.stdout.readline()
    program.stdout.close()
    program.stdout = None
    _, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (1, "")
    assert not long_desk.output.exists()


def test_the_demo_keeps_its_results_elsewhere_if_they_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    output, elsewhere = tmp_path / "demo", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))

    def filled(runs: object, layers: list[LabelMap], *_: object) -> SimpleNamespace:
        (output / "label.nii.gz").mkdir()  # in the way when it is to be written
        return SimpleNamespace(layers=layers)

    monkeypatch.setattr(demo, "run_all", filled)
    assert main(["demo", "-o", str(output), "--progress", "none"]) == 1
    assert (output / "contact-sheet.png").stat().st_size
    (kept,) = elsewhere.glob("*/label.nii.gz")
    assert str(kept) in capfd.readouterr().err
