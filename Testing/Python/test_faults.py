"""Programs interrupted at every step: nothing is lost or left behind. Testing/faults.py tests every command."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import library, main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.file_transaction import FileTransaction
from fewshot_annotate.core.temporary import FOLDER_PREFIX, HIDDEN_PREFIX
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, default_segment
from fewshot_annotate.datasets.case import CaseJob
from fewshot_annotate.datasets.case_files import CaseFiles
from fewshot_annotate.datasets.case_plan import BatchSettings
from fewshot_annotate.datasets.local_processes import LocalProcesses
from fewshot_annotate.datasets.manifest import Case
from fewshot_annotate.export.staging import move_all, staged
from fewshot_annotate.io.files import read_label_maps, read_volume, require_writable, write_array, write_label_maps
from fewshot_annotate.io.image_reading import read_image_file
from fewshot_annotate.io.label_names import replace_label_map, sidecar_path
from support.batches import make_dataset
from support.faults.killing import at_every_rename
from support.processes import PACKAGE_PARENT

GRID = Geometry((4, 8, 8))
OLD, NEW = Segment(value=1, name="old", colour=(1.0, 0.0, 0.0)), Segment(value=1, name="new", colour=(0.0, 1.0, 0.0))


def printed(code: str, *arguments: object, **environment: str) -> str:
    """Output of a Python process that runs `code`, which can import this file."""
    import_folders = (PACKAGE_PARENT, Path(__file__).parent, Path(__file__).parents[1])
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, import_folders)), **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    completed = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def label_map(value: int, segment: Segment) -> LabelMap:
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[1:3, 2 : 2 + value] = 1
    return LabelMap(array, GRID, (segment,))


def content(path: Path) -> object:
    """Voxels and segment names of a label map file, None if there is none."""
    return as_content(read_label_maps(path)[0]) if path.exists() else None


def as_content(labels: LabelMap) -> object:
    return [labels.array.tobytes().hex(), [segment.name for segment in labels.segments]]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_after_random_interruptions_nothing_is_lost_left_behind_or_misreported() -> None:
    program = Path(__file__).parents[1] / "faults.py"
    # Commands that are quick: a fill, a change of the library and two exports.
    command = [sys.executable, str(program), "--rounds", "8", "--seed", "11"]
    completed = subprocess.run(
        [*command, "--only", "fill.nii.gz over old,library add,export nifti over old,export dicom"],
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    (total,) = re.findall(r"^all .*$", completed.stdout, re.MULTILINE)
    assert [int(cell) for cell in total.split("|")[2:]] == [8, 0, 0, 0, 0]


SEGMENTS = {"old": OLD, "new": NEW, "plain": default_segment(1)}


def write(target: Path, labels: LabelMap) -> None:
    write_label_maps(target, [labels])


def export(target: Path, labels: LabelMap) -> None:
    with staged(target) as folder:
        write_label_maps(folder / target.name, [labels])
        move_all({file: target.with_name(file.name) for file in folder.iterdir()})


def contents_after_kills(target: Path, old: str, new: str, method: str) -> list[object]:
    """Content of `target`, alone in its folder, after writing was killed at each step."""

    def begin() -> None:
        target.unlink(missing_ok=True)
        sidecar_path(target).unlink(missing_ok=True)
        if old != "nothing":
            write_label_maps(target, [label_map(2, SEGMENTS[old])])

    target.parent.mkdir()
    return at_every_rename(
        begin,
        lambda: {"write": write, "export": export}[method](target, label_map(3, SEGMENTS[new])),
        lambda: content(target),
    )


CASES = [
    (old, new, method)
    for method in ("write", "export")
    for old, new in (("old", "new"), ("plain", "new"), ("old", "plain"), ("nothing", "new"))
]


@pytest.fixture(scope="module")
def contents_by_case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[object]]]:
    """The folder of all `CASES` and their contents after each kill, from one process without threads."""
    folder = tmp_path_factory.mktemp("written")
    code = "import json, sys; from test_faults import *; folder = Path(sys.argv[1]); "
    code += "print(json.dumps({' '.join(case): contents_after_kills(folder / ' '.join(case) / 'labels.nii.gz', *case)"
    code += " for case in CASES}))"
    return folder, json.loads(printed(code, folder))


@pytest.mark.parametrize(("old", "new", "method"), CASES)
def test_a_label_map_and_its_names_are_both_old_or_both_new(
    old: str, new: str, method: str, contents_by_case: tuple[Path, dict[str, list[object]]]
) -> None:
    folder, found = contents_by_case
    target, states = folder / f"{old} {new} {method}" / "labels.nii.gz", found[f"{old} {new} {method}"]
    before = None if old == "nothing" else as_content(label_map(2, SEGMENTS[old]))
    after = as_content(label_map(3, SEGMENTS[new]))
    assert len(states) > 2
    assert all(state in (before, after) for state in states)
    assert states[-1] == after
    names = {path.name for path in target.parent.iterdir() if not path.name.startswith(HIDDEN_PREFIX)}
    assert names == {target.name, *([sidecar_path(target).name] if new == "new" else [])}


def existence_after_kills(target: Path) -> list[bool]:
    return at_every_rename(lambda: None, lambda: require_writable(target), target.exists)


def test_the_check_that_an_output_can_be_written_leaves_no_empty_file(tmp_path: Path) -> None:
    code = "import json, sys; from test_faults import *; "
    states = json.loads(
        printed(code + "print(json.dumps(existence_after_kills(Path(sys.argv[1]))))", tmp_path / "a.nii")
    )
    assert len(states) > 2
    assert not any(states)


def test_names_are_restored_if_the_image_cannot_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "labels.nii.gz"
    write_label_maps(target, [label_map(2, OLD)])
    before = content(target)
    with pytest.raises(InputError), FileTransaction() as files:
        image = tmp_path / "image.nii.gz"
        image.write_bytes(b"x")

        def add() -> object:
            files.move(image, target)
            return lambda: (1, 2)

        replace_label_map(files, target, {"1": "new"}, add)  # type: ignore[arg-type]
        files.move(target.parent, tmp_path / "no folder" / "a")  # fails
    assert content(target) == before


def contents_after_kills_of_a_rename(folder: Path) -> list[object]:
    files = CaseFiles(folder)

    def begin() -> None:
        for path in folder.iterdir():
            path.unlink()
        write_label_maps(files.label, [label_map(2, OLD)])

    def observe() -> object:
        return [content(path) for path in folder.glob("[!.]*.nii.gz")]

    return at_every_rename(begin, lambda: files.move_aside(files.label, files.names), observe)


def test_a_label_map_that_is_renamed_keeps_its_names(tmp_path: Path) -> None:
    code = "import json, sys; from test_faults import *; "
    states = json.loads(
        printed(code + "print(json.dumps(contents_after_kills_of_a_rename(Path(sys.argv[1]))))", tmp_path)
    )
    assert len(states) > 2
    assert all(state == [as_content(label_map(2, OLD))] for state in states)
    assert not CaseFiles(tmp_path).names.exists()


def test_temporary_files_not_yet_in_a_with_block_are_removed_at_exit(tmp_path: Path) -> None:
    code = """
        from fewshot_annotate.core.temporary import *
        folder = TemporaryFolder()
        (folder.path / "image").write_bytes(b"voxels")
        file = TemporaryFile(folder.path.parent, "")
        raise KeyboardInterrupt
    """
    program = "\n".join(line.strip() for line in code.splitlines())
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "TMPDIR": str(tmp_path)}
    completed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert completed.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_temporary_folders_of_every_image_reader_have_the_prefix_that_is_cleaned_up(tmp_path: Path) -> None:
    import SimpleITK as sitk

    array = np.arange(4 * 8 * 8, dtype=np.float32).reshape(GRID.shape)
    paths = [tmp_path / name for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.vtk", "a.tif")]
    for path in paths:
        if path.suffix in (".vtk", ".tif"):
            sitk.WriteImage(sitk.GetImageFromArray(array.astype(np.uint8)), str(path))
        else:
            write_array(path, array, GRID)
    code = """
        import os, sys
        created = []
        sys.addaudithook(lambda event, args: event == "os.mkdir" and created.append(os.path.basename(args[0])))
        from pathlib import Path
        from fewshot_annotate.io.image_reading import read_image_file
        for path in sys.argv[1:]: created.append(path), read_image_file(Path(path))
        print(created)
    """
    program = "\n".join(line.strip() for line in code.splitlines())
    created = re.findall(r"'([^']+)'", printed(program, *paths))
    for path, following in itertools.pairwise([*map(str, paths), None]):
        start = created.index(path) + 1
        folders = created[start : None if following is None else created.index(following)]
        assert folders, path
        assert all(folder.startswith(FOLDER_PREFIX) for folder in folders), path
        assert read_image_file(Path(path)).array.shape == GRID.shape


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_ctrl_c_reports_whether_output_was_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset(tmp_path)

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "segment_names", interrupted)
    assert main(["library", "save", "task", str(dataset.image), str(dataset.support)]) == 130
    assert capsys.readouterr().err == "fewshot-annotate: cancelled; files that were already finished are kept.\n"
    assert (home / "library" / "task" / "task.json").exists()
    monkeypatch.setattr(library, "read_volume", interrupted)
    assert main(["library", "save", "other", str(dataset.image), str(dataset.support)]) == 130
    assert capsys.readouterr().err == "fewshot-annotate: cancelled; no output was written.\n"


def test_a_batch_interrupted_while_it_starts_a_process_closes_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SpawnProcess, "start", interrupted)
    processes = LocalProcesses(2)
    job = CaseJob(
        case=Case(row=2, name="a", image=tmp_path / "a.nii.gz", support=None, engine="propagate"),
        settings=BatchSettings(),
        folder=tmp_path,
    )
    with pytest.raises(KeyboardInterrupt):
        processes.submit(job)
    processes.close()


@pytest.mark.parametrize("signal_name", [None, "SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"])
def test_the_processes_of_a_batch_leave_nothing_behind(signal_name: str | None, tmp_path: Path) -> None:
    # With many cases, some are unfinished whenever the signal arrives.
    dataset = make_dataset(tmp_path, ["a", "b"] if signal_name is None else [f"case{number}" for number in range(40)])
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, "-m", "fewshot_annotate.cli", *dataset.command()]
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        if signal_name is not None:
            while not list((tmp_path / "tmp").iterdir()) and program.poll() is None:
                time.sleep(0.002)
            os.killpg(program.pid, getattr(signal, signal_name))
        _, err = program.communicate(timeout=240)
    assert program.returncode == (0 if signal_name is None else 130), err
    assert "Traceback" not in err
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not list(dataset.output.rglob(f"{HIDDEN_PREFIX}*"))
    assert read_volume(dataset.image).array.size
