"""Names and colours of labels in the text files of ITK-SNAP and Slicer: label descriptions and colour tables.

=====================  ==============================================================================================
ITK-SNAP               VALUE RED GREEN BLUE ALPHA VISIBLE MESH "NAME"
Slicer (.ctbl, .txt)   VALUE NAME RED GREEN BLUE ALPHA, with underscores for the spaces of the name
Slicer (.csv)          a table with the columns LabelValue, Name, Color_R, Color_G, Color_B and those of terminology
=====================  ==============================================================================================

Red, green and blue are 0 to 255. Lines that begin with # are comments.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from ..core.reading import DamagedContentError, decoding, read_text, unique
from ..core.segment_tags import TERMINOLOGY_TAG
from ..core.terminology import Code, Terminology, format_tag
from ..core.volume import Segment

SUFFIXES = (".ctbl", ".csv", ".label", ".txt")
_MAX_BYTES = 1 << 20
_RGB = r"(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})"
_ITK_SNAP = re.compile(rf'(\d+)\s+{_RGB}\s+[\d.]+\s+\d\s+\d\s+"(.*)"')
_SLICER = re.compile(rf"(\d+)\s+(\S+)\s+{_RGB}\s+\d{{1,3}}")
_VALUE, _NAME, _COLOURS = "labelvalue", "name", ("color_r", "color_g", "color_b")
_CODES = ("category", "type", "typemodifier", "region", "regionmodifier")


def read_colour_table(path: Path) -> dict[int, Segment]:
    """Segments by label value, without background (0).

    Raises
    ------
    OSError
        The file cannot be read.
    DamagedContentError
        It is none of the three formats, or lists a label value twice.
    """
    with decoding():
        text = read_text(path, "utf-8-sig", _MAX_BYTES)
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        described = _of_csv(lines) if lines and _VALUE in lines[0].lower() else [_of_line(line) for line in lines]
        if not described:
            raise DamagedContentError("it lists no label")
        return unique((segment.value, segment) for segment in described if segment.value)


def _of_line(line: str) -> Segment:
    match = _ITK_SNAP.fullmatch(line)
    if match:
        value, *colour, name = match.groups()
        return _segment(value, name, colour)
    match = _SLICER.fullmatch(line)
    if match is None:
        raise DamagedContentError("a line describes no label")
    value, name, *colour = match.groups()
    return _segment(value, name.replace("_", " "), colour)


def _of_csv(lines: list[str]) -> list[Segment]:
    rows = csv.DictReader(lines, strict=True)
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    return [
        _segment(row[_VALUE], row[_NAME], [row[column] for column in _COLOURS], _terminology(row)) for row in rows
    ]


def _segment(value: str, name: str, colour: list[str], terminology: Terminology | None = None) -> Segment:
    red, green, blue = (min(int(component), 255) / 255 for component in colour)
    tags = {} if terminology is None else {TERMINOLOGY_TAG: format_tag(terminology)}
    return Segment(value=int(value), name=name.strip() or f"Label {int(value)}", colour=(red, green, blue), tags=tags)


def _terminology(row: Mapping[str, str]) -> Terminology | None:
    category, kind, *others = (_code(row, prefix) for prefix in _CODES)
    return None if category is None or kind is None else Terminology(category, kind, *others)


def _code(row: Mapping[str, str], prefix: str) -> Code | None:
    texts = (row.get(f"{prefix}_{end}") or "" for end in ("codevalue", "codingscheme", "codemeaning"))
    code = Code(*(text.strip() for text in texts))
    return code if code.is_valid else None
