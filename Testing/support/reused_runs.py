"""A stand-in for the Python of workers that reuses results, for tests whose subject begins after a fill."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from support.processes import write_program
from support.scene_cases import GATE_VARIABLE

# Arguments of a worker: its script, the job folder, "--host-pid", the process id of the host, further options.
_SCRIPT = """
job=$2
if [ "${{1##*/}}" != worker.py ] || [ -n "$GATE_VARIABLE" ]; then
    exec {python} "$@"
fi
run={folder}/$({{ cat "$job/job.json"; echo "$5" "$6" "$7"; }} | sha256sum | cut -c1-64)
if [ -d "$run" ] && [ ! -s "$job/events.jsonl" ]; then
    cp -R "$run/layers" "$job/"
    sed "s/\\"pid\\": *[0-9]*/\\"pid\\": $$/" "$run/events.jsonl" >> "$job/events.jsonl"
    exit 0
fi
{python} "$@" || exit $?
if [ ! -d "$run" ]; then
    mkdir "$run.partial"
    cp -R "$job/layers" "$job/events.jsonl" "$run.partial/"
    mv "$run.partial" "$run"
fi
"""


def python_that_reuses_runs(folder: Path) -> str:
    """Write a program that runs a worker as Python does, once for each job: the next time it copies the result.

    The description of a job includes a fingerprint of the image and the labelled slices, so that only runs with the
    same input and settings are reused, and only those that finished. Workers that wait for a gate are always run.
    The program has the name of Slicer's Python, so that the module finds it in a folder on PATH.

    Parameters
    ----------
    folder : Path
        An empty folder for the program and the results.
    """
    script = _SCRIPT.replace("GATE_VARIABLE", GATE_VARIABLE)
    script = script.format(folder=shlex.quote(str(folder)), python=shlex.quote(sys.executable))
    return write_program(folder / "PythonSlicer", script)
