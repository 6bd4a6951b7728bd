"""Tasks as one file: exported, imported, and refused where the file is damaged or malicious."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.datasets.task.adding import Provenance, add_example
from fewshot_annotate.datasets.task.library import create_task, read_task, task_folder, task_names
from fewshot_annotate.datasets.task.library_file import export_task, import_task
from fewshot_annotate.datasets.task.task import ARRAY_KINDS, Task
from support.batches import Dataset
from support.disk import few_open_files
from support.processes import Spawned
from support.tasks import SEGMENTS, saved_task, task_of_balls

pytest_plugins = ("support.library_fixtures",)
pytestmark = pytest.mark.usefixtures("home")


def exported(task: Task, file: Path) -> dict[str, bytes]:
    """Export a task; returns the files in the archive by name."""
    export_task(task, file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_archive(file: Path, members: dict[str, bytes]) -> None:
    """Write an archive of files by name."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_task_is_exported_and_imported_as_one_file(
    dataset: Dataset, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = saved_task(step=8)
    file = dataset.folder / "à emporter.zip"
    assert main(["library", "export", task.name, "-o", str(file)]) == 0
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(dataset.folder / "elsewhere"))
    assert task_names() == []
    assert main(["library", "import", str(file)]) == 0
    assert main(["library", "import", str(file), "--name", "again"]) == 0
    assert task_names() == ["again", "à emporter"]
    imported = read_task(task_folder("again"))
    assert (imported.segments, imported.slices, imported.plane) == (task.segments, task.slices, task.plane)
    for library_slice in task.slices:
        for exported, array in zip(task.pixels(library_slice), imported.pixels(library_slice), strict=True):
            np.testing.assert_array_equal(exported, array)
        assert imported.thumbnail(library_slice).is_file()


@pytest.mark.parametrize(
    "damage",
    [
        "../../evil",
        "/evil",
        "sub/0001.png",
        "evil.exe",
        "0001.image.npy",
        "task.json",
        "truncated",
        "text",
        "pickle",
        "huge",
        "spacing",
        "offset",
    ],
)
def test_an_invalid_task_file_is_refused_and_nothing_is_imported(
    dataset: Dataset, home: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task = saved_task(step=8)
    members, bad = exported(task, dataset.folder / "good.zip"), dataset.folder / "bad.zip"
    if damage == "task.json":
        content = json.loads(members["task.json"])
        content["slices"][0]["file"] = "../../../evil"
        for kind in ARRAY_KINDS:  # files that a reader of that path would find
            shutil.copy(task.folder / f"0001.{kind}.npy", home.parent / f"evil.{kind}.npy")
        members["task.json"] = json.dumps(content).encode()
    elif damage == "spacing":
        content = json.loads(members["task.json"])
        content["slices"][0]["spacing"] = [1e308, 1e308]
        members["task.json"] = json.dumps(content).encode()
    elif damage == "0001.image.npy":
        members[damage] = members[damage][:-1]
    elif damage == "huge":
        members["0001.image.npy"] = b"\x93NUMPY\x01\x00\x76\x00" + (
            b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
        )
    elif damage == "pickle":
        np.save(dataset.folder / "objects.npy", np.array([{}, {}]), allow_pickle=True)
        members["0001.image.npy"] = (dataset.folder / "objects.npy").read_bytes()
    elif damage != "offset":
        members[damage] = b"evil"
    write_archive(bad, members)
    if damage == "truncated":
        bad.write_bytes(bad.read_bytes()[:-100])
    if damage == "offset":  # of the central directory, in the record at the end of the archive
        data = bytearray(bad.read_bytes())
        data[-6:-2] = b"\xf0\xff\xff\xff"
        bad.write_bytes(data)
    if damage == "text":
        bad.write_text("no archive")
    before = sorted(path for path in dataset.folder.parent.rglob("*") if path.name != ".lock")
    capsys.readouterr()
    assert main(["library", "import", str(bad)]) == 2
    printed = capsys.readouterr().err
    assert f"{bad}: this is no task" in printed
    assert printed.count("\n") == 1
    assert sorted(path for path in dataset.folder.parent.rglob("*") if path.name != ".lock") == before


def test_an_export_does_not_replace_an_existing_file(dataset: Dataset) -> None:
    task = saved_task(step=8)
    file = dataset.folder / "there.zip"
    file.touch()
    assert main(["library", "export", task.name, "-o", str(file)]) == 2
    assert file.stat().st_size == 0
    with pytest.raises(InputError):
        import_task(dataset.folder / "nowhere.zip")


def test_an_archive_that_cannot_be_read_with_few_open_files_is_not_called_damaged(
    dataset: Dataset, tmp_path: Path
) -> None:
    saved_task(step=8)
    task_of_balls("balls", 1)
    archives = [tmp_path / "slices.zip", tmp_path / "volumes.zip"]
    for name, archive in zip(("hippocampus", "balls"), archives, strict=True):
        export_task(read_task(task_folder(name)), archive)
        import_task(archive, f"{name} again")  # modules imported by the first call open files, too
    refusals = set()
    for archive in archives:
        for count in range(8):
            with few_open_files(count):
                try:
                    import_task(archive, f"{archive.stem} {count}")
                except InputError as error:
                    refusals.add((error.code, error.data.get("detail")))
    assert refusals  # which file exceeds the limit depends on those already open
    assert refusals <= {("output_unwritable", "Too many open files"), ("task_unreadable", "Too many open files")}


def test_a_task_whose_list_of_examples_is_long_is_imported(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 1 << 15, (60, 200, 200)).astype(np.int16)
    geometry = Geometry(noise.shape, (1.0, 1.0, 1.0))
    label_map = LabelMap((noise > 1000).astype(np.uint8), geometry, SEGMENTS)
    listed = Provenance(engine=noise.tobytes().hex()[:4_500_000])  # as long as thousands of examples
    task = add_example(create_task("long").folder, Volume(noise, geometry), label_map, provenance=listed).task
    export_task(task, tmp_path / "long.zip")
    assert import_task(tmp_path / "long.zip", "again").examples == task.examples


@pytest.mark.parametrize("kind", ["zeros", "shape", "entries", "list", "nested", "twice"])
def test_an_archive_that_would_fill_memory_or_time_is_refused_before_it_is_unpacked(
    dataset: Dataset, kind: str, spawned: Spawned
) -> None:
    good, bad = dataset.folder / "good.zip", dataset.folder / "bad.zip"
    members = exported(saved_task(step=8), good)
    content = json.loads(members["task.json"])
    if kind in ("zeros", "shape"):
        side = 4000 if kind == "zeros" else 100_000
        content["slices"][0]["shape"] = [side, side]
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4000, 4000), }".ljust(117) + b"\n"
        members["0001.image.npy"] = b"\x93NUMPY\x01\x00\x76\x00" + header + bytes(4000 * 4000 * 8)
    elif kind == "entries":
        members.update({f"{number}.txt": b"" for number in range(60_000)})
    elif kind == "list":
        content["labels"] = [{}] * 2_000_000
    elif kind == "nested":
        members["0001.image.npy"] = good.read_bytes()
    else:
        content["slices"] *= 3000
    members["task.json"] = json.dumps(content).encode()
    write_archive(bad, members)
    code = (
        "import resource, sys, time\nfrom fewshot_annotate.cli import main\nimport fewshot_annotate.cli.library\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before, began = peak(), time.process_time()\nassert main(sys.argv[1:]) == 2\n"
        "print(peak() - before, time.process_time() - began)"
    )
    child = spawned.python("-c", code, "library", "import", str(bad))
    out, printed = child.communicate(timeout=60)
    assert f"{bad}: this is no task" in printed
    kibibytes, seconds = map(float, out.split())
    assert kibibytes < 200 * 1024
    assert seconds < 2
