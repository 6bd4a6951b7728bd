"""Catalog of published checkpoints: a table with URL, checksum, licence and citation of each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.errors import InputError

TABLE = Path(__file__).with_name("weights.json")
SCHEMA = Path(__file__).with_name("weights.schema.json")
# A file name that is valid and denotes a file of its folder on every system.
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One published file of weights.

    Attributes
    ----------
    name : str
        Name by which users choose it.
    title : str
    file : str
        Name of the local file.
    url : str
        Published address.
    revision : str
        The pinned commit, release or record; empty if the publisher has none.
    size : int or None
        Published size in bytes, None if unknown.
    sha256, md5 : str or None
        Published checksums. Without any, the checksum of the first downloaded file is recorded and required later.
    checksum_source : str
        Publisher of the checksum, or that there is none.
    licence : str
        SPDX identifier if there is one.
    licence_url : str
    permissive : bool
        Whether any use is allowed; if not, users are asked to agree before a download.
    restrictions : str
        What the licence does not allow, in one line.
    citation : str
    good_at : str
        Strengths, in one line.
    seconds_per_slice : float or None
        Approximate time on two CPU cores, with 16 labelled slices if their number matters; None if not measured.
    state_key : str
        Key of the state dict in the file; empty if the file contains nothing else.
    """

    name: str
    title: str
    file: str
    url: str
    revision: str
    size: int | None
    sha256: str | None
    md5: str | None
    checksum_source: str
    licence: str
    licence_url: str
    permissive: bool
    restrictions: str
    citation: str
    good_at: str
    seconds_per_slice: float | None
    state_key: str = ""

    def __post_init__(self) -> None:
        if not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"{self.file!r} is not a plain file name")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Checkpoint:
        """A row of the table."""
        return cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})


def checkpoints() -> tuple[Checkpoint, ...]:
    """All checkpoints of the table, in its order."""
    return _read_table(TABLE, TABLE.stat().st_mtime_ns)


def checkpoint(name: str) -> Checkpoint:
    """The checkpoint of a name.

    Raises
    ------
    InputError
        There is no such checkpoint.
    """
    for checkpoint in checkpoints():
        if checkpoint.name == name:
            return checkpoint
    raise InputError("weights_unknown", name=name, known=", ".join(checkpoint.name for checkpoint in checkpoints()))


@lru_cache(maxsize=1)
def _read_table(path: Path, _changed: int) -> tuple[Checkpoint, ...]:
    rows = json.loads(path.read_text(encoding="utf-8"))["checkpoints"]
    return tuple(Checkpoint.from_json(row) for row in rows)
