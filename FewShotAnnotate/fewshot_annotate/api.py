"""The public Python API: what `import fewshot_annotate` offers.

Volumes and labels are paths, SimpleITK images, numpy arrays `[k, j, i]` (slices, rows, columns; spacing 1 mm if only
arrays are given) or what `read_volume` and `read_labels` return. `fewshot_annotate.__all__` lists what is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .core.errors import InputError as InputError
from .core.errors import Message
from .core.events import Event
from .core.events import Unfinished as Unfinished
from .core.expected_dice import ExpectedDice as ExpectedDice
from .core.job import parse_device
from .core.layers import merge_disjoint
from .core.numbers import parse_int
from .core.regrid import Consent
from .core.slice_axis import MAX_SLICES, AxisChoice, parse_axis, slice_indices
from .core.storage import temporary_folder
from .core.volume import Geometry as Geometry
from .core.volume import LabelMap as LabelMap
from .core.volume import Segment as Segment
from .core.volume import Volume as Volume
from .datasets.task.filling import plan_with_task
from .datasets.task.library import task_folder
from .datasets.task.task import read_task
from .engines.pretrained.engine_weights import weights_in_use
from .evaluation.case import ComparisonCase
from .evaluation.results import Comparison as Comparison
from .export.algorithm import PRODUCT, Algorithm, tagged
from .io.arguments import LABELS, checked_arguments
from .io.files import merge_layers, read_label_maps
from .io.files import read_volume as read_volume
from .io.ignored_labels import ignored_label_notes
from .io.inputs import as_inputs, as_label_maps, as_volume
from .jobs.layers import Filled as Filled
from .jobs.layers import fill_layers
from .jobs.planning import EngineSettings, FillRequest, plan
from .jobs.suggestions import SuggestedSlice as SuggestedSlice
from .jobs.suggestions import suggestions

if TYPE_CHECKING:
    from .io.inputs import LabelsLike, VolumeLike


@checked_arguments()
def read_labels(
    path: str | Path, volume: VolumeLike | None = None, *, resample: bool = False, crop: bool = False
) -> list[LabelMap]:
    """Label maps of a file, on the volume's grid if one is given: one, or one per layer where segments overlap.

    Parameters
    ----------
    path : path
        Any image file, .seg.nrrd or DICOM segmentation.
    volume : path, SimpleITK image, ndarray [k, j, i] or Volume, optional
        The labels are put on its grid. Default: they stay on the grid of the file.
    resample, crop : bool
        Whether labels of another grid may be resampled, and labels outside the volume removed.

    Raises
    ------
    InputError
        The file is missing or unreadable, or on another grid without consent to change the labels.
    """
    agreed = {consent for consent in Consent if {"resample": resample, "crop": crop}[consent.value]}
    return read_label_maps(path, None if volume is None else as_volume(volume).geometry, agreed)


@checked_arguments()
def fill(
    volume: VolumeLike,
    labels: LabelsLike | None = None,
    *,
    also: Sequence[VolumeLike] = (),
    task: str | None = None,
    engine: str = "auto",
    axis: int | str | None = None,
    labelled_slices: Sequence[int] | None = None,
    slices: str | tuple[int, int] | None = None,
    partial: bool = False,
    device: str = "auto",
    options: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Filled:
    """Fill the slices between labelled ones, in a worker process.

    Parameters
    ----------
    volume : path, SimpleITK image, ndarray [k, j, i] or Volume
    labels : path, SimpleITK image, integer ndarray [k, j, i], LabelMap or list of LabelMap
        0 is background. Only labelled slices hold labels. May be left out with a task.
    also : sequence of path, SimpleITK image, ndarray [k, j, i] or Volume
        Further volumes of the same patient in the same position, such as T1 and T2, each on a grid of its own; for
        the engines `propagate` and `adapt`.
    task : str, optional
        Name or path of a task, whose newest model is used. Labels are matched to its segments by name.
    engine : str
        'auto', 'propagate', 'adapt', ...
    axis : 0, 1, 2, 'axial', 'coronal' or 'sagittal', optional
        Axis of the labelled slices, by array index or plane. Found from the labels by default.
    labelled_slices : sequence of int, optional
        Slices that were labelled completely, those without any label too. Labels on others do not count and are not
        in the result. By default all that hold one.
    slices : 'between', 'all' or (start, stop), optional
        Slices to fill: between the labelled ones (default), all (default with a task), or a half-open range.
    partial : bool
        Whether a segment missing on a labelled slice counts as not annotated there rather than absent.
    device : 'auto', 'cpu', 'cuda' or 'mps'
    options : mapping, optional
        Options of the engine; those left out have its defaults.
    seconds : float, optional
        Time limit (ignored by engines without one).
    on_event : function
        Takes progress, warnings of the engine and finished slices as they come.

    Raises
    ------
    InputError
        The input cannot be used; the message says what to do.
    Unfinished
        The worker failed or was cancelled.
    """
    if labels is None and task is None:
        raise InputError("no_labelled_slice", path="The labels")
    inputs = as_inputs(volume, labels, also)
    layers = inputs.layers
    if task is not None and len(layers) > 1:
        layers = [merge_layers(layers, "labels.nii.gz")]
    merged = merge_disjoint(layers)
    request = FillRequest(
        volume=inputs.volume,
        layers=merged.layers,
        axis=_axis(axis),
        labelled_slices=slice_indices(labelled_slices),
        slices=("between" if task is None else "all") if slices is None else slices,
        settings=EngineSettings(engine, dict(options or {}), parse_device(device), seconds),
        complete=not partial,
    )
    planned = None if task is None else plan_with_task(request, read_task(task_folder(task)))
    runs, planned_layers = (plan(request), merged.layers) if planned is None else ([planned.run], [planned.label_map])
    with temporary_folder() as folder:
        result = fill_layers(runs, planned_layers, inputs.volume, folder / "job", on_event)
    filled = merged.restore(result.layers) if planned is None else [planned.filled(result.layers[0].array)]
    job = runs[0].job
    made_by = Algorithm(f"{PRODUCT} {job.engine}", __version__, weights_in_use(job.engine, job.options))
    return Filled(
        layers=tuple(tagged(filled, made_by)),
        confidence=result.confidence,
        expected_dice=dict(result.expected_dice),
        engine=job.engine,
        axis=runs[0].support.axis,
        plane=runs[0].support.axis.patient_plane(inputs.volume.geometry),
        labelled_slices=tuple(sorted({index for run in runs for index in run.support.indices})),
        filled_slices=tuple(sorted({index for run in runs for index in run.job.slices})),
        notes=(*inputs.notes, *ignored_label_notes(layers, runs[0].support)),
    )


@checked_arguments()
def suggest(
    volume: VolumeLike,
    labels: LabelsLike,
    *,
    also: Sequence[VolumeLike] = (),
    count: int = 3,
    axis: int | str | None = None,
    labelled_slices: Sequence[int] | None = None,
    slices: str | tuple[int, int] = "all",
    partial: bool = False,
    on_note: Callable[[Message], object] = lambda note: None,
) -> list[SuggestedSlice]:
    """Suggest slices to label next, best first; none if every slice of the range is labelled.

    Parameters
    ----------
    volume, labels, also, axis, labelled_slices, partial
        As in `fill`.
    count : int
        Maximum number of suggestions.
    slices : 'between', 'all' or (start, stop)
        Slices that may be suggested.
    on_note : function
        Takes what is to be known about the volume and its labels, as `Filled.notes`.

    Raises
    ------
    InputError
        The input cannot be used; the message says what to do.
    """
    inputs = as_inputs(volume, labels, also, on_note)
    request = FillRequest(
        volume=inputs.volume,
        layers=merge_disjoint(inputs.layers).layers,
        axis=_axis(axis),
        labelled_slices=slice_indices(labelled_slices),
        slices=slices,
        settings=EngineSettings("propagate"),
        complete=not partial,
    )
    return suggestions(request, parse_int(str(count), "slices", 1, MAX_SLICES))


@checked_arguments()
def compare(
    volume: VolumeLike,
    labels: LabelsLike,
    *,
    also: Sequence[VolumeLike] = (),
    engines: Sequence[str] = ("propagate", "adapt"),
    sizes: Sequence[int] = (),
    draws: int = 3,
    held_out: int = 16,
    seed: int = 0,
    axis: int | str | None = None,
    labelled_slices: Sequence[int] | None = None,
    partial: bool = False,
    device: str = "auto",
    seconds: float | None = None,
    on_note: Callable[[Message], object] = lambda note: None,
) -> Comparison:
    """Compare engines on the labelled slices of a case, which are held out in turn and filled from the others.

    Parameters
    ----------
    volume, labels, also, axis, labelled_slices, partial, device, on_note
        As in `fill` and `suggest`. Engines that use one volume only are given `volume` alone, with a warning.
    engines : sequence of str
        Names of the engines.
    sizes : sequence of int
        Support sizes; by default 1, 2, 4, 8, ... and all.
    draws : int
        Number of random supports per size.
    held_out : int
        Maximum number of held-out slices.
    seed : int
        Random seed of the supports.
    seconds : float, optional
        Time limit per fill.

    Returns
    -------
    Comparison
        `recommendation.engine` and `recommendation.reasons` say which to use; `points` holds Dice by engine and size.

    Raises
    ------
    InputError
        The input cannot be used, or no engine can run.
    """
    from .evaluation.compare import compare as compare_engines
    from .evaluation.design import TrialDesign

    design = TrialDesign.parse(sizes, draws, held_out, seed)
    inputs = as_inputs(volume, labels, also, on_note)
    layers, labelled = merge_disjoint(inputs.layers).layers, slice_indices(labelled_slices)
    case = ComparisonCase.from_label_maps(inputs.volume, layers, _axis(axis), labelled, complete=not partial)
    compared = [EngineSettings(name, {}, parse_device(device), seconds) for name in engines]
    with temporary_folder() as folder:
        return compare_engines(case, compared, design, folder / "trials")


@checked_arguments(labels=LABELS.or_type(Filled))
def export_labels(
    labels: Filled | LabelsLike,
    path: str | Path,
    *,
    reference: str | Path | None = None,
    codes: Mapping[str, str] | None = None,
    suggest_codes: bool = False,
    default_code: bool = False,
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write labels, read the file back with an independent reader and compare; nothing is kept if it differs.

    Parameters
    ----------
    labels : Filled, or as in `fill`
        Overlapping segments are in several label maps.
    path : path
        The suffix gives the format: .nii, .nii.gz, .nrrd, .seg.nrrd, or .dcm for DICOM SEG.
    reference : path, optional
        The image of the labels, on whose grid they are written. A DICOM series (folder or multi-frame file) is needed
        for .dcm.
    codes : mapping of segment name to code, optional
        Such as `{"seg1": "SCT^10200004^Liver"}`, or the name of a known structure, as in `{"seg1": "liver"}`; the
        segment name '*' stands for all others.
    suggest_codes, default_code : bool
        Whether segments without a code get the one that their name suggests, or else *Tissue*.
    overwrite : bool
        Whether to replace a file that is there.

    Returns
    -------
    tuple of Path
        Files that were written.

    Raises
    ------
    InputError
        The labels cannot be exported, or the file does not read back as it was written.
    """
    from .core.structures import as_terminology, common_structures
    from .export.delivery import deliver
    from .export.dicom_series import read_series
    from .export.preflight import check
    from .export.request import ExportRequest, Remedy, Target

    path = Path(path)
    target = Target.of_file(path)
    layers = list(labels.layers) if isinstance(labels, Filled) else as_label_maps(labels)
    structures = common_structures()
    consents = {Remedy.SUGGEST_CODES: suggest_codes, Remedy.DEFAULT_CODE: default_code, Remedy.OVERWRITE: overwrite}
    series = read_series(Path(reference)) if reference is not None and target is Target.DICOM_SEG else None
    grid = None if reference is None else (series or read_volume(reference)).geometry
    request = ExportRequest(
        layers=tuple(layers),
        output=path,
        target=target,
        software_version=__version__,
        series=series,
        grid=grid,
        agreed=frozenset(remedy for remedy, agreed in consents.items() if agreed),
        codes={name: as_terminology(code, structures) for name, code in (codes or {}).items()},
        structures=structures,
    )
    report = deliver(check(request))
    if not report.verified:
        raise InputError("export_differs", path=path, detail=report.differences[0])
    return report.paths


def _axis(axis: int | str | None) -> AxisChoice | None:
    return None if axis is None else parse_axis(str(axis))
