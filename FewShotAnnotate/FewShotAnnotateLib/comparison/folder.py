"""ComparisonFolder: a comparison that a worker runs for another program, on disk.

===================  ====================================================================================
request.json         what is compared
layerN               a job folder: the volume and the labelled slices of one layer
trials               finished trials, see `store.py`
events.jsonl         what the worker tells
worker.log           its stderr
cancel               its presence asks the worker to stop
result.json          what was found, see `summary.py`
report.html          the report, where the packages for one are installed
===================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.event import Event, Expected, SliceDone
from ..core.job import Device
from ..core.reading import read_json
from ..core.storage import write_json
from ..core.volume import Segment
from ..run.folder import JobFolder
from ..run.work_folder import WorkFolder
from .case import Case, Structure
from .design import Wish
from .trial import Contender

_DAMAGE = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Request:
    """What is compared.

    Attributes
    ----------
    contenders : tuple of Contender
    wish : Wish
    segments : tuple of tuples of Segment
        Those of each layer, in the order of its labels.
    """

    contenders: tuple[Contender, ...]
    wish: Wish
    segments: tuple[tuple[Segment, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Request:
        """The inverse of `to_json`."""
        contenders = tuple(Contender(**{**one, "device": Device(one["device"])}) for one in data["contenders"])
        wish = Wish(**{**data["wish"], "sizes": tuple(data["wish"]["sizes"])})
        layers = tuple(tuple(map(_segment, layer)) for layer in data["segments"])
        return cls(contenders, wish, layers)


class ComparisonFolder(WorkFolder):
    """One comparison on disk; `write` begins it.

    Parameters
    ----------
    path : Path
        A folder that exists.
    """

    def layer_path(self, number: int) -> Path:
        """Job folder of a layer."""
        return self.path / f"layer{number}"

    @property
    def trials_path(self) -> Path:
        """Folder of the finished trials."""
        return self.path / "trials"

    @property
    def result_path(self) -> Path:
        """File with what was found."""
        return self.path / "result.json"

    @property
    def report_path(self) -> Path:
        """The report; it need not exist."""
        return self.path / "report.html"

    def write(self, request: Request) -> None:
        """Keep what is to be compared.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        write_json(self.path / "request.json", request.to_json())

    def read(self) -> tuple[Request, Case]:
        """What is to be compared, and on which slices.

        Raises
        ------
        InputError
            The folder holds no comparison.
        """
        try:
            request = Request.from_json(read_json(self.path / "request.json"))
        except _DAMAGE:
            raise InputError("job_folder_unreadable", path=self.path, detail="request.json is damaged") from None
        layers = [JobFolder.reopen(self.layer_path(number)) for number in range(len(request.segments))]
        return request, _case(layers, request.segments)

    def concerns(self, event: Event) -> bool:
        """Whether an event can be about a comparison: one about a slice or a label cannot."""
        return not isinstance(event, (SliceDone, Expected))


def _case(layers: Sequence[JobFolder], segments: Sequence[Sequence[Segment]]) -> Case:
    structures = [
        Structure(number, place, segment)
        for number, named in enumerate(segments)
        for place, segment in enumerate(named)
    ]
    return Case(layers[0].read_volume(), tuple(layer.read_support() for layer in layers), tuple(structures))


def _segment(data: dict[str, Any]) -> Segment:
    return Segment(**{**data, "colour": tuple(data["colour"])})
