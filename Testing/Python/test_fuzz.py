"""Fuzzing of every command with a few inputs of `Testing/fuzz.py`, and the classification of outcomes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing.inputs import Input
from fuzzing.recipes import RECIPES
from fuzzing.sandbox import CallResult, snapshot
from fuzzing.verdict import BAD, judge

PROGRAM = Path(__file__).parents[1] / "fuzz.py"
ARGUMENTS = ["suggest", "image.nii.gz", "support.nii.gz"]
LINE = "fewshot-annotate: image.nii.gz: the file is empty; export or copy it again.\n"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_command_accepts_or_refuses_unexpected_input(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    completed = subprocess.run(
        [sys.executable, PROGRAM, "--inputs", "30", "--seed", "20", "--seconds", "600"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    for command in RECIPES:
        assert f"\n{command} " in completed.stdout
    assert not list(tmp_path.iterdir())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part in ("workspace", "home", "tmp", "user"):
        (tmp_path / part).mkdir()
    (tmp_path / "workspace" / "image.nii.gz").touch()
    return tmp_path


def column(root: Path, result: CallResult, new_file: str = "") -> str:
    tested = Input(
        command="suggest",
        number=0,
        arguments=ARGUMENTS,
        steps=[],
        files={"image": "image.nii.gz", "labels": "support.nii.gz"},
        outputs={},
    )
    before = snapshot(root)
    if new_file:
        (root / new_file).write_bytes(b"x")
    return judge(tested, root, result, before, snapshot(root)).column


@pytest.mark.parametrize(
    ("expected", "code", "stdout", "stderr", "new_file"),
    [
        ("refused clearly", 2, "", LINE, ""),
        ("refused unclearly", 2, "", "image.nii.gz is bad\n", ""),
        ("refused unclearly", 2, "", "fewshot-annotate: it is bad; correct it.\n", ""),
        ("refused unclearly", 2, "", "fewshot-annotate: image.nii.gz: [Errno 5] x; correct it.\n", ""),
        ("refused unclearly", 2, "", "fewshot-annotate: image.nii.gz \x1b[31m; correct it.\n", ""),
        ("refused unclearly", 2, "", "UserWarning: image.nii.gz\n" + LINE, ""),
        ("tracebacks", 1, "", "Traceback (most recent call last):\n", ""),
        (
            "tracebacks",
            1,
            "",
            "fewshot-annotate: an unexpected error ended this command (KeyError, code 1); x.\n",
            "",
        ),
        ("crashes", -11, "", "", ""),
        ("crashes", 2, "", "", ""),
        ("crashes", 99, "", LINE, ""),
        ("hangs", None, "", LINE, ""),
        ("leftovers", 2, "", LINE, "workspace/new"),
        ("leftovers", 2, "", LINE, "tmp/new"),
        ("leftovers", 2, "", LINE, "workspace/image.nii.gz"),
        ("accepted wrongly", 0, "no JSON", "", ""),
        ("accepted wrongly", 0, '[{"slice": 3}, {"slice": 3}]', "", ""),
        ("patient data", 2, "", "fewshot-annotate: image.nii.gz of Quirzweig^Zelda; correct it.\n", ""),
    ],
)
def test_every_wrong_outcome_is_recognised(
    expected: str, code: int | None, stdout: str, stderr: str, new_file: str, root: Path
) -> None:
    found = column(root, CallResult(code, 1.0, stdout, stderr, ()), new_file)
    assert found == expected
    assert found in (*BAD, "refused clearly")


def test_a_process_left_behind_is_a_leftover(root: Path) -> None:
    assert column(root, CallResult(2, 1.0, "", LINE, ("sleep 100",))) == "leftovers"
