"""A small real case for tests of comparisons."""

from __future__ import annotations

from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.evaluation.case import ComparisonCase

from support.labels import every_nth, small_case

AXIS = SliceAxis(0)


def comparison_case(step: int = 4) -> ComparisonCase:
    """The small case with every `step`-th slice labelled."""
    volume, label_map = small_case()
    return ComparisonCase.from_label_maps(volume, [label_map], AXIS, every_nth(label_map, AXIS, step))
