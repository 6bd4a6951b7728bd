"""A stand-in for an engine that drafts, fits and refines, and a way to have a real worker run it."""

from __future__ import annotations

import operator
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.engines import registry
from fewshot_annotate.engines.base import RunContext
from fewshot_annotate.engines.option import Option
from fewshot_annotate.engines.propagate.engine import Propagate

from support.python_program import python_program

NAME = "stepwise"
FIT_FRACTION = 0.8
DRAFT_DICE, FINAL_DICE = (0.5, 0.25, 0.75), (0.8, 0.6, 0.9)  # expected, lowest, highest


class Stepwise(Propagate):
    """Drafts copy the nearest labelled slice, the fit only waits, and the final slices are those of propagate.

    With `preview` the final slices are also reported as drafts, followed by another wait.
    """

    name = NAME
    title = "Stepwise"
    options = {  # noqa: RUF012
        "fit": Option(0.5, "Seconds of the fit.", 0.0),
        "preview": Option(0.0, "Seconds between the first and the last result of each slice.", 0.0),
        "keeps_deadline": Option(True, "Whether the fit ends at the deadline."),
        "failure": Option("", "Error at the end of the fit: none, 'bug' or 'input'."),
        "pause": Option(0.0, "Seconds before each slice.", 0.0),
        "reports_dice": Option(True, "Whether it has an expected Dice."),
    }

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext(), **more: Any) -> None:
        super().prepare(volume, support, context, **more)
        self._given = support
        self._fitted = False

    def draft(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        values = np.array([0, *self._given.labels])[:, None, None]
        labelled = np.array(self._given.indices)
        yield self._given.indices[0], np.ones((len(values), *self._given.masks.shape[1:]))  # not requested
        for index in slice_indices:
            time.sleep(self.settings["pause"])
            nearest = self._given.masks[np.abs(labelled - index).argmin()]
            yield index, (nearest == values).astype(np.float32)

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        self._fit()
        if self.settings["preview"]:
            self.context.report_draft(
                self._given.indices[0], np.zeros((len(self._given.labels) + 1, *self._given.masks.shape[1:]))
            )
            for index, probabilities in super().predict(slice_indices):
                self.context.report_draft(index, probabilities)
            self._wait(self.settings["preview"], lambda part: FIT_FRACTION + (1 - FIT_FRACTION) * part)
        for index, probabilities in super().predict(slice_indices):
            time.sleep(self.settings["pause"])
            yield index, probabilities

    def expected_dice(self) -> tuple[ExpectedDice, ...]:
        if not self.settings["reports_dice"]:
            return ()
        figures = FINAL_DICE if self._fitted else DRAFT_DICE
        return tuple(ExpectedDice(label, *figures) for label in self._given.labels)

    def _fit(self) -> None:
        seconds = self.settings["fit"]
        if self.settings["keeps_deadline"]:
            seconds = min(seconds, self.context.seconds_left / 2)
        self._wait(seconds, lambda part: FIT_FRACTION * part)
        self.context.report_progress(FIT_FRACTION)
        if self.settings["failure"] == "bug":
            raise ZeroDivisionError("the loss is gone")
        if self.settings["failure"] == "input":
            raise InputError("volume_constant", path="image", value=0)
        self._fitted = True

    def _wait(self, seconds: float, fraction: Callable[[float], float]) -> None:
        began = time.monotonic()
        while (spent := time.monotonic() - began) < seconds:
            self.context.report_progress(fraction(spent / seconds))
            time.sleep(0.01)


def register(set_item: Callable[[Any, str, Any], None] = operator.setitem) -> None:
    """Register the engine in this process, as if its file were among those of the engines."""
    set_item(sys.modules, f"{registry.__package__}.{NAME}", sys.modules[__name__])
    set_item(registry.ENGINES, NAME, (NAME, "Stepwise"))


def python_with_stepwise(folder: Path) -> str:
    """A program that runs a Python script as Python does, with the engine registered."""
    prelude = "from support.stepwise import register", "register()"
    return python_program(folder / "python-with-stepwise", *prelude)
