"""Legs: in which order the layers of a run are worked on, one worker after the other, and what they tell together."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..core.event import Progress, Stage
from ..engines import engine_class


@dataclass(frozen=True)
class Leg:
    """What one worker does: all of a layer, or only its drafts."""

    layer: int
    drafts_only: bool = False


def legs(engine: str, layers: int) -> list[Leg]:
    """Every layer is drafted before the first one is refined: a run stopped early leaves something of each."""
    whole = [Leg(layer) for layer in range(layers)]
    if layers > 1 and engine_class(engine).makes_drafts():
        return [Leg(layer, drafts_only=True) for layer in range(layers)] + whole
    return whole


class Whole:
    """Progress of all layers as that of one run.

    Parameters
    ----------
    layers : int
    """

    def __init__(self, layers: int) -> None:
        self._layers: list[Progress | None] = [None] * layers
        self._leg: Leg | None = None
        self._began = 0.0
        self._fraction = 0.0

    def with_part(self, leg: Leg, progress: Progress) -> Progress:
        """Progress of the whole, given what the worker of a leg told last."""
        if leg != self._leg:
            self._leg, self._began = leg, time.monotonic()
        self._layers[leg.layer] = progress
        known = [one for one in self._layers if one is not None]
        count = len(self._layers)
        done, total = sum(one.done for one in known), count * progress.total
        self._fraction = max(self._fraction, sum(one.fraction for one in known) / count)
        stage = Stage.FILLING
        if any(one.stage != Stage.FILLING for one in known):
            stage = Stage.DRAFTING if done < total else Stage.REFINING
        drafts = sum(one.drafts for one in known)
        return Progress(done, total, self._eta(leg, progress.eta), round(self._fraction, 4), drafts, stage)

    def _eta(self, leg: Leg, eta: float | None) -> float | None:
        """The layers that follow may take as long as this one."""
        if eta is None or leg.drafts_only:
            return None
        rest = len(self._layers) - leg.layer - 1
        return eta + rest * (time.monotonic() - self._began + eta)
