"""Processor time and modules of what starts often, as a table; `--slowest N` adds the imports that take longest.

    python Testing/Benchmarks/startup.py [--repeats 5] [--slowest 10]

Each row is the quickest of several processes of its own. The Slicer module is imported with stand-ins of Slicer's
parts loaded before; they are not counted. Panel and logic are imported when the user first opens the module.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
_RUN = "from fewshot_annotate.cli import main; main({words!r})"
_STAND_INS = "from support import slicer_standin; slicer_standin.install()"
_MODULE_AND_EFFECT = "import FewShotAnnotate, fewshot_annotate.host.effect.few_shot_fill.FewShotFillEffect"
# What starts: code that is not counted, code that is, and the most seconds it should take.
ROWS = {
    "--help": ("pass", _RUN.format(words=["--help"]), 0.15),
    "models list": ("pass", _RUN.format(words=["models", "list"]), 0.4),
    "fill --help": ("pass", _RUN.format(words=["fill", "--help"]), None),
    "Python package": ("pass", "import fewshot_annotate", None),
    "worker, propagate": (
        "pass",
        "import fewshot_annotate.jobs.worker, fewshot_annotate.engines.propagate.fusion",
        None,
    ),
    "worker, adapt": (
        "pass",
        "import fewshot_annotate.jobs.worker\nfrom fewshot_annotate.engines.adapt import network, training",
        None,
    ),
    "Slicer module": (_STAND_INS, "import FewShotAnnotate", 0.1),
    "module and effect": (_STAND_INS, _MODULE_AND_EFFECT, 0.1),
}


def main() -> int:
    """Run the benchmark; returns the exit code, 1 if something takes longer than it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="imports to list for each row")
    options = parser.parse_args()
    table = Table("what starts", "processor s", "goal s", "modules", "of them ours")
    slow = []
    for name, (before, code, goal) in ROWS.items():
        seconds = processor_seconds(f"{before}\n{code}", options.repeats) - processor_seconds(before, options.repeats)
        seconds += processor_seconds("pass", options.repeats) if before == "pass" else 0.0
        modules = loaded(f"{before}\n{code}") - loaded(before)
        ours = [one for one in modules if one.split(".")[0] in ("fewshot_annotate", "FewShotAnnotate")]
        table.add_row(name, f"{seconds:.3f}", "" if goal is None else f"{goal:g}", str(len(modules)), str(len(ours)))
        if goal is not None and seconds > goal:
            slow.append(name)
        if options.slowest:
            print(f"{name}: slowest imports, in ms with all that they import")
            for line in slowest_imports(f"{before}\n{code}", options.slowest):
                print(f"  {line}")
    Console().print(table)
    if slow:
        print(f"Above the goal: {', '.join(slow)}.")
    return int(bool(slow))


def _python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    places = (ROOT / "FewShotAnnotate", ROOT / "Testing")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "QT_QPA_PLATFORM": "offscreen"}
    return subprocess.run([sys.executable, *options, "-c", code], env=environment, capture_output=True, text=True)


def processor_seconds(code: str, repeats: int) -> float:
    """User and system time of the quickest of several processes that run a piece of code."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _python(code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(repeats))


def loaded(code: str) -> set[str]:
    """Names of the modules that a process has loaded after a piece of code."""
    lines = "import atexit, sys", "atexit.register(lambda: print('modules', *sys.modules, file=sys.stderr))", code
    ended = _python("\n".join(lines))
    if ended.returncode:
        sys.exit(ended.stderr)
    return set(ended.stderr.splitlines()[-1].split()[1:])


def slowest_imports(code: str, count: int) -> list[str]:
    """Lines of `-X importtime`, the slowest first."""
    lines = _python(code, "-X", "importtime").stderr.splitlines()
    rows = [line.split("|") for line in lines if line.startswith("import time:") and line.count("|") == 2]
    timed = sorted(((int(row[1]), row[2].strip()) for row in rows if row[1].strip().isdigit()), reverse=True)
    return [f"{microseconds / 1000:8.1f}  {name}" for microseconds, name in timed[:count]]


if __name__ == "__main__":
    sys.exit(main())
