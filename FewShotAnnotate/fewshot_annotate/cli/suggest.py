"""`suggest`: which slice to label next."""

from __future__ import annotations

import argparse
import json

from ..core.exit_codes import ExitCode
from ..core.layers import merge_disjoint
from ..core.remaining_time import RemainingTime
from ..core.slice_axis import parse_axis
from ..io.files import read_volume
from ..jobs.planning import EngineSettings, FillRequest
from ..jobs.suggestions import suggestions
from .activity_indicator import activity_indicator
from .arguments import add_input, parse_count, parse_labelled_slices, parse_slice_range
from .labels import add_regrid_options, read_further, read_labels
from .progress import Bar, Column, Display, open_display, time_left


def add_arguments(suggest: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    suggest.set_defaults(command=_suggest)
    add_input(suggest, "slices that may be suggested", "all")
    add_regrid_options(suggest)
    suggest.add_argument("--count", metavar="N", default="3", help="maximum number of slices (default: %(default)s)")
    suggest.add_argument(
        "--progress",
        choices=("bar", "none"),
        default="bar",
        help="progress as a bar on stderr, or none (default: %(default)s)",
    )


def _suggest(options: argparse.Namespace) -> int:
    axis = parse_axis(options.axis)
    labelled = parse_labelled_slices(options.labelled_slices)
    slices = parse_slice_range(options.slices)
    count = parse_count(options.count)
    with activity_indicator(options.progress, "Reading"):
        volume = read_further(read_volume(options.image, options.series), options)
        layers = read_labels(options.support, volume, options)
    request = FillRequest(
        volume=volume,
        layers=merge_disjoint(layers).layers,
        axis=axis,
        labelled_slices=labelled,
        slices=slices,
        settings=EngineSettings("propagate"),
        complete=not options.partial,
        source=options.support,
    )
    with open_display(options.progress, _search()) as report:
        suggested = suggestions(request, count, report)
    rows = [
        {
            "slice": suggestion.index,
            "axis": suggestion.axis.index,
            "plane": suggestion.axis.patient_plane(volume.geometry),
            "gain": suggestion.gain,
            "reason": str(suggestion.reason),
            "labels": suggestion.labels,
        }
        for suggestion in suggested
    ]
    print(json.dumps(rows, indent=1))
    return ExitCode.DONE


def _search() -> Display[float]:
    """How the search is shown, with the time left at the rate of its last part."""
    remaining = RemainingTime()

    def show(bar: Bar, fraction: float) -> None:
        remaining.advance(fraction)
        bar.update("Searching", fraction, 1.0, left=time_left(remaining.seconds()))

    return Display[float](
        columns=(Column.ELAPSED, "{task.fields[left]}"), show=show, line_of=str, silent_if_quick=True
    )
