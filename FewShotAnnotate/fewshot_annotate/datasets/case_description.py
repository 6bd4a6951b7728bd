"""Description of a case by features, by which cases are compared to choose the one to review next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, Message
from ..core.intensity import QUANTILES, intensity_quantiles
from ..core.reading import DamagedContentError, decoding
from ..core.volume import Geometry, LabelMap, Volume
from ..io.files import read_volume
from .accepted_case import AcceptedCase

# Entry of a case's record, with what `ranking_record` returns.
RANKING = "ranking"
_QUANTILE_SAMPLE_VOXELS = 1 << 20
# Labelled voxels below this confidence count as undecided: there the networks of an ensemble disagree.
_UNDECIDED_CONFIDENCE = 0.7
# Smaller volumes are set to this, so that their logarithm is defined.
_MIN_VOLUME_ML = 0.01


@dataclass(frozen=True, kw_only=True)
class CaseDescription:
    """Features by which cases are compared and ranked.

    Attributes
    ----------
    name : str
    features : tuple of float
        See `case_features`.
    error : float
        1 - expected Dice of its fill, mean over segments; 0 for labelled cases.
    undecided : float
        Fraction of the labelled voxels with a low probability.
    """

    name: str
    features: tuple[float, ...]
    error: float = 0.0
    undecided: float = 0.0


def case_features(geometry: Geometry, quantiles: Sequence[float], millilitres: Sequence[float]) -> tuple[float, ...]:
    """Features of a case: logarithms of spacing, extent and volumes, and the shape of its histogram.

    Parameters
    ----------
    geometry : Geometry
        Of the image.
    quantiles : sequence of 5 floats
        Intensities at the fractions `QUANTILES`.
    millilitres : sequence of float
        Volume of each segment in ml.
    """
    spacing = np.sort(geometry.spacing)
    extent = np.sort(np.array(geometry.shape[::-1]) * geometry.spacing)
    _, low, middle, high, _ = quantiles
    balance = (middle - low) / (high - low) if high > low else 0.5
    volumes = np.log(np.maximum(millilitres, _MIN_VOLUME_ML))
    return (*map(float, np.log(spacing)), *map(float, np.log(extent)), *map(float, volumes), float(balance))


def ranking_record(volume: Volume, label_map: LabelMap, confidence: np.ndarray) -> dict[str, Any]:
    """Facts about a filled case for the ranking, beside its expected Dice, as JSON, so that no image has to be read.

    Parameters
    ----------
    volume : Volume
    label_map : LabelMap
    confidence : float ndarray [k, j, i]
    """
    values = [segment.value for segment in label_map.segments]
    counts = np.bincount(label_map.array.ravel(), minlength=max(values, default=0) + 1)
    labelled = label_map.array != 0
    labelled_confidence = confidence[labelled]
    return {
        "geometry": volume.geometry.to_json(),
        "quantiles": list(intensity_quantiles(volume.array, _QUANTILE_SAMPLE_VOXELS)),
        "voxels": {segment.name: int(counts[segment.value]) for segment in label_map.segments},
        "undecided": float((labelled_confidence < _UNDECIDED_CONFIDENCE).mean()) if labelled.any() else 1.0,
        "confidence": float(labelled_confidence.mean()) if labelled.any() else 0.0,
    }


def describe_case(case: AcceptedCase, names: list[str]) -> tuple[CaseDescription, list[str]]:
    """Description of a filled case.

    Parameters
    ----------
    case : AcceptedCase
    names : list of str
        Segments whose volumes are features; if empty, those of the case.

    Returns
    -------
    CaseDescription
    list of str
        The names.

    Raises
    ------
    InputError
        Its files cannot be read, where an earlier version filled it.
    """
    try:
        record = case.outcome[RANKING]
        source = case.outcome, names
        return case.files.memo.of(("description", case.name), source, lambda: _from_record(case, record, names))
    except (KeyError, DamagedContentError):  # written by an earlier version
        volume, label_map = case.read()
        confidence = _confidence(case.files.confidence, volume.geometry)
        return _from_record(case, ranking_record(volume, label_map, confidence), names)


def _from_record(
    case: AcceptedCase, record: Mapping[str, Any], names: list[str]
) -> tuple[CaseDescription, list[str]]:
    with decoding():
        voxels = {str(name): int(count) for name, count in record["voxels"].items()}
        geometry = Geometry.from_json(record["geometry"])
        quantiles = [float(value) for value in record["quantiles"]]
        if len(quantiles) != len(QUANTILES):
            raise ValueError("quantiles")
        undecided, confidence = float(record["undecided"]), float(record["confidence"])
    names = names or sorted(voxels)
    expected = [label_dice.dice for label_dice in case.expected.values()]
    description = CaseDescription(
        name=case.name,
        features=case_features(geometry, quantiles, [voxels.get(name, 0) * geometry.voxel_ml for name in names]),
        error=1 - (float(np.mean(expected)) if expected else confidence),
        undecided=undecided,
    )
    return description, names


def _confidence(path: Path, geometry: Geometry) -> np.ndarray:
    try:
        array = read_volume(path).array
    except InputError as error:
        if error.code != "volume_constant":
            raise
        return np.ones(geometry.shape, dtype=np.float32)
    if array.shape != geometry.shape:
        raise InputError("file_unreadable", path=path, detail=Message("other_size_than_image"))
    return array
