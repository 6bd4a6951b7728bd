"""Functional groups of multi-frame DICOM objects, which describe their frames.

PS3.3 C.7.6.16: a functional group is given either once, for all frames, or for each frame. Writers differ in their
choice; with one segment, for example, its identification may be shared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydicom import Dataset

LABELMAP_FRAME = 0
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


class SourceImage(NamedTuple):
    """Image that a frame was made from: its SOP Instance UID, and its frame number from 1, or 0 for all frames."""

    instance: str
    frame: int = 0


@dataclass(frozen=True, kw_only=True)
class SegFrame:
    """One frame of a segmentation.

    Attributes
    ----------
    number : int
        Number of the frame from 0, in the order of the pixel data.
    segment : int
        Segment Number; 0 in label map segmentations, where each voxel holds its Segment Number.
    position : (float, float, float)
        Centre of the first pixel in mm, LPS.
    orientation : tuple of 6 floats
        Direction of a row (i), then of a column (j).
    spacing : (float, float)
        Distance between rows, then between columns, in mm.
    thickness, gap : float
        Slice Thickness and Spacing Between Slices in mm; 0 if they are missing.
    sources : frozenset of SourceImage
        Images that the frame was made from.
    """

    number: int
    segment: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float
    gap: float
    sources: frozenset[SourceImage]


def read_seg_frames(dataset: Dataset) -> list[SegFrame]:
    """Frames of a segmentation in the order of its pixel data. Pixels are not needed.

    Raises
    ------
    ValueError
        Segment, position, orientation or spacing of a frame is missing or malformed.
    """
    labelmap = dataset.get("SegmentationType") == "LABELMAP"
    try:
        count = int(dataset.get("NumberOfFrames") or 1)
        per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
        if per_frame and len(per_frame) != count:
            raise ValueError("the number of frames differs from that of their descriptions")
        return [_frame(dataset, number, labelmap) for number in range(count)]
    except (AttributeError, IndexError, KeyError, TypeError):
        raise ValueError("a frame has no position or no segment") from None


def functional_group(dataset: Dataset, number: int, name: str) -> list[Any]:
    """Items of a functional group of a frame: those of the frame itself, or else those shared by all frames."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for groups in (per_frame[number : number + 1], shared[:1]):
        for item in groups:
            if group := item.get(name):
                return list(group)
    return []


def _frame(dataset: Dataset, number: int, labelmap: bool) -> SegFrame:
    measures = functional_group(dataset, number, "PixelMeasuresSequence")[0]
    segment = LABELMAP_FRAME
    if not labelmap:
        identification = functional_group(dataset, number, "SegmentIdentificationSequence")[0]
        segment = int(identification.ReferencedSegmentNumber)
    position = functional_group(dataset, number, "PlanePositionSequence")[0].ImagePositionPatient
    orientation = functional_group(dataset, number, "PlaneOrientationSequence")[0].ImageOrientationPatient
    spacing = measures.PixelSpacing
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2):
        raise ValueError("a frame has no position")
    return SegFrame(
        number=number,
        segment=segment,
        position=tuple(float(value) for value in position),
        orientation=tuple(float(value) for value in orientation),
        spacing=tuple(float(value) for value in spacing),
        thickness=float(measures.get("SliceThickness") or 0),
        gap=float(measures.get("SpacingBetweenSlices") or 0),
        sources=frozenset(_sources(dataset, number)),
    )


def _sources(dataset: Dataset, number: int) -> Iterator[SourceImage]:
    for derivation in functional_group(dataset, number, "DerivationImageSequence"):
        for source in derivation.get("SourceImageSequence") or ():
            frames = source.get("ReferencedFrameNumber") or 0
            for frame in [frames] if isinstance(frames, int) else frames:
                yield SourceImage(str(source.ReferencedSOPInstanceUID), int(frame))
