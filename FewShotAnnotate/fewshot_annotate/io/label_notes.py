"""Messages on labels that were read: regridding onto the image's grid, thresholding of fractions, their origin."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError, Message
from ..core.regrid import GridChange, Regridded
from .dicom.origin import origin_note
from .dicom.segmentation import label_note


def label_notes(regridded: Regridded, path: Path, image: Path | None, name: str | None = None) -> list[Message]:
    """Messages on the label maps read from `path` for the volume in `image`; None if that comes from no file.

    `name` (default: the path) denotes the label maps in the messages.
    """
    subject = path if name is None else name
    origin = None if image is None else origin_note(path, image, subject)
    notes = origin, label_note(path, subject), regrid_note(regridded, subject)
    return [note for note in notes if note is not None]


def regrid_note(regridded: Regridded, path: object) -> InputError | None:
    """Message on the operations that put the label maps `path` on an image's grid; None if there were none."""
    if not regridded.changes:
        return None
    changes = {
        GridChange.REORIENTED: Message("labels_reoriented"),
        GridChange.PADDED: Message("labels_padded"),
        GridChange.TRIMMED: Message("labels_trimmed"),
        GridChange.ROUNDED: Message("labels_rounded", voxels=f"{regridded.deviation:.2g}"),
        GridChange.CROPPED: Message("labels_cropped", count=regridded.cropped),
        GridChange.RESAMPLED: Message("labels_resampled"),
    }
    done = [changes[change] for change in regridded.changes]
    lost = Message("labels_vanished", names=", ".join(regridded.vanished)) if regridded.vanished else ""
    how = "" if GridChange.RESAMPLED in regridded.changes else Message("labels_by_voxel")
    return InputError("labels_regridded", path=path, how=how, done=done, lost=lost)
