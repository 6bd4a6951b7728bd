"""Summary of a comparison, as stored in its result.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError, Message
from ..core.reading import DamagedContentError, read_json_as
from .recommendation import Evidence
from .results import UnscoredEngine
from .scores import EngineScore, ranked_engines, score_at


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Scores and recommendation of a comparison.

    Attributes
    ----------
    labels : tuple of str
        Names of the scored labels.
    points : tuple of EngineScore
        One for each engine that finished and each support size.
    unscored : tuple of UnscoredEngine
        Engines without scores.
    engine : str
        The recommended engine.
    evidence : Evidence
        Strength of the evidence for it.
    reasons : tuple of Message or str
        The most important first; English sentences where the file was written by version 0.1.
    """

    labels: tuple[str, ...]
    points: tuple[EngineScore, ...]
    unscored: tuple[UnscoredEngine, ...]
    engine: str
    evidence: Evidence
    reasons: tuple[Message | str, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Support sizes, ascending."""
        return tuple(sorted({point.size for point in self.points}))

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines that finished, in descending order of Dice at the largest support size."""
        return ranked_engines(self.points, self.sizes[-1])

    def at(self, engine: str, size: int) -> EngineScore:
        """Score of an engine at a support size."""
        return score_at(self.points, engine, size)


def read_summary(path: Path) -> Summary:
    """Read a result.json.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    try:
        return read_json_as(path, _summary)
    except (OSError, DamagedContentError):
        raise InputError("job_folder_unreadable", path=path, detail=Message("result_damaged")) from None


def _summary(data: Mapping[str, Any]) -> Summary:
    points = tuple(EngineScore(**{**entry, "by_label": tuple(entry["by_label"])}) for entry in data["points"])
    unscored = tuple(UnscoredEngine(**entry) for entry in data["absent"])
    advice = data["recommendation"]
    reasons: tuple[Message | str, ...] = tuple(map(str, advice["reasons"]))
    if "reason_data" in advice:
        reasons = tuple(map(Message.from_json, advice["reason_data"]))
    labels = tuple(map(str, data["labels"]))
    summary = Summary(
        labels=labels,
        points=points,
        unscored=unscored,
        engine=str(advice["engine"]),
        evidence=Evidence(advice["evidence"]),
        reasons=reasons,
    )
    if summary.engine not in summary.engines:
        raise ValueError("no score of the recommended engine")
    return summary
