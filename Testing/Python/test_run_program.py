"""`Testing/run.py` says what it installs and shows the progress of pip, of which a stand-in is run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.processes import write_program

SOURCE = Path(__file__).resolve().parents[1] / "run.py"
# Prints what it is called with, as the progress of pip, and fails where the file `broken` is there.
PYTHON = 'echo "progress of: $*"; test ! -e "$(dirname "$0")/broken"'


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with an environment in which nothing is installed yet."""
    spec = importlib.util.spec_from_file_location("run_program", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("python", "fewshot-annotate"):
        write_program(tmp_path / name, PYTHON)
    for name, path in (("VENV", tmp_path), ("BIN", tmp_path), ("PYTHON", tmp_path / "python")):
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr("builtins.input", lambda question: print(question) or "n")
    return module


def installed(output: str) -> list[str]:
    return [line for line in output.splitlines() if " pip install " in line]


def test_an_installation_is_announced_with_its_size_and_shows_the_progress_of_pip(
    program: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["demo"]) == 0
    announced, progress, done, demo = capfd.readouterr().out.splitlines()
    download, disk = program.SIZES["demo"]
    assert announced == (
        f"Installing: about {download} MB to download, {disk} MB on the disk; pip shows the progress."
    )
    assert progress.startswith("progress of: -m pip install ")
    assert progress.endswith(f"--editable {SOURCE.parents[1]}[demo]")
    assert not {"-q", "--quiet", "off", "--progress-bar=off"} & set(progress.split())
    assert done.startswith("Installed in ")
    assert demo == "progress of: demo --overwrite"


def test_installed_packages_are_not_installed_again(program: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    assert program.main(["demo"]) == 0
    assert len(installed(capfd.readouterr().out)) == 1
    assert program.main(["demo"]) == 0
    assert installed(capfd.readouterr().out) == []
    (program.VENV / "installed-demo").write_text("of another pyproject.toml")
    assert program.main(["demo"]) == 0
    assert len(installed(capfd.readouterr().out)) == 1


def test_an_installation_that_fails_is_tried_again(program: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    (program.BIN / "broken").touch()
    with pytest.raises(SystemExit, match="pip could not install"):
        program.main(["demo"])
    (program.BIN / "broken").unlink()
    assert program.main(["demo"]) == 0
    assert len(installed(capfd.readouterr().out)) == 2


def test_torch_is_installed_for_the_demo_only_with_consent(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["demo", "--engine", "adapt"]
    assert program.main(words) == 2
    printed = capfd.readouterr()
    download, disk = program.SIZES["demo,adapt"]
    assert f"needs torch: about {download} MB to download, {disk} MB on the disk." in printed.out
    assert installed(printed.out) == []
    assert "Not installed" in printed.err
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert program.main(words) == 0
    assert installed(capfd.readouterr().out)[0].endswith("[demo,adapt]")
    monkeypatch.setattr("builtins.input", nobody_answers)
    assert program.main(words) == 0, "installed already"


def nobody_answers(question: str) -> Any:
    raise EOFError


def test_nothing_is_installed_where_nobody_can_be_asked(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("builtins.input", nobody_answers)
    assert program.main(["demo", "--engine=adapt"]) == 2
    assert installed(capfd.readouterr().out) == []


def test_a_python_that_is_too_old_is_named(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "OLDEST", (*sys.version_info[:1], sys.version_info[1] + 1))
    assert program.main(["demo"]) == 2
    printed = capfd.readouterr()
    assert "or newer is needed" in printed.err
    assert printed.out == ""
