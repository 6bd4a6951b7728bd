"""Pre-flight checks: all problems of an export are collected before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..core import paths
from ..core.errors import InputError, Message
from ..core.layers import overlap
from ..core.regrid import MAX_RELATIVE_ROUNDING, Consent, GridMismatch, align_grids, regrid
from ..core.sparse_array import sparse_copy
from ..core.volume import SAME_VOXEL_TOLERANCE, Geometry, LabelMap, present_values
from ..io.files import merge_layers
from ..io.label_names import sidecar_path
from ..io.label_notes import regrid_note
from .algorithm import PRODUCT, of_segment
from .coding import Coding, code_segments
from .dicom_seg import SegType, dicom_text
from .dicom_series import require_packages
from .request import ExportRequest, Problem, Remedy, Target
from .staging import require_destination


@dataclass(frozen=True)
class Preflight:
    """Result of the pre-flight checks.

    Attributes
    ----------
    request : ExportRequest
    problems : tuple of Problem
    layers : tuple of LabelMap
        The layers to write: on the grid of the images, without empty segments.
    coding : Coding
    """

    request: ExportRequest
    problems: tuple[Problem, ...]
    layers: tuple[LabelMap, ...]
    coding: Coding

    @property
    def blocking(self) -> tuple[Problem, ...]:
        """The problems that must be resolved before the export."""
        return tuple(problem for problem in self.problems if problem.blocks)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """Problems that do not prevent the export."""
        return tuple(problem for problem in self.problems if not problem.blocks)


def check(request: ExportRequest) -> Preflight:
    """Check an export without writing; problems are collected, so that all can be resolved at once.

    Raises
    ------
    InputError
        A problem without a remedy: packages are missing, the destination cannot be written, or a code was given for a
        segment that does not exist.
    """
    problems = [*_check_destination(request)]
    layers = list(request.layers)
    if request.target is Target.DICOM_SEG:
        problems += _check_series(request)
    grid = _grid(request)
    if grid is not None:
        layers, findings = _regridded(request, layers, grid)
        problems += findings
    layers, findings = _without_empty(request, layers)
    problems += findings
    layers, findings = _merged(request, layers)
    problems += findings
    if request.target is Target.DICOM_SEG and request.algorithm is None:
        problems += _check_algorithm(request, layers)
    coding = code_segments(request, layers, required=request.target is Target.DICOM_SEG)
    problems += coding.problems
    return Preflight(request, tuple(problems), tuple(layers), coding)


def _check_destination(request: ExportRequest) -> Iterator[Problem]:
    output, series = request.output, request.series
    if series and paths.is_inside(output, series.path):
        raise InputError("output_is_input", path=output)
    require_destination(output, () if request.one_file_per_segment else request.target.suffixes)
    for path in (output, sidecar_path(output)):
        if paths.would_be_overwritten(path) and Remedy.OVERWRITE not in request.agreed:
            yield Problem(InputError("output_exists", path=path), (Remedy.OVERWRITE,))
            break
    if request.derivation and request.target is Target.DICOM_SEG:
        require_destination(request.derivation.folder)
        if paths.would_be_overwritten(request.derivation.folder):  # other slices would be mixed with the series
            raise InputError("folder_not_empty", path=request.derivation.folder)


def _check_series(request: ExportRequest) -> Iterator[Problem]:
    require_packages()
    if request.series is None and request.derivation is None:
        yield Problem(
            InputError("reference_missing", path=request.source), (Remedy.GIVE_REFERENCE, Remedy.DERIVE_SERIES)
        )
    if request.series and request.series.changed:
        attributes = ", ".join(request.series.changed)
        yield Problem(InputError("headers_changed", path=request.series.path, attributes=attributes), blocks=False)


def _check_algorithm(request: ExportRequest, layers: Sequence[LabelMap]) -> Iterator[Problem]:
    unnamed = [segment.name for layer in layers for segment in layer.segments if of_segment(segment) is None]
    if unnamed:
        error = InputError("engine_unnamed", name=f"{PRODUCT} {request.software_version}")
        yield Problem(error, (Remedy.GIVE_ENGINE,), blocks=False, segments=tuple(unnamed))


def _grid(request: ExportRequest) -> Geometry | None:
    if request.target is not Target.DICOM_SEG:
        return request.grid
    if request.series:
        return request.series.geometry
    return request.derivation.volume.geometry if request.derivation else None


def _regridded(
    request: ExportRequest, layers: list[LabelMap], grid: Geometry
) -> tuple[list[LabelMap], list[Problem]]:
    """The layers on the grid, if that is possible by the operations that the user agreed to."""
    series, geometry = request.series, layers[0].geometry
    resample = Remedy.RESAMPLE in request.agreed
    if (
        series
        and series.tilt
        and isinstance(align_grids(geometry, grid), GridMismatch)
        and _is_upright_view(geometry, grid)
    ):
        if Remedy.SLICE_BY_SLICE in request.agreed:
            layers = [LabelMap(layer.array, grid, layer.segments) for layer in layers]
        elif not resample:
            error = InputError("labels_upright", path=request.source, angle=series.tilt)
            return layers, [Problem(error, (Remedy.SLICE_BY_SLICE, Remedy.RESAMPLE))]
    consents = {Consent.CROP, Consent.RESAMPLE} if resample else {Consent.CROP}
    try:
        regridded = regrid(layers, grid, consents, request.source)
    except InputError as refusal:
        return layers, [Problem(refusal, (Remedy.RESAMPLE,))]
    layers, lost = regridded.layers, regridded.cropped
    problems = []
    if lost and Remedy.CROP not in request.agreed:
        error = InputError("labels_outside", path=request.source, count=lost)
        problems.append(Problem(error, (Remedy.CROP,)))
    elif note := regrid_note(regridded, request.source):
        problems.append(Problem(note, blocks=False))
    if series and series.missing:
        uncovered = sorted(set(range(grid.shape[0])) - set(series.slice_indices))
        count = sum(int(np.count_nonzero(layer.array[uncovered])) for layer in layers)
        error = InputError("series_gap_labels", path=series.path, missing=series.missing, count=count)
        agreed = Remedy.LEAVE_OUT_MISSING in request.agreed
        problems.append(Problem(error, (Remedy.LEAVE_OUT_MISSING,), not agreed))
        layers = [_emptied(layer, uncovered) for layer in layers]
    return layers, problems


def _is_upright_view(geometry: Geometry, grid: Geometry) -> bool:
    """Whether `geometry` has the slices of `grid`, a series with a tilted gantry, without the shift between them.

    Some readers show such a series with upright slices, so labels on them fit the series slice by slice.
    """
    if geometry.shape != grid.shape:
        return False
    upright = grid.direction_matrix
    slanted = upright[:, 2].copy()
    upright[:, 2] = np.cross(upright[:, 0], upright[:, 1])
    gap = geometry.spacing[2]
    perpendicular_gap = grid.spacing[2] * abs(float(upright[:, 2] @ slanted))
    if min(abs(gap - grid.spacing[2]), abs(gap - perpendicular_gap)) > MAX_RELATIVE_ROUNDING * gap:
        return False
    direction = tuple(float(value) for value in upright.reshape(-1))
    upright_grid = Geometry(grid.shape, (*grid.spacing[:2], gap), grid.origin, direction)
    return upright_grid.difference(geometry, SAME_VOXEL_TOLERANCE) is None


def _emptied(layer: LabelMap, slice_indices: Sequence[int]) -> LabelMap:
    """The layer without labels on some slices."""
    array = sparse_copy(layer.array)
    array[slice_indices] = 0
    return layer.with_array(array)


def _without_empty(request: ExportRequest, layers: list[LabelMap]) -> tuple[list[LabelMap], list[Problem]]:
    """The layers; without empty segments if the format cannot hold them."""
    present = [set(present_values(layer.array)) for layer in layers]
    empty = [
        s.name for layer, values in zip(layers, present, strict=True) for s in layer.segments if s.value not in values
    ]
    if not any(present):
        return layers, [Problem(InputError("labels_empty", path=request.source))]
    problems = []
    if request.target is Target.DICOM_SEG or request.one_file_per_segment:
        if empty:
            error = InputError("segments_empty", segments=", ".join(empty))
            problems.append(Problem(error, blocks=False, segments=tuple(empty)))
        remaining = [
            LabelMap(layer.array, layer.geometry, tuple(s for s in layer.segments if s.value in values))
            for layer, values in zip(layers, present, strict=True)
        ]
        layers = [layer for layer in remaining if layer.segments]
    names = [segment.name for layer in layers for segment in layer.segments]
    changed = [name for name in names if dicom_text(name) != name]
    if changed and request.target is Target.DICOM_SEG:
        renamed = [Message("name_written_as", name=name, written=dicom_text(name)) for name in changed]
        problems.append(
            Problem(InputError("labels_changed", segments=renamed), blocks=False, segments=tuple(changed))
        )
    return layers, problems


def _merged(request: ExportRequest, layers: list[LabelMap]) -> tuple[list[LabelMap], list[Problem]]:
    """The layers merged into one if they do not overlap; a problem if they do and the format has no layers."""
    if len(layers) < 2 or request.one_file_per_segment or request.target is Target.SEG_NRRD:
        return layers, []
    if overlap(layers):
        if request.target is Target.DICOM_SEG and request.type is SegType.BINARY:
            return layers, []
        binary = request.target is Target.DICOM_SEG
        remedies = (Remedy.TYPE_BINARY,) if binary else (Remedy.ONE_FILE_PER_SEGMENT, Remedy.TO_SEG_NRRD)
        return layers, [Problem(InputError("export_overlap", path=request.source), remedies)]
    return [merge_layers(layers, request.output)], []
