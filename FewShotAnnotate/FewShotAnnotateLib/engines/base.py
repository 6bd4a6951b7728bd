"""What every engine is: image and support in, probabilities per slice out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.errors import InputError
from ..core.job import Device
from ..core.support import Support
from ..core.volume import Volume


@dataclass(frozen=True)
class Option:
    """One setting of an engine.

    Attributes
    ----------
    default : bool, int, float or str
        Also fixes the type.
    least, most : number
        Allowed range of a number.
    help : str
        One line for users, with the unit.
    """

    default: Any
    help: str
    least: float = -np.inf
    most: float = np.inf

    def check(self, engine: str, name: str, value: Any) -> Any:
        """`value` as this option's type; `InputError` if it does not fit."""
        kind = type(self.default)
        fits = isinstance(value, bool) == (kind is bool)
        fits = fits and isinstance(value, (int, float) if kind is float else kind)
        if fits and kind in (int, float):
            fits = self.least <= value <= self.most
        if not fits:
            expected = f"it must be a {kind.__name__}"
            if kind in (int, float):
                expected += f" from {self.least:g} to {self.most:g}"
            raise InputError("option_invalid", option=name, engine=engine, value=value, expected=expected)
        return kind(value)


class Engine(ABC):
    """One way to fill slices from labelled ones.

    `prepare` is called once, then `predict` any number of times. Both run in the worker process.
    The class attributes are what menus and `models list` show before anything is started.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    licence: ClassVar[str]
    devices: ClassVar[tuple[Device, ...]] = (Device.CPU,)
    options: ClassVar[Mapping[str, Option]] = {}
    needs_weights: ClassVar[bool] = False

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

    @classmethod
    def cannot_run(cls) -> str | None:
        """Why this engine cannot run on this machine, in one line with what to do, or None if it can."""
        return None

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

    @abstractmethod
    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield `(index, probabilities)` for each asked slice, in the order that suits the engine.

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
