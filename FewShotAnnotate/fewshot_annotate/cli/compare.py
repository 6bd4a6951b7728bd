"""`compare`: compare engines on the labelled slices of one volume, or on a study of many volumes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.layers import merge_disjoint
from ..core.slice_axis import parse_axis
from ..core.storage import write_bytes, write_json
from ..core.text import printable
from ..engines.registry import engine_names
from ..evaluation.case import ComparisonCase
from ..evaluation.compare import compare
from ..evaluation.design import TrialDesign
from ..evaluation.recommendation import duration
from ..evaluation.report.page import comparison_png, require_packages, write_report
from ..evaluation.report.study_page import study_png, write_study_report, write_tables
from ..evaluation.report.tables import write_slices, write_summary
from ..evaluation.results import Comparison, UnscoredEngine
from ..evaluation.study import StudyResult, run_study
from ..evaluation.study_manifest import read_study_manifest
from ..evaluation.study_scores import GroupPoint, findings, group_points
from ..io.files import read_volume
from ..jobs.planning import EngineSettings
from .activity_indicator import activity_indicator
from .arguments import (
    add_also,
    add_axis,
    add_device,
    add_image_and_labels,
    add_labelled_slices,
    add_partial,
    add_progress,
    add_series,
    parse_labelled_slices,
)
from .comparing import (
    COMPARISON,
    exit_code_of_comparison,
    format_slices,
    parse_design,
    parse_engine_settings,
)
from .labels import add_regrid_options, consents, print_note, read_further, read_labels
from .messages import error_text
from .progress import open_display
from .terminal import table_console, text_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.set_defaults(command=_compare)
    add_image_and_labels(parser, image_optional=True, optional=True)
    add_series(parser)
    add_also(parser)
    parser.add_argument(
        "--study",
        metavar="MANIFEST.csv",
        type=Path,
        help="fully labelled volumes, in place of IMAGE and SUPPORT: a table with columns image,label,group",
    )
    parser.add_argument(
        "-o", "--output", metavar="REPORT_DIR", type=Path, required=True, help="folder for the report"
    )
    parser.add_argument(
        "--engines",
        default="all",
        metavar="A,B,C",
        help=f"all, or some of {', '.join(engine_names())} (default: all)",
    )
    add_axis(parser)
    add_labelled_slices(parser)
    add_partial(parser)
    add_regrid_options(parser)
    parser.add_argument(
        "--sizes",
        metavar="1,2,4",
        help="support sizes, that is numbers of labelled slices to fill from (default: 1, 2, 4, 8, ... and all)",
    )
    parser.add_argument("--draws", default="3", metavar="N", help="random supports per size (default: %(default)s)")
    parser.add_argument(
        "--held-out", default="16", metavar="N", help="maximum number of held-out slices (default: %(default)s)"
    )
    parser.add_argument("--seed", default="0", metavar="N", help="random seed of the supports (default: %(default)s)")
    add_device(parser)
    parser.add_argument(
        "--option",
        metavar="ENGINE.NAME=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="an option of one engine (models info ENGINE lists them); may be given several times",
    )
    parser.add_argument(
        "--budget", metavar="SECONDS", help="time limit per fill, in seconds (ignored by engines without one)"
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted comparison in REPORT_DIR")
    add_progress(parser)


def _compare(options: argparse.Namespace) -> int:
    is_study = options.study is not None
    single_volume_arguments = [
        options.image,
        options.support,
        options.axis != "auto",
        options.labelled_slices,
        options.series,
        options.also,
    ]
    if any(single_volume_arguments) if is_study else not all(single_volume_arguments[:2]):
        raise InputError("compare_inputs")
    design, engine_settings = parse_design(options), parse_engine_settings(options)
    require_packages()
    return (_study if is_study else _case)(options, design, engine_settings)


def _case(options: argparse.Namespace, design: TrialDesign, engine_settings: Sequence[EngineSettings]) -> int:
    """Compare engines on the labelled slices of one volume."""
    axis, labelled = parse_axis(options.axis), parse_labelled_slices(options.labelled_slices)
    with activity_indicator(options.progress, "Reading"):
        volume = read_further(read_volume(options.image, options.series), options)
        layers = read_labels(options.support, volume, options)
    layers = merge_disjoint(layers).layers
    case = ComparisonCase.from_label_maps(
        volume, layers, axis, labelled, options.support, complete=not options.partial
    )
    folder: Path = options.output
    with exit_code_of_comparison(folder) as code, open_display(options.progress, COMPARISON) as report:
        comparison = compare(case, engine_settings, design, folder, report, options.resume)
    if code:
        return code[0]
    with activity_indicator(options.progress, "Writing the report"):
        plot = comparison_png(comparison)
        write_bytes(folder / "dice.png", plot)
        write_json(folder / "result.json", comparison.to_json())
        write_summary(folder / "summary.csv", comparison)
        write_slices(folder / "slices.csv", comparison)
        write_report(folder / "report.html", case, comparison, engine_settings, design, plot)
    if options.progress == "json":
        print(json.dumps(comparison.to_json()["recommendation"]))
    else:
        _show(case, comparison)
        print(printable(folder / "report.html"))
    return _exit_code(comparison.unscored)


def _study(options: argparse.Namespace, design: TrialDesign, engine_settings: Sequence[EngineSettings]) -> int:
    """Compare on the volumes of a manifest."""
    listed = read_study_manifest(options.study, consents(options), not options.partial)
    folder: Path = options.output
    with exit_code_of_comparison(folder) as code, open_display(options.progress, COMPARISON) as report:
        study = run_study(listed, engine_settings, design, folder, report, options.resume, print_note)
    if code:
        return code[0]
    with activity_indicator(options.progress, "Writing the report"):
        plot = study_png(study)
        write_bytes(folder / "dice.png", plot)
        write_tables(folder, study)
        write_study_report(folder / "report.html", study, engine_settings, design, plot)
    if options.progress == "json":
        found = findings(study)
        content = {"findings": list(map(str, found)), "finding_data": [finding.to_json() for finding in found]}
        print(json.dumps(content))
    else:
        _show_study(study)
        print(printable(folder / "report.html"))
    return _exit_code([*study.unscored, *(engine for volume in study.volumes for engine in volume.unscored)])


def _exit_code(unscored: Sequence[UnscoredEngine]) -> ExitCode:
    return ExitCode.FAILED if any(engine.started for engine in unscored) else ExitCode.DONE


def _show(case: ComparisonCase, comparison: Comparison) -> None:
    console = table_console()
    sizes = [format_slices(size) for size in comparison.sizes]
    time = [f"time for {case.to_fill} slices"] if case.to_fill else []
    table = text_table("engine", *sizes, *time, title="Mean Dice on hidden slices, by painted slices")
    table.caption = f"Slices of {case.axis.describe(case.volume.geometry)}"
    for engine in comparison.engines:
        points = [comparison.at(engine, size) for size in comparison.sizes]
        cells = [
            f"{point.dice:.3f}" + (f" ({point.least:.3f}-{point.most:.3f})" if point.draws > 1 else "")
            for point in points
        ]
        table.add_row(engine, *cells, *([duration(points[-1].fill_seconds(case.to_fill))] if time else []))
    console.print(table)
    _show_unscored(comparison.unscored)
    for engine, messages in comparison.warnings.items():
        for message in messages:
            print(f"{engine} warned: {printable(message)}")
    for reason in comparison.recommendation.reasons:
        console.print(printable(str(reason)))


def _show_study(study: StudyResult) -> None:
    console = table_console()
    points = group_points(study)
    for group in dict.fromkeys(point.group for point in points):
        group_curve = [point for point in points if point.group == group]
        sizes = sorted({point.size for point in group_curve})
        volumes = max(point.volumes for point in group_curve)
        count = f"{volumes} volume{'' if volumes == 1 else 's'}"
        title = f"{printable(group)}: mean Dice of {count}, standard deviation in brackets"
        table = text_table("engine", *map(format_slices, sizes), title=title)
        for engine in study.engines:
            cells = {point.size: point for point in group_curve if point.engine == engine}
            table.add_row(engine, *(_mean_and_spread(cells.get(size)) for size in sizes))
        console.print(table)
    _show_unscored(study.unscored)
    for volume in study.volumes:
        for unscored in volume.unscored:
            print(f"No figure on {printable(volume.name)}: {unscored.engine}: {error_text(unscored.content)}")
    for finding in findings(study):
        console.print(printable(finding))


def _mean_and_spread(point: GroupPoint | None) -> str:
    if point is None:
        return "-"
    return f"{point.dice:.3f}" + (f" ({point.spread:.3f})" if point.volumes > 1 else "")


def _show_unscored(unscored: Sequence[UnscoredEngine]) -> None:
    for engine in unscored:
        print(f"Not compared: {engine.engine}: {'failed: ' if engine.started else ''}{error_text(engine.content)}")
