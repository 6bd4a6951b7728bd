"""The table of a batch: damaged, moved away, not writable for a moment, and written by two processes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.datasets.status import CaseStatus, Status, StatusFile
from support.batches import Dataset, make_dataset
from support.processes import Spawned

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def dataset(awkward_path: Path) -> Dataset:
    return make_dataset(awkward_path)


def test_an_invalid_status_file_is_refused(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.add("a")
    assert main(dataset.command()) == 0
    (dataset.output / "status.csv").write_text("shopping list\nmilk\n")
    assert main(dataset.command("--resume")) == 2
    assert "this is no table of cases" in capsys.readouterr().err


def test_a_batch_whose_table_was_moved_away_is_continued_from_the_records_of_its_cases(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    assert main(dataset.command()) == 0
    before = dataset.case("a").record.stat().st_mtime_ns
    (dataset.output / "status.csv").rename(dataset.folder / "damaged.csv")
    dataset.add("b")
    assert main(dataset.command()) == 2
    assert "continue that one (--resume)" in capsys.readouterr().err
    assert main(dataset.command("--resume")) == 0
    assert [row.status for row in dataset.status().values()] == [Status.DONE] * 2
    assert dataset.case("a").record.stat().st_mtime_ns == before


def test_a_status_file_that_cannot_be_written_temporarily_does_not_stop_the_batch(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset.add("a", "b")
    update, calls = StatusFile.update, []

    def fail_twice(self: StatusFile, changed: Iterable[CaseStatus]) -> dict[str, CaseStatus]:
        calls.append(changed)
        if len(calls) in (2, 3):  # as while a spreadsheet program has the file open on Windows
            raise InputError("output_unwritable", path=self.path, detail="Permission denied")
        return update(self, changed)

    monkeypatch.setattr(StatusFile, "update", fail_twice)
    assert main(dataset.command()) == 0
    assert [row.status for row in dataset.status().values()] == [Status.DONE] * 2


def test_two_writers_of_the_status_lose_no_row(tmp_path: Path, spawned: Spawned) -> None:
    path = tmp_path / "status.csv"
    code = (
        "import sys; from pathlib import Path\n"
        "from fewshot_annotate.datasets.status import CaseStatus, Status, StatusFile\n"
        "for number in range(40):\n"
        "    StatusFile(Path(sys.argv[1])).update([CaseStatus(name=f'{sys.argv[2]}{number}', status=Status.DONE)])\n"
    )
    writers = [spawned.python("-c", code, str(path), name) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(StatusFile(path).read()) == 80
