"""Report and tables of a study."""

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
    """A cell of a table; `best` if it holds the highest Dice of its column."""

    point: GroupPoint
    best: bool


def write_tables(folder: Path, study: StudyResult) -> None:
    """groups.csv, volumes.csv and labels.csv."""
    points = group_points(study)
    groups = (
        (
            point.group,
            point.engine,
            point.size,
            point.volumes,
            f"{point.dice:.4f}",
            f"{point.spread:.4f}" if point.volumes > 1 else "",
        )
        for point in points
    )
    write_csv(folder / "groups.csv", GROUPS_HEAD, groups)
    every = [(volume, point) for volume in study.volumes for point in volume.points]
    volumes = ((volume.name, volume.group, *point_row(point)) for volume, point in every)
    write_csv(folder / "volumes.csv", VOLUMES_HEAD, volumes)
    labels = (
        (volume.name, volume.group, point.engine, point.size, label, f"{value:.4f}")
        for volume, point in every
        for label, value in zip(volume.labels, point.by_label, strict=True)
    )
    write_csv(folder / "labels.csv", LABELS_HEAD, labels)


def study_png(study: StudyResult) -> bytes:
    """The plot of a study: one panel for each group."""
    points = group_points(study)
    panels = {group: [point for point in points if point.group == group] for group in groups_of(study)}
    return curve_png({group: group_curve for group, group_curve in panels.items() if group_curve}, study.engines)


def write_study_report(
    path: Path, study: StudyResult, engine_settings: Sequence[EngineSettings], design: TrialDesign, plot: bytes
) -> None:
    """Write the report. Volumes are identified by their names in the manifest alone."""
    settings = {engine.engine: settings_of(engine) for engine in engine_settings}
    groups = groups_of(study)
    named = sum(group != list(groups)[-1] for group in groups) or 1
    write_html(
        path,
        "study.html",
        findings=list(map(str, findings(study))),
        plot=data_uri(plot),
        groups=[_group(study, group, volumes) for group, volumes in groups.items()],
        groups_named=f"{named} group{'' if named == 1 else 's'}",
        engines=[
            {
                "name": engine,
                "colour": colour_of(engine, study.engines),
                "settings": settings[engine],
                **dict(zip(("start", "step"), seconds_of(study, engine), strict=True)),
            }
            for engine in study.engines
        ],
        unscored=study.unscored,
        failed=[(volume.name, engine) for volume in study.volumes for engine in volume.unscored],
        volumes=[_volume(study, volume) for volume in study.volumes],
        design=design,
    )


def _group(study: StudyResult, group: str, volumes: Sequence[VolumeScores]) -> Mapping[str, Any]:
    sizes = sizes_of(volumes)
    points = [point for point in group_points(study) if point.group == group]
    return {
        "name": group,
        "volumes": len(volumes),
        "sizes": sizes,
        "one": _cells(points, 1),
        "few": _cells(points, sizes[-1]) if sizes and sizes[-1] > 1 else {},
    }


def _cells(points: Sequence[GroupPoint], size: int) -> dict[str, Cell]:
    at_size = [point for point in points if point.size == size]
    best = max((point.dice for point in at_size), default=0.0)
    return {point.engine: Cell(point, len(at_size) > 1 and point.dice == best) for point in at_size}


def _volume(study: StudyResult, volume: VolumeScores) -> Mapping[str, Any]:
    """A volume's row, at its largest size."""
    size = max((point.size for point in volume.points), default=0)
    dice = {point.engine: point.dice for point in volume.points if point.size == size}
    return {
        "name": volume.name,
        "group": volume.group,
        "labels": len(volume.labels),
        "labelled": volume.labelled,
        "held_out": volume.held_out,
        "size": size or "",
        "dice": [dice.get(engine) for engine in study.engines],
        "best": max(dice.values()) if len(dice) > 1 else None,
    }
