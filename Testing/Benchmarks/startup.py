"""Start-up time of the module and of quick commands, and the modules they load; `--slowest N` adds imports.

    python Testing/Benchmarks/startup.py [--repeats 5] [--slowest 10]

Commands and workers: processor time of the whole process. What Slicer imports when it starts: the sum of what
`-X importtime` says of each module that it brings, without Slicer's own, for which stand-ins are loaded before. Each
is the quickest of several processes. Panel and logic are imported when the user first opens the module.
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
# What starts, and the most seconds it should take.
PROCESSES = {
    "--help": (_RUN.format(words=["--help"]), 0.15),
    "models list": (_RUN.format(words=["models", "list"]), 0.4),
    "fill --help": (_RUN.format(words=["fill", "--help"]), None),
    "Python package": ("import fewshot_annotate", None),
    "worker, propagate": ("import fewshot_annotate.jobs.worker, fewshot_annotate.engines.propagate.fusion", None),
    "worker, adapt": (
        "import fewshot_annotate.jobs.worker\nfrom fewshot_annotate.engines.adapt import network, training",
        None,
    ),
}
IMPORTS = {
    "Slicer module": ("import FewShotAnnotate", 0.1),
    "module and effect": (_MODULE_AND_EFFECT, 0.1),
}


def main() -> int:
    """Run the benchmark; returns the exit code, 1 if something takes longer than it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="imports to list for each row")
    options = parser.parse_args()
    table = Table("what starts", "seconds", "goal", "modules", "of them ours")
    slow = []
    for name, (code, goal) in (PROCESSES | IMPORTS).items():
        before = _STAND_INS if name in IMPORTS else "pass"
        if name in IMPORTS:
            seconds = min(sum(import_seconds(code, before).values()) for _ in range(options.repeats))
        else:
            seconds = processor_seconds(code, options.repeats)
        modules = loaded(f"{before}\n{code}") - loaded(before)
        ours = [one for one in modules if one.split(".")[0] in ("fewshot_annotate", "FewShotAnnotate")]
        table.add_row(name, f"{seconds:.3f}", "" if goal is None else f"{goal:g}", str(len(modules)), str(len(ours)))
        if goal is not None and seconds > goal:
            slow.append(name)
        if options.slowest:
            print(f"{name}: slowest imports, in ms without what they import")
            slowest = sorted(import_seconds(code, before).items(), key=lambda one: -one[1])
            for module, taken in slowest[: options.slowest]:
                print(f"  {1000 * taken:8.1f}  {module}")
    Console().print(table)
    if slow:
        print(f"Above the goal: {', '.join(slow)}.")
    return int(bool(slow))


def _python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    folders = (ROOT / "FewShotAnnotate", ROOT / "Testing")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "QT_QPA_PLATFORM": "offscreen"}
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


def import_seconds(code: str, before: str = "pass") -> dict[str, float]:
    """Seconds that each module takes that a piece of code imports, without those that it imports itself.

    Parameters
    ----------
    code : str
    before : str
        Code that runs first; what it imports is left out.
    """
    begin = "import sys; print('begins here', file=sys.stderr)"
    ended = _python(f"{before}\n{begin}\n{code}", "-X", "importtime")
    if ended.returncode:
        sys.exit(ended.stderr)
    lines = ended.stderr.partition("begins here\n")[2].splitlines()
    rows = [line.split(":")[1].split("|") for line in lines if line.startswith("import time:")]
    return {name.strip(): int(own) / 1e6 for own, _, name in rows}


if __name__ == "__main__":
    sys.exit(main())
