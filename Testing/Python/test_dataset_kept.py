"""Corrections, acceptances and notes of a reviewer survive every later batch."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.batch_state import BatchState
from fewshot_annotate.datasets.case import CaseJob
from fewshot_annotate.datasets.status import CaseStatus, Status, StatusFile
from support.batches import Dataset, copy_of, make_dataset
from support.processes import Spawned, wait_for
from support.standin_engines import environment_with_standins, register

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A batch of two cases. Tests work on copies."""
    dataset = make_dataset(tmp_path_factory.mktemp("batch"), ["a", "b"])
    assert main(dataset.command()) == 0
    return dataset


@pytest.fixture
def dataset(finished: Dataset, awkward_path: Path) -> Dataset:
    copied = copy_of(finished, awkward_path)
    copied.rows = [dict(row) for row in finished.rows]
    for path in (finished.image, finished.support, finished.manifest):
        shutil.copy2(path, copied.folder)
    # the record names image and support by their paths
    for name in "ab":
        text = copied.case(name).record.read_text(encoding="utf-8")
        copied.case(name).record.write_text(text.replace(str(finished.folder), str(copied.folder)), encoding="utf-8")
    return copied


def correct(dataset: Dataset, name: str) -> bytes:
    """Change the result of a case, as a person would in another program; returns the bytes of the file."""
    path = dataset.case(name).label
    image = nibabel.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[:2, :2, :2] = 1
    nibabel.save(nibabel.Nifti1Image(labels, image.affine, image.header), path)
    return path.read_bytes()


def contents(folder: Path) -> dict[Path, bytes]:
    """Bytes of all files below a folder, except lock files."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def status_lines(dataset: Dataset) -> list[str]:
    return (dataset.output / "status.csv").read_text(encoding="utf-8").splitlines()


def write_status(dataset: Dataset, *lines: str) -> None:
    (dataset.output / "status.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def keep_filled(dataset: Dataset) -> None:
    files = dataset.case("a")
    files.filled.write_bytes(files.label.read_bytes())


def newer_image(dataset: Dataset) -> list[str]:
    os.utime(dataset.image)
    return []


def other_option(dataset: Dataset) -> list[str]:
    return ["--slices", "all"]


def other_row(dataset: Dataset) -> list[str]:
    dataset.rows[0]["labelled_slices"] = "8 16"
    dataset.write()
    return []


def damaged_record(dataset: Dataset) -> list[str]:
    dataset.case("a").record.write_bytes(b'{"version": 1, "request"')
    return []


def no_record(dataset: Dataset) -> list[str]:
    dataset.case("a").record.unlink()
    return ["--slices", "all"]


def no_column(dataset: Dataset) -> list[str]:
    write_status(dataset, "name,status,seconds,message", "a,done,1.00,", "b,done,1.00,")
    return ["--slices", "all"]


def explicit_no(dataset: Dataset) -> list[str]:
    write_status(dataset, "name,status,seconds,message,accepted", "a,done,1.00,,no", "b,done,1.00,,yes")
    return ["--slices", "all"]


def no_table(dataset: Dataset) -> list[str]:
    write_status(dataset, "name,status,seconds,message")
    return ["--slices", "all"]


CHANGES = [newer_image, other_option, other_row, damaged_record, no_record, no_column, explicit_no, no_table]


@pytest.mark.parametrize("change", CHANGES)
def test_a_correction_whose_acceptance_was_reset_is_kept(
    dataset: Dataset, change: Callable[[Dataset], list[str]]
) -> None:
    keep_filled(dataset)
    corrected = correct(dataset, "a")
    status = StatusFile(dataset.output / "status.csv")
    status.set_accepted("a", True)
    status.set_accepted("a", False)
    more = change(dataset)
    for _ in range(2):
        assert main(dataset.command("--resume", *more)) == 0
        assert dataset.case("a").label.read_bytes() == corrected
        assert dataset.case("a").filled.is_file()
        assert dataset.status()["a"].status is Status.DONE
        assert not dataset.status()["a"].accepted
    assert "A person corrected this result" in dataset.status()["a"].message


@pytest.mark.parametrize("change", [newer_image, other_option, other_row, no_column, no_table])
def test_a_correction_by_another_program_is_detected_from_the_file(
    dataset: Dataset, change: Callable[[Dataset], list[str]]
) -> None:
    corrected = correct(dataset, "a")
    more = change(dataset)
    for _ in range(2):
        assert main(dataset.command("--resume", *more)) == 0
        assert dataset.case("a").label.read_bytes() == corrected


def test_changed_names_of_labels_count_as_a_correction(dataset: Dataset) -> None:
    names = dataset.case("a").names
    names.write_text(names.read_text(encoding="utf-8").replace("Anterior", "Front"), encoding="utf-8")
    names.write_text(names.read_text(encoding="utf-8") + " ", encoding="utf-8")
    before = names.read_bytes()
    assert main(dataset.command("--resume", "--slices", "all")) == 0
    assert names.read_bytes() == before


@pytest.mark.parametrize("damage", [damaged_record, no_record])
def test_files_that_may_be_corrections_are_renamed_with_a_date(
    dataset: Dataset, damage: Callable[[Dataset], list[str]]
) -> None:
    corrected = correct(dataset, "a")  # the record, which is lost below, would show that it was corrected
    names = dataset.case("a").names.read_bytes()
    damage(dataset)
    for number in (1, 2):
        assert main(dataset.command("--resume", *(["--slices", "all"] if number == 2 else []))) == 0
        renamed = sorted(dataset.case("a").folder.glob("label.2*-*-*T*.nii.gz"))
        assert len(renamed) == number
        (kept,) = [path for path in renamed if path.read_bytes() == corrected]
        assert kept.with_name(f"{kept.name}.labels.json").read_bytes() == names
    assert dataset.case("a").label.read_bytes() != corrected


def test_files_renamed_in_the_same_second_have_different_names(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "2026-11-28T093012")
    files = dataset.case("a")
    for number in range(3):
        files.label.write_bytes(bytes([number]))
        files.move_aside(files.record, files.label)
    found = sorted(path.name for path in files.folder.glob("label.2*"))
    assert found == [f"label.2026-11-28T093012{more}.nii.gz" for more in ("-2", "-3", "")]
    assert [(files.folder / name).read_bytes() for name in found] == [b"\1", b"\2", b"\0"]


def test_a_correction_made_while_the_case_waits_is_not_overwritten(
    dataset: Dataset, tmp_path: Path, spawned: Spawned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While case a is being filled and b waits, b is corrected and accepted."""
    register(monkeypatch.setitem)
    environment = environment_with_standins(tmp_path)
    slow = dataset.folder / "slow"
    arguments = dataset.command("--resume", "--option", "quick=0", "--option", f"slow={slow}", engine="heavy")
    batch = spawned.cli(*arguments, environment=environment)
    wait_for(slow.exists)
    status = StatusFile(dataset.output / "status.csv")
    assert status.read()["a"].status is Status.RUNNING
    assert status.read()["b"].status is Status.SKIPPED
    corrected = correct(dataset, "b")
    status.set_accepted("b", True)
    slow.with_name("slow.go").touch()
    _, stderr = batch.communicate(timeout=60)
    assert batch.returncode == 0, stderr
    assert dataset.case("b").label.read_bytes() == corrected
    assert [(row.status, row.accepted) for row in dataset.status().values()] == [
        (Status.DONE, False),
        (Status.DONE, True),
    ]


COUNT, WRITERS = 70, 5
ACCEPT = """
import sys
import time
from pathlib import Path
from fewshot_annotate.datasets.status import StatusFile
status = StatusFile(Path(sys.argv[1]))
print("ready", flush=True)
while not Path(sys.argv[1]).with_name(".go").exists():
    time.sleep(0.001)
for number in range(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])):
    status.set_accepted(f"case {number}", True)
"""


def test_an_accepted_case_that_changed_since_is_kept_and_reported_as_changed(dataset: Dataset) -> None:
    StatusFile(dataset.output / "status.csv").set_accepted("a", True)
    changed = correct(dataset, "a")
    assert main(dataset.command("--resume")) == 0
    rows = dataset.status()
    assert dataset.case("a").label.read_bytes() == changed
    assert rows["a"].accepted
    assert "it was kept" in rows["a"].message
    assert not rows["b"].message


def test_no_acceptance_is_lost_while_batches_start(dataset: Dataset, spawned: Spawned) -> None:
    names = [f"case {number}" for number in range(COUNT)]
    go = dataset.output / ".go"
    source = dataset.case("a").folder
    for name in names:
        (dataset.output / name).mkdir()
        for path in source.iterdir():
            (dataset.output / name / path.name).hardlink_to(path)
    dataset.rows.clear()
    dataset.add(*names)
    path = dataset.output / "status.csv"
    for _ in range(3):
        write_status(dataset, "name,status,seconds,message", *(f"{name},done,1.00," for name in names))
        writers = [
            spawned.python("-c", ACCEPT, str(path), str(first), str(COUNT), str(WRITERS)) for first in range(WRITERS)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        go.touch()
        while any(writer.poll() is None for writer in writers):
            assert main(dataset.command("--resume")) == 0
        go.unlink()
        assert [writer.returncode for writer in writers] == [0] * WRITERS
        assert [row.accepted for row in dataset.status().values()] == [True] * COUNT
        assert {row.status for row in dataset.status().values()} == {Status.DONE}


def test_resetting_a_case_changes_only_its_row(dataset: Dataset) -> None:
    status = StatusFile(dataset.output / "status.csv")
    status.update([CaseStatus(name="a", status=Status.FAILED, seconds=None, message="newer")])
    status.set_accepted("a", False)
    assert (status.read()["a"].status, status.read()["a"].message) == (Status.FAILED, "newer")
    status.set_accepted("gone", True)
    assert list(status.read()) == ["a", "b"]


def test_columns_and_notes_added_by_users_stay_in_the_table(dataset: Dataset) -> None:
    write_status(
        dataset, "name;Status;seconds;message;accepted;Reader's note", "a;done;1,5;;;look again", "b;done;1;;;"
    )
    assert main(dataset.command("--resume")) == 0
    StatusFile(dataset.output / "status.csv").set_accepted("b", True)
    lines = status_lines(dataset)
    assert lines[0].startswith("name,Status,seconds,message,accepted,Reader's note,axis,")
    assert [line.split(",")[4:6] for line in lines[1:]] == [["", "look again"], ["yes", ""]]


@pytest.mark.parametrize(
    ("text", "accepted"), [("yes", True), ("YES ", True), ("1", True), ("no", False), ("0", False)]
)
def test_usual_spellings_of_an_acceptance_are_read(dataset: Dataset, text: str, accepted: bool) -> None:
    write_status(dataset, "name,status,seconds,message,accepted", f"a,done,1.00,,{text}")
    assert StatusFile(dataset.output / "status.csv").read()["a"].accepted is accepted


@pytest.mark.parametrize(
    "row",
    [
        "../other/a,done,1.00,,yes",
        "/etc,done,1.00,,",
        "..,done,1.00,,",
        "a/../../b,done,1.00,,",
        r"..\a,done,1.00,,",
        "C:a,done,1.00,,",
        ",done,1.00,,",
        "status.csv,done,1.00,,",
        "c,finished,1.00,,",
        "c,done,soon,,",
        "c,done,nan,,",
        "c,done,1.00,,perhaps",
        "a,done,1.00,,",
        "c,done,1.00,,yes,more",
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_number_and_nothing_changes(
    dataset: Dataset, row: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_status(dataset, "name,status,seconds,message,accepted", "a,done,1.00,,", "b,done,1.00,,", row)
    before = contents(dataset.folder)
    assert main(dataset.command("--resume", "--slices", "all")) == 2
    stderr = capsys.readouterr().err
    assert "status.csv, row 4: " in stderr
    assert stderr.count("\n") == 1
    with pytest.raises(InputError, match="row 4"):
        StatusFile(dataset.output / "status.csv").set_accepted("a", True)
    assert contents(dataset.folder) == before


@pytest.mark.parametrize("name", ["../other", "/etc", "..", "", "a/b", "nul"])
def test_names_of_cases_cannot_leave_the_folder(dataset: Dataset, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a case"):
        BatchFolder(dataset.output).case(name)


def test_folders_with_images_of_patients_are_readable_by_their_owner_only(dataset: Dataset, tmp_path: Path) -> None:
    dataset.output.rename(dataset.folder / "before")
    old = os.umask(0)
    try:
        assert main(dataset.command()) == 0
    finally:
        os.umask(old)
    for folder in (dataset.output, *(dataset.output / name for name in "ab")):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    dataset.output.chmod(0o755)  # the user may give others access
    assert main(dataset.command("--resume", "--slices", "all")) == 0
    assert stat.S_IMODE(dataset.output.stat().st_mode) == 0o755


def test_names_that_resemble_formulas_are_escaped_in_tables_and_read_back(dataset: Dataset) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "'=x", "plain"]
    dataset.rows.clear()
    dataset.add(*names)
    dataset.output.rename(dataset.folder / "before")
    assert main(dataset.command()) == 0
    with (dataset.output / "status.csv").open(encoding="utf-8", newline="") as file:
        cells = [row["name"] for row in csv.DictReader(file)]
    assert cells == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "''=x", "plain"]
    assert list(dataset.status()) == names
    assert main(dataset.command("--resume")) == 0
    assert list(dataset.status()) == names
    assert json.loads(dataset.case("=1+1").record.read_text())["request"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
@pytest.mark.parametrize("name", ["cancel", ".batch.lock", ".status.lock", "index.html", "status.csv"])
def test_links_and_folders_in_place_of_files_of_the_batch_are_replaced_or_refused_in_one_line(
    dataset: Dataset, tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target, path = tmp_path / "target", dataset.output / name
    target.write_bytes(b"unrelated")
    path.unlink(missing_ok=True)
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "link": lambda: path.symlink_to(target)}[kind]()
    results = dataset.results()
    code = main(dataset.command("--resume"))
    stderr = capsys.readouterr().err
    assert code in (0, 2)
    assert stderr.count("\n") == (code == 2)
    assert "None" not in stderr
    assert "the disk is full" not in stderr
    assert target.read_bytes() == b"unrelated"
    assert dataset.results() == results


def test_a_reset_is_kept_while_a_batch_writes_its_older_state(dataset: Dataset) -> None:
    status = StatusFile(dataset.output / "status.csv")
    status.set_accepted("a", True)
    old_row = status.read()["a"]
    status.set_accepted("a", False)
    status.update([old_row])
    assert not status.read()["a"].accepted


def test_a_case_accepted_while_the_table_cannot_be_written_is_not_filled_again(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset.rows.clear()
    dataset.add("a", "b", "late")
    before = dataset.case("a").label.read_bytes()
    status = StatusFile(dataset.output / "status.csv")
    begin, change = BatchState.begin, StatusFile.change_with_files
    blocked: list[bool] = []

    def accepted_and_blocked(self: BatchState, count: int) -> list[CaseJob]:
        if not blocked:
            status.set_accepted("a", True)
            blocked.append(True)
        return begin(self, count)

    def refused(self: StatusFile, update: Callable[..., Iterable[CaseStatus]]) -> dict[str, CaseStatus]:
        if any(blocked):
            blocked[0] = False
            raise InputError("output_unwritable", path=self.path, detail="Permission denied")
        return change(self, update)

    monkeypatch.setattr(BatchState, "begin", accepted_and_blocked)
    monkeypatch.setattr(StatusFile, "change_with_files", refused)
    assert main(dataset.command("--resume", "--slices", "all")) == 0
    assert dataset.case("a").label.read_bytes() == before
    assert not list(dataset.case("a").folder.glob("label.2*"))
    assert status.read()["a"].accepted
    assert {row.status for row in status.read().values()} == {Status.DONE}
