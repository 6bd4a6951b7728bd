"""Layout of a run folder: names, creation and values of its files. `run_folder` describes their contents."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import zlib
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from ..core import paths
from ..core.errors import InputError, Message
from ..core.job import JOB_VERSION, READABLE_VERSIONS
from ..core.reading import DamagedContentError, decoding, read_json_as
from ..core.support import Support
from ..core.volume import Volume
from ..io.array_file import create_npy, write_npy
from .work_folder import LOCK

CHECKSUMS = "checksums"
IMAGE = "image"
ARRAYS = (IMAGE, "support", "result", "confidence", "finished")
JOB = "job.json"
LAYERS = "layers"
FURTHER = "further"
# Further channels are counted from 2, because the first channel is the image itself.
_FURTHER_FILE = re.compile(r"image-[1-9]\d{0,3}\.npy")
# Folder of one of several layers in version 0.1.
_LAYER_FOLDER = re.compile(r"layer(\d{1,9})")
_PARTIAL = "job.json.partial"
# Files that a folder may hold whose creation was interrupted.
_CREATED_FILES = {_PARTIAL, LOCK, "events.jsonl", *(f"{name}.npy" for name in (*ARRAYS, CHECKSUMS))}
_CONFIDENCE_SCALE = np.float32(255)


class SliceState(IntEnum):
    """State of a slice in finished.npy."""

    PENDING = 0
    DRAFT = 1
    FINAL = 2


def quantised(confidence: np.ndarray) -> np.ndarray:
    """Confidence 0..1 of any shape as in confidence.npy, uint8."""
    scaled: np.ndarray = np.rint(np.clip(confidence, 0, 1) * _CONFIDENCE_SCALE).astype(np.uint8)
    return scaled


def confidence_of(values: np.ndarray) -> np.ndarray:
    """The inverse of `quantised`: confidence 0..1, float32 of the same shape."""
    confidence: np.ndarray = values.astype(np.float32) / _CONFIDENCE_SCALE
    return confidence


def checksum_of(labels: np.ndarray, confidence: np.ndarray) -> int:
    """CRC-32 of a slice as stored: labels `[h, w]` of result.npy and uint8 `[h, w]` of confidence.npy."""
    return zlib.crc32(np.ascontiguousarray(confidence).data, zlib.crc32(np.ascontiguousarray(labels).data))


def folders_of_layers(path: Path) -> list[Path]:
    """Folders of the layers in a folder of version 0.1, in order; empty for any other folder."""
    if paths.lexists(path / JOB):
        return []
    numbered = [(match, entry) for entry in paths.entries(path) if (match := _LAYER_FOLDER.fullmatch(entry.name))]
    return [entry for _, entry in sorted((int(match[1]), entry) for match, entry in numbered)]


def is_incomplete(path: Path) -> bool:
    """Whether a folder is empty, or holds only files of an interrupted creation."""
    try:
        names = {entry.name for entry in path.iterdir()} - {LOCK}
    except OSError:
        return False
    if not names:
        return True
    layers = [] if paths.is_link(path / LAYERS) else list((path / LAYERS).rglob("*"))
    only_created = all(entry.name.isdigit() or entry.name in _CREATED_FILES for entry in layers)
    names = {name for name in names if not _FURTHER_FILE.fullmatch(name)}
    return _PARTIAL in names and only_created and names <= {*_CREATED_FILES, LAYERS}


def further_file(number: int) -> str:
    """Name, without suffix, of the file of a further channel, counted from 0."""
    return f"{IMAGE}-{number + 2}"


def write_files(path: Path, description: dict[str, Any], volume: Volume, supports: Sequence[Support]) -> None:
    """Write the files of an empty or incomplete folder; nothing is left behind if that fails."""
    slices = supports[0].axis.slices(volume.array)
    _remove_created_files(path)  # also links of these names, so that nothing is written through them
    try:
        with (path / _PARTIAL).open("x", encoding="ascii") as file:
            json.dump(description, file)
        write_npy(path / f"{IMAGE}.npy", slices)
        for number, channel in enumerate(volume.further):
            write_npy(path / f"{further_file(number)}.npy", channel.array)
        for layer, support in enumerate(supports):
            layer_path = path / LAYERS / str(layer)
            layer_path.mkdir(parents=True)
            labels = np.min_scalar_type(max(support.labels))
            write_npy(layer_path / "support.npy", support.masks)
            create_npy(layer_path / "result.npy", slices.shape, labels)
            create_npy(layer_path / "confidence.npy", slices.shape, np.dtype(np.uint8))
            create_npy(layer_path / "finished.npy", slices.shape[:1], np.dtype(np.uint8))
            create_npy(layer_path / f"{CHECKSUMS}.npy", slices.shape[:1], np.dtype(np.uint32))
        (path / "events.jsonl").open("xb").close()
        (path / _PARTIAL).replace(path / JOB)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove_created_files(path)
        raise


def _remove_created_files(path: Path) -> None:
    """Remove the files of an interrupted creation; last the partial file, which marks it as interrupted."""
    if paths.is_link(path / LAYERS) or not paths.is_folder(path / LAYERS):
        (path / LAYERS).unlink(missing_ok=True)
    else:
        shutil.rmtree(path / LAYERS)
    further = [entry.name for entry in paths.entries(path) if _FURTHER_FILE.fullmatch(entry.name)]
    for name in (*further, *(_CREATED_FILES - {LOCK, _PARTIAL}), _PARTIAL):
        (path / name).unlink(missing_ok=True)


def read_description(path: Path) -> dict[str, Any]:
    """Content of job.json.

    Raises
    ------
    InputError
        It is missing, damaged, or of another version.
    """

    def unreadable(detail: Message) -> InputError:
        return InputError("job_folder_unreadable", path=path, detail=detail)

    try:
        description = read_json_as(path / JOB, dict)
        with decoding():
            version = description["job"]["version"]
    except FileNotFoundError:
        raise unreadable(Message("file_is_missing", file=JOB)) from None
    except OSError as error:
        raise unreadable(Message("file_and_reason", file=JOB, reason=error.strerror)) from None
    except DamagedContentError:
        raise unreadable(Message("file_is_damaged", file=JOB)) from None
    if version not in READABLE_VERSIONS:
        raise unreadable(Message("job_of_other_version", found=version, expected=JOB_VERSION))
    return description
