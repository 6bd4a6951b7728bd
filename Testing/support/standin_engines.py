"""Stand-in engines for batches, in all worker processes; each of them imports this file, which needs little."""

from __future__ import annotations

import operator
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import fewshot_annotate
import numpy as np
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.engines import registry
from fewshot_annotate.engines.base import Engine, RunContext
from fewshot_annotate.engines.option import Option
from fewshot_annotate.engines.propagate.engine import Propagate


class Crashing(Propagate):
    """A stand-in that ends its own process, as a crash in a library would: always, or unless a file exists."""

    name = "crashing"
    options = {  # noqa: RUF012
        "signal": Option(int(signal.SIGSEGV), "Signal."),
        "once": Option("", "File that it makes before it ends its process; if the file exists, it fills as usual."),
    }

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext(), **more: Any) -> None:
        once = self.settings["once"]
        if not once or not Path(once).exists():
            if once:
                Path(once).touch()
            os.kill(os.getpid(), self.settings["signal"])
            time.sleep(60)
        super().prepare(volume, support, context, **more)


class Heavy(Propagate):
    """A stand-in with weights, which a process loads once; after some cases it waits for a file."""

    name = "heavy"
    options = {  # noqa: RUF012
        "log": Option("", "File that lists the processes that loaded weights."),
        "quick": Option(1000, "Number of cases after which a process waits."),
        "slow": Option("", "File that lists waiting processes; they go on once FILE.go exists."),
    }

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext(), **more: Any) -> None:
        _weights(self.settings["log"])
        super().prepare(volume, support, context, **more)

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        global _cases
        _cases += 1
        if _cases > self.settings["quick"]:
            _note(self.settings["slow"])
            while not Path(f"{self.settings['slow']}.go").exists():
                self.context.report_progress(0.1)
                time.sleep(0.01)
        yield from super().predict(slice_indices)


_cases = 0


@cache
def _weights(log: str) -> object:
    if log:
        _note(log)
    return object()


def _note(path: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


class MostSimilar(Engine):
    """A stand-in for an engine that uses examples alone: it copies the mask of the most similar one."""

    name = "most-similar"
    title = summary = licence = ""
    uses_library = True

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext(), **more: Any) -> None:
        super().prepare(volume, support, context)
        self._slices = support.axis.slices(volume.array)
        self._labels = support.labels

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        values = np.array([0, *self._labels])[:, None, None]
        for index in slice_indices:
            image = self._slices[index].astype(np.float32)
            nearest = min(self.context.examples, key=lambda example: float(np.abs(example.image - image).mean()))
            yield index, (nearest.mask == values).astype(np.float32)


_STANDINS = (Crashing, Heavy, MostSimilar)


def register(set_item: Callable[[Any, str, Any], None] = operator.setitem) -> None:
    """Register the stand-ins in this process, as if their files were among those of the engines."""
    for engine in _STANDINS:
        set_item(sys.modules, f"{registry.__package__}.{engine.name}", sys.modules[__name__])
        set_item(registry.ENGINES, engine.name, (engine.name, engine.__name__))


def environment_with_standins(folder: Path) -> dict[str, str]:
    """Environment in which every Python process, and all that it starts, has the stand-ins registered."""
    (folder / "sitecustomize.py").write_text(
        "try:\n    from support.standin_engines import register\n    register()\nexcept ImportError:\n    pass\n"
    )
    folders = (folder, Path(fewshot_annotate.__file__).parents[1], Path(__file__).parents[1])
    return {"PYTHONPATH": os.pathsep.join(map(str, folders))}
