"""Turns: how far an engine is that takes one slice after the other."""

from __future__ import annotations

from collections.abc import Callable


class Turns:
    """Counts equal turns and parts of them.

    Parameters
    ----------
    pulse : function
        `Engine.pulse`.
    count : int
        Turns there are.
    """

    def __init__(self, pulse: Callable[[float], None], count: int) -> None:
        self._pulse = pulse
        self._count = max(1, count)
        self._done = 0

    def within(self, part: float) -> None:
        """This part of the turn is done, 0..1. Raises `Stopped` when the run should stop."""
        self._pulse(min(1.0, (self._done + part) / self._count))

    def next(self) -> None:
        """The turn is over."""
        self._done += 1
        self.within(0)
