"""Job: everything a run needs to know beside the voxels. Plain data, JSON both ways, versioned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

JOB_VERSION = 3
_MOST_SECONDS = 1e9


class Device(StrEnum):
    """Where an engine computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


@dataclass(frozen=True)
class Job:
    """One run of one engine over a range of slices.

    Attributes
    ----------
    engine : str
        Name of the engine, never 'auto'.
    start, stop : int
        Slices to fill along the support's axis: start <= index < stop. Labelled ones among them stay as they are.
    device : Device
    options : mapping of str to number, str or bool
        The engine's own options; those left out have the engine's defaults.
    budget : float or None
        Seconds after which the user wants the run over, None for as long as it takes. What an engine does better in
        more time it does in less, less well; drafts are always made.
    names : mapping of int to str
        Label value -> name of its segment; empty for engines that do not go by names.
    """

    engine: str
    start: int
    stop: int
    device: Device = Device.AUTO
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: float | None = None
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def slices(self) -> range:
        """The range of slices."""
        return range(self.start, self.stop)

    def with_share(self, count: int) -> Job:
        """This job as one of `count` runs that follow each other within its time limit."""
        return self if self.budget is None else replace(self, budget=self.budget / count)

    def to_json(self) -> dict[str, Any]:
        """Plain dict with the version of this format."""
        return {"version": JOB_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, KeyError, TypeError
            Not a job, or one of another version.
        """
        if data["version"] != JOB_VERSION:
            raise ValueError(f"job version {data['version']}, this program reads {JOB_VERSION}")
        device, options, budget = Device(data["device"]), dict(data["options"]), data["budget"]
        # JSON knows no keys but texts.
        names = {int(label): str(name) for label, name in data["names"].items()}
        job = cls(data["engine"], data["start"], data["stop"], device, options, budget, names)
        if not isinstance(job.engine, str) or type(job.start) is not int or type(job.stop) is not int:
            raise TypeError("engine must be a name, start and stop whole numbers")
        if not 0 <= job.start <= job.stop:
            raise ValueError(f"slice range {job.start}:{job.stop}")
        if not is_budget(budget):
            raise ValueError(f"time limit {budget!r}")
        return job


def is_budget(value: object) -> bool:
    """Whether a value is a time limit: None, or a number of seconds greater than 0."""
    if value is None:
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MOST_SECONDS
