"""What `fewshot-annotate suggest` does: doubts of a quick engine, weighed for the slice to label next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .core.errors import InputError
from .engines.propagate import Propagate
from .review.doubt import Doubt
from .review.suggest import suggest
from .run.fill import FillRequest, PlannedRun, plan

NOTHING_LEFT = ("nothing_to_fill", "one_labelled_slice")


def suggestions(request: FillRequest, count: int) -> list[dict[str, Any]]:
    """Slices of a request's range to label next, best first: plain dicts for JSON.

    Runs `propagate` in this process, slice by slice. Empty where every slice of the range is labelled.

    Raises
    ------
    InputError
        No labelled slice, crossing axes.
    """
    try:
        runs = plan(request)
    except InputError as error:
        if error.code in NOTHING_LEFT:
            return []
        raise
    doubt = Doubt.joined([_doubt(request, run) for run in runs])
    return [
        {
            "slice": one.index,
            "gain": round(one.gain, 4),
            "reason": one.reason,
            "labels": [doubt.names[place] for place in one.labels],
        }
        for one in suggest(doubt, count)
    ]


def _doubt(request: FillRequest, run: PlannedRun) -> Doubt:
    names = {segment.value: segment.name for segment in request.layers[run.layer].segments}
    return Doubt.of_probabilities(
        run.support, [names[label] for label in run.support.labels], _propagated(request, run)
    )


def _propagated(request: FillRequest, run: PlannedRun) -> Iterator[tuple[int, np.ndarray]]:
    engine = Propagate()
    engine.prepare(request.volume, run.support)
    yield from engine.predict(run.support.unlabelled(run.job.slices))
