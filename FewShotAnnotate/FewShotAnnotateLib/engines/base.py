"""What every engine is: image and support in, probabilities per slice out."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.errors import InputError
from ..core.example import Example
from ..core.expected import ExpectedDice
from ..core.job import Device
from ..core.numbers import real_number, whole_number
from ..core.support import Support
from ..core.volume import Volume
from .pretrained.weights import Checkpoint


class Stopped(BaseException):
    """The run should stop now. Raised by `Engine.pulse`; an engine lets it pass.

    No `Exception`, so that code which catches those lets it pass as well.
    """


@dataclass(frozen=True)
class Option:
    """One setting of an engine.

    Attributes
    ----------
    default : bool, int, float or str
        Also fixes the type.
    least, most : number
        Allowed range of a number.
    choices : tuple of str
        Allowed values of a text; empty: any.
    help : str
        One line for users, with the unit.
    """

    default: Any
    help: str
    least: float = -np.inf
    most: float = np.inf
    choices: tuple[str, ...] = ()

    def check(self, engine: str, name: str, value: Any) -> Any:
        """`value` as this option's type; `InputError` if it does not fit."""
        kind = type(self.default)
        fits = isinstance(value, bool) == (kind is bool)
        fits = fits and isinstance(value, (int, float) if kind is float else kind)
        if fits and kind in (int, float):
            fits = self.least <= value <= self.most and math.isfinite(value)
        if fits and self.choices:
            fits = value in self.choices
        if not fits:
            expected = f"it must be a {kind.__name__}"
            if kind in (int, float):
                expected += f" from {self.least:g} to {self.most:g}"
            if kind is bool:
                expected += " (true or false)"
            if self.choices:
                expected = f"it must be one of: {', '.join(self.choices)}"
            raise InputError("option_invalid", option=name, engine=engine, value=value, expected=expected)
        return kind(value)

    def parse(self, engine: str, name: str, text: str) -> Any:
        """The value that a text of the command line stands for; `InputError` if it does not fit."""
        kind = type(self.default)
        words: dict[type, Callable[[str], Any]] = {
            bool: lambda word: {"true": True, "false": False}.get(word.lower()),
            int: whole_number,
            float: real_number,
        }
        value = words[kind](text) if kind in words else text
        return self.check(engine, name, text if value is None else value)


class Engine(ABC):
    """One way to fill slices from labelled ones.

    `prepare` is called once, then `draft` at most once, then `predict` any number of times. All run in the worker
    process. The class attributes are what menus and `models list` show before anything is started.

    Attributes
    ----------
    pulse : function
        Set before `prepare`; does nothing by default. An engine that works without yielding calls `pulse(fraction)`
        several times a second with the part of all its work that is done, 0..1, from `prepare` to the last slice.
        It raises `Stopped` when the run should stop, which the engine lets pass.
    warn : function
        Set before `prepare`; does nothing by default. Takes a sentence for the user about something that does not
        stop the run.
    offer : function
        Set before `prepare`; does nothing by default. Takes index and probabilities, as `predict` yields them, of a
        slice that `predict` will give again, better: it is shown until then, and kept if the run ends before.
    deadline : float or None
        `time.monotonic()` at which the user wants the run over; None: no limit. Set before `prepare`. An engine that
        can do its work in less time, less well, plans by it.
    examples : sequence of Example
        Labelled slices of other volumes, from the support library, that count as support too. Set before `prepare`;
        empty by default, and always with an engine whose `uses_library` is False. They lie as the slices of the
        volume at hand do (same anatomical plane, rows and columns in the same patient directions), and their label
        values are those of `support.labels`. With examples the support may be empty: no indices, masks [0, h, w].
    names : mapping of int to str
        Label value -> the segment's name. Set before `prepare`; empty by default, and always with an engine whose
        `uses_names` is False; not every label need have one. The user's words: they stand in no message and no log.
    uses_names : bool
        Whether the engine goes by the names of segments.
    uses_library : bool
        Whether the engine can fill a volume by examples alone. One that needs labelled slices of the same volume
        cannot.

    What is dear to load and the same for every volume, such as weights, is kept for the life of the process
    (`functools.lru_cache` on the function that loads it): in a batch one process makes an engine for each volume.
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

    def __init__(self, device: Device = Device.AUTO, options: Mapping[str, Any] | None = None) -> None:
        """Check device and options.

        Raises
        ------
        InputError
            The engine has no such device or option, or an option's value does not fit.
        """
        if device is not Device.AUTO and device not in self.devices:
            raise InputError(
                "device_unavailable", engine=self.name, device=device, known=", ".join(["auto", *self.devices])
            )
        self.device = self.devices[0] if device is Device.AUTO else device
        given = dict(options or {})
        for unknown in set(given) - set(self.options):
            known = ", ".join(self.options) or "none"
            raise InputError("option_unknown", engine=self.name, option=unknown, known=known)
        self.settings = {
            name: option.check(self.name, name, given.get(name, option.default))
            for name, option in self.options.items()
        }
        self.pulse: Callable[[float], None] = lambda fraction: None
        self.warn: Callable[[str], None] = lambda message: None
        self.offer: Callable[[int, np.ndarray], None] = lambda index, probabilities: None
        self.deadline: float | None = None
        self.examples: Sequence[Example] = ()
        self.names: Mapping[int, str] = {}

    @property
    def seconds_left(self) -> float:
        """Seconds to the deadline, 0 once it is over; infinity if there is none."""
        return math.inf if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @classmethod
    def cannot_run(cls) -> str | None:
        """Why this engine cannot run on this machine, in one line with what to do, or None if it can."""
        return None

    @classmethod
    def missing_packages(cls) -> tuple[str, ...]:
        """Packages, as `pip` calls them, that this engine needs and that are not installed."""
        return ()

    @classmethod
    def missing_checkpoints(cls) -> tuple[Checkpoint, ...]:
        """Weights to fetch so that every need of this engine is met."""
        return ()

    @classmethod
    def makes_drafts(cls) -> bool:
        """Whether `draft` gives anything."""
        return cls.draft is not Engine.draft

    @abstractmethod
    def prepare(self, volume: Volume, support: Support) -> None:
        """Take the input; do what is needed once. Keeps no copy of the voxels where a view will do.

        Parameters
        ----------
        volume : Volume
            The array may be a read-only memory map of any real dtype.
        support : Support
            On the same grid.
        """

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield first results within seconds, as `predict` does; those of `predict` take their place.

        By default there are none: for an engine whose only results are its last ones.
        """
        return iter(())

    @abstractmethod
    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield `(index, probabilities)` for each asked slice, in the order that suits the engine.

        Called after `draft`, or without it: where a run goes on in another process, slices may be drafted already.

        Parameters
        ----------
        slice_indices : sequence of int
            Unlabelled slices along `support.axis`.

        Yields
        ------
        index : int
        probabilities : float32 ndarray, shape [len(support.labels) + 1, h, w]
            Row 0 is background, row 1 + i is `support.labels[i]`; they sum to 1 at every pixel.
            The yielded array is the caller's to keep.
        """

    def expected(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of the labels, as far as the engine can say; by default it says nothing.

        Asked after the last slice of `predict`, and after the last slice of `draft`: then about the drafts.
        """
        return ()


def label_slice(probabilities: np.ndarray, labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Most probable label of each pixel and its probability.

    Parameters
    ----------
    probabilities : float ndarray, shape [labels + 1, h, w]
    labels : sequence of int

    Returns
    -------
    label : uint16 ndarray, shape [h, w]
    confidence : float32 ndarray, shape [h, w]
    """
    best = probabilities.argmax(axis=0)
    values = np.array([0, *labels], dtype=np.uint16)
    confidence = np.take_along_axis(probabilities, best[None], axis=0)[0]
    return values[best], confidence.astype(np.float32)
