"""Names of labels beside a label map: our own list, and the lists of nnU-Net, the Medical Decathlon and others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import paths
from .errors import InputError
from .reading import read_json
from .volume import Segment, default_segment

# Lists for all label maps of a folder; a data set's own list may lie in the folder above its labels.
FOLDER_LIST = "labels.json"
DATASET_LIST = "dataset.json"
_MOST = 65535
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, OSError)


def sidecar_path(path: Path) -> Path:
    """Where names of labels are kept, for each file: `a.nii.gz` and `a.nrrd` in a folder may hold different ones."""
    return path.with_name(path.name + ".labels.json")


def read_names(path: Path) -> dict[int, Segment]:
    """Segments by label value, of the first list found for the label map `path`.

    It is the file's own (`sidecar_path`), `labels.json` beside it, or `dataset.json` beside it or one folder above.
    A list maps values to names or to our descriptions, or names to values, by itself or below `labels`.

    Raises
    ------
    InputError
        A list of label names cannot be understood. A `dataset.json` without one is passed over.
    """
    for one in (sidecar_path(path), path.with_name(FOLDER_LIST)):
        if paths.is_occupied(one):
            try:
                return _segments(read_json(one))
            except _DAMAGE:
                raise InputError("sidecar_unreadable", path=one) from None
    for one in (path.with_name(DATASET_LIST), path.absolute().parent.parent / DATASET_LIST):
        try:
            if paths.is_occupied(one):
                return _segments(read_json(one)["labels"])
        except _DAMAGE:
            continue
    return {}


def _segments(content: Any) -> dict[int, Segment]:
    if isinstance(content.get("labels"), Mapping):
        content = content["labels"]
    if content and not all(_is_number(key) for key in content) and any(map(_is_number, content.values())):
        # Values that are lists are nnU-Net's regions: they name several labels together.
        content = {value: name for name, value in content.items() if not isinstance(value, list)}
    described = {int(value): entry for value, entry in content.items()}
    return {value: _segment(value, entry) for value, entry in described.items() if 0 < value <= _MOST}


def _is_number(key: object) -> bool:
    return isinstance(key, (int, str)) and not isinstance(key, bool) and str(key).strip().isdecimal()


def _segment(value: int, entry: Any) -> Segment:
    if isinstance(entry, str):
        return Segment(value, entry, default_segment(value).colour)
    red, green, blue = (float(part) for part in entry.get("colour", default_segment(value).colour))
    tags = {str(key): str(text) for key, text in entry.get("tags", {}).items()}
    return Segment(value, str(entry["name"]), (red, green, blue), tags)
