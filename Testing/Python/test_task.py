"""Tasks: labelled examples of a labelling job, kept without patient data."""

from __future__ import annotations

import json
import re
import shutil
import stat
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.datasets.task.adding import add_example, sparsely_labelled_slices
from fewshot_annotate.datasets.task.library import create_task, save_slices, task_folder
from fewshot_annotate.datasets.task.segments import TaskLabels
from fewshot_annotate.datasets.task.task import Task, read_task
from fewshot_annotate.io.files import write_array, write_label_maps
from support.disk import largest_file

LIVER, SPLEEN = (
    Segment(value=1, name="Liver", colour=(1.0, 0.0, 0.0), tags={"TerminologyEntry": "Anatomy"}),
    Segment(value=2, name="Spleen"),
)
SHAPE = (6, 8, 10)
GRID = Geometry(SHAPE, (0.5, 0.75, 3.0), (-40.0, 17.0, 3.0))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder."""
    folder = tmp_path / "chez moi"
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(folder))
    return folder


def case(seed: int = 0, segments: tuple[Segment, ...] = (LIVER, SPLEEN)) -> tuple[Volume, LabelMap]:
    """A noisy volume with a block of each segment."""
    image = np.random.default_rng(seed).integers(0, 1000, SHAPE).astype(np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    for number, segment in enumerate(segments):
        labels[1:5, 2:6, 4 * number : 4 * number + 3] = segment.value
    return Volume(image, GRID), LabelMap(labels, GRID, segments)


def files(folder: Path, seed: int = 0, segments: tuple[Segment, ...] = (LIVER, SPLEEN)) -> tuple[str, str]:
    """Paths of a case on disk."""
    volume, label_map = case(seed, segments)
    image, labels = folder / f"DOE^JOHN {seed}.nii.gz", folder / f"DOE^JOHN {seed}.seg.nrrd"
    write_array(image, volume.array, GRID)
    write_label_maps(labels, [label_map])
    return str(image), str(labels)


def organs(*seeds: int) -> Task:
    """A task with wholly labelled cases."""
    task = create_task("organs")
    for seed in seeds:
        task = add_example(task.folder, *case(seed)).task
    return task


def test_a_case_is_kept_at_its_own_resolution_without_patient_data(tmp_path: Path, home: Path) -> None:
    assert main(["task", "create", "organs"]) == 0
    assert main(["task", "add", "organs", *files(tmp_path)]) == 0
    task = read_task(home / "library" / "organs")
    volume, label_map = case()
    (example,) = task.training_examples()
    loaded, labels = example.load()
    np.testing.assert_array_equal(loaded.array, volume.array)
    np.testing.assert_array_equal(labels, label_map.array)
    assert (loaded.array.dtype, loaded.geometry) == (
        np.int16,
        Geometry(SHAPE, volume.geometry.spacing),
    )  # without its position
    assert (example.labelled_slices, task.plane) == (None, "")
    assert [(one.name, one.colour, dict(one.tags)) for one in task.segments] == [
        ("Liver", (1.0, 0.0, 0.0), {"TerminologyEntry": "Anatomy"}),
        ("Spleen", SPLEEN.colour, {}),
    ]
    kept = [path for path in task.folder.rglob("*") if path.is_file()]
    assert not any(b"DOE" in path.read_bytes() or "DOE" in path.name for path in kept)
    assert stat.S_IMODE(task.folder.stat().st_mode) == 0o700


def test_of_a_partly_labelled_volume_only_the_named_slices_count(tmp_path: Path) -> None:
    create_task("organs")
    words = ["task", "add", "organs", *files(tmp_path), "--labelled-slices", "0,2,3", "--axis", "0"]
    assert main(words) == 0
    task = read_task(task_folder("organs"))
    (example,) = task.training_examples()
    assert (example.axis, example.labelled_slices, task.plane) == (0, (0, 2, 3), "axial")
    _, labels = example.load()
    assert labels[2].any()
    assert not labels[1].any()  # labelled in the file, but not named
    assert not labels[0].any()  # named, and empty


def test_labels_are_matched_by_name_whatever_their_values(tmp_path: Path) -> None:
    task = organs(0)
    other = (Segment(value=7, name="spleen"), Segment(value=3, name="LIVER"))
    added = add_example(task.folder, *case(1, other))
    _, labels = added.task.training_examples()[1].load()
    array = case(1, other)[1].array
    np.testing.assert_array_equal(labels == 1, array == 3)
    np.testing.assert_array_equal(labels == 2, array == 7)
    unnamed = (Segment(value=1, name="Label 1"), Segment(value=2, name="Label 2"))
    assert add_example(task.folder, *case(2, unnamed)).example.voxels == added.example.voxels


def test_painted_labels_keep_their_values_when_a_task_fills_the_rest() -> None:
    painted = case(0, (Segment(value=5, name="spleen"),))[1]
    labels = TaskLabels((LIVER, SPLEEN), painted, name="organs")
    in_task = labels.of_task(painted)
    assert set(np.unique(in_task.array)) == {0, 2}
    filled = in_task.array.copy()
    filled[0, 0, 0] = 1
    back = labels.of_case(in_task.with_array(filled))
    assert {segment.value: segment.name for segment in back.segments} == {1: "Liver", 5: "spleen"}
    assert back.array[0, 0, 0] == 1
    np.testing.assert_array_equal(back.array[1:], painted.array[1:])


def test_the_same_image_is_kept_once_and_its_labels_are_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = organs(0, 1)
    image, _ = files(tmp_path)
    corrected = case()[1].array.copy()
    corrected[1] = 0
    labels = tmp_path / "corrected.seg.nrrd"
    write_label_maps(labels, [LabelMap(corrected, GRID, (LIVER, SPLEEN))])
    assert main(["task", "add", "organs", image, str(labels), "--origin", "corrected"]) == 0
    assert "this image was in the task already" in capsys.readouterr().err
    after = read_task(task.folder)
    assert sorted(one.digest for one in after.examples) == sorted(one.digest for one in task.examples)
    (changed,) = [one for one in after.examples if one.origins.keys() == {"corrected"}]
    np.testing.assert_array_equal(changed.load(after.folder, 2)[1], corrected)
    assert len(list((after.folder / "examples").iterdir())) == 2


@pytest.mark.parametrize("pseudonym", ["P-17", "Größe \udcff"], ids=["plain", "no Unicode"])
def test_images_of_one_pseudonym_are_one_patient(tmp_path: Path, pseudonym: str) -> None:
    create_task("organs")
    for seed in (0, 1):
        assert main(["task", "add", "organs", *files(tmp_path, seed), "--patient", pseudonym]) == 0
    assert main(["task", "add", "organs", *files(tmp_path, 2)]) == 0
    task = read_task(task_folder("organs"))
    assert len(task.examples) == 3
    assert len({example.patient for example in task.training_examples()}) == 2
    assert pseudonym not in (task.folder / "task.json").read_text()


def test_a_task_is_exported_and_imported_as_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = organs(0, 1)
    file = tmp_path / "task.zip"
    assert main(["task", "export", "organs", "-o", str(file)]) == 0
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "elsewhere"))
    assert main(["task", "import", str(file), "--name", "again"]) == 0
    imported = read_task(task_folder("again"))
    assert (imported.segments, imported.examples) == (task.segments, task.examples)
    for example, expected in zip(imported.training_examples(), task.training_examples(), strict=True):
        np.testing.assert_array_equal(example.load()[1], expected.load()[1])


@pytest.mark.parametrize("damage", ["another image", "a longer image", "an unlisted file", "compressed"])
def test_files_that_differ_from_the_list_are_not_imported(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    organs(0)
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    assert main(["task", "export", "organs", "-o", str(good)]) == 0
    with zipfile.ZipFile(good) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    image = "examples/0001/image.nii.gz"
    shape = (600, 8, 10) if damage == "a longer image" else SHAPE
    write_array(tmp_path / "x.nii.gz", np.zeros(shape, np.int16), Geometry(shape))
    if "image" in damage:
        members[image] = (tmp_path / "x.nii.gz").read_bytes()
    elif damage == "an unlisted file":
        members["examples/0002/image.nii.gz"] = members[image]
    with zipfile.ZipFile(bad, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if damage == "compressed" else zipfile.ZIP_STORED)
    assert main(["task", "import", str(bad)]) == 2
    assert f"{bad}: this is no task" in capsys.readouterr().err
    with pytest.raises(InputError):
        task_folder("bad")


def test_slices_kept_by_the_library_are_examples_of_their_task() -> None:
    volume, label_map = case()
    support = Support.from_label_map(label_map, SliceAxis(0), [2, 3])
    save_slices("organs", volume, label_map, support)
    task = add_example(task_folder("organs"), *case(1)).task
    examples = task.training_examples()
    assert [one.labelled_slices for one in examples] == [None, (0,), (0,)]
    assert len({one.patient for one in examples}) == 2  # both slices are of one volume
    np.testing.assert_array_equal(examples[1].load()[1][0], label_map.array[2])


# A task.json as version 0.1.0 wrote it: labelled slices without their volumes.
TASK_OF_VERSION_0_1 = """{
 "version": 1,
 "plane": "axial",
 "labels": [
  {"value": 1, "name": "Liver", "colour": [1.0, 0.0, 0.0], "terminology": "Anatomy"},
  {"value": 2, "name": "Spleen", "colour": [0.0, 1.0, 0.0], "terminology": ""}
 ],
 "slices": [
  {
   "file": "0001",
   "digest": "c6e3cd5ad9b4ad5b4b1c9e0d7c1e5d0c4a9a3a3f2b1d8e7f6a5b4c3d2e1f0a9b",
   "shape": [3, 4],
   "spacing": [0.75, 0.5],
   "directions": [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0],
   "quantiles": [0.0, 1.0, 5.0, 10.0, 11.0],
   "known": [1, 2],
   "origin": "painted",
   "added": "2026-11-27",
   "program": "0.1.0"
  },
  {
   "file": "0002",
   "digest": "0d1c2b3a495867768594a3b2c1d0e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091",
   "shape": [3, 4],
   "spacing": [0.75, 0.5],
   "directions": [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0],
   "quantiles": [0.0, 1.0, 5.0, 10.0, 11.0],
   "known": [1],
   "origin": "corrected",
   "added": "2026-11-28",
   "program": "0.1.0"
  }
 ]
}
"""


def test_a_task_of_version_0_1_is_read(home: Path) -> None:
    folder = home / "library" / "old"
    folder.mkdir(parents=True)
    (folder / "task.json").write_text(TASK_OF_VERSION_0_1, encoding="utf-8")
    image = np.arange(12, dtype=np.int16).reshape(3, 4)
    mask = (image % 3).astype(np.uint16)
    for name in ("0001", "0002"):
        np.save(folder / f"{name}.image.npy", image)
        np.save(folder / f"{name}.mask.npy", mask)
    task = read_task(task_folder("old"))
    assert [segment.name for segment in task.segments] == ["Liver", "Spleen"]
    assert task.segments[0].tags == {"TerminologyEntry": "Anatomy"}
    assert [library_slice.annotated for library_slice in task.slices] == [(1, 2), (1,)]
    assert [str(library_slice.origin) for library_slice in task.slices] == ["painted", "corrected"]
    (example,) = task.training_examples()  # the other slice is not annotated for the spleen
    volume, labels = example.load()
    np.testing.assert_array_equal(volume.array, image[None])
    np.testing.assert_array_equal(labels, mask[None])
    assert volume.geometry.spacing == (0.5, 0.75, 1.0)
    task.write()
    assert json.loads((folder / "task.json").read_text(encoding="utf-8")) == json.loads(TASK_OF_VERSION_0_1)
    assert main(["task", "show", "old"]) == 0


def test_a_task_lies_in_a_shared_folder_under_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "shared" / "organs"
    folder.parent.mkdir(mode=0o755)
    assert main(["task", "create", str(folder)]) == 0
    assert main(["task", "add", str(folder), *files(tmp_path)]) == 0
    assert len(read_task(folder).examples) == 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert main(["task", "remove", "--yes", str(folder)]) == 0
    assert list(folder.parent.glob("[!.]*")) == []


def test_examples_added_at_the_same_time_are_all_kept(home: Path) -> None:
    task = organs(0)
    threads = [threading.Thread(target=add_example, args=(task.folder, *case(seed))) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.digest for one in read_task(task.folder).examples}) == 5


REFUSED = {
    "other segments": ("add organs {other}", "segment Kidney is not in task 'organs', which has: Liver, Spleen"),
    "no labels": ("add organs {empty}", "nothing is labelled"),
    "painted slices": ("add organs {painted}", "name them (--labelled-slices 1,4)"),
    "another plane": ("add organs {image} --labelled-slices 1 --axis 2", "along axis 2 are sagittal"),
    "no such slice": ("add organs {image} --labelled-slices 99 --axis 0", "Slice 99 does not exist"),
    "no task": ("add none {image}", "There is no task 'none'; there are: organs."),
    "no folder of a task": ("show {folder}", "this is not the folder of a task"),
    "taken": ("create organs", "There is a task 'organs' already"),
    "no such example": ("remove --yes organs --example 0009", "has no example 0009; it has: 0001"),
    "no batch": ("add organs {folder}", "no batch was written here"),
    "labels twice": ("create twice --labels {twice}", "Two segments are named 'Liver'"),
    "empty name": ("create new --labels {nameless}", "label value 2 has an empty name"),
    "folder of labels": ("create new --labels {folder}/names.json", "this is a folder; give a file"),
    "import of a folder": ("import {folder}", "that fewshot-annotate task export writes"),
    "no labels file": ("create new --labels {folder}/no.json", "no such file"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_impossible_requests_are_refused_in_one_line(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = create_task("organs")
    add_example(task.folder, *case(0), axis=SliceAxis(0), labelled_slices=[1, 4])
    image, labels = files(tmp_path, 1)
    _, other = files(tmp_path, 2, (LIVER, Segment(value=2, name="Kidney")))
    array = np.zeros(SHAPE, np.uint8)
    write_label_maps(tmp_path / "empty.nii.gz", [LabelMap(array, GRID)])
    array[[1, 4]] = case()[1].array[[1, 4]]
    write_label_maps(tmp_path / "painted.seg.nrrd", [LabelMap(array, GRID, (LIVER, SPLEEN))])
    (tmp_path / "twice.json").write_text('{"1": "Liver", "2": "liver"}')
    (tmp_path / "nameless.json").write_text('{"1": "Liver", "2": " "}')
    (tmp_path / "names.json").mkdir()
    files_of = {
        "{image}": [image, labels],
        "{other}": [image, other],
        "{empty}": [image, str(tmp_path / "empty.nii.gz")],
        "{painted}": [image, str(tmp_path / "painted.seg.nrrd")],
    }
    arguments = [part for word in words.split() for part in files_of.get(word, [word])]
    arguments = [
        word.format(folder=tmp_path, twice=tmp_path / "twice.json", nameless=tmp_path / "nameless.json")
        for word in arguments
    ]
    before = (task.folder / "task.json").read_bytes()
    assert main(["task", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert (task.folder / "task.json").read_bytes() == before


def test_a_full_disk_does_not_change_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = organs(0)
    image, labels = files(tmp_path, 1)
    with largest_file(300):
        assert main(["task", "add", "organs", image, labels]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert read_task(task.folder).examples == task.examples
    assert len([path for path in (task.folder / "examples").iterdir() if not path.name.startswith(".")]) == 1


@pytest.mark.parametrize("damage", ["cut", "missing", "exchanged"])
def test_a_damaged_example_is_reported_and_not_trained_on(damage: str) -> None:
    task = organs(0, 1)
    first, second = (one.folder(task.folder) for one in task.examples)
    if damage == "missing":
        shutil.rmtree(first)
    elif damage == "cut":
        data = (first / "image.nii.gz").read_bytes()
        (first / "image.nii.gz").write_bytes(data[:-20])
    else:
        shutil.copy(second / "labels.nii.gz", first / "labels.nii.gz")
        shutil.copy(second / "image.nii.gz", first / "image.nii.gz")
    with pytest.raises(InputError, match=r"Example 0001 of task 'organs' is damaged; remove it, and add its image"):
        task.training_examples()[0].load()
    assert main(["task", "train", "organs", "--progress", "none"]) == 2
    assert not list((task.folder / "models").glob("0*"))


def test_a_damaged_example_is_replaced_as_its_message_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = organs(0, 1)
    (task.examples[0].folder(task.folder) / "image.nii.gz").unlink()
    assert main(["task", "export", "organs", "-o", str(tmp_path / "organs.zip")]) == 2
    assert "(fewshot-annotate task remove organs --example 0001)" in capsys.readouterr().err
    assert main(["task", "remove", "organs", "--example", "0001", "--yes"]) == 0
    add_example(task.folder, *case(0))
    assert main(["task", "export", "organs", "-o", str(tmp_path / "organs.zip")]) == 0


def test_a_task_of_a_later_version_is_reported_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = organs(0)
    assert main(["task", "export", "organs", "-o", str(tmp_path / "new.zip")]) == 0
    later = (task.folder / "task.json").read_text().replace('"version": 2', '"version": 3')
    (task.folder / "task.json").write_text(later)
    with zipfile.ZipFile(tmp_path / "new.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        for name, data in (members | {"task.json": later.encode()}).items():
            archive.writestr(name, data)
    capsys.readouterr()
    for command in (["task", "show", "organs"], ["task", "import", str(tmp_path / "new.zip")]):
        assert main(command) == 2
        name = "organs" if "show" in command else "new"
        assert f"Task '{name}' was written by a later version of this program" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("task", {"version": 0}),
        ("task", {"plane": "tilted"}),
        ("label", {"name": "spleen"}),
        ("example", {"axis": 9}),
        ("example", {"voxels": [-1, 0]}),
        ("example", {"origins": {"painted": -1}}),
    ],
)
def test_impossible_values_in_a_task_file_are_refused(
    part: str, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    task = organs(0)
    content = json.loads((task.folder / "task.json").read_text())
    {"task": content, "label": content["labels"][0], "example": content["examples"][0]}[part].update(change)
    (task.folder / "task.json").write_text(json.dumps(content))
    assert main(["task", "show", "organs"]) == 2
    assert "Task 'organs' is damaged (task.json)" in capsys.readouterr().err


def test_a_task_that_numbers_its_segments_differently_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.json").write_text('{"2": "Liver", "3": "Spleen"}')
    assert main(["task", "create", "organs", "--labels", str(tmp_path / "list.json")]) == 0
    assert "Note: Label values of the task count from 1" in capsys.readouterr().err
    (tmp_path / "list.json").write_text('{"1": "Liver", "2": "Spleen"}')
    assert main(["task", "create", "others", "--labels", str(tmp_path / "list.json")]) == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize("content", ["{}", '{"0": "Background"}'])
def test_a_file_that_names_no_segment_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.json").write_text(content)
    assert main(["task", "create", "organs", "--labels", str(tmp_path / "list.json")]) == 2
    assert "no segment is named there" in capsys.readouterr().err


def test_a_damaged_task_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    task = organs(0)
    file = task.folder / "task.json"
    content = json.loads(file.read_text())
    for damage in ({"version": "2"}, {"examples": content["examples"] * 2}, {"labels": []}):
        file.write_text(json.dumps(content | damage))
        assert main(["task", "show", "organs"]) == 2
        assert "Task 'organs' is damaged (task.json)" in capsys.readouterr().err
    assert main(["task", "list"]) == 0
    assert "is damaged" in capsys.readouterr().out


def test_an_example_whose_addition_failed_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    task = organs(0)
    monkeypatch.setattr(Task, "write", lambda self: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError):
        add_example(task.folder, *case(1))
    monkeypatch.undo()
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(task.folder.parents[1]))
    assert read_task(task.folder).examples == task.examples
    assert len(add_example(task.folder, *case(2)).task.examples) == 2


def test_painted_slices_are_distinguished_from_complete_structures() -> None:
    _, label_map = case()
    assert sparsely_labelled_slices(label_map) is None
    array = np.zeros(SHAPE, np.uint8)
    array[[0, 3, 5]] = 1
    assert sparsely_labelled_slices(LabelMap(array, GRID)) == [0, 3, 5]


def test_a_narrow_terminal_cuts_nothing_of_a_task(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    organs(0)
    assert main(["task", "show", "organs"]) == 0
    out = capsys.readouterr().out
    assert "Liver" in out
    assert "…" not in out


def test_a_task_is_shown_with_its_segments_and_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    organs(0, 1)
    assert main(["task", "show", "organs"]) == 0
    out = capsys.readouterr().out
    assert "Liver" in out
    assert "10x8x6" in out
    assert "painted 100%" in out
    assert main(["task", "remove", "--yes", "organs", "--example", "0001"]) == 0
    assert "organs: 1 example, Liver, Spleen" in capsys.readouterr().out
    assert main(["task", "add", "organs", *files(tmp_path), "--labelled-slices", "1,4", "--axis", "0"]) == 0
    assert main(["task", "show", "organs"]) == 0
    assert re.search(r"2 slices of axis \d \([a-z ]+\)", capsys.readouterr().out)
