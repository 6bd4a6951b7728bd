"""`export`: a label map as DICOM SEG, NIfTI, NRRD or .seg.nrrd, read back and compared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..core import paths
from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.text import printable
from ..io.dicom.origin import origin_note
from ..io.dicom.segmentation import label_note
from ..io.files import read_layers, read_volume
from ..io.shear_note import shear_note
from .activity_indicator import activity_indicator
from .arguments import add_series
from .consent import add_overwrite, require_different
from .labels import add_regrid_options, print_note
from .messages import error_text

if TYPE_CHECKING:
    from ..core.structures import Structures
    from ..core.terminology import Terminology
    from ..export.algorithm import Algorithm
    from ..export.delivery import Report
    from ..export.request import Derivation, ExportRequest, Problem

_MAX_ENGINE_CHARACTERS = 40


def add_arguments(export: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    from ..export.dicom_seg import SegType
    from ..export.request import Modality, Target

    export.set_defaults(command=_export)
    export.add_argument(
        "labels", metavar="LABELMAP", type=Path, help="label map, with its names in it or beside it, or DICOM SEG"
    )
    export.add_argument(
        "--to", choices=[str(target) for target in Target], required=True, help="format of the file or files"
    )
    export.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="file to write, or folder")
    add_overwrite(export)
    export.add_argument(
        "--one-file-per-segment",
        action="store_true",
        help="OUT is a folder with a file for each segment; not for dicom-seg",
    )
    add_regrid_options(export)
    codes = export.add_argument_group("codes (SNOMED CT)")
    codes.add_argument("--suggest-codes", action="store_true", help="take codes from the segments' names")
    codes.add_argument(
        "--code",
        metavar="NAME=WHAT",
        action="append",
        default=[],
        dest="codes",
        help="code of a segment: a structure such as liver, or SCHEME^VALUE^MEANING; the name * means all others",
    )
    codes.add_argument(
        "--default-code", action="store_true", help="code segments without another code as Tissue, as Slicer does"
    )
    codes.add_argument(
        "--structures", metavar="CSV", type=Path, help="your table of structures, searched before the built-in one"
    )
    dicom = export.add_argument_group("DICOM")
    dicom.add_argument(
        "--reference",
        metavar="SERIES",
        type=Path,
        help="DICOM series of the labels (folder or multi-frame file), or image",
    )
    add_series(dicom, "the folder")
    dicom.add_argument(
        "--type",
        choices=[str(kind) for kind in SegType],
        default="binary",
        help="type of DICOM SEG; few programs read labelmap yet (default: %(default)s)",
    )
    dicom.add_argument(
        "--leave-out-missing-slices", action="store_true", help="export although slices of the series are missing"
    )
    dicom.add_argument(
        "--slice-by-slice",
        action="store_true",
        help="assign labels without gantry tilt slice by slice to a series with gantry tilt",
    )
    dicom.add_argument(
        "--engine", metavar="NAME[:VERSION]", help="engine that filled the slices, if the label map does not name it"
    )
    dicom.add_argument("--weights", metavar="TEXT", help="weights of the engine, such as their name and checksum")
    derive = export.add_argument_group("images that did not come from DICOM")
    derive.add_argument("--derive-series", metavar="DIR", type=Path, help="write a DICOM series of IMAGE there")
    derive.add_argument("--image", metavar="IMAGE", type=Path, help="the image of the labels")
    derive.add_argument(
        "--modality",
        choices=[str(kind) for kind in Modality],
        default="OT",
        help="modality of the series; OT is other (default: %(default)s)",
    )
    derive.add_argument("--patient-id", metavar="ID", default="", help="Patient ID (default: generated)")
    derive.add_argument("--patient-name", metavar="NAME", default="", help="Patient's Name (default: Anonymous)")


def _export(options: argparse.Namespace) -> int:
    from ..export.delivery import deliver
    from ..export.preflight import check

    with activity_indicator("bar", "Reading"):
        preflight = check(_request(options))
    for problem in preflight.notes:
        print_note(_text_of(problem))
    if preflight.blocking:
        for problem in preflight.blocking:
            print(f"fewshot-annotate: {_text_of(problem)}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    with activity_indicator("bar", "Writing and reading back"):
        report = deliver(preflight)
    for difference in report.differences:
        print(f"fewshot-annotate: what was written differs: {printable(difference)}", file=sys.stderr)
    if not report.verified:
        print(f"fewshot-annotate: {printable(options.output)}: not verified, nothing was kept.", file=sys.stderr)
        return ExitCode.FAILED
    for path in report.paths:
        print(f"{printable(path)}: verified")
    print(_what_was_verified(report, options))
    return ExitCode.DONE


def _request(options: argparse.Namespace) -> ExportRequest:
    from ..core.structures import common_structures
    from ..export.dicom_seg import SegType
    from ..export.dicom_series import read_series
    from ..export.request import ExportRequest, Remedy, Target

    target = Target(options.to)
    if options.one_file_per_segment and target is Target.DICOM_SEG:
        raise InputError("one_file_dicom")
    structures = common_structures()
    if options.structures:
        structures = structures.with_table(options.structures)
    codes = _codes(options.codes, structures)
    series = grid = None
    if options.reference:
        if target is Target.DICOM_SEG:
            series = read_series(options.reference, options.series)
            grid = series.geometry
        else:
            grid = read_volume(options.reference, options.series).geometry
    layers = read_layers(options.labels, grid)
    # For a DICOM series, the pre-flight check reports it.
    sheared = None if series else shear_note(grid or layers[0].geometry, options.reference or options.labels)
    image = options.reference or options.image
    origin = origin_note(options.labels, image, options.labels) if image else None
    for note in (origin, label_note(options.labels, options.labels), sheared):
        if note is not None:
            print_note(note)
    _require_other(options)
    agreed = {remedy for remedy in Remedy if getattr(options, remedy.value.replace("-", "_"), False) is True}
    return ExportRequest(
        layers=tuple(layers),
        output=options.output,
        target=target,
        software_version=__version__,
        algorithm=_algorithm(options),
        series=series,
        grid=grid,
        derivation=_derivation(options),
        type=SegType(options.type),
        one_file_per_segment=options.one_file_per_segment,
        agreed=frozenset(agreed),
        codes=codes,
        structures=structures,
        source=options.labels,
    )


def _what_was_verified(report: Report, options: argparse.Namespace) -> str:
    """Explanation of `verified`: the programs that read the file back, and what they read."""
    if options.to == "dicom-seg":
        return (
            "Verified means: read again by readers that did not write it (header by pydicom, voxels by highdicom); "
            "voxels, geometry, names, colours and codes are the same."
        )
    by, described = (" and by ".join(map(str, names)) for names in (report.readers, report.describers))
    if report.readers == report.describers:
        return f"Verified means: read again by {by}; voxels, geometry, names, colours and codes are the same."
    return (
        f"Verified means: read again by {by}; voxels and geometry are the same. Names, colours and codes are the "
        f"same as read by {described} alone."
    )


def _require_other(options: argparse.Namespace) -> None:
    """Refuse to write over an input."""
    for source in (options.labels, options.image, options.reference):
        if source and paths.is_same(options.output, source):
            raise InputError("output_is_input", path=options.output)
    require_different({"--output": options.output, "--derive-series": options.derive_series})


def _codes(texts: Sequence[str], structures: Structures) -> dict[str, Terminology]:
    from ..core.structures import as_terminology

    codes = {}
    for text in texts:
        name, separator, what = text.rpartition("=")
        if not separator or not name:
            raise InputError("option_malformed", text=text)
        codes[name] = as_terminology(what, structures)
    return codes


def _algorithm(options: argparse.Namespace) -> Algorithm | None:
    from ..export.algorithm import PRODUCT, Algorithm

    if not options.engine:
        return None
    name, _, version = options.engine.partition(":")
    if not 0 < len(name.strip()) <= _MAX_ENGINE_CHARACTERS or len(version) > _MAX_ENGINE_CHARACTERS:
        raise InputError("engine_malformed", text=options.engine)
    return Algorithm(f"{PRODUCT} {name}", version or __version__, options.weights or "")


def _derivation(options: argparse.Namespace) -> Derivation | None:
    from ..export.request import Derivation, Modality

    if not options.derive_series or options.reference:
        return None
    if not options.image:
        raise InputError("derive_needs_image")
    volume = read_volume(options.image, options.series)
    modality = Modality(options.modality)
    return Derivation(volume, options.derive_series, modality, options.patient_id, options.patient_name)


def _text_of(problem: Problem) -> str:
    """A problem in one line, with the options that resolve it."""
    text = error_text(problem.error)
    flags = [f"--{remedy.value.replace('=', ' ')}" for remedy in problem.remedies]
    missing = [flag for flag in flags if flag not in text]
    return f"{text} ({' or '.join(missing)})" if missing else text
