"""Label maps as NIfTI, NRRD or .seg.nrrd files: one for all segments, or one per segment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.volume import LabelMap
from ..io.files import write_label_maps
from .other_readers import ReadBack, combine, read_back

_MAX_NAME_CHARACTERS = 80


def write_verified(path: Path, layers: Sequence[LabelMap]) -> ReadBack:
    """Write one file and read it back.

    Raises
    ------
    InputError
        It cannot be written.
    """
    write_label_maps(path, layers)
    return read_back(path, layers)


def write_each_verified(folder: Path, suffix: str, layers: Sequence[LabelMap]) -> ReadBack:
    """Write one file for each segment, named after it, with value 1, and read them back.

    Raises
    ------
    InputError
        One cannot be written.
    """
    results: list[ReadBack] = []
    taken: set[str] = set()
    for layer in layers:
        for segment in layer.segments:
            name = _file_name(segment.name, taken)
            mask = np.asarray(layer.array == segment.value).astype(np.uint8)
            single = LabelMap(mask, layer.geometry, (replace(segment, value=1),))
            results.append(write_verified(folder / f"{name}{suffix}", [single]))
    return combine(results)


def _file_name(name: str, taken: set[str]) -> str:
    """A file name for a segment that is valid on every file system and not taken yet."""
    plain = re.sub(r"[^\w.+-]+", "_", name).strip("._")[:_MAX_NAME_CHARACTERS] or "segment"
    candidate, number = plain, 2
    while candidate.casefold() in taken:
        candidate, number = f"{plain}_{number}", number + 1
    taken.add(candidate.casefold())
    return candidate
