"""Base class of all engines: from a volume and its labelled slices to label probabilities of query slices."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..core.errors import InputError, Message
from ..core.expected_dice import ExpectedDice
from ..core.job import Device
from ..core.labelled_example import Example
from ..core.support import Support
from ..core.volume import Volume
from ..weights.catalog import Checkpoint
from .option import Option


def missing_packages_message(packages: Sequence[str]) -> Message:
    """The message that an engine lacks packages, which are named as for `pip install`."""
    if len(packages) == 1:
        return Message("needs_package", package=packages[0], install=packages[0])
    return Message("needs_packages", packages=", ".join(packages), install=" ".join(packages))


class Stopped(BaseException):
    """Raised by `RunContext.report_progress` when the run was cancelled; engines must not catch it.

    Not an `Exception`, so that `except Exception` clauses in engines and libraries do not catch it either.
    """


def _ignore(*_: object) -> None:
    """Default receiver of reports: ignores them."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Inputs of a run other than the volume and its labelled slices, and the functions that an engine reports to.

    Attributes
    ----------
    on_progress : function
        Receives the fraction of the work that is done, see `report_progress`.
    warn : function
        Receives messages for the user about problems that do not end the run.
    report_draft : function
        Receives `(index, probabilities)`, as yielded by `Engine.predict`, of a slice that `predict` will yield again
        with a better result. The draft is shown until then, and kept if the run ends earlier.
    stop : function
        Returns whether the run should stop.
    deadline : float or None
        Value of `time.monotonic()` at which the run should have ended; None for no limit. An engine that can trade
        accuracy for time plans its work by it.
    names : mapping of int to str
        Names of the segments by label value, for engines whose `uses_names` is True; labels without a name are
        missing. They are the user's text and may identify a patient, so they must not appear in messages or logs.
    examples : sequence of Example
        Labelled slices of other volumes, from a saved task, that extend the support, for engines whose `uses_library`
        is True. They have the orientation of the volume's slices (same anatomical plane, rows and columns along the
        same patient directions) and the label values of `support.labels`. With examples the support itself may be
        empty: no indices, masks of shape [0, h, w].
    model : Path or None
        Folder of a model that `fit_specialist` wrote for the task, for engines whose `uses_model` is True. Its n-th
        label is `support.labels[n - 1]`, so that the support must have all labels of the task, painted or not; it may
        be without labelled slices.
    """

    on_progress: Callable[[float], object] = _ignore
    warn: Callable[[Message], object] = _ignore
    report_draft: Callable[[int, np.ndarray], object] = _ignore
    stop: Callable[[], bool] = lambda: False
    deadline: float | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    model: Path | None = None

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, 0 after it; infinity without one."""
        return math.inf if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def report_progress(self, fraction: float) -> None:
        """Report how far the run is; called several times a second while an engine computes without yielding.

        Parameters
        ----------
        fraction : float
            Completed part, 0..1, of all work on drafts and slices, in proportion to the time that it is expected to
            take; 0 before it begins. An engine that reports other fractions reports them up to the last slice. Slices
            between which it reports none count the same.

        Raises
        ------
        Stopped
            The run should stop.
        """
        self.on_progress(fraction)
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raise `Stopped` if the run should stop."""
        if self.stop():
            raise Stopped


class Engine(ABC):
    """A method that predicts the labels of query slices from labelled slices.

    `prepare` is called once, then `draft` at most once, then `predict` any number of times, all in the worker
    process. Class attributes describe the engine in menus and in `models list` without creating an instance.

    Attributes
    ----------
    context : RunContext
        The run that the engine works for, as given to `prepare`.
    name, title : str
        Name on the command line and in files, and name in the panel.
    summary, licence : str
        One line each for users; the licence of the code and, if different, of the weights.
    devices : tuple of Device
        Devices that the engine can compute on, the preferred one first.
    options : mapping of str to Option
        Options by name.
    needs_weights : bool
        Whether the engine needs published weights.
    uses_names : bool
        Whether the engine is prompted with the names of the segments.
    uses_library : bool
        Whether the engine can fill a volume from `examples` alone, without labelled slices of the same volume.
    uses_model : bool
        Whether the engine uses a `model` that was trained on the examples of a task.
    needs_model : bool
        Whether it cannot run without one.
    uses_channels : bool
        Whether the engine uses the further channels of a volume; otherwise it uses the volume alone.

    Notes
    -----
    Data that are slow to load and the same for every volume, such as weights, should be cached for the lifetime of
    the process (`functools.lru_cache` on the function that loads them): a batch creates an engine per volume in one
    process.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    licence: ClassVar[str]
    devices: ClassVar[tuple[Device, ...]] = (Device.CPU,)
    options: ClassVar[Mapping[str, Option]] = {}
    needs_weights: ClassVar[bool] = False
    uses_library: ClassVar[bool] = False
    uses_names: ClassVar[bool] = False
    uses_model: ClassVar[bool] = False
    needs_model: ClassVar[bool] = False
    uses_channels: ClassVar[bool] = False

    def __init__(self, device: Device = Device.AUTO, options: Mapping[str, Any] | None = None) -> None:
        """Create an engine.

        Parameters
        ----------
        device : Device
            `AUTO` is the first of `devices`.
        options : mapping of str to value, optional
            Values of `options` by name; those left out have their defaults.

        Raises
        ------
        InputError
            The engine has no such device or option, or the value of an option is invalid.
        """
        if device is not Device.AUTO and device not in self.devices:
            raise InputError(
                "device_unavailable", engine=self.name, device=device, known=", ".join(["auto", *self.devices])
            )
        self.device = self.devices[0] if device is Device.AUTO else device
        chosen = dict(options or {})
        for unknown in set(chosen) - set(self.options):
            available = ", ".join(self.options) or "none"
            raise InputError("option_unknown", engine=self.name, option=unknown, known=available)
        self.settings = {
            name: option.check(self.name, name, chosen.get(name, option.default))
            for name, option in self.options.items()
        }
        self.context = RunContext()

    @classmethod
    def unavailable_reason(cls) -> Message | None:
        """Why this engine cannot run on this machine and what to do, or None if it can run."""
        return None

    @classmethod
    def missing_packages(cls) -> tuple[str, ...]:
        """Names, as given to `pip install`, of required packages that are not installed."""
        return ()

    @classmethod
    def missing_checkpoints(cls) -> tuple[Checkpoint, ...]:
        """Required weights that have not been downloaded."""
        return ()

    @classmethod
    def relative_time(cls, labelled_slices: int) -> float:
        """Expected time to fill some slices from so many labelled ones, in any unit; by default it is the same."""
        return 1.0

    @classmethod
    def makes_drafts(cls) -> bool:
        """Whether the engine implements `draft`."""
        return cls.draft is not Engine.draft

    @abstractmethod
    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input and do all work that is needed once per volume.

        Implementations call this method, which stores the context, and should keep views of the voxels, not copies.

        Parameters
        ----------
        volume : Volume
            Its array may be a read-only memory map of any real dtype. Its further volumes are on its grid.
        support : Support
            The labelled slices, on the grid of the volume.
        context : RunContext
            Default: a run without a time limit whose reports are ignored.
        """
        self.context = context

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield quick first results, in the form of `predict`, which the results of `predict` will replace.

        By default there are none.
        """
        return iter(())

    @abstractmethod
    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield `(index, probabilities)` for each requested slice, in any order.

        `draft` need not have been called before: a run that is resumed in another process keeps its drafts.

        Parameters
        ----------
        slice_indices : sequence of int
            Indices of query slices along `support.axis`.

        Yields
        ------
        index : int
        probabilities : float32 ndarray, shape [len(support.labels) + 1, h, w]
            Channel 0 is background, channel 1 + i is `support.labels[i]`; the channels sum to 1 at every pixel.
            The caller may keep and modify the array.
        """

    def expected_dice(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label over the slices predicted so far; empty if the engine does not estimate it.

        Called after the last slice of `draft`, for the drafts, and after the last slice of `predict`.
        """
        return ()


def label_slice(probabilities: np.ndarray, labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Most probable label of each pixel, and its probability.

    Parameters
    ----------
    probabilities : float ndarray, shape [len(labels) + 1, h, w]
        Channel 0 is background.
    labels : sequence of int
        Label value of each channel but the first.

    Returns
    -------
    label : uint16 ndarray, shape [h, w]
    confidence : float32 ndarray, shape [h, w]
    """
    best = probabilities.argmax(axis=0)
    values = np.array([0, *labels], dtype=np.uint16)
    confidence = np.take_along_axis(probabilities, best[None], axis=0)[0]
    return values[best], confidence.astype(np.float32)
