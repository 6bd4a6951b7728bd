"""`compare`: which engine fills one's own labelled slices best, or those of many labelled volumes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ..comparison.case import Case
from ..comparison.compare import compare
from ..comparison.design import Wish
from ..comparison.recommend import duration
from ..comparison.report import comparison_png, require_packages, write_report
from ..comparison.results import Absent, Comparison
from ..comparison.study import Study, study
from ..comparison.study_manifest import read_manifest
from ..comparison.study_report import study_png, write_study_report, write_tables
from ..comparison.study_scores import GroupPoint, findings, group_points
from ..comparison.tables import write_slices, write_summary
from ..comparison.trial import Contender
from ..core.axis import parse_axis
from ..core.errors import InputError
from ..core.files import read_volume
from ..core.job import Device
from ..core.layers import merge_disjoint
from ..core.storage import write_bytes, write_json
from ..core.text import shown
from ..engines import engine_names
from .arguments import add_partial, add_progress, add_series, as_slice_numbers
from .comparing import as_contenders, as_wish, ending, open_reporter, slices
from .labels import add_regrid, agreed, read_labels
from .terminal import table_console


def add(verbs: Any) -> None:
    """Add the command to the parser's subcommands."""
    verb = verbs.add_parser("compare", help="which engine fills your slices best, as a report")
    verb.set_defaults(command=_compare)
    verb.add_argument("image", metavar="IMAGE", nargs="?", type=Path, help="any image file, or a DICOM folder")
    verb.add_argument("support", metavar="SUPPORT", nargs="?", type=Path, help="label map of the image")
    add_series(verb)
    verb.add_argument(
        "--study", metavar="MANIFEST.csv", type=Path, help="instead: labelled volumes, columns image,label,group"
    )
    verb.add_argument("-o", "--output", metavar="REPORT_DIR", type=Path, required=True, help="folder for the report")
    verb.add_argument(
        "--engines",
        default="all",
        metavar="A,B,C",
        help=f"all, or some of {', '.join(engine_names())} (default: all)",
    )
    verb.add_argument("--axis", default="auto", help="array axis of the labelled slices (default: %(default)s)")
    verb.add_argument("--labelled-slices", metavar="3,10,20", help="the labelled slices, empty ones too")
    add_partial(verb)
    add_regrid(verb)
    verb.add_argument("--sizes", metavar="1,2,4", help="support sizes (default: 1, 2, 4, 8, ... and all)")
    verb.add_argument("--draws", default="3", metavar="N", help="choices of support per size (default: %(default)s)")
    verb.add_argument("--held-out", default="16", metavar="N", help="most slices to hide (default: %(default)s)")
    verb.add_argument("--seed", default="0", metavar="N", help="of the choices (default: %(default)s)")
    verb.add_argument("--device", choices=[str(device) for device in Device], default="auto")
    verb.add_argument(
        "--option",
        metavar="ENGINE.NAME=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="an option of one engine; may be given several times",
    )
    verb.add_argument("--budget", metavar="SECONDS", help="time limit of each filling, for engines that heed one")
    verb.add_argument("--resume", action="store_true", help="go on with what is finished in REPORT_DIR")
    add_progress(verb)


def _compare(options: argparse.Namespace) -> int:
    alone = options.study is not None
    of_one = [options.image, options.support, options.axis != "auto", options.labelled_slices, options.series]
    of_one.append(options.partial)
    if any(of_one) if alone else not all(of_one[:2]):
        raise InputError("compare_inputs")
    wish, contenders = as_wish(options), as_contenders(options)
    require_packages()
    return (_study if alone else _own)(options, wish, contenders)


def _own(options: argparse.Namespace, wish: Wish, contenders: Sequence[Contender]) -> int:
    """Compare on one's own slices."""
    axis, labelled = parse_axis(options.axis), as_slice_numbers(options.labelled_slices)
    volume = read_volume(options.image, options.series)
    layers = read_labels(options.support, volume, options)
    layers = merge_disjoint(layers).layers
    case = Case.of_label_maps(volume, layers, axis, labelled, options.support, complete=not options.partial)
    folder: Path = options.output
    with ending(folder) as code, open_reporter(options.progress) as tell:
        found = compare(case, contenders, wish, folder, tell, options.resume)
    if code:
        return code[0]
    plot = comparison_png(found)
    write_bytes(folder / "dice.png", plot)
    write_json(folder / "result.json", found.to_json())
    write_summary(folder / "summary.csv", found)
    write_slices(folder / "slices.csv", found)
    write_report(folder / "report.html", case, found, contenders, wish, plot)
    if options.progress == "json":
        print(json.dumps(found.to_json()["recommendation"]))
    else:
        _show(case, found)
        print(shown(folder / "report.html"))
    return 0


def _study(options: argparse.Namespace, wish: Wish, contenders: Sequence[Contender]) -> int:
    """Compare on the volumes of a manifest."""
    listed = read_manifest(options.study, agreed(options))
    folder: Path = options.output
    with ending(folder) as code, open_reporter(options.progress) as tell:
        found = study(listed, contenders, wish, folder, tell, options.resume)
    if code:
        return code[0]
    plot = study_png(found)
    write_bytes(folder / "dice.png", plot)
    write_tables(folder, found)
    write_study_report(folder / "report.html", found, contenders, wish, plot)
    if options.progress == "json":
        print(json.dumps({"findings": findings(found)}))
    else:
        _show_study(found)
        print(shown(folder / "report.html"))
    return 0


def _show(case: Case, comparison: Comparison) -> None:
    console = table_console()
    sizes = [slices(size) for size in comparison.sizes]
    time = [f"time for {case.to_fill} slices"] if case.to_fill else []
    table = Table("engine", *sizes, *time, title="Mean Dice on hidden slices, by painted slices")
    for engine in comparison.engines:
        points = [comparison.at(engine, size) for size in comparison.sizes]
        cells = [
            f"{one.dice:.3f}" + (f" ({one.least:.3f}-{one.most:.3f})" if one.draws > 1 else "") for one in points
        ]
        table.add_row(engine, *cells, *([duration(points[-1].fill_seconds(case.to_fill))] if time else []))
    console.print(table)
    _show_absent(comparison.absent)
    for engine, told in comparison.warnings.items():
        for message in told:
            print(f"{engine} said: {shown(message)}")
    for reason in comparison.recommendation.reasons:
        console.print(shown(reason))


def _show_study(found: Study) -> None:
    console = table_console()
    points = group_points(found)
    for group in dict.fromkeys(one.group for one in points):
        own = [one for one in points if one.group == group]
        sizes = sorted({one.size for one in own})
        volumes = max(one.volumes for one in own)
        count = f"{volumes} volume{'' if volumes == 1 else 's'}"
        title = f"{shown(group)}: mean Dice of {count}, standard deviation in brackets"
        table = Table("engine", *map(slices, sizes), title=title)
        for engine in found.engines:
            cells = {one.size: one for one in own if one.engine == engine}
            table.add_row(engine, *(_mean_and_spread(cells.get(size)) for size in sizes))
        console.print(table)
    _show_absent(found.absent)
    for volume in found.volumes:
        for one in volume.absent:
            print(f"No figure on {shown(volume.name)}: {one.engine}: {shown(one.reason)}")
    for sentence in findings(found):
        console.print(shown(sentence))


def _mean_and_spread(point: GroupPoint | None) -> str:
    if point is None:
        return "-"
    return f"{point.dice:.3f}" + (f" ({point.spread:.3f})" if point.volumes > 1 else "")


def _show_absent(absent: Sequence[Absent]) -> None:
    for one in absent:
        print(f"Not compared: {one.engine}: {'failed: ' if one.started else ''}{shown(one.reason)}")
