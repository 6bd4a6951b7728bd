"""Delivery: what passed the pre-flight is written, read back, and only then put in its place."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.label_names import sidecar_path
from ..core.regrid import regrid
from ..core.volume import LabelMap
from .algorithm import PRODUCT, Algorithm, of_segment
from .derive import write_series
from .dicom_seg import CodedSegment, SegContent, write_segmentation
from .dicom_series import DicomSeries, read_series
from .nifti import write_each_verified, write_verified
from .preflight import Preflight
from .readback import Difference, compare_series
from .readback_seg import compare_segmentation
from .request import Problem, Target
from .staging import move_all, staged


@dataclass(frozen=True)
class Report:
    """How an export ended.

    Attributes
    ----------
    paths : tuple of Path
        Files and folders that were written; none if something differed.
    differences : tuple of Difference
        What came back other than it was.
    notes : tuple of Problem
    """

    paths: tuple[Path, ...]
    differences: tuple[Difference, ...]
    notes: tuple[Problem, ...]

    @property
    def verified(self) -> bool:
        """Whether what was written was read back and is the same."""
        return not self.differences


def deliver(preflight: Preflight) -> Report:
    """Write, read back and compare. Nothing stays on the disk unless all is right.

    Raises
    ------
    InputError
        A problem is left, or the files cannot be written.
    """
    if preflight.blocking:
        raise preflight.blocking[0].error
    if preflight.request.target is Target.DICOM_SEG:
        return _deliver_segmentation(preflight)
    return _deliver_images(preflight)


def _deliver_images(preflight: Preflight) -> Report:
    request = preflight.request
    layers = preflight.coding.tagged(preflight.layers)
    with staged(request.output) as folder:
        if request.one_file_per_segment:
            differences = write_each_verified(folder, request.target.suffixes[0], layers)
            places = {folder: request.output}
            images = [request.output / file.name for file in folder.iterdir()]
        else:
            differences = write_verified(folder / request.output.name, layers)
            places = {file: request.output.with_name(file.name) for file in sorted(folder.iterdir())}
            images = [request.output]
        if differences:
            return Report((), tuple(differences), preflight.notes)
        # Names of labels that were in an overwritten file before must not stay beside it.
        stale = [sidecar_path(image) for image in images if not (folder / sidecar_path(image).name).exists()]
        move_all(places)
        for sidecar in stale:
            sidecar.unlink(missing_ok=True)
    return Report(tuple(places.values()), (), preflight.notes)


def _deliver_segmentation(preflight: Preflight) -> Report:
    request = preflight.request
    with ExitStack() as stack:
        file = stack.enter_context(staged(request.output)) / request.output.name
        places, differences = {file: request.output}, []
        series = request.series
        if series is None:
            assert request.derivation is not None
            made = stack.enter_context(staged(request.derivation.folder))
            write_series(made, request.derivation, request.software_version)
            differences = compare_series(made, request.derivation.volume)
            series = read_series(made)
            places = {made: request.derivation.folder, **places}
        # The slices of a derived series may run against the volume's.
        layers = tuple(regrid(preflight.layers, series.geometry).layers)
        content = _content(preflight, series, layers)
        write_segmentation(file, content)
        differences += compare_segmentation(file, content)
        if differences:
            return Report((), tuple(differences), preflight.notes)
        move_all(places)
    return Report(tuple(places.values()), (), preflight.notes)


def _content(preflight: Preflight, series: DicomSeries, layers: tuple[LabelMap, ...]) -> SegContent:
    request, coding = preflight.request, preflight.coding
    unnamed = Algorithm(PRODUCT, request.software_version)
    rank = {segment_id: number for number, segment_id in enumerate(request.order)}
    held = [(number, segment) for number, layer in enumerate(layers) for segment in layer.segments]
    held.sort(key=lambda one: rank.get(one[1].segment_id, len(rank)))
    segments = []
    for count, (number, segment) in enumerate(held, start=1):
        terminology = coding.of(number, segment)
        if terminology is None:
            raise InputError("codes_unknown", segments=segment.name)
        made_by = of_segment(segment) or request.algorithm or unnamed
        segments.append(CodedSegment(count, number, segment, terminology, made_by))
    return SegContent(series, layers, tuple(segments), request.type, request.software_version)
