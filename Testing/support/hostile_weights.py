"""Malicious files in the place of weights."""

from __future__ import annotations

import zipfile
from pathlib import Path


class Opens:
    """A pickle of this creates a file when it is loaded by a loader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def replaced(path: Path, name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Write the archive anew with another content of one entry."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for entry, old in entries.items():
            archive.writestr(entry, content if entry.endswith(f"/{name}") else old)
