"""Job: everything a run needs to know beside the voxels. Plain data, JSON both ways, versioned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

JOB_VERSION = 1


class Device(StrEnum):
    """Where an engine computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


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
    """

    engine: str
    start: int
    stop: int
    device: Device = Device.AUTO
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slices(self) -> range:
        """The range of slices."""
        return range(self.start, self.stop)

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
        job = cls(data["engine"], data["start"], data["stop"], Device(data["device"]), dict(data["options"]))
        if not isinstance(job.engine, str) or type(job.start) is not int or type(job.stop) is not int:
            raise TypeError("engine must be a name, start and stop whole numbers")
        if not 0 <= job.start <= job.stop:
            raise ValueError(f"slice range {job.start}:{job.stop}")
        return job
