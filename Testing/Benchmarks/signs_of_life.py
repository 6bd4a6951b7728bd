"""When each command first shows a sign of life, its longest pause, and how it ends on Ctrl+C, as a table.

    python Testing/Benchmarks/signs_of_life.py [--size 256] [--slices 120] [--commands fill suggest ...]

Every command runs three times on a made volume: to its end in a pseudo-terminal, until Ctrl+C at a third of that
time, and to its end with stdout and stderr in a pipe, as in a log. A pause is the time without new output. The exit
code is 1 if a goal is missed; logs have one for the first line, and a line for each stage, case or tenth of the work.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import write_array, write_label_maps
from rich.console import Console
from rich.table import Table

FIRST_SECONDS, PAUSE_SECONDS, CANCEL_SECONDS = 1.0, 2.0, 5.0
CANCELLED = 130
EVERY = 10
# What each command is run with; IMAGE and SUPPORT are files, TRUTH is labelled wholly, and OUT is a new name.
COMMANDS = {
    "fill": "fill IMAGE SUPPORT -o OUT.nii.gz --engine propagate --preview OUT.png --statistics OUT.csv",
    "fill, adapt": "fill IMAGE SUPPORT -o OUT.nii.gz --engine adapt --budget 20",
    "suggest": "suggest IMAGE SUPPORT",
    "compare": "compare IMAGE SUPPORT -o OUT --engines propagate --draws 1 --sizes 4",
    "batch": "batch manifest.csv -o OUT --engine propagate",
    "compare, study": "compare --study study.csv -o OUT --engines propagate --draws 1 --sizes 4",
    "demo": "demo -o OUT",
    "manifest": "manifest . . -o OUT.csv --images *image.nii.gz --supports *image_painted.nii.gz",
    "dataset add": "dataset add OUT images",
    "dataset export": "dataset export done --format nnunet -o OUT",
    "task add": "task add other IMAGE TRUTH",
    "task add, batch": "task add other done",
    "task next": "task next known done",
    "task export": "task export known -o OUT.zip",
    "task import": "task import known.zip --name OUT",
    "task train": "task train known --budget 15",
    "library save": "library save OUT IMAGE SUPPORT",
    "export nifti": "export TRUTH --to nifti -o OUT.nii.gz",
    "export dicom-seg": "export TRUTH --to dicom-seg --derive-series OUT --image IMAGE --modality MR --suggest-codes "
    "-o OUT.dcm",
    "models list": "models list",
}


@dataclass(frozen=True)
class Watched:
    """Seconds until the first output, of the longest pause after it and of the whole run, and the exit code."""

    first: float
    pause: float
    seconds: float
    code: int


def watch(words: Sequence[str], folder: Path, interrupt_after: float | None = None, terminal: bool = True) -> Watched:
    """Run a command in a pseudo-terminal or with a pipe; `seconds` count from Ctrl+C after `interrupt_after`."""
    own, other = pty.openpty() if terminal else os.pipe()
    environment = os.environ | {"FEWSHOT_ANNOTATE_HOME": str(folder / "home"), "COLUMNS": "100", "TERM": "xterm"}
    command = [sys.executable, "-m", "fewshot_annotate.cli", *words]
    began = last = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=other if terminal else subprocess.DEVNULL,
        stdout=other,
        stderr=other,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    os.close(other)
    first, pause, interrupted = None, 0.0, None
    while True:
        now = time.monotonic()
        if interrupt_after is not None and interrupted is None and now - began >= interrupt_after:
            interrupted = now
            os.killpg(process.pid, signal.SIGINT)
        if select.select([own], [], [], 0.05)[0]:
            try:
                if not os.read(own, 1 << 16):
                    break
            except OSError:  # the other side is closed
                break
            now = time.monotonic()
            if first is None:
                first = now - began
            else:
                pause = max(pause, now - last)
            last = now
        elif process.poll() is not None:
            break
    code = process.wait()
    ended = time.monotonic()
    os.close(own)
    return Watched(
        ended - began if first is None else first,
        pause,
        ended - (began if interrupted is None else interrupted),
        code,
    )


def put_inputs(folder: Path, size: int, slices: int) -> None:
    """A bright ball in noise, labelled wholly and on every tenth slice, a manifest and a task."""
    grid = np.ogrid[-1 : 1 : slices * 1j, -1 : 1 : size * 1j, -1 : 1 : size * 1j]
    ball = (sum(axis**2 for axis in grid) < 0.5).astype(np.uint8)
    image = (200 * ball + np.random.default_rng(0).normal(300, 40, ball.shape)).astype(np.int16)
    painted = np.zeros_like(ball)
    painted[::EVERY] = ball[::EVERY]
    geometry, segments = Geometry(ball.shape), (Segment(value=1, name="liver"),)
    write_array(folder / "image.nii.gz", image, geometry)
    for name, labels in (("image_painted", painted), ("truth", ball)):
        write_label_maps(folder / f"{name}.nii.gz", [LabelMap(labels, geometry, segments)])
    (folder / "manifest.csv").write_text("name,image,support\none,image.nii.gz,image_painted.nii.gz\n")
    (folder / "study.csv").write_text("image,label,group\nimage.nii.gz,truth.nii.gz,all\n")
    (folder / "images").mkdir()
    (folder / "images" / "image.nii.gz").symlink_to(folder / "image.nii.gz")
    for line in (
        "task create known",
        "task create other",
        "task add known image.nii.gz truth.nii.gz",
        "task export known -o known.zip",
        "batch manifest.csv -o done --engine propagate",
        "dataset accept done one",
    ):
        if watch(line.split(), folder).code:
            sys.exit(f"fewshot-annotate {line} failed")


def words_of(line: str, out: str) -> list[str]:
    """A command line with names of files."""
    names = {"IMAGE": "image.nii.gz", "SUPPORT": "image_painted.nii.gz", "TRUTH": "truth.nii.gz"}
    return [names.get(word, word.replace("OUT", out)) for word in line.split()]


def main() -> int:
    """Run the benchmark; returns the exit code, 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS), metavar="COMMAND")
    options = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # the shell of a background job ignores it, for all of it
    table = Table(
        *("command", "seconds", "first sign s", "longest pause s", "Ctrl+C: ends after s", "exit code"),
        *("log: first line s", "longest pause s"),
    )
    missed = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        put_inputs(folder, options.size, options.slices)
        for number, name in enumerate(options.commands):
            whole = watch(words_of(COMMANDS[name], f"out{number}"), folder)
            broken = watch(words_of(COMMANDS[name], f"cancelled{number}"), folder, whole.seconds / 3)
            log = watch(words_of(COMMANDS[name], f"logged{number}"), folder, terminal=False)
            row = (
                name,
                f"{whole.seconds:.1f}" + ("" if whole.code == 0 else f" (code {whole.code})"),
                f"{whole.first:.2f}",
                f"{whole.pause:.2f}",
                f"{broken.seconds:.2f}",
                str(broken.code),
                f"{log.first:.2f}",
                f"{log.pause:.2f}",
            )
            table.add_row(*row)
            print(*row, sep="; ", file=sys.stderr, flush=True)
            good = max(whole.first, log.first) <= FIRST_SECONDS and whole.pause <= PAUSE_SECONDS and whole.code == 0
            if not (good and broken.code == CANCELLED and broken.seconds <= CANCEL_SECONDS):
                missed.append(name)
    Console(width=110).print(table)
    if missed:
        print(f"A goal is missed by: {', '.join(missed)}.")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
