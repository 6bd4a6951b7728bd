"""Codes and colours of common structures by a segment's name. Data in structures.csv; users may add their own.

Codes are SNOMED CT (SCT), as DICOM PS3.16 and Slicer's terminology use them; colours are those that Slicer's
terminology and its colour table for anatomy recommend.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from .errors import InputError
from .palette import COLOUR_COUNT, MIN_CHROMA, Colour, cielab, label_colour
from .reading import read_text
from .terminology import Code, Terminology, parse_tag

LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
TISSUE = Terminology(Code("85756007", "SCT", "Tissue"), Code("85756007", "SCT", "Tissue"))
_TABLE = Path(__file__).with_name("structures.csv")
_SIDES = {"left": LEFT, "l": LEFT, "lt": LEFT, "lh": LEFT, "right": RIGHT, "r": RIGHT, "rt": RIGHT, "rh": RIGHT}
_FILLERS = frozenset(
    [
        "the",
        "of",
        "a",
        "segment",
        "segmentation",
        "mask",
        "label",
        "roi",
        "seg",
        "auto",
        "manual",
        "whole",
        "total",
        "entire",
    ]
)
_COLUMNS = ("name", "category", "category_meaning", "type", "type_meaning")
_Key = tuple[str, ...]
# Distance in CIELAB below which two colours are hard to tell apart in outlines.
_MIN_COLOUR_DISTANCE = 12.0


class Structures:
    """Structures by name.

    A name is a set of words: order, case, plural, underscores and words such as 'segment' do not matter. Left and
    right become the type's modifier unless the table knows the side as a structure of its own (left atrium).
    """

    def __init__(self, terminologies: dict[_Key, Terminology]) -> None:
        self._terminologies = terminologies

    def suggest(self, name: str) -> Terminology | None:
        """Most likely terminology of a segment of this name, or None."""
        tokens = _tokens(name)
        for candidate in (tokens, [token for token in tokens if not token.isdigit()]):
            terminology = self._terminologies.get(_key(candidate))
            if terminology:
                return terminology
            sides = {_SIDES[token] for token in candidate if token in _SIDES}
            terminology = self._terminologies.get(_key(token for token in candidate if token not in _SIDES))
            if terminology and len(sides) <= 1:
                return _on_side(terminology, *sides)
        return None

    def with_table(self, path: Path) -> Structures:
        """These structures and those of a user's table, which takes precedence.

        The table is a CSV file with the columns name, category, category_meaning, type, type_meaning and, if needed,
        synonyms (separated by |), scheme (default SCT), region, region_meaning.

        Raises
        ------
        InputError
            The table cannot be read, or a row of it is incomplete.
        """
        return Structures({**self._terminologies, **_read(path)})


@cache
def common_structures() -> Structures:
    """The table that comes with the package."""
    return Structures(_read(_TABLE))


def structure_colour(name: str) -> Colour | None:
    """Colour that Slicer recommends for a structure of this name, left or right; None if it has none."""
    tokens = [token for token in _tokens(name) if token not in _SIDES]
    return _colours().get(_key(tokens))


def colours_by_name(names: Mapping[int, str], used: Iterable[Colour] = ()) -> dict[int, Colour]:
    """Colour of each label value, all distinct unless there are too many labels.

    A common structure has the colour of Slicer's terminology, unless that is nearly grey or too close to another one.

    Parameters
    ----------
    names : mapping of int to str
        Names by label value, which get their colours in the order of the values.
    used : iterable of Colour
        Colours of other labels.
    """
    taken = [_lab(colour) for colour in used]
    colours = {}
    for value in sorted(names):
        recommended = structure_colour(names[value])
        usable = recommended is not None and np.hypot(*_lab(recommended)[1:]) >= MIN_CHROMA
        candidates = [recommended] if recommended is not None and usable else []
        candidates += [label_colour(value + step) for step in range(COLOUR_COUNT)]
        apart = (colour for colour in candidates if _is_apart(_lab(colour), taken))
        colours[value] = next(apart, label_colour(value))
        taken.append(_lab(colours[value]))
    return colours


@cache
def _colours() -> dict[_Key, Colour]:
    colours: dict[_Key, Colour] = {}
    for row in csv.DictReader(io.StringIO(read_text(_TABLE, "utf-8-sig"), newline=""), strict=True):
        if row["colour"]:
            red, green, blue = (byte / 255 for byte in bytes.fromhex(row["colour"]))
            for name in (row["name"], *filter(None, row["synonyms"].split("|"))):
                colours.setdefault(_key(_tokens(name)), (red, green, blue))
    return colours


def as_terminology(text: str, structures: Structures) -> Terminology:
    """Terminology that a user's text denotes: a name in the table, scheme^value^meaning, or a segment tag of Slicer.

    Raises
    ------
    InputError
        The text is none of these.
    """
    terminology = structures.suggest(text) if "^" not in text else parse_tag(text)
    if terminology is None and text.count("^") == 2 and "~" not in text:
        scheme, value, meaning = text.split("^")
        code = Code(value.strip(), scheme.strip(), meaning.strip())
        terminology = Terminology(ANATOMY, code) if code.is_valid else None
    if terminology is None:
        raise InputError("code_malformed", text=text)
    return terminology


def _read(path: Path) -> dict[_Key, Terminology]:
    try:
        table = csv.DictReader(io.StringIO(read_text(path, "utf-8-sig"), newline=""), strict=True)
        rows = list(table)
        header = table.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InputError("structures_unreadable", path=path, row=1) from None
    terminologies: dict[_Key, Terminology] = {}
    if not rows or len(set(header)) < len(header):
        raise InputError("structures_unreadable", path=path, row=1)
    for number, row in enumerate(rows, start=2):
        if None in row or not all((row.get(column) or "").strip() for column in _COLUMNS):
            raise InputError("structures_unreadable", path=path, row=number)
        scheme = row.get("scheme") or "SCT"
        category = Code(row["category"], scheme, row["category_meaning"])
        kind = Code(row["type"], scheme, row["type_meaning"])
        region = Code(row["region"], scheme, row.get("region_meaning") or "") if row.get("region") else None
        if not (category.is_valid and kind.is_valid and (region is None or region.is_valid)):
            raise InputError("structures_unreadable", path=path, row=number)
        for name in (row["name"], *(row.get("synonyms") or "").split("|")):
            terminologies.setdefault(_key(_tokens(name)), Terminology(category, kind, region=region))
    terminologies.pop((), None)
    return terminologies


def _on_side(structure: Terminology, side: Code | None = None) -> Terminology:
    """The structure on one side; for a lesion, the side of its region."""
    if structure.region:
        return Terminology(structure.category, structure.type, None, structure.region, side)
    return Terminology(structure.category, structure.type, side)


def _tokens(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    tokens = re.findall(r"[^\W_]+", spaced.lower())
    return [_singular(token) for token in tokens if token not in _FILLERS]


def _singular(word: str) -> str:
    for plural, singular in (("ae", "a"), ("ies", "y")):
        if word.endswith(plural):
            return word.removesuffix(plural) + singular
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _key(tokens: Iterable[str]) -> _Key:
    return tuple(sorted(tokens))


def _is_apart(lab: np.ndarray, others: Iterable[np.ndarray]) -> bool:
    return all(np.linalg.norm(lab - other) >= _MIN_COLOUR_DISTANCE for other in others)


def _lab(colour: Colour) -> np.ndarray:
    lab: np.ndarray = cielab(np.array(colour))
    return lab
