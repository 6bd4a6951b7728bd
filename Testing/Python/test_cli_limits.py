"""Limits of numbers, invalid tables of structures, and unexpected errors on the command line."""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main, program, suggest
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.numbers import float_or_none, int_or_none
from fewshot_annotate.core.unexpected_errors import (
    MAX_LOG_BYTES,
    TRACEBACK_VARIABLE,
    append_to_log,
    error_fingerprint,
    is_out_of_memory,
    traceback_lines,
)
from fewshot_annotate.core.volume import Geometry, LabelMap
from fewshot_annotate.io.files import write_array, write_label_maps
from support.processes import PACKAGE_PARENT

HUGE = "9" * 5000
NOT_COUNTS = ("0", "-1", "1.5", "nan", "inf", "", "1_000", "\u0663", HUGE, f"-{HUGE}", "1e3", "0x10")


@pytest.fixture
def case_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    grid = Geometry((6, 12, 12))
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[[1, 4], 3:8, 3:8] = 1
    write_array(tmp_path / "image.nii.gz", np.arange(864, dtype=np.int16).reshape(grid.shape), grid)
    write_label_maps(tmp_path / "support.nii.gz", [LabelMap(labels, grid)])
    (tmp_path / "cases.csv").write_text("image,support\nimage.nii.gz,support.nii.gz\n", encoding="ascii")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(arguments: list[str], case_folder: Path, capsys: pytest.CaptureFixture) -> str:
    before = sorted(file.name for file in case_folder.iterdir())
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("Note: ")]
    assert sorted(file.name for file in case_folder.iterdir()) == before
    assert len(lines) == 1
    assert len(lines[0]) < 900
    return lines[0]


FILL = "fill image.nii.gz support.nii.gz -o out.nii.gz --engine propagate"
COMPARE = "compare image.nii.gz support.nii.gz -o out --engines propagate"


@pytest.mark.parametrize("text", NOT_COUNTS)
@pytest.mark.parametrize(
    "command",
    [
        f"{COMPARE} --draws=N",
        f"{COMPARE} --held-out=N",
        f"{COMPARE} --sizes=N",
        "suggest image.nii.gz support.nii.gz --count=N",
        "batch cases.csv -o out --workers=N",
        "batch cases.csv -o out --threads=N",
    ],
)
def test_values_that_are_not_counts_are_refused(
    command: str, text: str, case_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    refused([argument.replace("=N", f"={text}") for argument in command.split()], case_folder, capsys)


@pytest.mark.parametrize(
    "command",
    [
        f"{COMPARE} --seed=-1",
        f"{COMPARE} --seed={HUGE}",
        f"{COMPARE} --seed=4294967296",
        f"{COMPARE} --draws=101",
        f"{COMPARE} --budget={HUGE}",
        "batch cases.csv -o out --workers=257",
        "batch cases.csv -o out --threads=100000",
        f"{FILL} --slices={HUGE}:2",
        f"{FILL} --slices=1:{HUGE}",
        f"{FILL} --slices=-5:2",
        f"{FILL} --labelled-slices={HUGE}",
        f"{FILL} --labelled-slices=-1",
        f"{FILL} --labelled-slices=1,,2",
        f"{FILL} --axis={HUGE}",
        f"{FILL} --budget=nan",
        f"{FILL} --budget=inf",
        f"{FILL} --budget=-1",
        f"{FILL} --budget=1e300",
        f"{FILL} --budget={HUGE}",
        f"{FILL} --option seed={HUGE}",
        "fill image.nii.gz support.nii.gz -o out.nii.gz --engine adapt --option seed=-1",
        "fill image.nii.gz support.nii.gz -o out.nii.gz --engine adapt --option seed=1_0",
        f"fill image.nii.gz support.nii.gz -o out.nii.gz --engine adapt --option seed={HUGE}",
    ],
    ids=lambda command: re.sub(r"9{99,}", "9..9", command),
)
def test_numbers_beyond_their_limits_are_refused(
    command: str, case_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    refused(command.split(), case_folder, capsys)


def test_only_usual_spellings_of_numbers_are_read() -> None:
    assert [int_or_none(text) for text in ("7", "+7", "-7", " 12 ")] == [7, 7, -7, 12]
    assert [int_or_none(text) for text in ("1.0", "1e2", "\u0661", "1" * 19)] == [None] * 4
    assert [float_or_none(text) for text in ("1", ".5", "2.", "-1e3")] == [1, 0.5, 2, -1000]
    assert [float_or_none(text) for text in ("nan", "inf", "1_0", "")] == [None] * 4


# --- geometry


@pytest.mark.parametrize("field", ["spacing", "origin", "direction"])
def test_a_geometry_with_nan_differs_from_every_geometry(field: str) -> None:
    grid = Geometry((4, 5, 6))
    values = (float("nan"), *getattr(grid, field)[1:])
    with_nan = Geometry(**{"shape": grid.shape, field: values})
    assert grid.difference(with_nan)
    assert with_nan.difference(grid)
    assert with_nan.difference(with_nan)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [-4, 5, 6]},
        {"shape": [0, 5, 6]},
        {"spacing": [1, float("nan"), 1]},
        {"origin": [float("inf"), 0, 0]},
    ],
)
def test_an_impossible_geometry_is_not_read(change: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"must be (positive|finite)"):
        Geometry.from_json(Geometry((4, 5, 6)).to_json() | change)


# --- structures

STRUCTURES = "export support.nii.gz --to seg-nrrd -o out.seg.nrrd --structures own.csv"
HEADER = "name,category,category_meaning,type,type_meaning"
ROW = "lump,123037004,Anatomical Structure,10200004,Liver"


@pytest.mark.parametrize(
    "table",
    [
        "",
        "\0\1\2 junk",
        "junk",
        "a,b,c\n1,2,3\n",
        HEADER,
        f"{HEADER}\n{ROW},more,than,the,header\n",
        f"{HEADER},name\n{ROW},x\n",
        f"{HEADER}\n , , , , \n",
        f'{HEADER}\nlump,"123037004"x,Anatomical Structure,10200004,Liver\n',
        f"{HEADER}\nlump,123037004,Anatomical Structure,{'1' * 5000},Liver\n",
        HEADER.replace("name", "title", 1) + "\n" + ROW,
    ],
    ids=lambda table: table[:30],
)
def test_an_invalid_table_of_structures_is_refused(
    table: str, case_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (case_folder / "own.csv").write_text(table, encoding="utf-8")
    line = refused(
        STRUCTURES.split(),
        case_folder,
        capsys,
    )
    assert "table of structures" in line


def test_a_valid_table_of_structures_is_accepted(case_folder: Path) -> None:
    (case_folder / "own.csv").write_text(f"{HEADER}\n{ROW}\n", encoding="utf-8")
    assert main(STRUCTURES.split()) == 0


# --- unexpected errors

PATIENT = "Doe^Jane 1970-01-01"


def failing(options: object) -> int:
    raise KeyError(PATIENT)


@pytest.fixture
def unexpected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """`suggest` fails with an unexpected error; returns the log."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    add_arguments = suggest.add_arguments

    def broken(parser: argparse.ArgumentParser) -> None:
        add_arguments(parser)
        parser.set_defaults(command=failing)

    monkeypatch.setattr(suggest, "add_arguments", broken)
    return tmp_path / "home" / "errors.log"


def test_an_unexpected_error_is_reported_in_one_line_with_a_code_and_the_path_of_a_log(
    unexpected: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["suggest", "a", "b"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (code,) = re.findall(r"KeyError, code ([0-9a-f]{8})", line)
    assert str(unexpected) in line
    text = unexpected.read_text(encoding="utf-8")
    assert text.startswith(code)
    assert "test_cli_limits.py" in text
    assert " failing" in text
    assert PATIENT not in text + line
    assert unexpected.stat().st_mode & 0o077 == 0


def test_the_traceback_is_printed_for_developers(unexpected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(KeyError, match="Doe"):
        main(["suggest", "a", "b"])
    assert not unexpected.exists()


def test_a_log_that_cannot_be_written_is_written_to_another_folder(
    unexpected: Path, capsys: pytest.CaptureFixture
) -> None:
    unexpected.mkdir(parents=True)
    assert main(["suggest", "a", "b"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(unexpected) not in line
    assert "errors.log" in line


def test_the_same_error_has_the_same_code_and_the_log_has_a_limited_length(tmp_path: Path) -> None:
    def error(text: str) -> Exception:
        try:
            failing(text)
        except KeyError as found:
            return found
        raise AssertionError

    assert error_fingerprint(error("a")) == error_fingerprint(error("b"))
    assert error_fingerprint(error("a")) != error_fingerprint(ValueError())
    log = tmp_path / "errors.log"
    log.write_bytes(bytes(MAX_LOG_BYTES + 1))
    assert append_to_log(error("a"), log, "1")
    assert log.stat().st_size < 2000
    assert traceback_lines(error("a"))[0] == "KeyError"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
        ImportError("libx.so: failed to map segment from shared object"),
    ],
)
def test_every_wording_of_an_out_of_memory_error_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(np.exceptions.AxisError(3))


def test_a_library_that_runs_out_of_memory_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ImportError("libx.so: failed to map segment from shared object")

    monkeypatch.setattr(program, "import_module", fail)
    assert main(["task", "list"]) == 1
    assert capsys.readouterr().err.startswith("fewshot-annotate: there is not enough memory;")


def test_a_valid_image_that_does_not_fit_into_memory_is_not_called_damaged(tmp_path: Path) -> None:
    grid = Geometry((400, 700, 700))
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 700 700 400\nencoding: raw\nendian: little\n\n"
    with (tmp_path / "image.nrrd").open("wb") as file:
        file.write(header.encode("ascii"))
        file.truncate(len(header) + 2 * int(np.prod(grid.shape)))  # sparse: takes no space on the disk
    code = f"import sys; sys.path.insert(0, {str(PACKAGE_PARENT)!r}); from fewshot_annotate.cli import main; "
    code += "sys.exit(main(sys.argv[1:]))"
    limit = 600 << 20
    process = subprocess.run(
        [sys.executable, "-c", code, "suggest", str(tmp_path / "image.nrrd"), str(tmp_path / "image.nrrd")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        env={"PATH": "/usr/bin:/bin", HOME_VARIABLE: str(tmp_path), "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.returncode == 2, process.stderr
    assert "needs more memory" in process.stderr
    assert len(process.stderr.splitlines()) == 1
