"""What was done to labels to put them on an image's grid, in one sentence."""

from __future__ import annotations

from .regrid import Change, Regridded


def regrid_note(regridded: Regridded, path: object) -> str:
    """The sentence, naming the label map `path`; empty if nothing was done."""
    if not regridded.changes:
        return ""
    sentences = {
        Change.REORIENTED: "their axes were flipped or permuted",
        Change.PADDED: "they cover a part of it",
        Change.TRIMMED: "their empty margin was cut off",
        Change.ROUNDED: f"their rounded header is up to {regridded.deviation:.2g} voxels off",
        Change.CROPPED: f"{regridded.cropped} labelled voxels outside it were removed",
        Change.RESAMPLED: "they were resampled, so a painted slice may have spread to its neighbours or fallen "
        "between two; check the slices",
    }
    done = "; ".join(sentences[change] for change in regridded.changes)
    lost = f" No voxel is left of: {', '.join(regridded.vanished)}." if regridded.vanished else ""
    how = "" if Change.RESAMPLED in regridded.changes else " voxel by voxel"
    return f"{path}: the labels were put on the image's grid{how}: {done}.{lost}"
