"""Reading of CSV tables that list volumes, one per row, as saved by spreadsheet programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..core import paths
from ..core.errors import InputError, Message
from ..core.reading import read_text
from ..core.text import all_of

Item = TypeVar("Item")


@dataclass(frozen=True)
class Row:
    """A non-empty row.

    Attributes
    ----------
    number : int
        Row number as in a spreadsheet; the header is row 1.
    cells : mapping of str to str
        Cells by column, stripped of surrounding spaces; columns beyond the end of the row are missing.
    folder : Path
        Absolute path of the folder of the table.
    """

    number: int
    cells: Mapping[str, str]
    folder: Path

    def cell(self, column: str) -> str:
        """Text of a cell; empty if there is no such column."""
        return self.cells.get(column, "")

    def require(self, *columns: str) -> None:
        """Raise `InputError` if the cell of one of the columns is empty."""
        for column in columns:
            if not self.cell(column):
                raise InputError("manifest_cell_empty", column=column)

    def existing(self, column: str) -> Path:
        """Absolute path of the file or folder that a cell names, relative to the folder of the table.

        Raises
        ------
        InputError
            It does not exist.
        """
        return self._existing(self.cell(column))

    def several_existing(self, column: str) -> tuple[Path, ...]:
        """As `existing`, for a cell with any number of names, separated by semicolons."""
        names = (name.strip() for name in self.cell(column).split(";"))
        return tuple(self._existing(name) for name in names if name)

    def _existing(self, name: str) -> Path:
        path = self.folder / name
        paths.require_existing(path)
        return path


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Attributes
    ----------
    path : Path
    header : tuple of str
        Column names in lower case, without duplicates.
    lines : tuple of (int, tuple of str)
        Number and cells of each non-empty row; at least one.
    """

    path: Path
    header: tuple[str, ...]
    lines: tuple[tuple[int, tuple[str, ...]], ...]

    def items(self, of_row: Callable[[Row], Item]) -> list[Item]:
        """Convert each row by `of_row`; errors name the row.

        Raises
        ------
        InputError
            `of_row` raises it, or a row has more cells than the header.
        """
        return [self._item(number, line, of_row) for number, line in self.lines]

    def split_items(self, of_row: Callable[[Row], Item]) -> tuple[list[Item], dict[int, InputError]]:
        """As `items`, with the errors of the rows that cannot be converted, by row number."""
        items: list[Item] = []
        errors: dict[int, InputError] = {}
        for number, line in self.lines:
            try:
                items.append(self._item(number, line, of_row))
            except InputError as error:
                errors[number] = error
        return items, errors

    def row(self, number: int) -> Row:
        """A row by its number."""
        return self._row(number, dict(self.lines)[number])

    def _item(self, number: int, line: Sequence[str], of_row: Callable[[Row], Item]) -> Item:
        try:
            if len(line) > len(self.header):
                raise InputError("manifest_cells", count=len(line), columns=len(self.header))
            return of_row(self._row(number, line))
        except InputError as error:
            raise InputError("manifest_row", path=self.path, row=number, detail=error) from None

    def _row(self, number: int, line: Sequence[str]) -> Row:
        return Row(number, dict(zip(self.header, line, strict=False)), paths.resolve(self.path.parent))


def read_table(path: Path, required: Sequence[str]) -> Table:
    """Read a CSV file whose header has at least the `required` columns.

    The encoding is UTF-8; columns are separated by commas, semicolons or tabs, as in the header. Empty rows are
    skipped.

    Raises
    ------
    InputError
        The file does not exist or is not a table, a column is missing or duplicate, or there is no row.
    """
    lines = [tuple(cell.strip() for cell in line) for line in read_lines(path)]
    header = tuple(cell.lower() for cell in lines[0]) if lines else ()
    missing = [column for column in required if column not in header]
    if missing:
        raise InputError("manifest_columns", path=path, missing=all_of(missing), header=",".join(required))
    doubled = sorted({column for column in header if column and header.count(column) > 1})
    if doubled:
        raise InputError("manifest_column_twice", path=path, column=doubled[0])
    filled = tuple((number, line) for number, line in enumerate(lines[1:], start=2) if any(line))
    if not filled:
        raise InputError("manifest_empty", path=path)
    return Table(path, header, filled)


def read_lines(path: Path) -> list[list[str]]:
    """Cells of all rows of a CSV file in UTF-8.

    Raises
    ------
    InputError
        The file does not exist or is not a table.
    """
    return split_lines(read_table_text(path), path)


def read_table_text(path: Path) -> str:
    """Text of a CSV file in UTF-8; raises as `read_lines`."""
    try:
        return read_text(path, "utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("manifest_unreadable", path=path, detail=Message("not_utf_8")) from None
    except FileNotFoundError:
        raise InputError("file_missing", path=path) from None
    except OSError as error:
        raise InputError("manifest_unreadable", path=path, detail=error.strerror) from None


def split_lines(text: str, path: Path) -> list[list[str]]:
    """Cells of all rows of the text of a CSV file, which errors name; raises as `read_lines`."""
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise InputError("manifest_unreadable", path=path, detail=error) from None
