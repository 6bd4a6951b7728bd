"""Stand-in for ctkDICOMDatabase, which is in no wheel: instances by UID, and inserted files copied."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydicom import dcmread


class DicomDatabaseStandIn:
    """The part that the host uses of `slicer.dicomDatabase`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, str] = {}
        folder.mkdir()

    def fileForInstance(self, uid: str) -> str:
        return self._files.get(uid, "")

    def insert(self, path: str) -> None:
        uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        kept = self._folder / f"{uid}.dcm"
        shutil.copyfile(path, kept)
        self._files[uid] = str(kept)

    @property
    def count(self) -> int:
        """Instances in it."""
        return len(self._files)

    def remove(self, uid: str) -> None:
        """Remove an instance, as if the user had deleted it."""
        del self._files[uid]
