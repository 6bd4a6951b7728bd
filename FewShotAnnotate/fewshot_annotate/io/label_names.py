"""Label names in files next to a label map: sidecar files, dataset.json as of nnU-Net, and colour tables."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core import paths
from ..core.checked_stream import FileIdentity, file_identity
from ..core.errors import InputError
from ..core.file_transaction import FileTransaction
from ..core.reading import (
    DamagedContentError,
    ListedTwiceError,
    decoding,
    parse_json,
    read_json,
    read_json_as,
    read_text,
    unique,
)
from ..core.structures import colours_by_name
from ..core.text import is_one_line
from ..core.volume import LabelMap, Segment, default_segment
from . import colour_table

# Label names for all label maps of a folder; `dataset.json` may also be in the folder above.
FOLDER_LIST = "labels.json"
_FOLDER_TABLES = tuple(f"labels{suffix}" for suffix in colour_table.SUFFIXES)
DATASET_LIST = "dataset.json"
# Suffixes of the files that `read_list` reads.
SUFFIXES_OF_LISTS = (".json", *colour_table.SUFFIXES)
# Suffixes that only colour tables have.
_SUFFIXES_OF_TABLES = (".ctbl", ".label")
_MAX_LABEL = 65535
_MAX_NAME_LENGTH = 256
# Keys of a sidecar file while its label map is replaced: new names, size and checksum of the new label map, old
# names.
_NEW, _OF, _OLD = "labels", "of", "before"
_TRANSITION_KEYS = {_NEW, _OF, _OLD}


def sidecar_path(path: Path) -> Path:
    """Path of the sidecar file with the label names of one label map, such as `a.nii.gz.labels.json`."""
    return path.with_name(path.name + ".labels.json")


def read_sidecar(path: Path) -> Any:
    """Read the sidecar file of a label map as plain JSON; None if there is none.

    While a label map is replaced, its sidecar holds the old and the new names, and the checksum of the new label map.
    So names change in the same step as the image, and they match even after a power failure in between.

    Raises
    ------
    OSError, DamagedContentError
        It cannot be read, or is damaged.
    """
    sidecar = sidecar_path(path)
    if not paths.lexists(sidecar):
        return None
    with decoding():
        content = read_json(sidecar)
        if set(content) != _TRANSITION_KEYS:
            return content
        is_new = paths.is_file(path) and list(file_identity(path)) == content[_OF]
        return content[_NEW if is_new else _OLD]


def replace_label_map(
    files: FileTransaction, path: Path, names: Any, add: Callable[[], Callable[[], FileIdentity]]
) -> None:
    """Replace a label map together with its names: after a failure, both are old or both are new.

    Parameters
    ----------
    files : FileTransaction
    path : Path
    names : plain JSON or None
        As returned by `read_sidecar`.
    add : callable
        Adds the image to `files` and returns a function that returns its size and checksum.
    """
    sidecar = sidecar_path(path)
    try:
        old = read_sidecar(path)
    except (OSError, DamagedContentError):
        old = None
    transition = None
    if not paths.lexists(path):  # names without an image are harmless
        if names is not None:
            files.stream(sidecar).write(_json_bytes(names))
        else:
            files.remove(sidecar)
    elif old != names:
        transition = files.stream(sidecar)
    identity = add()
    if transition is not None:
        transition.write(_json_bytes({_NEW: names, _OF: list(identity()), _OLD: old}))
    if paths.lexists(path):
        if names is not None:
            files.stream(sidecar).write(_json_bytes(names))
        else:
            files.remove(sidecar)


def move_label_map(files: FileTransaction, source: Path, path: Path) -> None:
    """As `replace_label_map`, for a label map and names that were written to another folder on the same disk."""

    def add() -> Callable[[], FileIdentity]:
        files.move(source, path)
        return lambda: file_identity(source)

    replace_label_map(files, path, read_sidecar(source), add)


def _json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def read_names(path: Path) -> dict[int, Segment]:
    """Segments by label value, from the first file with label names that belongs to the label map `path`.

    In this order: its sidecar file (`sidecar_path`); in its folder `labels.json`; `dataset.json` in its folder or the
    folder above; in its folder `labels` with the suffix of a colour table, or the only `.ctbl` or `.label` file. A
    JSON file maps values to names or segment descriptions, or names to values, directly or in `labels`.

    Raises
    ------
    InputError
        A file with label names is malformed. A malformed `dataset.json` or colour table is ignored, because it may be
        a file of another program.
    """
    try:
        sidecar = read_sidecar(path)
        if sidecar is not None:
            with decoding():
                return _segments(sidecar)
    except (OSError, DamagedContentError):
        raise InputError("sidecar_unreadable", path=sidecar_path(path)) from None
    if paths.lexists(path.with_name(FOLDER_LIST)):
        return read_list(path.with_name(FOLDER_LIST))
    for candidate in (path.with_name(DATASET_LIST), path.absolute().parent.parent / DATASET_LIST):
        try:
            if paths.lexists(candidate):
                return read_json_as(candidate, lambda content: _segments(content["labels"]))
        except (OSError, DamagedContentError):
            continue
    return _table_beside(path)


def read_list(path: Path) -> dict[int, Segment]:
    """Segments by label value from a JSON file of names, a label description of ITK-SNAP or a colour table of Slicer.

    Raises
    ------
    InputError
        It is missing or malformed, or a name is empty, too long or not one line.
    """
    paths.require_file(path)
    try:
        is_table = path.suffix.lower() in colour_table.SUFFIXES
        named = colour_table.read_colour_table(path) if is_table else _read_json_list(path)
    except ListedTwiceError as error:
        raise InputError("label_listed_twice", path=path, entry=error.entry) from None
    except (OSError, DamagedContentError):
        raise InputError("sidecar_unreadable", path=path) from None
    require_names(path, named.values())
    return named


def _read_json_list(path: Path) -> dict[int, Segment]:
    with decoding():
        return _segments(parse_json(read_text(path, "utf-8-sig"), unique))


def require_names(path: Path, segments: Iterable[Segment]) -> None:
    """Raise `InputError` if a segment of a file has no name, or one that is too long or not one line."""
    for segment in segments:
        if not segment.name.strip():
            raise InputError("label_nameless", path=path, value=segment.value)
        if len(segment.name) > _MAX_NAME_LENGTH or not is_one_line(segment.name):
            raise InputError("label_name_unusable", path=path, value=segment.value, most=_MAX_NAME_LENGTH)


def named_from(layers: Sequence[LabelMap], path: Path | None) -> list[LabelMap]:
    """Label maps with the names and colours of their values from a file; unchanged if `path` is None.

    Raises
    ------
    InputError
        The file is missing or malformed.
    """
    named = {} if path is None else read_list(path)
    return [
        replace(layer, segments=tuple(named.get(segment.value, segment) for segment in layer.segments))
        for layer in layers
    ]


def _table_beside(path: Path) -> dict[int, Segment]:
    """Segments of the colour table next to a label map: `labels` with its suffix, or the only one of any name."""
    with contextlib.suppress(OSError, DamagedContentError):
        siblings = list(path.absolute().parent.iterdir())
        named = [file for file in siblings if file.name.lower() in _FOLDER_TABLES]
        tables = named or [file for file in siblings if file.suffix.lower() in _SUFFIXES_OF_TABLES]
        if len(tables) == 1:
            return colour_table.read_colour_table(tables[0])
    return {}


def _segments(content: Any) -> dict[int, Segment]:
    if isinstance(content.get("labels"), Mapping):
        content = content["labels"]
    if content and not all(_is_number(key) for key in content) and any(map(_is_number, content.values())):
        # Lists are nnU-Net's regions, which combine several labels.
        content = unique((value, name) for name, value in content.items() if not isinstance(value, list))
    entries = ((int(value), entry) for value, entry in content.items())
    described = unique((value, entry) for value, entry in entries if 0 < value <= _MAX_LABEL)
    segments = {value: _segment(value, entry) for value, entry in described.items()}
    plain = {value: segments[value].name for value in segments if not _has_colour(described[value])}
    colours = colours_by_name(plain, [segment.colour for value, segment in segments.items() if value not in plain])
    return segments | {value: replace(segments[value], colour=colours[value]) for value in plain}


def _has_colour(entry: Any) -> bool:
    return not isinstance(entry, str) and "colour" in entry


def _is_number(key: object) -> bool:
    return isinstance(key, (int, str)) and not isinstance(key, bool) and str(key).strip().isdecimal()


def _segment(value: int, entry: Any) -> Segment:
    if isinstance(entry, str):
        return Segment(value=value, name=entry, colour=default_segment(value).colour)
    red, green, blue = (float(component) for component in entry.get("colour", default_segment(value).colour))
    tags = {str(key): str(text) for key, text in entry.get("tags", {}).items()}
    return Segment(value=value, name=str(entry["name"]), colour=(red, green, blue), tags=tags)
