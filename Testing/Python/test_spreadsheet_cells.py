"""Cells of tables: no spreadsheet program evaluates any part of one as a formula."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from fewshot_annotate.core.spreadsheet_cells import escape_formula, unescape_formula
from fewshot_annotate.core.storage import write_csv
from hypothesis import given
from hypothesis import strategies as st

_SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("cell", ["a;=1+1", "a;  +1", "a\t@SUM(1)", "a\n=1", "a\r\n-1", "a;\uff1d1", ";;=1", "\t=1"])
def test_no_part_of_a_cell_is_evaluated_as_a_formula(cell: str, separator: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, ["name", "message"], [["x", cell]])
    with path.open(encoding="utf-8", newline="") as file:
        parts = [part for row in csv.reader(file, delimiter=separator) for part in row]
    assert not [part for part in parts if re.match(rf"\s*[{re.escape(_SIGNS)}]", part)]


@given(st.text(st.sampled_from(f"{_SIGNS};\t\r\n' ,a")))
def test_escaped_cells_are_read_as_written(cell: str) -> None:
    assert unescape_formula(escape_formula(cell)) == cell
