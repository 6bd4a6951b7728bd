"""The table of cases of a batch: their states, and that two people do not review the same case."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core import reading
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.case_table import CaseTable
from fewshot_annotate.datasets.listed_cases import set_dataset_task
from fewshot_annotate.datasets.review_lock import ReviewLock, reviewer_name
from fewshot_annotate.datasets.reviewed_case import read_case
from fewshot_annotate.datasets.reviewing import read_review_table, write_acceptance
from fewshot_annotate.datasets.status import CaseStatus, Status
from fewshot_annotate.datasets.task.example import TaskExample
from fewshot_annotate.datasets.task.library import create_task
from fewshot_annotate.io.files import write_label_maps
from support.tasks import ball, batch_of_balls, task_of_balls, write_ball


@pytest.fixture
def table(tmp_path: Path) -> CaseTable:
    """A batch whose case 0 is accepted, 1 and 2 filled, 3 waiting, 4 failed."""
    folder = batch_of_balls(tmp_path, ("0",))
    folder.status.change(
        lambda rows: [CaseStatus(name="3", status=Status.SKIPPED), CaseStatus(name="4", status=Status.FAILED)]
    )
    return CaseTable(folder)


def states(table: CaseTable) -> dict[str, str]:
    return {row.name: str(row.state) for row in table.rows()}


@contextlib.contextmanager
def in_review(table: CaseTable, name: str) -> Iterator[None]:
    """Context manager: somebody reviews a case."""
    lock = ReviewLock(table.folder.case(name))
    try:
        yield
    finally:
        lock.release()


def test_each_case_has_a_state_and_its_expected_dice(table: CaseTable) -> None:
    assert states(table) == {"0": "accepted", "1": "filled", "2": "filled", "3": "to do", "4": "failed"}
    assert [row.mean_expected_dice for row in table.rows()] == [0.8, 0.8, 0.8, None, None]


def test_a_case_in_review_is_locked_and_its_reviewer_named(table: CaseTable) -> None:
    other = CaseTable(BatchFolder(table.folder.path))
    with in_review(table, "1"):
        assert states(other)["1"] == "in review"
        for change in (other.accept, other.flag):
            with pytest.raises(InputError, match=f"Case '1' is being reviewed by {reviewer_name()}"):
                change("1")
        other.accept("2")
    assert states(other) == {"0": "accepted", "1": "filled", "2": "accepted", "3": "to do", "4": "failed"}


def test_a_flagged_case_is_not_accepted_until_somebody_accepts_it(table: CaseTable) -> None:
    table.flag("0")
    assert states(table)["0"] == "flagged"
    assert not table.folder.status.read()["0"].accepted
    table.accept("0")
    assert states(table)["0"] == "accepted"
    table.flag("0")
    table.flag("0", flagged=False)
    assert states(table)["0"] == "filled"


def test_a_flag_is_not_written_through_a_link(table: CaseTable, tmp_path: Path) -> None:
    (table.folder.case("1").folder / "flagged").symlink_to(tmp_path / "elsewhere")
    table.flag("1")
    assert not (tmp_path / "elsewhere").exists()
    assert states(table)["1"] == "flagged"


def test_the_lock_of_a_case_has_the_permissions_of_its_folder(table: CaseTable) -> None:
    folder = table.folder.case("1").folder
    folder.chmod(0o770)
    with in_review(table, "1"):
        assert stat.S_IMODE((folder / ".review.lock").stat().st_mode) == 0o660


def test_the_lock_of_a_program_that_ended_is_ignored(table: CaseTable) -> None:
    lock = table.folder.case("1").folder / ".review.lock"
    lock.write_text("gone@elsewhere")
    assert states(table)["1"] == "filled"
    table.accept("1")
    assert states(table)["1"] == "accepted"


@pytest.mark.skipif(os.name == "nt", reason="locks of Windows")
def test_a_file_system_without_locks_is_named_as_the_reason(
    table: CaseTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    reason = "cannot be written (its file system has no locks)"
    assert main(["dataset", "accept", str(table.folder.path), "1"]) == 2
    assert f"{table.folder.status.path}: {reason}" in capsys.readouterr().err
    with pytest.raises(InputError, match=re.escape(reason)):
        ReviewLock(table.folder.case("1"))
    with pytest.raises(InputError, match=re.escape(reason)):
        create_task(str(tmp_path / "task"))


def test_the_command_line_shows_and_changes_the_same_table(
    table: CaseTable, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(table.folder.path)
    assert main(["dataset", "accept", folder, "1", "2"]) == 0
    assert capsys.readouterr().out == "2 cases accepted\n"
    assert main(["dataset", "flag", folder, "2"]) == 0
    assert main(["dataset", "list", folder]) == 0
    out = capsys.readouterr().out
    assert [line.split()[1:4:2] for line in out.splitlines() if line.startswith("│")] == [
        ["0", "accepted"],
        ["1", "accepted"],
        ["2", "flagged"],
        ["3", "to"],
        ["4", "failed"],
    ]
    assert "5 cases: 2 accepted, 1 failed, 1 flagged, 1 to do" in out


@pytest.mark.parametrize(
    ("name", "message"), [("9", "has no case '9'"), ("3", "Case '3' is not filled yet"), ("../0", "has no case")]
)
def test_only_filled_cases_are_accepted(
    name: str, message: str, table: CaseTable, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "accept", str(table.folder.path), name]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("action", ["accept", "flag"])
@pytest.mark.parametrize("refused", ["nosuch", "3", "2"])
def test_if_one_of_several_cases_is_refused_none_is_changed(table: CaseTable, action: str, refused: str) -> None:
    table.flag("1")
    with in_review(table, "2"):
        before = states(table)
        assert main(["dataset", action, str(table.folder.path), "0", "1", refused]) == 2
        assert states(table) == before


def test_a_case_with_labels_under_another_name_keeps_all_from_being_accepted(table: CaseTable) -> None:
    folder = table.folder.case("2").folder
    (folder / "label.mhd").write_bytes(b"")
    before = states(table)
    assert main(["dataset", "accept", str(table.folder.path), "1", "2"]) == 2
    assert states(table) == before


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records of cases that are parsed from now on."""
    texts: list[str] = []
    parse = reading.parse_json

    def record(text: str) -> object:
        if '"request"' in text:
            texts.append(text)
        return parse(text)

    monkeypatch.setattr(reading, "parse_json", record)
    return texts


def test_a_table_that_is_read_again_parses_only_the_records_that_changed(table: CaseTable, parsed: list[str]) -> None:
    before = read_review_table(table.folder)
    parsed.clear()
    assert read_review_table(table.folder) == before
    assert parsed == []
    record = table.folder.case("1").record
    times = record.stat()
    changed = record.read_bytes().replace(b"0.8", b"0.9")
    record.write_bytes(
        changed
    )  # by another program: the same size and inode, and where clocks are coarse the same time
    os.utime(record, ns=(times.st_atime_ns, times.st_mtime_ns))
    rows = read_review_table(table.folder).rows
    assert [row.mean_expected_dice for row in rows[:3]] == [0.8, 0.9, 0.8]
    assert parsed == [changed.decode()]


def test_label_maps_that_did_not_change_are_not_read_again_to_count_the_cases_to_fill(
    table: CaseTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = table.folder.case("1")
    assert not files.seems_corrected()
    with monkeypatch.context() as patched:
        patched.setattr(type(files), "digests", lambda files: pytest.fail("a label map was read"))
        assert not table.folder.case("1").seems_corrected()
    write_label_maps(files.label, [ball(5)[1]])
    assert files.seems_corrected()


def test_an_empty_list_of_cases_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ball(tmp_path, 0)
    arguments = ["dataset", "add", str(tmp_path / "set"), str(tmp_path)]
    assert main(arguments) == 0
    listed = tmp_path / "set" / "cases.csv"
    listed.write_bytes(b"")
    capsys.readouterr()
    assert main(arguments) == 2
    assert f"{listed}: " in capsys.readouterr().err
    assert listed.read_bytes() == b""


def test_a_path_that_the_list_of_cases_cannot_hold_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, _ = write_ball(tmp_path, 0)
    odd = image.rename(tmp_path / "a;=b.nii.gz")  # a table may not hold what spreadsheet programs run as a formula
    assert main(["dataset", "add", str(tmp_path / "set"), str(tmp_path)]) == 2
    assert f"{odd}: this path cannot stand in a table" in capsys.readouterr().err
    assert read_review_table(BatchFolder(tmp_path / "set")).rows == ()


def test_a_case_that_is_added_to_a_task_does_not_let_the_other_examples_be_converted_again(
    table: CaseTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    set_dataset_task(table.folder, task_of_balls("balls", 5, 6, 7).name)
    read_review_table(table.folder)
    converted: list[str] = []
    convert = TaskExample.from_json

    def count(entry: Mapping[str, Any]) -> TaskExample:
        converted.append(str(entry["number"]))
        return convert(entry)

    monkeypatch.setattr(TaskExample, "from_json", count)
    accepted = write_acceptance(read_case(table.folder, "1"), None, table.folder, None)
    assert accepted.refusal is None
    assert converted == ["0004"]
