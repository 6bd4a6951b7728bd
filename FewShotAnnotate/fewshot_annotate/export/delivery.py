"""Writing of an export that passed the pre-flight checks: files are verified before they get their final names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import InputError, Message
from ..core.regrid import regrid
from ..core.volume import LabelMap
from ..io.files import write_label_maps
from .algorithm import PRODUCT, Algorithm, of_segment
from .derive import write_series
from .dicom_seg import CodedSegment, SegContent, write_segmentation
from .dicom_series import DicomSeries, read_series
from .other_readers import ReadBack, combine, read_back
from .preflight import Preflight
from .request import Problem, Target
from .seg_verification import compare_segmentation
from .staging import move_all, staged
from .verification import compare_series

_MAX_NAME_CHARACTERS = 80


@dataclass(frozen=True)
class Report:
    """Result of an export.

    Attributes
    ----------
    paths : tuple of Path
        Files and folders that were written; none if there are differences.
    differences : tuple of Message
        Differences between what was written and what was read back.
    notes : tuple of Problem
    readers : tuple of Message or str
        Programs that read the same voxels and geometry from an image file; empty for DICOM.
    describers : tuple of Message or str
        Programs that read the same names, colours and codes.
    """

    paths: tuple[Path, ...]
    differences: tuple[Message, ...]
    notes: tuple[Problem, ...]
    readers: tuple[Message | str, ...] = ()
    describers: tuple[Message | str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether all files were read back without differences."""
        return not self.differences


def deliver(preflight: Preflight) -> Report:
    """Write an export and verify it by reading it back; if there are differences, all files are removed.

    Raises
    ------
    InputError
        A blocking problem is unresolved, or the files cannot be written.
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
            read = _write_each_verified(folder, request.target.suffixes[0], layers)
            destinations = {folder: request.output}
        else:
            read = _write_verified(folder / request.output.name, layers)
            destinations = {file: request.output.with_name(file.name) for file in sorted(folder.iterdir())}
        if read.differences:
            return Report((), read.differences, preflight.notes)
        move_all(destinations)
    return Report(tuple(destinations.values()), (), preflight.notes, read.readers, read.describers)


def _deliver_segmentation(preflight: Preflight) -> Report:
    request = preflight.request
    with ExitStack() as stack:
        file = stack.enter_context(staged(request.output)) / request.output.name
        destinations, differences = {file: request.output}, []
        series = request.series
        if series is None:
            assert request.derivation is not None
            derived = stack.enter_context(staged(request.derivation.folder))
            write_series(derived, request.derivation, request.software_version)
            differences = compare_series(derived, request.derivation.volume)
            series = read_series(derived)
            destinations = {derived: request.derivation.folder, **destinations}
        # The slices of a derived series may be in reverse order.
        layers = tuple(regrid(preflight.layers, series.geometry).layers)
        content = _content(preflight, series, layers)
        write_segmentation(file, content)
        differences += compare_segmentation(file, content)
        if differences:
            return Report((), tuple(differences), preflight.notes)
        move_all(destinations)
    return Report(tuple(destinations.values()), (), preflight.notes)


def _content(preflight: Preflight, series: DicomSeries, layers: tuple[LabelMap, ...]) -> SegContent:
    request, coding = preflight.request, preflight.coding
    unnamed = Algorithm(PRODUCT, request.software_version)
    rank = {segment_id: number for number, segment_id in enumerate(request.order)}
    ordered = [(number, segment) for number, layer in enumerate(layers) for segment in layer.segments]
    ordered.sort(key=lambda entry: (rank.get(entry[1].segment_id, len(rank)), entry[1].order))
    segments = []
    for count, (number, segment) in enumerate(ordered, start=1):
        terminology = coding.of(number, segment)
        if terminology is None:
            raise InputError("codes_unknown", segments=segment.name)
        algorithm = of_segment(segment) or request.algorithm or unnamed
        segments.append(CodedSegment(count, number, segment, terminology, algorithm))
    return SegContent(series, layers, tuple(segments), request.type, request.software_version)


def _write_verified(path: Path, layers: Sequence[LabelMap]) -> ReadBack:
    """Write one file and read it back.

    Raises
    ------
    InputError
        It cannot be written.
    """
    write_label_maps(path, layers)
    return read_back(path, layers)


def _write_each_verified(folder: Path, suffix: str, layers: Sequence[LabelMap]) -> ReadBack:
    """Write one file for each segment, named after it, with value 1, and read them back.

    Raises
    ------
    InputError
        One cannot be written.
    """
    results: list[ReadBack] = []
    taken: set[str] = set()
    for layer in layers:
        for segment in layer.segments:
            name = _file_name(segment.name, taken)
            mask = np.asarray(layer.array == segment.value).astype(np.uint8)
            single = LabelMap(mask, layer.geometry, (replace(segment, value=1),))
            results.append(_write_verified(folder / f"{name}{suffix}", [single]))
    return combine(results)


def _file_name(name: str, taken: set[str]) -> str:
    """A file name for a segment that is valid on every file system and not taken yet."""
    plain = re.sub(r"[^\w.+-]+", "_", name).strip("._")[:_MAX_NAME_CHARACTERS] or "segment"
    candidate, number = plain, 2
    while candidate.casefold() in taken:
        candidate, number = f"{plain}_{number}", number + 1
    taken.add(candidate.casefold())
    return candidate
