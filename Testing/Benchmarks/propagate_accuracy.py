"""Accuracy of `propagate` beside simpler ways to fill slices, as a table.

Every n-th slice of each case is labelled, empty ones too, starting at slice 0 and at slice n // 2. Dice is pooled
over the unlabelled slices, once between the first and the last labelled slice and once over all; the mean is over
labels of at least 200 voxels.

    python Testing/Benchmarks/propagate_accuracy.py [--cases ct_spleen ...] [--spacings 4 8 16] [--axis 0] [--peers]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from FewShotAnnotateLib.core.axis import SliceAxis
from FewShotAnnotateLib.core.support import Support
from FewShotAnnotateLib.core.volume import Geometry, LabelMap, Volume
from FewShotAnnotateLib.engines.base import label_slice
from FewShotAnnotateLib.engines.propagate import Propagate
from peers import PEERS, run_peer
from rich.console import Console
from rich.table import Table
from scipy.ndimage import distance_transform_edt
from support.data import case_names, load_case

LEAST_VOXELS = 200
NEAREST_COPY = "nearest copy"
SHAPE_INTERPOLATION = "shape interpolation"
PROPAGATE = "propagate"
# Errors below this count as this in ratios: a perfect result must not decide the mean.
LEAST_ERROR = 1e-3


@dataclass(frozen=True)
class Setting:
    """One case with every `spacing`-th slice labelled from `first` on, along an array axis."""

    case: str
    axis: int
    spacing: int
    first: int


@dataclass(frozen=True)
class Score:
    """Mean Dice between labelled slices and over all unlabelled slices (None: no such slice), and seconds."""

    between: float | None
    everywhere: float | None
    seconds: float


def nearest_copy(image: np.ndarray, labels: np.ndarray, indices: list[int]) -> np.ndarray:
    """The nearest labelled slice, the lower one of two."""
    distances = np.abs(np.array(indices)[:, None] - np.arange(len(labels)))
    return labels[np.array(indices)[distances.argmin(axis=0)]]


def shape_interpolation(image: np.ndarray, labels: np.ndarray, indices: list[int]) -> np.ndarray:
    """Signed distances to each outline, blended (Raya & Udupa 1990). A label on one side shrinks until midway."""
    result = nearest_copy(image, labels, indices)
    for before, after in pairwise(indices):
        inner = range(before + 1, after)
        best = np.zeros((len(inner), *labels.shape[1:]), dtype=np.float32)
        result[before + 1 : after] = 0
        for value in np.union1d(labels[before], labels[after]):
            if value == 0 or not inner:
                continue
            start, end = _signed_distance(labels[before] == value), _signed_distance(labels[after] == value)
            start = np.full_like(end, -end.max()) if start is None and end is not None else start
            end = np.full_like(start, -start.max()) if end is None and start is not None else end
            for place, index in enumerate(inner):
                share = (index - before) / (after - before)
                blend = (1 - share) * start + share * end
                wins = blend > best[place]
                best[place][wins] = blend[wins]
                result[index][wins] = value
    return result


def _signed_distance(mask: np.ndarray) -> np.ndarray | None:
    """Pixels to the outline, positive inside; None for an empty mask."""
    if not mask.any():
        return None
    outside = distance_transform_edt(~mask) if not mask.all() else np.zeros(mask.shape)
    return np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - outside).astype(np.float32)


def propagate(image: np.ndarray, labels: np.ndarray, indices: list[int]) -> np.ndarray:
    """The engine, in this process."""
    geometry = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), indices)
    engine = Propagate()
    engine.prepare(Volume(image, geometry), support)
    result = labels.copy()
    for index, probabilities in engine.predict(support.unlabelled(range(len(image)))):
        result[index], _ = label_slice(probabilities, support.labels)
    return result


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, list[int]], np.ndarray]] = {
    NEAREST_COPY: nearest_copy,
    SHAPE_INTERPOLATION: shape_interpolation,
    PROPAGATE: propagate,
}


def mean_dice(truth: np.ndarray, result: np.ndarray, slices: list[int]) -> float | None:
    """Mean over labels of Dice pooled over slices; labels that neither side has there do not count."""
    sizes = np.bincount(truth.reshape(-1))
    values = []
    for value in np.flatnonzero(sizes >= LEAST_VOXELS):
        own, other = truth[slices] == value, result[slices] == value
        if value and (own.any() or other.any()):
            values.append(2 * np.count_nonzero(own & other) / (np.count_nonzero(own) + np.count_nonzero(other)))
    return float(np.mean(values)) if values else None


def measure(setting: Setting, methods: list[str]) -> dict[str, Score]:
    """Score of each method in one setting; nothing where the labelled slices hold no label."""
    volume, label_map = load_case(setting.case)
    axis = SliceAxis(setting.axis)
    image, truth = (np.ascontiguousarray(axis.slices(array)) for array in (volume.array, label_map.array))
    indices = list(range(setting.first, len(truth), setting.spacing))
    if not indices or not truth[indices].any():
        return {}
    labels = np.zeros_like(truth)
    labels[indices] = truth[indices]
    unlabelled = [index for index in range(len(truth)) if index not in indices]
    between = [index for index in unlabelled if indices[0] < index < indices[-1]]
    scores = {}
    for method in methods:
        if method in METHODS:
            began = time.perf_counter()
            result = METHODS[method](image, labels, indices)
            seconds = time.perf_counter() - began
        else:
            peer = run_peer(method, image, labels, indices)
            result, seconds = peer.labels, peer.seconds
        scores[method] = Score(mean_dice(truth, result, between), mean_dice(truth, result, unlabelled), seconds)
    return scores


def error_ratio(scores: list[dict[str, Score]], rivals: list[str], over: str) -> float:
    """Geometric mean of the error (1 - Dice) of `propagate` over that of the best rival."""
    ratios = []
    for row in scores:
        own = getattr(row[PROPAGATE], over)
        others = [getattr(row[rival], over) for rival in rivals]
        if own is not None and None not in others:
            ratios.append(max(1 - own, LEAST_ERROR) / max(1 - max(others), LEAST_ERROR))
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else float("nan")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of cases; default $FEWSHOT_DATA, else ../shared/data")
    parser.add_argument("--cases", nargs="+", help="default: all")
    parser.add_argument("--spacings", nargs="+", type=int, default=[4, 8, 16], help="every n-th slice is labelled")
    parser.add_argument("--axis", type=int, default=0, choices=(0, 1, 2), help="array axis")
    parser.add_argument("--jobs", type=int, default=1, help="settings measured at a time")
    parser.add_argument("--peers", action="store_true", help="Slicer's own tools too (needs slicer-core)")
    chosen = parser.parse_args()
    if chosen.data:
        os.environ["FEWSHOT_DATA"] = str(chosen.data.resolve())
    methods = [*METHODS, *(PEERS if chosen.peers else ())]
    settings = [
        Setting(case, chosen.axis, spacing, first)
        for case in chosen.cases or case_names()
        for spacing in chosen.spacings
        for first in (0, spacing // 2)
    ]
    table = Table("case", "every", "from", *methods, title="Dice between labelled slices / over all (seconds)")
    with ProcessPoolExecutor(chosen.jobs) as pool:
        scores = list(pool.map(measure, settings, [methods] * len(settings)))
    for setting, row in zip(settings, scores, strict=True):
        if row:
            cells = [_shown(row[method]) for method in methods]
            table.add_row(setting.case, str(setting.spacing), str(setting.first), *cells)
    Console(width=150).print(table)
    present = [row for row in scores if row]
    rivals = [method for method in methods if method != PROPAGATE]
    for rival in rivals:
        print(
            f"error of propagate / error of {rival}, geometric mean: {error_ratio(present, [rival], 'between'):.3f}"
        )
    between, everywhere = (error_ratio(present, rivals, over) for over in ("between", "everywhere"))
    print(f"against the best of them: {between:.3f} between labelled slices, {everywhere:.3f} over all")


def _shown(score: Score) -> str:
    dice = ["  -  " if value is None else f"{value:.3f}" for value in (score.between, score.everywhere)]
    return f"{dice[0]} / {dice[1]} ({score.seconds:.1f})"


if __name__ == "__main__":
    main()
