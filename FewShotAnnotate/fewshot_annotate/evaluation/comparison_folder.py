"""ComparisonFolder: a comparison that a worker runs for another program, on disk.

===================  ====================================================================================
request.json         what is compared
input                a run folder: the volume and the labelled slices of each layer
trials               finished trials, see `trial_store.py`
events.jsonl         events of the worker
worker.log           its stderr
cancel               its presence asks the worker to stop
result.json          result, see `summary.py`
report.html          the report, where the packages for one are installed
===================  ====================================================================================
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..core.errors import InputError, Message
from ..core.events import Event, Expected, SliceDone
from ..core.job import Device, Job
from ..core.reading import DamagedContentError, read_json_as
from ..core.storage import write_json
from ..core.support import Support
from ..core.volume import Segment, Volume
from ..jobs.planning import EngineSettings
from ..jobs.process import WorkerProcess
from ..jobs.run_folder import JobFolder
from ..jobs.work_folder import WorkFolder
from .case import CaseStructure, ComparisonCase
from .design import TrialDesign


@dataclass(frozen=True)
class ComparisonRequest:
    """Request for a comparison.

    Attributes
    ----------
    engine_settings : tuple of EngineSettings
    design : TrialDesign
    segments : tuple of tuples of Segment
        Those of each layer, in the order of its labels.
    """

    engine_settings: tuple[EngineSettings, ...]
    design: TrialDesign
    segments: tuple[tuple[Segment, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "contenders": [asdict(settings) for settings in self.engine_settings],
            "wish": asdict(self.design),
            "segments": [[asdict(segment) for segment in layer] for layer in self.segments],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ComparisonRequest:
        """The inverse of `to_json`."""
        engine_settings = tuple(
            EngineSettings(**{**entry, "device": Device(entry["device"])}) for entry in data["contenders"]
        )
        design = TrialDesign(**{**data["wish"], "sizes": tuple(data["wish"]["sizes"])})
        layers = tuple(tuple(map(_segment, layer)) for layer in data["segments"])
        return cls(engine_settings, design, layers)


class ComparisonFolder(WorkFolder):
    """One comparison on disk; `write` creates it.

    Parameters
    ----------
    path : Path
        A folder that exists.
    """

    @property
    def input_path(self) -> Path:
        """Run folder with the volume and the labelled slices."""
        return self.path / "input"

    @property
    def trials_path(self) -> Path:
        """Folder of the finished trials."""
        return self.path / "trials"

    @property
    def result_path(self) -> Path:
        """File with the result."""
        return self.path / "result.json"

    @property
    def report_path(self) -> Path:
        """The report; it need not exist."""
        return self.path / "report.html"

    def write(self, request: ComparisonRequest, volume: Volume, supports: Sequence[Support]) -> None:
        """Write the request, the volume and the labelled slices of each layer.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        jobs = [Job(engine=request.engine_settings[0].engine, slices=())] * len(supports)
        JobFolder.create_layers(self.input_path, jobs, volume, supports)
        write_json(self.path / "request.json", request.to_json())

    def read(self) -> tuple[ComparisonRequest, ComparisonCase]:
        """The request, and the case to compare on.

        Raises
        ------
        InputError
            The folder holds no comparison.
        """
        try:
            request = read_json_as(self.path / "request.json", ComparisonRequest.from_json)
        except (OSError, DamagedContentError):
            raise InputError(
                "job_folder_unreadable", path=self.path, detail=Message("file_is_damaged", file="request.json")
            ) from None
        layers = JobFolder.reopen_layers(self.input_path)
        if len(layers) != len(request.segments):
            raise InputError(
                "job_folder_unreadable", path=self.path, detail=Message("file_is_damaged", file="request.json")
            )
        return request, _case(layers, request.segments)

    def concerns(self, event: Event) -> bool:
        """Whether an event can be about a comparison: one about a slice or a label cannot."""
        return not isinstance(event, (SliceDone, Expected))


class ComparisonProcess(WorkerProcess):
    """The worker of one comparison.

    Parameters
    ----------
    folder : ComparisonFolder
    python : str
        Program that runs the worker.
    """

    script: ClassVar[Path] = Path(__file__).resolve().with_name("worker.py")
    failure_advice: ClassVar[Message] = Message("comparison_can_be_repeated")

    def __init__(self, folder: ComparisonFolder, python: str = sys.executable) -> None:
        super().__init__(folder, python)

    def _options(self) -> list[str]:
        """The worker runs the trials with the same Python."""
        return ["--python", self._python]


def _case(layers: Sequence[JobFolder], segments: Sequence[Sequence[Segment]]) -> ComparisonCase:
    structures = [
        CaseStructure(number, position, segment)
        for number, named in enumerate(segments)
        for position, segment in enumerate(named)
    ]
    return ComparisonCase(layers[0].read_volume(), tuple(layer.read_support() for layer in layers), tuple(structures))


def _segment(data: dict[str, Any]) -> Segment:
    return Segment(**{**data, "colour": tuple(data["colour"])})
