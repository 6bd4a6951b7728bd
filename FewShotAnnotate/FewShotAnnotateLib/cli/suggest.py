"""`suggest`: which slice to label next."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..core.axis import parse_axis
from ..core.files import read_volume
from ..core.layers import merge_disjoint
from ..run.fill import FillRequest
from ..suggestions import suggestions
from .arguments import add_input, as_count, as_slice_numbers, as_slice_range
from .labels import add_regrid, read_labels


def add(verbs: Any) -> None:
    """Add the command to the parser's subcommands."""
    suggest = verbs.add_parser("suggest", help="which slice to label next, best first, as JSON")
    suggest.set_defaults(command=_suggest)
    add_input(suggest, "what may be suggested and is to be right", "all")
    add_regrid(suggest)
    suggest.add_argument("--count", metavar="N", default="3", help="at most so many slices (default: %(default)s)")


def _suggest(options: argparse.Namespace) -> int:
    axis = parse_axis(options.axis)
    labelled = as_slice_numbers(options.labelled_slices)
    slices = as_slice_range(options.slices)
    count = as_count(options.count)
    volume = read_volume(options.image, options.series)
    layers = read_labels(options.support, volume, options)
    request = FillRequest(
        volume,
        merge_disjoint(layers).layers,
        axis,
        labelled,
        slices,
        "propagate",
        complete=not options.partial,
        source=options.support,
    )
    print(json.dumps(suggestions(request, count), indent=1))
    return 0
