"""The library: labelled slices saved as a named task and used for volumes of other patients."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume, to_image
from fewshot_annotate.datasets.case import CaseJob, run_case
from fewshot_annotate.datasets.case_plan import BatchSettings, CaseTask
from fewshot_annotate.datasets.manifest import Case
from fewshot_annotate.datasets.status import Status
from fewshot_annotate.datasets.task import library
from fewshot_annotate.datasets.task.library import read_task, task_folder, task_names
from fewshot_annotate.datasets.task.library_file import export_task, import_task
from fewshot_annotate.datasets.task.matching import examples_of, values_by_name
from fewshot_annotate.datasets.task.task import Task
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from PIL import Image
from support.batches import Dataset
from support.disk import largest_file
from support.labels import every_nth, overlapping_layers, small_case
from support.processes import Spawned
from support.tasks import saved_task

AXIS = SliceAxis(0)

pytest_plugins = ("support.library_fixtures",)
pytestmark = pytest.mark.usefixtures("home", "forked_workers")


def reoriented(orientation: str) -> tuple[Volume, LabelMap]:
    """The small case at the same position, with its array in another orientation."""
    volume, label_map = small_case()
    image, labels = (
        sitk.DICOMOrient(to_image(array.astype(np.float32), volume.geometry), orientation)
        for array in (volume.array, label_map.array)
    )
    geometry = Geometry.of_image(image)
    array = sitk.GetArrayFromImage(labels).astype(np.uint8)
    return Volume(sitk.GetArrayFromImage(image), geometry), LabelMap(array, geometry, label_map.segments)


def test_slices_are_saved_at_their_own_resolution_with_all_labels_and_thumbnails(home: Path) -> None:
    volume, label_map = small_case()
    task = saved_task(step=8)
    assert task_names() == ["hippocampus"]
    task = read_task(task_folder("hippocampus"))
    assert task.folder == home / "library" / "hippocampus"
    indices = every_nth(label_map, AXIS, 8)
    assert [segment.name for segment in task.segments] == [segment.name for segment in label_map.segments]
    assert len(task.slices) == len(indices)
    for example, index in zip(task.slices, indices, strict=True):
        image, mask = task.pixels(example)
        np.testing.assert_array_equal(image, volume.array[index])
        np.testing.assert_array_equal(mask, label_map.array[index])
        assert (image.dtype, example.spacing) == (volume.array.dtype, volume.geometry.spacing[1::-1])
        assert (example.quantiles[0], example.quantiles[-1]) == (volume.array.min(), volume.array.max())
        with Image.open(task.thumbnail(example)) as picture:
            assert max(picture.size) == 160
            assert np.ptp(np.asarray(picture).astype(int), axis=-1).max() > 20  # colours of labels


def test_nothing_stored_identifies_the_patient(dataset: Dataset) -> None:
    _, label_map = small_case()
    tags = {"TerminologyEntry": "Anatomy", "Segment.Note": "JOHN DOE"}
    segments = tuple(
        Segment(value=s.value, name=s.name, colour=s.colour, tags=tags, segment_id="DOE-1")
        for s in label_map.segments
    )
    path = dataset.folder / "DOE^JOHN.seg.nrrd"
    write_label_maps(path, [LabelMap(label_map.array, label_map.geometry, segments)])
    image = dataset.image.rename(dataset.folder / "DOE^JOHN.nii.gz")
    assert main(["library", "save", "task", str(image), str(path), "--axis", "0", "--labelled-slices", "12,20"]) == 0
    for file in task_folder("task").iterdir():
        assert b"DOE" not in file.read_bytes(), file.name
    assert read_task(task_folder("task")).segments[0].tags == {"TerminologyEntry": "Anatomy"}


def test_corrections_are_added_to_the_task(dataset: Dataset) -> None:
    task = saved_task(step=8)
    _, label_map = small_case()
    corrected = label_map.array.copy()
    corrected[every_nth(label_map, AXIS, 8)[0]] = 0
    path = dataset.folder / "corrected.seg.nrrd"
    more = (*label_map.segments, Segment(value=9, name="Cyst", colour=(1.0, 1.0, 0.0)))
    corrected[14, :4, :4] = 9
    write_label_maps(path, [LabelMap(corrected, label_map.geometry, more)])
    arguments = ["library", "add", task.name, str(dataset.image), str(path), "--axis", "0", "--corrected"]
    first = every_nth(label_map, AXIS, 8)[0]
    assert main([*arguments, "--labelled-slices", f"{first},14"]) == 0
    after = read_task(task_folder(task.name))
    assert len(after.slices) == len(task.slices) + 1  # a slice that is added again replaces the first
    assert [segment.name for segment in after.segments][-1] == "Cyst"
    assert [str(example.origin) for example in after.slices] == ["painted"] * (len(task.slices) - 1) + [
        "corrected"
    ] * 2
    assert not after.pixels(after.slices[-2])[1].any() or not after.pixels(after.slices[-1])[1].any()
    # slices painted before the label existed are unannotated for it
    assert 3 not in after.slices[0].annotated
    assert after.slices[-1].annotated == (1, 2, 3)
    assert len(list(after.folder.glob("*.png"))) == len(after.slices)


def test_invalid_examples_are_refused_in_one_line(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    _, label_map = small_case()
    write_label_maps(dataset.folder / "layers.seg.nrrd", overlapping_layers(label_map, 2))
    image, labels = str(dataset.image), str(dataset.support)
    refused = {
        "no task 'none'; there are: none yet": ["show", "none"],
        "cannot name a task": ["save", "../up", image, labels],
        "the segments overlap": ["save", "layers", image, str(dataset.folder / "layers.seg.nrrd"), "--axis", "0"],
        "there are: none yet": ["remove", "--yes", "none"],
    }
    for line, arguments in refused.items():
        assert main(["library", *arguments]) == 2
        stderr = capsys.readouterr().err
        assert line in stderr
        assert stderr.count("\n") == 1
    saved_task(step=8)
    assert main(["library", "save", "hippocampus", image, labels]) == 2
    assert "already; choose another name, or add to it" in capsys.readouterr().err
    assert main(["library", "add", "hippocampus", image, labels, "--axis", "1", "--labelled-slices", "20"]) == 2
    assert "slices and those along axis 1 are" in capsys.readouterr().err
    assert len(read_task(task_folder("hippocampus")).slices) == len(every_nth(label_map, AXIS, 8))


def test_tasks_are_listed_shown_and_removed(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    task = saved_task(step=8)
    for arguments in (["list"], ["show", task.name]):
        assert main(["library", *arguments]) == 0
        stdout = capsys.readouterr().out
        assert task.name in stdout
        assert task.segments[0].name in stdout
        assert str(task.folder.parent) in stdout
    assert main(["library", "remove", "--yes", task.name]) == 0
    assert task_names() == []
    assert [path.name for path in task.folder.parent.iterdir()] == [".lock"]


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "ASL", "PIR", "SLA", "IPR"])
def test_examples_have_the_orientation_of_the_slices_of_the_volume(orientation: str) -> None:
    task = saved_task(step=8)
    volume, label_map = reoriented(orientation)
    axis = next(axis for axis in map(SliceAxis, range(3)) if axis.patient_plane(volume.geometry).endswith(task.plane))
    slices, masks = axis.slices(volume.array), axis.slices(label_map.array)
    for example in examples_of(task, volume.geometry, axis):
        (index,) = [number for number, image in enumerate(slices) if np.array_equal(image, example.image)]
        np.testing.assert_array_equal(example.mask, masks[index])
        assert example.spacing == pytest.approx(axis.spacing(volume.geometry)[1:])
    crossing = next(other for other in map(SliceAxis, range(3)) if other != axis)
    with pytest.raises(InputError, match="choose the axis of the same plane"):
        examples_of(task, volume.geometry, crossing)


def test_labels_are_matched_by_name() -> None:
    task = saved_task(step=8)
    first, second = task.segments
    others = (Segment(value=7, name=second.name.upper()), Segment(value=4, name="Something else"))
    values = values_by_name(task, others, (4, 7))
    assert values == {2: 7}
    volume, _ = small_case()
    for example in examples_of(task, volume.geometry, AXIS, values):
        assert set(np.unique(example.mask)) <= {0, 7}
        assert example.annotated == (7,)
    with pytest.raises(InputError, match=f"which has: {first.name}, {second.name}"):
        values_by_name(task, others[1:], (4,))


@pytest.mark.parametrize("orientation", ["LPS", "PIR"])
def test_a_batch_fills_a_volume_by_a_library_task_alone(dataset: Dataset, orientation: str) -> None:
    saved_task()
    volume, truth = reoriented(orientation)
    write_array(dataset.folder / "other.nii.gz", volume.array, volume.geometry)
    dataset.rows = [{"image": "other.nii.gz", "support": "", "library": "hippocampus", "engine": "most-similar"}]
    dataset.write()
    assert main(dataset.command()) == 0
    (filled,) = read_label_maps(dataset.case("other").label, volume.geometry)
    labelled = truth.array != 0
    assert (filled.array[labelled] == truth.array[labelled]).all()
    assert {segment.name for segment in filled.segments} == {segment.name for segment in truth.segments}
    _, outcome = dataset.case("other").read_record() or ({}, {})
    assert (outcome["labelled_slices"], outcome["examples"] > 20) == ([], True)


def test_a_batch_uses_a_library_task_beside_painted_slices(dataset: Dataset) -> None:
    saved_task()
    dataset.add("a", library="hippocampus", engine="most-similar")
    assert main(dataset.command()) == 0
    _, truth = small_case()
    volume, _ = small_case()
    (filled,) = read_label_maps(dataset.case("a").label, volume.geometry)
    indices = every_nth(truth, AXIS, 8)
    between = slice(indices[0], indices[-1] + 1)
    np.testing.assert_array_equal(filled.array[between], truth.array[between])


def test_an_engine_that_cannot_use_the_library_is_refused_with_its_row(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    saved_task()
    dataset.add("a")
    dataset.add("b", library="hippocampus", engine="propagate")
    assert main(dataset.command()) == 2
    stderr = capsys.readouterr().err
    assert "row 3: Engine propagate needs labelled slices of the same volume and cannot use a task" in stderr
    assert "most-similar" in stderr
    dataset.rows[1].update(library="unknown", engine="most-similar")
    dataset.write()
    assert main(dataset.command()) == 2
    assert "row 3: There is no task 'unknown'; there are: hippocampus." in capsys.readouterr().err
    assert not dataset.output.exists()


def test_a_damaged_task_fails_its_case_alone(dataset: Dataset) -> None:
    task = saved_task(step=8)
    dataset.add("a", library=task.name, engine="most-similar")
    dataset.add("b")
    file = task.folder / f"{task.slices[0].file}.mask.npy"
    file.write_bytes(file.read_bytes()[:-5])
    assert main(dataset.command()) == 1
    assert dataset.status()["a"].message.startswith("row 2: Task 'hippocampus' is damaged (0001)")
    assert dataset.status()["b"].status is Status.DONE


def test_an_interrupted_save_leaves_the_task_unchanged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved_task(step=8)
    monkeypatch.setattr(Task, "write", lambda self: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError, match="No space left"):
        saved_task(step=4, add=True)
    with pytest.raises(InputError, match="No space left"):
        saved_task("another")
    monkeypatch.undo()
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(home))
    assert task_names() == ["hippocampus"]
    after = read_task(task_folder("hippocampus"))
    assert after.slices == before.slices
    for example in after.slices:
        after.pixels(example)


def test_a_task_that_does_not_fit_is_named(home: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    with largest_file(3000):
        assert main(["library", "save", "new", str(dataset.image), str(dataset.support)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fewshot-annotate: {home / 'library' / 'new'}: cannot be written (")
    assert task_names() == []


def test_an_engine_with_weights_fills_another_patients_volume_and_loads_them_once(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are random, so only the way from the library to the result is tested, not the labels."""
    import torch
    from fewshot_annotate.engines.in_context import universeg
    from fewshot_annotate.engines.in_context.universeg_network import state_shapes
    from support.tiny_weights import WeightsFolder

    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in state_shapes().items()}
    WeightsFolder(tmp_path, monkeypatch).put("universeg-v1", state)
    universeg.load_network.cache_clear()
    task = saved_task(step=8)
    volume, _ = reoriented("PIR")
    write_array(dataset.folder / "other.nii.gz", volume.array, volume.geometry)
    for name in ("first", "second"):
        case = Case(
            row=2,
            name=name,
            image=dataset.folder / "other.nii.gz",
            support=None,
            engine="universeg",
            library=task.name,
        )
        dataset.output.mkdir(exist_ok=True)
        settings = BatchSettings(slices=(15, 16), options={"supports": 2})
        status = run_case(CaseJob(case=case, settings=settings, folder=dataset.output, task=CaseTask(task.folder)))
        assert status.status is Status.DONE, status.message
    assert universeg.load_network.cache_info().misses == 1
    (filled,) = read_label_maps(dataset.case("first").label, volume.geometry)
    axis = next(axis for axis in map(SliceAxis, range(3)) if axis.patient_plane(volume.geometry).endswith(task.plane))
    labelled = np.flatnonzero(axis.slices(filled.array).any(axis=(1, 2)))
    assert set(labelled) <= {15}


def test_folders_of_the_library_are_readable_by_their_owner_only(home: Path, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        saved_task()
        export_task(read_task(task_folder("hippocampus")), tmp_path / "task.zip")
        import_task(tmp_path / "task.zip", "copy")
        saved_task("hippocampus", 3, add=True)
    finally:
        os.umask(old)
    for folder in (home / "library", home / "library" / "hippocampus", home / "library" / "copy"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.slow
def test_no_slices_are_added_while_unused_ones_are_removed(
    dataset: Dataset, spawned: Spawned, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_task(step=8)
    other = dataset.folder / "other.nii.gz"
    volume, _ = small_case()
    write_array(other, volume.array + 7, volume.geometry)
    remove = library.remove_unused_files
    second = []

    def remove_after_other_command(task: Task) -> None:
        second.append(spawned.cli("library", "add", "hippocampus", other, dataset.support))
        with contextlib.suppress(subprocess.TimeoutExpired):
            second[0].wait(6)
        remove(task)

    monkeypatch.setattr(library, "remove_unused_files", remove_after_other_command)
    task = saved_task(step=4, add=True)
    assert second[0].wait(60) == 0
    both = read_task(task.folder)
    assert len(both.slices) > len(task.slices)
    for example in both.slices:
        both.pixels(example)
