"""Suggestion of slices to label next, from the uncertainty of a quick engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError, Message
from ..core.slice_axis import SliceAxis
from ..core.volume import Volume
from ..engines.base import RunContext
from ..engines.propagate.engine import FlowAlone
from ..guidance.suggestion import suggest
from ..guidance.uncertainty import Uncertainty
from .filling import Filling
from .labelled_layers import LabelledLayer
from .planning import FillRequest, slices_to_fill

NOTHING_LEFT = ("nothing_to_fill", "one_labelled_slice")


@dataclass(frozen=True, kw_only=True)
class SuggestedSlice:
    """A slice to label next.

    Attributes
    ----------
    index : int
        Slice index along `axis`, from 0.
    axis : SliceAxis
        Axis of the labelled slices.
    gain : float
        Expected gain in mean Dice on the remaining slices, 0..1.
    reason : Message
        Reason for the user; `str(reason)` is one sentence.
    labels : tuple of str
        Names of the segments with the largest gain.
    """

    index: int
    axis: SliceAxis
    gain: float
    reason: Message
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "index": self.index,
            "axis": self.axis.index,
            "gain": self.gain,
            "reason": self.reason.to_json(),
            "labels": list(self.labels),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SuggestedSlice:
        """The slice that `to_json` wrote."""
        return cls(
            index=int(content["index"]),
            axis=SliceAxis(content["axis"]),
            gain=float(content["gain"]),
            reason=Message.from_json(content["reason"]),
            labels=tuple(map(str, content["labels"])),
        )


def suggestions(
    request: FillRequest, count: int, on_progress: Callable[[float], None] = lambda fraction: None
) -> list[SuggestedSlice]:
    """Slices of a request's range to label next, best first. Empty if every slice of the range is labelled.

    Parameters
    ----------
    request : FillRequest
    count : int
        Maximum number of suggestions.
    on_progress : function
        Called, from any thread, with the fraction of the work that is done.

    Raises
    ------
    InputError
        There is no labelled slice, or slices of two axes are painted.
    """
    layers = request.labelled_layers()
    first = layers[0].support
    slice_count = first.axis.count(request.volume.geometry)
    try:
        slices = slices_to_fill(request.slices, first.indices, first.axis, slice_count, request.source)
    except InputError as error:
        if error.code in NOTHING_LEFT:
            return []
        raise
    return suggest_slices(request.volume, layers, slices, count, on_progress=on_progress)


def suggest_slices(
    volume: Volume,
    layers: Sequence[LabelledLayer],
    slices: Sequence[int],
    count: int,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> list[SuggestedSlice]:
    """Slices to label next, best first; runs optical flow in this process, slice by slice.

    Parameters
    ----------
    volume : Volume
    layers : sequence of LabelledLayer
    slices : sequence of int
        Unlabelled slices, which may be suggested.
    count : int
        Maximum number of suggestions.
    stop : function
        Returns whether to stop.
    on_progress : function
        Called, from any thread, with the fraction of the work that is done.

    Raises
    ------
    Stopped
        `stop` returned True.
    """
    uncertainties = []
    for number, layer in enumerate(layers):

        def share(fraction: float, number: int = number) -> None:
            on_progress((number + fraction) / len(layers))

        uncertainties.append(_uncertainty(volume, layer, slices, RunContext(stop=stop, on_progress=share)))
    uncertainty = Uncertainty.concatenate(uncertainties)
    return [
        SuggestedSlice(
            index=suggestion.index,
            axis=layers[0].support.axis,
            gain=round(suggestion.gain, 4),
            reason=suggestion.reason,
            labels=tuple(uncertainty.names[position] for position in suggestion.labels),
        )
        for suggestion in suggest(uncertainty, count)
    ]


def _uncertainty(
    volume: Volume,
    layer: LabelledLayer,
    slices: Sequence[int],
    context: RunContext,
) -> Uncertainty:
    # Optical flow is fast, built in and well calibrated, whereas the engine of the fill may take minutes. The errors
    # where labels end are estimated by `suggest`.
    filling = Filling(FlowAlone(), volume, layer.support, slices, context)
    names = [layer.names[label] for label in layer.support.labels]
    return Uncertainty.from_probabilities(layer.support, names, filling.results())
