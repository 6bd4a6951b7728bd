"""Summary: what a comparison found as its result.json holds it, for a program that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.reading import read_json
from .recommend import Evidence
from .results import Absent
from .scores import Point

_DAMAGE = (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Summary:
    """Figures and advice.

    Attributes
    ----------
    labels : tuple of str
        Names of the scored labels.
    points : tuple of Point
        One for each engine that finished, and size.
    absent : tuple of Absent
        Engines without figures.
    engine : str
        The recommended one.
    evidence : Evidence
        How sure that is.
    reasons : tuple of str
        Sentences, the most important first.
    """

    labels: tuple[str, ...]
    points: tuple[Point, ...]
    absent: tuple[Absent, ...]
    engine: str
    evidence: Evidence
    reasons: tuple[str, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Support sizes, ascending."""
        return tuple(sorted({one.size for one in self.points}))

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines that finished, best first at the largest size."""
        ranked = sorted((one for one in self.points if one.size == self.sizes[-1]), key=lambda one: -one.dice)
        return tuple(one.engine for one in ranked)

    def at(self, engine: str, size: int) -> Point:
        """The point of an engine at a size."""
        return next(one for one in self.points if (one.engine, one.size) == (engine, size))


def read_summary(path: Path) -> Summary:
    """Read a result.json.

    Raises
    ------
    InputError
        It is damaged or not there.
    """
    try:
        data = read_json(path)
        points = tuple(Point(**{**one, "by_label": tuple(one["by_label"])}) for one in data["points"])
        absent = tuple(Absent(**one) for one in data["absent"])
        advice = data["recommendation"]
        reasons = tuple(map(str, advice["reasons"]))
        labels = tuple(map(str, data["labels"]))
        summary = Summary(labels, points, absent, str(advice["engine"]), Evidence(advice["evidence"]), reasons)
        summary.at(summary.engine, summary.sizes[-1])
    except (*_DAMAGE, StopIteration):
        raise InputError("job_folder_unreadable", path=path, detail="the result is damaged") from None
    return summary
