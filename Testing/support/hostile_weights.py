"""Malicious files in place of weights."""

from __future__ import annotations

import zipfile
from pathlib import Path


class CreatesFile:
    """An object whose pickle creates a file when it is loaded without restrictions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def replace_entry(path: Path, name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Replace the content of one entry of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for entry, old in entries.items():
            archive.writestr(entry, content if entry.endswith(f"/{name}") else old)
