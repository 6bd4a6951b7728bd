"""ReviewedCase: a case of a batch as read from its files for review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.errors import InputError
from ..core.reading import DamagedContentError, decoding
from ..core.slice_axis import SliceAxis
from ..core.volume import LabelMap, Segment, Volume
from ..io.files import read_label_maps, read_volume
from .batch_folder import BatchFolder
from .case_files import CaseFiles, CaseInBatch, recorded_image
from .listed_cases import listed_case


@dataclass(frozen=True, kw_only=True)
class ReviewedCase(CaseInBatch):
    """A case as read from its files.

    Attributes
    ----------
    volume : Volume
    label_map : LabelMap
        Without a labelled voxel if the case is not filled.
    axis : SliceAxis or None
        Of the slices; None if the case is not filled.
    labelled : tuple of int
        Slices that were labelled before the fill.
    digests : dict of str to str
        Of the label map and its names; empty if the case is not filled.
    """

    volume: Volume
    label_map: LabelMap
    axis: SliceAxis | None
    labelled: tuple[int, ...]
    digests: dict[str, str]

    @property
    def is_filled(self) -> bool:
        """Whether the label map is from a file."""
        return self.axis is not None


def read_case(folder: BatchFolder, name: str, segments: Sequence[Segment] = ()) -> ReviewedCase:
    """Read a case for its review.

    Parameters
    ----------
    folder : BatchFolder
    name : str
    segments : sequence of Segment
        Of a case that is not filled.

    Raises
    ------
    InputError
        A file cannot be read, or the case is not filled and the folder does not list its image.
    """
    files = folder.case(name)
    record = files.read_record()
    if record is None:
        return _unfilled(folder, name, files, segments)
    request, outcome = record
    try:
        with decoding():
            image, series = recorded_image(request)
            axis = SliceAxis(outcome["axis"])
            labelled = tuple(int(index) for index in outcome["labelled_slices"])
    except DamagedContentError:
        raise InputError("review_not_done", name=name) from None
    volume = read_volume(image, series or None)
    digests = files.digests()
    (label_map,) = read_label_maps(files.label, volume.geometry)
    return ReviewedCase(
        name=name,
        files=files,
        image=image,
        series=series,
        volume=volume,
        label_map=label_map,
        axis=axis,
        labelled=labelled,
        digests=digests,
    )


def _unfilled(folder: BatchFolder, name: str, files: CaseFiles, segments: Sequence[Segment]) -> ReviewedCase:
    case = listed_case(folder, name)
    if case is None:
        raise InputError("review_not_done", name=name)
    volume = read_volume(case.image, case.series or None)
    return ReviewedCase(
        name=name,
        files=files,
        image=case.image,
        series=case.series,
        volume=volume,
        label_map=LabelMap.empty(volume.geometry, segments),
        axis=None,
        labelled=(),
        digests={},  # a label map that is there all the same is kept when the case is accepted
    )
