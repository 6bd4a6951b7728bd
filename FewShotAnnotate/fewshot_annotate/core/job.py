"""Job: the description of a run beside its voxels, written as versioned JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from .errors import InputError

JOB_VERSION = 4
# Version 3 described the slices by a range that included labelled ones.
_RANGE_VERSION = 3
READABLE_VERSIONS = (_RANGE_VERSION, JOB_VERSION)
_MAX_SECONDS = 1e9
# More than any volume has.
_MAX_SLICES = 1 << 20


class Device(StrEnum):
    """Device an engine computes on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of one engine over some slices.

    Attributes
    ----------
    engine : str
        Name of the engine, never 'auto'.
    slices : tuple of int, ascending
        The slices to fill along the support's axis, none of them labelled.
    device : Device
    options : mapping of str to number, str or bool
        The engine's own options; those left out have the engine's defaults.
    budget : float or None
        Time limit in seconds; None for no limit. Engines trade accuracy for time; drafts are always made.
    names : mapping of int to str
        Segment name by label value; empty for engines that do not use names.
    model : str or None
        Absolute path of the folder of a model that was trained for a task, for engines that use one.
    """

    engine: str
    slices: tuple[int, ...]
    device: Device = Device.AUTO
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: float | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    model: str | None = None

    def with_share(self, count: int) -> Job:
        """The job with its time limit divided by `count`, for runs that follow each other."""
        return self if self.budget is None else replace(self, budget=self.budget / count)

    def to_json(self) -> dict[str, Any]:
        """Dict of plain values, with the version of the format."""
        return {"version": JOB_VERSION, **asdict(self), "slices": list(self.slices)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], labelled: Collection[int] = ()) -> Job:
        """The inverse of `to_json`.

        Parameters
        ----------
        data : mapping
        labelled : collection of int
            The labelled slices, which version 3 of the format does not distinguish from those to fill.

        Raises
        ------
        ValueError, KeyError, TypeError
            Not a job, or of another version.
        """
        if data["version"] not in READABLE_VERSIONS:
            raise ValueError(f"job version {data['version']}, this program reads {JOB_VERSION}")
        slices = _slices_of_range(data, labelled) if data["version"] == _RANGE_VERSION else data["slices"]
        device, options, budget = Device(data["device"]), dict(data["options"]), data["budget"]
        # JSON keys are strings.
        names = {int(label): str(name) for label, name in data["names"].items()}
        model = data.get("model")  # missing in early files of version 4
        job = cls(
            engine=data["engine"],
            slices=tuple(slices),
            device=device,
            options=options,
            budget=budget,
            names=names,
            model=model,
        )
        if not isinstance(job.engine, str) or not isinstance(model, str | None):
            raise TypeError("engine must be a name, model a path")
        if any(type(index) is not int for index in job.slices):
            raise TypeError("slices must be whole numbers")
        if any(index < 0 for index in job.slices) or any(
            previous >= following for previous, following in pairwise(job.slices)
        ):
            raise ValueError("slices must ascend without repeats")
        if not is_time_limit(budget):
            raise ValueError(f"time limit {budget!r}")
        return job


def parse_device(name: str) -> Device:
    """The device of a name; raises `InputError` if there is none."""
    if name not in tuple(Device):
        raise InputError("device_unknown", device=name, known=", ".join(Device))
    return Device(name)


def is_time_limit(value: object) -> bool:
    """Whether a value is a time limit: None, or a number of seconds greater than 0."""
    if value is None:
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MAX_SECONDS


def _slices_of_range(data: Mapping[str, Any], labelled: Collection[int]) -> list[int]:
    start, stop = data["start"], data["stop"]
    if type(start) is not int or type(stop) is not int:
        raise TypeError("start and stop must be whole numbers")
    if not 0 <= start <= stop <= _MAX_SLICES:
        raise ValueError(f"slice range {start}:{stop}")
    return [index for index in range(start, stop) if index not in labelled]
