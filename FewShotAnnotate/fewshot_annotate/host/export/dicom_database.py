"""The application's DICOM database: which files a volume came from, and adding new ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ...core.errors import InputError
from ..mrml.node_types import VolumeNode

# Attribute of volume nodes that Slicer's DICOM reader writes: SOP Instance UIDs separated by spaces.
INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"


class DicomDatabase(Protocol):
    """What is used of ctkDICOMDatabase (`slicer.dicomDatabase`)."""

    def fileForInstance(self, uid: str) -> str:
        """Path of an instance's file, empty if it is not in the database."""

    def insert(self, path: str) -> Any:
        """Copy a file into the database."""


def source_files(volume_node: VolumeNode, database: DicomDatabase | None) -> list[Path]:
    """Files of the slices that a volume was loaded from; empty if it did not come from DICOM.

    Raises
    ------
    InputError
        The volume came from DICOM, but some of its files are no longer in the database.
    """
    uids = (volume_node.GetAttribute(INSTANCES_ATTRIBUTE) or "").split()
    if not uids:
        return []
    files = [database.fileForInstance(uid) if database is not None else "" for uid in uids]
    missing = sum(not path or not Path(path).is_file() for path in files)
    if missing:
        raise InputError("database_incomplete", name=volume_node.GetName(), gone=missing, count=len(uids))
    return [Path(path) for path in files]


def insert_files(database: DicomDatabase, files: Sequence[Path]) -> None:
    """Copy files into the database and make sure that they arrived.

    Raises
    ------
    InputError
        One is not in the database afterwards, or is not the same.
    """
    from pydicom import dcmread

    for path in files:
        database.insert(str(path))
        uid = str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        file = database.fileForInstance(uid)
        if not file or Path(file).read_bytes() != path.read_bytes():
            raise InputError("database_refused", path=path.name)
