"""Run a command and measure it from outside: seconds and peak memory of that process alone.

The system counts the memory a process had before it became the command, so a large parent would be counted too:
this file, run as a program, is the small parent in between.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence


def run_measured(
    command: Sequence[str], on_line: Callable[[bytes], object] = lambda line: None
) -> tuple[float, float, int]:
    """Run a command to its end.

    Parameters
    ----------
    command : sequence of str
    on_line : function
        Called with each line the command prints to stdout.

    Returns
    -------
    seconds, peak memory in MiB, exit code (negative for a signal)
    """
    launcher = [sys.executable, "-S", "-E", __file__, *command]
    with subprocess.Popen(launcher, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        last = b"{}"
        for line in process.stdout:
            last = line
            on_line(line)
    report = json.loads(last)
    return report["seconds"], report["peak_mib"], report["code"]


def _main(command: Sequence[str]) -> None:
    import resource

    began = time.perf_counter()
    code = subprocess.call(command)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(json.dumps({"seconds": seconds, "peak_mib": peak / unit, "code": code}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    _main(sys.argv[1:])
