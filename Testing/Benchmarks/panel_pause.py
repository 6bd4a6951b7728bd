"""What the panel costs: processor time of an idle tick, and longest pauses while it suggests and fills, as tables.

The module's panel on the stand-in for Slicer's Qt, real MRML, real workers. A brain resampled to 160x256x256 int16,
its 4 largest labels painted on every 12th slice. A pause is the longest time between two beats of a timer of 1 ms in
the thread of the panel; drawing costs little here, as there are no views.

    python Testing/Benchmarks/panel_pause.py [--size 256 256 160] [--seconds 5]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]
importlib.import_module("support")  # first: it provides the stand-ins that host code needs

from host_pause import large_case, paint
from rich.console import Console
from rich.table import Table
from support import slicer_standin
from support.panel import Panel

TICK_SECONDS = 0.1  # of the panel's timer while nothing is under way
STEPS = ("volume", "label", "fill", "review", "export")
TOOLS = ("dataset", "compare", "settings")


@dataclass
class Beats:
    """Longest time between two beats, ms.

    Attributes
    ----------
    longest, working : float
        Longest time by the clock, and longest processor time of the thread itself: the clock also runs while
        another thread holds the interpreter or another program the processor.
    during : str
        State of the run in the longest pause by the processor.
    seconds, cpu : float
        Duration, and processor time of this process with all its threads, s.
    """

    longest: float = 0.0
    working: float = 0.0
    during: str = ""
    seconds: float = 0.0
    cpu: float = 0.0


@contextmanager
def beating(panel: Panel) -> Iterator[Beats]:
    """Measure pauses of this thread's event loop, and the processor time that is spent."""
    import qt

    beats, last, began = (
        Beats(),
        [time.perf_counter(), time.thread_time()],
        (time.perf_counter(), time.process_time()),
    )

    def beat() -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        beats.longest = max(beats.longest, 1e3 * (now - last[0]))
        if 1e3 * (cpu - last[1]) > beats.working:
            beats.working, beats.during = 1e3 * (cpu - last[1]), panel.state
        last[:] = now, cpu

    timer = qt.QTimer()
    timer.setInterval(1)
    timer.connect("timeout()", beat)
    timer.start()
    yield beats
    timer.stop()
    beats.seconds, beats.cpu = time.perf_counter() - began[0], time.process_time() - began[1]


def tick_cost(seconds: float) -> float:
    """Processor time of the event loop in ms for each tick of the panel's timer."""
    slicer_standin.process_events(300)
    began = time.process_time()
    slicer_standin.process_events(round(1e3 * seconds))
    return 1e3 * (time.process_time() - began) * TICK_SECONDS / seconds


def idle_costs(panel: Panel, seconds: float) -> Iterator[tuple[str, float]]:
    """Costs of an idle tick with each step and each tool open."""
    for step in STEPS:
        panel.widget.accordion.open(step)
        yield f"{step} open", tick_cost(seconds)
    panel.widget.accordion.open("tools")
    yield "tools open, each of them closed", tick_cost(seconds)
    for tool in TOOLS:
        getattr(panel.ui, f"{tool}Section").collapsed = False
        yield f"{tool} open", tick_cost(seconds)
    panel.widget.accordion.open("label")


def settle(panel: Panel) -> None:
    """Wait until nothing is under way."""
    panel.until(lambda: not panel.widget.logic.busy and not panel.widget.reviewSection.busy, 600.0)


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, nargs=3, default=(256, 256, 160), metavar=("I", "J", "K"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement of idle ticks")
    options = parser.parse_args()
    panel = Panel(paint(large_case(tuple(options.size))))
    panel.widget.parent.show()
    console = Console(width=118)
    panel.ready()
    panel.parameters.engine = "propagate"
    settle(panel)
    columns = ("longest pause, ms", "its work, ms", "when", "duration, s", "CPU in the panel's process, s")
    pauses = Table("what", *columns, title="Pauses")

    def measured(name: str, press: str, ended: Callable[[], bool]) -> None:
        settle(panel)
        with beating(panel) as beats:
            panel.click(press)
            panel.until(ended, 600.0)
            settle(panel)
        pauses.add_row(
            name,
            f"{beats.longest:.0f}",
            f"{beats.working:.0f}",
            beats.during.lower(),
            f"{beats.seconds:.1f}",
            f"{beats.cpu:.1f}",
        )

    suggestion, controller = panel.widget.logic.suggestion, panel.controller
    measured("suggest", "suggestButton", lambda: suggestion.result is not None)
    measured("fill", "fillButton", lambda: bool(controller.message) and panel.state == "IDLE")
    costs = Table("idle panel, after a fill", "CPU of a tick, ms", title="Ticks")
    for name, cost in idle_costs(panel, options.seconds):
        costs.add_row(name, f"{cost:.2f}")
    message, commit_seconds = controller.message, controller.commit.seconds
    slicer_standin.close_module(panel.widget)
    costs.add_row("the event loop alone, for comparison", f"{tick_cost(options.seconds):.2f}")
    for table in (pauses, costs):
        console.print(table)
    console.print(message, f"Of the pause of the fill, the commit is {commit_seconds:.2f} s.")


if __name__ == "__main__":
    main()
