"""Exit codes: part of the interface, so scripts may rely on the numbers."""

from __future__ import annotations

import pytest
from fewshot_annotate.cli.program import run
from fewshot_annotate.core.events import Cancelled, Event, Failed, Finished, exit_code_of
from fewshot_annotate.core.exit_codes import ExitCode


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (Finished(1.0), 0),
        (Failed("The engine crashed."), 1),
        (Failed("No such file.", "file_missing"), 2),
        (Cancelled(), 130),
    ],
)
def test_the_exit_code_of_a_run_depends_on_how_it_ended(ending: Event, code: int) -> None:
    assert exit_code_of(ending) == code


def test_the_codes_of_processes_keep_their_numbers() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "BAD_INPUT": 2,
        "CANNOT_WRITE": 74,
        "CANCELLED": 130,
        "TERMINATED": 143,
    }


def test_a_refusal_has_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fill", "missing.nii.gz", "missing.nii.gz", "-o", "out.nii.gz"]) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err.startswith("fewshot-annotate: missing.nii.gz: no such file")
