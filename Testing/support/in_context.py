"""In-context engines with stand-ins for their networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.engines.base import RunContext
from fewshot_annotate.engines.in_context.base import InContextEngine

from .labels import every_nth, small_case

AXIS = SliceAxis(0)


class StandInEngine(InContextEngine):
    """The engine on a stand-in for its network."""

    name = title = summary = licence = "stand-in"
    support_bytes = 1

    def __init__(self, stand_in: Any, **options: Any) -> None:
        super().__init__(options=options)
        self.stand_in = stand_in

    @classmethod
    def state_shapes(cls) -> dict[str, tuple[int, ...]]:
        """No weights."""
        return {}

    def network(self, device: torch.device) -> Any:
        """The stand-in."""
        return self.stand_in


def small_support(step: int = 4) -> tuple[Volume, Support]:
    """A small volume of which every few slices are labelled."""
    volume, label_map = small_case()
    return volume, Support.from_label_map(label_map, AXIS, every_nth(label_map, AXIS, step))


def filled(
    engine: InContextEngine,
    volume: Volume,
    support: Support,
    slices: Sequence[int] | None = None,
    context: RunContext = RunContext(),
) -> dict[int, np.ndarray]:
    """Probabilities of the query slices; default: all between the labelled ones."""
    engine.prepare(volume, support, context)
    return dict(engine.predict(support.unlabelled(support.labelled_range()) if slices is None else slices))
