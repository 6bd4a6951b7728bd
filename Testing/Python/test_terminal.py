"""Output on terminals and streams: control characters in names are escaped, and closed streams end no command."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli.terminal import SafeStream, bar_console, table_console
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.text import printable
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps

GRID = Geometry((9, 16, 18))
ESCAPES = "x\x1b[2J\x1b]0;owned\x07\x08\x9b31m\u202egpj\u2028y"
PACKAGE_PARENT = Path(sys.modules["fewshot_annotate"].__file__ or "").parents[1]


def write_case(folder: Path, name: str = "organ") -> tuple[Path, Path]:
    """A bright box in noise, painted on every fourth slice."""
    rng = np.random.default_rng(3)
    truth = np.zeros(GRID.shape, dtype=np.uint8)
    truth[:, 4:11, 5:12] = 1
    image = (rng.normal(0, 5, GRID.shape) + 100 * truth).astype(np.float32)
    painted = truth.copy()
    painted[[index for index in range(9) if index % 4]] = 0
    folder.mkdir(exist_ok=True)
    write_array(folder / "image.nrrd", image, GRID)
    write_label_maps(folder / "support.seg.nrrd", [LabelMap(painted, GRID, (Segment(value=1, name=name),))])
    return folder / "image.nrrd", folder / "support.seg.nrrd"


def run(*arguments: object, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command line in a process of its own; `shell` redirects its streams."""
    command = [sys.executable, "-m", "fewshot_annotate.cli", *map(str, arguments)]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), **environment}
    environment.pop("PYTHONUNBUFFERED", None)  # output is then written at the end, as by default
    return subprocess.run(command, capture_output=True, env=environment, timeout=120)


def fill(
    folder: Path, output: Path, *more: object, shell: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Fill the case in a folder in a process of its own."""
    image, support = folder / "image.nrrd", folder / "support.seg.nrrd"
    options = ("--engine", "propagate", "--progress", "none")
    return run("fill", image, support, "-o", output, *options, *more, shell=shell, **environment)


NAMES = ["中文 😀", "caf\udce9 étude", "a\x1b[31m\nb\t[bold]"]
STREAMS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    "c locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("streams", STREAMS)
def test_names_that_a_stream_cannot_encode_cause_no_error(streams: str, tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*NAMES)
    folder.mkdir(parents=True)
    write_case(tmp_path)
    for file in ("image.nrrd", "support.seg.nrrd"):
        shutil.move(tmp_path / file, folder / file)
    output = folder / f"{NAMES[0]}{NAMES[1]}{NAMES[2]}.nii.gz"
    completed = fill(folder, output, **STREAMS[streams])
    assert (completed.returncode, completed.stderr) == (0, b"")
    assert completed.stdout.count(b"[bold]") == 2
    require_no_control_characters(completed.stdout)
    shutil.copy(output, tmp_path / "copy.nii.gz")
    (read,) = read_label_maps(tmp_path / "copy.nii.gz", GRID)
    assert (read.array != 0).any(axis=(1, 2)).all()


def require_no_control_characters(printed: bytes) -> None:
    assert not set(printed) & ({*range(32), 127} - set(b"\n"))
    assert b"\xe2\x80\xae" not in printed  # right-to-left override


@pytest.mark.slow
def test_names_of_segments_and_files_cannot_control_the_terminal(tmp_path: Path) -> None:
    write_case(tmp_path, ESCAPES)
    commands = [
        ("fill", tmp_path / "image.nrrd", tmp_path / "support.seg.nrrd", "-o", tmp_path / f"{ESCAPES}.nrrd"),
        ("fill", tmp_path / f"none{ESCAPES}", tmp_path / "support.seg.nrrd", "-o", tmp_path / "a.nrrd"),
        ("fill", tmp_path / "image.nrrd", tmp_path / "support.seg.nrrd", "-o", tmp_path / f"a{ESCAPES}"),
        ("export", tmp_path / "support.seg.nrrd", "--to", "nifti", "-o", tmp_path / f"b{ESCAPES}.nii.gz"),
        ("library", "save", "task", tmp_path / "image.nrrd", tmp_path / "support.seg.nrrd"),
        ("library", "show", "task"),
        ("library", "list"),
        ("library", "show", f"t{ESCAPES}"),
        ("suggest", tmp_path / "image.nrrd", tmp_path / "support.seg.nrrd"),
        (f"verb{ESCAPES}",),
        ("fill", f"--option{ESCAPES}"),
        ("models", "info", f"m{ESCAPES}"),
    ]
    for command in commands:
        completed = run(*command, FEWSHOT_ANNOTATE_HOME=str(tmp_path / "home"))
        require_no_control_characters(completed.stdout + completed.stderr)
        assert b"Traceback" not in completed.stderr, command
        assert completed.stdout + completed.stderr, command


@pytest.mark.parametrize("shell", [">/dev/full", ">&-", "2>/dev/full", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_results_are_written_although_streams_are_closed_or_full(shell: str, tmp_path: Path) -> None:
    write_case(tmp_path)
    completed = fill(tmp_path, tmp_path / "out.nii.gz", shell=shell)
    assert completed.returncode == (1 if shell == ">/dev/full" else 0)
    assert completed.stderr.count(b"\n") == (1 if shell == ">/dev/full" else 0)
    assert b"Traceback" not in completed.stderr + completed.stdout
    (read,) = read_label_maps(tmp_path / "out.nii.gz", GRID)
    assert (read.array != 0).any(axis=(1, 2)).all()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("columns", ["9" * 5000, "0", "\u00b2", "99999999"])
def test_an_invalid_terminal_width_is_ignored(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    for console in (table_console(), bar_console()):
        assert 1 < console.size.width < 10_000


@pytest.mark.parametrize("command", ["models list", "suggest", "--help", "library list"])
def test_a_full_stdout_is_reported_in_one_line(command: str, tmp_path: Path) -> None:
    arguments: list[object] = [*command.split()]
    if command == "suggest":
        arguments += [*write_case(tmp_path), "--progress", "none"]
    completed = run(*arguments, shell=">/dev/full")
    assert b"Traceback" not in completed.stderr
    assert completed.stderr.count(b"\n") == 1
    assert b"No space left" in completed.stderr
    assert completed.returncode == 1


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain é 中 😀", "plain é 中 😀"),
        ("a\x1bb", "a\\x1bb"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x9b", "\\x9b"),
        ("caf\udce9", "caf\\udce9"),
        ("\u202e\u2066\u200b\ufeff", "\\u202e\\u2066\\u200b\\ufeff"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
    ],
)
def test_control_characters_are_escaped(text: str, escaped: str) -> None:
    assert printable(text) == escaped
    assert printable(escaped) == escaped


def test_an_error_is_printed_in_one_line_without_control_characters() -> None:
    error = str(InputError("file_missing", path=f"{ESCAPES}\r\nsecond"))
    require_no_control_characters(error.encode("utf-8"))
    assert "\n" not in error


def test_deleting_the_wrapper_leaves_its_stream_open_or_closed() -> None:
    inner = io.TextIOWrapper(io.BytesIO())
    SafeStream(inner, lossy=False).close()
    assert not inner.closed
    wrapper = SafeStream(inner, lossy=False)
    inner.close()
    wrapper.close()  # as its deletion does
