"""Plan: how long `adapt` fits, and how far it has come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

# Share of a fit's steps that a network gets which some labelled slices are hidden from.
HIDDEN_STEPS = 0.42
# Share of a fit's steps that a network gets that looks at the result from a side, and how many whole fits all of that
# look is as much work as.
SIDE_STEPS = 0.55
SIDE_WORK = 1.0


@dataclass(frozen=True)
class Plan:
    """How long to fit.

    Attributes
    ----------
    steps : int
        Of the network that sees all labelled slices; each other gets a part of them.
    block : range or None
        Slices that are looked at from the sides; None: there is no such look.
    seconds : float, optional
        Time limit of the first network. The look from the sides has what is left.
    """

    steps: int
    block: range | None
    seconds: float | None = None

    def part(self, share: float) -> tuple[int, float | None]:
        """Steps and time limit of a network that gets a share of the first one's."""
        return max(1, round(self.steps * share)), None if self.seconds is None else share * self.seconds

    @property
    def side_work(self) -> float:
        """The look from the sides, as many steps of a fit."""
        return 0.0 if self.block is None else 2 * SIDE_WORK * self.steps


class Work:
    """Tells the fraction of work that is done, from any thread."""

    def __init__(self, pulse: Callable[[float], None], total: float) -> None:
        self._pulse = pulse
        self._total = total
        self._done = 0.0
        self._lock = threading.Lock()

    def plan(self, amount: float) -> None:
        """There is more to do."""
        self._total += amount

    def done(self, amount: float) -> None:
        """This much more is done."""
        with self._lock:
            self._done += amount
            self._pulse(min(1.0, self._done / max(self._total, 1)))
