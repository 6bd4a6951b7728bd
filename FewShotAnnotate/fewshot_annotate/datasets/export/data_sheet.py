"""Data sheet of a data set: its content and provenance, as README.md and data_sheet.json."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...core.errors import Message
from ...core.storage import write_json, write_text
from ...core.volume import Segment
from ..task.example import LabelOrigin
from .facts import CaseFacts

README, DATA_SHEET = "README.md", "data_sheet.json"


def data_sheet(
    name: str,
    layout: str,
    segments: Sequence[Segment],
    cases: Sequence[CaseFacts],
    validation: frozenset[str],
    problems: Sequence[Message],
) -> dict[str, Any]:
    """Content of the data sheet.

    Parameters
    ----------
    name, layout : str
        Name of the data set, and name of its layout in `LAYOUTS`.
    segments : sequence of Segment
    cases : sequence of CaseFacts
    validation : frozenset of str
        Names of the validation cases.
    problems : sequence of Message
        Findings of the consistency checks.
    """
    spacings = np.array([case.geometry.spacing for case in cases])
    sizes = np.array([case.geometry.shape[::-1] for case in cases])
    return {
        "name": name,
        "format": layout,
        "created": time.strftime("%Y-%m-%d"),
        "program": f"FewShotAnnotate {__version__}",
        "cases": len(cases),
        "patients": len({case.patient for case in cases}),
        "training": len(cases) - len(validation),
        "validation": sorted(validation),
        "size_voxels": {"min": sizes.min(axis=0).tolist(), "max": sizes.max(axis=0).tolist()},
        "spacing_mm": {"min": spacings.min(axis=0).tolist(), "max": spacings.max(axis=0).tolist()},
        "segments": [_segment(index, segment, cases) for index, segment in enumerate(segments)],
        "engines": dict(sorted(Counter(case.engine or "painted by hand" for case in cases).items())),
        "labelled_by": _shares(cases),
        "findings": [str(message) for message in problems],
    }


def write_data_sheet(folder: Path, content: dict[str, Any]) -> None:
    """Write README.md and data_sheet.json."""
    write_json(folder / DATA_SHEET, content, indent=1)
    write_text(folder / README, _readme(content))


def _segment(index: int, segment: Segment, cases: Sequence[CaseFacts]) -> dict[str, Any]:
    volumes = np.array([case.millilitres[index] for case in cases if case.millilitres[index]])
    expected = [case.expected[segment.name] for case in cases if segment.name in case.expected]
    content: dict[str, Any] = {
        "value": segment.value,
        "name": segment.name,
        "colour": list(segment.colour),
        "terminology": segment.tags.get("TerminologyEntry", ""),
        "cases": len(volumes),
        "ml": {
            "mean": float(volumes.mean()),
            "standard_deviation": float(volumes.std()),
            "min": float(volumes.min()),
            "max": float(volumes.max()),
        },
        "expected_dice": None,
    }
    if expected:
        content["expected_dice"] = {
            "mean": float(np.mean([label_dice.dice for label_dice in expected])),
            "low": float(np.mean([label_dice.low for label_dice in expected])),
            "high": float(np.mean([label_dice.high for label_dice in expected])),
            "cases": len(expected),
        }
    return content


def _shares(cases: Sequence[CaseFacts]) -> dict[str, float]:
    """Share of the slices of all cases by who made their labels."""
    counts = Counter({str(origin): 0 for origin in LabelOrigin})
    for case in cases:
        counts.update({str(origin): count for origin, count in case.origins.items()})
    total = sum(counts.values()) or 1
    return {origin: round(count / total, 4) for origin, count in counts.items()}


def _readme(content: dict[str, Any]) -> str:
    least, most = (" x ".join(f"{size:.3g}" for size in content["spacing_mm"][end]) for end in ("min", "max"))
    validation_count = len(content["validation"])
    lines = [
        f"# {content['name']}",
        "",
        f"{content['cases']} accepted cases of {content['patients']} patients: {content['training']} for training, "
        f"{validation_count} for validation. No patient is in both.",
        "",
        f"Made by {content['program']} on {content['created']}, format `{content['format']}`. Spacing {least} to "
        f"{most} mm.",
        "",
        "## Segments",
        "",
        "| value | segment | cases | mean ml | SD | least | most | expected Dice as filled |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for segment in content["segments"]:
        ml, dice = segment["ml"], segment["expected_dice"]
        likely = "" if dice is None else f"{dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})"
        figures = " | ".join(f"{ml[name]:.3g}" for name in ("mean", "standard_deviation", "min", "max"))
        name = segment["name"].replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {segment['value']} | {name} | {segment['cases']} | {figures} | {likely} |")
    lines += [
        "",
        "Expected Dice is the mean over the cases of what the engine expected of its fill, before a person corrected "
        "and accepted it; in brackets the mean 90 % prediction interval.",
        "",
        "## How the labels were made",
        "",
        *(f"- {share:.1%} of the slices {_ORIGINS[origin]}" for origin, share in content["labelled_by"].items()),
        *(f"- {count} cases: {engine}" for engine, count in content["engines"].items()),
        "",
        "## Consistency",
        "",
        *([f"- {sentence}" for sentence in content["findings"]] or ["Nothing was conspicuous."]),
        "",
    ]
    return "\n".join(lines)


_ORIGINS = {
    str(LabelOrigin.PAINTED): "painted by a person",
    str(LabelOrigin.CORRECTED): "filled by an engine and corrected by a person",
    str(LabelOrigin.ACCEPTED): "filled by an engine and accepted as they were",
}
