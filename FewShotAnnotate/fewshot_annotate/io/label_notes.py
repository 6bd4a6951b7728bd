"""Notes for users on labels that were read: regridding onto the image's grid, and thresholding of fractions."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError
from ..core.regrid import GridChange, Regridded
from .dicom.segmentation import label_note


def label_notes(regridded: Regridded, path: Path, name: str | None = None) -> list[str]:
    """Sentences about the label maps read from `path`; `name` (default: the path) denotes them in the sentences."""
    subject = path if name is None else name
    moved = regrid_note(regridded, subject)
    return [note for note in (label_note(path, subject), str(moved) if moved else "") if note]


def regrid_note(regridded: Regridded, path: object) -> InputError | None:
    """Message on the operations that put the label maps `path` on an image's grid; None if there were none."""
    if not regridded.changes:
        return None
    sentences = {
        GridChange.REORIENTED: "their axes were flipped or permuted",
        GridChange.PADDED: "they cover a part of it",
        GridChange.TRIMMED: "their empty margin was cut off",
        GridChange.ROUNDED: f"their rounded header is up to {regridded.deviation:.2g} voxels off",
        GridChange.CROPPED: f"{regridded.cropped} labelled voxels outside it were removed",
        GridChange.RESAMPLED: "they were resampled, so a painted slice may have spread to its neighbours or fallen "
        "between two; check the slices",
    }
    done = "; ".join(sentences[change] for change in regridded.changes)
    lost = f". No voxel is left of: {', '.join(regridded.vanished)}" if regridded.vanished else ""
    how = "" if GridChange.RESAMPLED in regridded.changes else " voxel by voxel"
    return InputError("labels_regridded", path=path, how=how, done=done, lost=lost)
