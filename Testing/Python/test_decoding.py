"""Damaged JSON and archives raise one type of error, whatever a parser or a converter raises."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.reading import DamagedContentError, decoding, decoding_archive, read_json_as
from fewshot_annotate.core.volume import Geometry

GRID = '{"shape": [1, 2, 3], "spacing": [1, 1, 1], "origin": [0, 0, 0], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1]}'
DAMAGED = {
    "empty": "",
    "cut off": GRID[:-20],
    "not UTF-8": b"\xff\xfe{",
    "nested": "[" * 100_000,
    "null": "null",
    "number": "7",
    "text": '"a"',
    "list": "[]",
    "without fields": "{}",
    "field of another type": GRID.replace("[1, 2, 3]", "7"),
    "too few values": GRID.replace("[1, 2, 3]", "[1]"),
    "not finite": GRID.replace("[0, 0, 0]", "[NaN, 0, 0]"),
    "too large": GRID.replace("[0, 0, 0]", "[1e999, 0, 0]"),
    "too many digits": GRID.replace("[0, 0, 0]", f"[{'9' * 5000}, 0, 0]"),
}


def geometry(content: Any) -> Geometry:
    return Geometry.from_json(content)


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_json_is_one_error(tmp_path: Path, kind: str) -> None:
    content = DAMAGED[kind]
    (tmp_path / "grid.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DamagedContentError) as caught:
        read_json_as(tmp_path / "grid.json", geometry)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe{", "it is not UTF-8 text"), (b'{\n"a"', "it is not JSON (line 2, column 4)")],
)
def test_the_error_names_the_fault_in_plain_words(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "grid.json").write_bytes(content)
    with pytest.raises(DamagedContentError) as caught:
        read_json_as(tmp_path / "grid.json", geometry)
    assert str(caught.value) == reason


def test_valid_json_is_converted(tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text(GRID)
    assert read_json_as(tmp_path / "grid.json", geometry) == Geometry((1, 2, 3))


def test_a_missing_file_is_not_mistaken_for_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json_as(tmp_path / "grid.json", geometry)


@pytest.mark.parametrize(
    "convert",
    [
        lambda: {}["key"],
        lambda: [][1],
        lambda: int("a"),
        lambda: float(10**400),
        lambda: 1 / 0,
        lambda: getattr(None, "attribute"),  # noqa: B009
        lambda: (_ for _ in ()).throw(InputError("file_missing", path="a")),
    ],
)
def test_any_error_of_a_converter_is_one_error(convert: Callable[[], object]) -> None:
    with pytest.raises(DamagedContentError), decoding():
        convert()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_errors_that_do_not_mean_damage_are_not_caught(error: type[BaseException]) -> None:
    with pytest.raises(error), decoding(), decoding_archive():
        raise error


@pytest.fixture
def archive() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, masks=np.arange(100))
    return content.getvalue()


def unpack(content: bytes) -> None:
    with decoding_archive(), ZipFile(io.BytesIO(content)) as opened:
        opened.testzip()


@pytest.mark.parametrize("removed", [1, 10, 40, 200])
def test_a_truncated_archive_is_one_error(archive: bytes, removed: int) -> None:
    with pytest.raises(DamagedContentError):
        unpack(archive[:-removed])


def test_an_archive_with_any_byte_changed_is_read_or_is_one_error(archive: bytes) -> None:
    for position in range(len(archive)):
        changed = bytearray(archive)
        changed[position] ^= 0xFF
        with contextlib.suppress(DamagedContentError):
            unpack(bytes(changed))
