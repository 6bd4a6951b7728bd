"""Attributes of DICOM headers that may be damaged, and suppression of the warnings of pydicom and highdicom."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...core.errors import InputError

# SOP classes of segmentations, which hold one bit or one label per voxel, and of dose maps.
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
# Attributes that give the position of an image, and the number of their values.
_PLANE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6}


@contextlib.contextmanager
def suppress_dicom_warnings() -> Iterator[None]:
    """Context manager: suppress warnings of pydicom and highdicom, which quote patient data, and value validation."""
    from pydicom.config import disable_value_validation

    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def require_pydicom() -> None:
    """Raise `InputError` if pydicom is not installed."""
    if find_spec("pydicom") is None:
        raise InputError("package_missing", package="pydicom", install="pydicom")


def file_name(header: Any) -> str:
    """Name of the file that a header was read from."""
    return Path(str(header.filename)).name


def frame_count(header: Any) -> int:
    """Number of Frames, 1 where it is missing."""
    try:
        return max(int(attribute(header, "NumberOfFrames") or 1), 1)
    except (TypeError, ValueError, OverflowError):
        return 1


def has_position(header: Any) -> bool:
    """Whether a header gives the position and orientation of its image or of each frame."""
    if attribute(header, "PerFrameFunctionalGroupsSequence"):
        return True
    return all(len(numbers(header, name)) == count for name, count in _PLANE.items())


def attribute(dataset: Any, name: str) -> Any:
    """Value of an attribute; None where it is missing or damaged.

    pydicom decodes a value on access, and raises errors of many types if it is damaged: BytesLengthException,
    struct.error, OSError, NotImplementedError.
    """
    try:
        return dataset.get(name)
    except Exception:
        return None


def numbers(dataset: Any, name: str) -> tuple[float, ...]:
    """Numbers of an attribute; empty where it is missing, empty, damaged or not made of finite numbers."""
    try:
        value = attribute(dataset, name) if dataset is not None else None
        if value is None or value == "":
            return ()
        values = tuple(float(number) for number in ([value] if isinstance(value, (int, float, str)) else value))
    except (TypeError, ValueError, OverflowError):
        return ()
    return values if all(abs(number) < float("inf") for number in values) else ()
