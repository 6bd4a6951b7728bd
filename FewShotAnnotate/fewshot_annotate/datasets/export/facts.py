"""Facts about a case, without its voxels, for the consistency checks and the data sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...core.expected_dice import ExpectedDice
from ...core.intensity import intensity_quantiles
from ...core.volume import Geometry
from ..task.example import LabelOrigin, image_digest
from .source import LoadedCase, SourceCase

_QUANTILE_SAMPLE_VOXELS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """Facts about one case.

    Attributes
    ----------
    number : str
        Name of the case in the export.
    name : str
        Its name in the batch or task, for messages.
    patient, digest : str
    geometry : Geometry
    millilitres : tuple of float
        Volume of each segment.
    centres : tuple of ((float, float, float) or None)
        Centre of each segment in mm, LPS; None where it is absent.
    quantiles : tuple of 5 floats
        Of the image's intensities.
    origins : mapping of LabelOrigin to int
    engine : str
    expected : mapping of str to ExpectedDice
    """

    number: str
    name: str
    patient: str
    digest: str
    geometry: Geometry
    millilitres: tuple[float, ...]
    centres: tuple[tuple[float, float, float] | None, ...]
    quantiles: tuple[float, ...]
    origins: Mapping[LabelOrigin, int]
    engine: str
    expected: Mapping[str, ExpectedDice]


def facts_of(number: str, case: SourceCase, loaded: LoadedCase, labels: int) -> CaseFacts:
    """Facts about a loaded case.

    Parameters
    ----------
    number : str
        Name of the case in the export.
    case : SourceCase
    loaded : LoadedCase
        Its voxels.
    labels : int
        Number of segments.
    """
    geometry = loaded.volume.geometry
    voxels = np.bincount(loaded.labels.ravel(), minlength=labels + 1)[1:]
    return CaseFacts(
        number=number,
        name=case.name,
        patient=loaded.patient,
        digest=image_digest(loaded.volume.array),
        geometry=geometry,
        millilitres=tuple(float(count) * geometry.voxel_ml for count in voxels),
        centres=tuple(_centre(loaded.labels == value, geometry) for value in range(1, labels + 1)),
        quantiles=intensity_quantiles(loaded.volume.array, _QUANTILE_SAMPLE_VOXELS),
        origins=loaded.origins,
        engine=case.engine,
        expected=case.expected,
    )


def _centre(mask: np.ndarray, geometry: Geometry) -> tuple[float, float, float] | None:
    if not mask.any():
        return None
    profiles = [mask.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in (2, 1, 0)]
    index = np.array([np.average(np.arange(len(profile)), weights=profile) for profile in profiles])
    matrix = geometry.index_to_world
    x, y, z = matrix @ index + np.array(geometry.origin)
    return float(x), float(y), float(z)
