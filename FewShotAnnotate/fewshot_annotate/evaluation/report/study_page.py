"""A study's report and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.storage import write_csv
from ...jobs.planning import EngineSettings
from ..design import TrialDesign
from ..study import StudyResult, VolumeScores
from ..study_scores import GroupPoint, findings, group_points, groups_of, seconds_of, sizes_of
from .page import data_uri, settings_of, write_html
from .plot import colour_of, curve_png
from .tables import POINT_HEAD, point_row

GROUPS_HEAD = ("group", "engine", "support_size", "volumes", "dice_mean", "dice_sd")
VOLUMES_HEAD = ("volume", "group", *POINT_HEAD)
LABELS_HEAD = ("volume", "group", "engine", "support_size", "label", "dice")


@dataclass(frozen=True)
class Cell:
    """A figure in a table; `best` in its column."""

    point: GroupPoint
    best: bool


def write_tables(folder: Path, found: StudyResult) -> None:
    """groups.csv, volumes.csv and labels.csv."""
    points = group_points(found)
    groups = (
        (
            one.group,
            one.engine,
            one.size,
            one.volumes,
            f"{one.dice:.4f}",
            f"{one.spread:.4f}" if one.volumes > 1 else "",
        )
        for one in points
    )
    write_csv(folder / "groups.csv", GROUPS_HEAD, groups)
    every = [(volume, one) for volume in found.volumes for one in volume.points]
    volumes = ((volume.name, volume.group, *point_row(one)) for volume, one in every)
    write_csv(folder / "volumes.csv", VOLUMES_HEAD, volumes)
    labels = (
        (volume.name, volume.group, one.engine, one.size, label, f"{value:.4f}")
        for volume, one in every
        for label, value in zip(volume.labels, one.by_label, strict=True)
    )
    write_csv(folder / "labels.csv", LABELS_HEAD, labels)


def study_png(found: StudyResult) -> bytes:
    """The plot of a study: one panel for each group."""
    points = group_points(found)
    panels = {group: [one for one in points if one.group == group] for group in groups_of(found)}
    return curve_png({group: own for group, own in panels.items() if own}, found.engines)


def write_study_report(
    path: Path, found: StudyResult, engine_settings: Sequence[EngineSettings], design: TrialDesign, plot: bytes
) -> None:
    """Write the report. Of volumes it holds the names that the manifest gives them, and nothing else."""
    settings = {one.engine: settings_of(one) for one in engine_settings}
    groups = groups_of(found)
    named = sum(group != list(groups)[-1] for group in groups) or 1
    write_html(
        path,
        "study.html",
        findings=findings(found),
        plot=data_uri(plot),
        groups=[_group(found, group, volumes) for group, volumes in groups.items()],
        groups_named=f"{named} group{'' if named == 1 else 's'}",
        engines=[
            {
                "name": engine,
                "colour": colour_of(engine, found.engines),
                "settings": settings[engine],
                **dict(zip(("start", "step"), seconds_of(found, engine), strict=True)),
            }
            for engine in found.engines
        ],
        unscored=found.unscored,
        failed=[(volume.name, one) for volume in found.volumes for one in volume.unscored],
        volumes=[_volume(found, volume) for volume in found.volumes],
        design=design,
    )


def _group(found: StudyResult, group: str, volumes: Sequence[VolumeScores]) -> Mapping[str, Any]:
    sizes = sizes_of(volumes)
    points = [one for one in group_points(found) if one.group == group]
    return {
        "name": group,
        "volumes": len(volumes),
        "sizes": sizes,
        "one": _cells(points, 1),
        "few": _cells(points, sizes[-1]) if sizes and sizes[-1] > 1 else {},
    }


def _cells(points: Sequence[GroupPoint], size: int) -> dict[str, Cell]:
    own = [one for one in points if one.size == size]
    best = max((one.dice for one in own), default=0.0)
    return {one.engine: Cell(one, len(own) > 1 and one.dice == best) for one in own}


def _volume(found: StudyResult, volume: VolumeScores) -> Mapping[str, Any]:
    """A volume's row, at its largest size."""
    size = max((one.size for one in volume.points), default=0)
    dice = {one.engine: one.dice for one in volume.points if one.size == size}
    return {
        "name": volume.name,
        "group": volume.group,
        "labels": len(volume.labels),
        "labelled": volume.labelled,
        "held_out": volume.held_out,
        "size": size or "",
        "dice": [dice.get(engine) for engine in found.engines],
        "best": max(dice.values()) if len(dice) > 1 else None,
    }
