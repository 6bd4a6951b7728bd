"""Seconds until the first output of each command, its longest pause, and how it ends on Ctrl+C, as a table.

    python Testing/Benchmarks/responsiveness.py [--size 160] [--slices 100] [--commands fill suggest ...]

Every command runs three times on a synthetic volume: to its end in a pseudo-terminal, until Ctrl+C at a third of that
time, and to its end with stdout and stderr in a pipe, as in a log. A command that ends within a second runs only
once. A pause is the time without new output. Weights come from a server on this machine. The exit code is 1 if a goal
is missed. In a log, which has a line for each stage, case or tenth of the work, only the first line has a goal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
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
from fewshot_annotate.weights import catalog
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).parents[1])]

from support.weights_server import NAME, serving, toy_row

FIRST_SECONDS, PAUSE_SECONDS, CANCEL_SECONDS = 1.0, 2.0, 5.0
# A command that ends sooner needs no output while it runs.
QUICK_SECONDS = 1.0
CANCELLED = 130
EVERY = 10
WEIGHTS_BYTES, WEIGHTS_BYTES_PER_SECOND = 200_000_000, 40_000_000
# The program with a table of weights that names the server.
PROGRAM = """import sys
from pathlib import Path
from fewshot_annotate.cli import main
from fewshot_annotate.weights import catalog
catalog.TABLE = Path("weights.json")
if __name__ == "__main__":
    sys.exit(main())
"""
# Arguments of each command. IMAGE and SUPPORT are files, SERIES is a DICOM folder, TRUTH is a complete label map, and
# OUT is the name of a file or folder that does not exist yet.
COMMANDS = {
    "fill": "fill IMAGE SUPPORT -o OUT.nii.gz --engine propagate --preview OUT.png --statistics OUT.csv",
    "fill, clean-up": "fill IMAGE SUPPORT -o OUT.nii.gz --engine propagate --clean-up smooth:2,largest,holes",
    "fill, adapt": "fill IMAGE SUPPORT -o OUT.nii.gz --engine adapt --budget 10",
    "fill, DICOM": "fill SERIES SUPPORT -o OUT.nii.gz --engine propagate --resample",
    "suggest": "suggest IMAGE SUPPORT",
    "compare": "compare IMAGE SUPPORT -o OUT --engines propagate --draws 1 --sizes 4",
    "compare, study": "compare --study study.csv -o OUT --engines propagate --draws 1 --sizes 4",
    "batch": "batch manifest.csv -o OUT --engine propagate",
    "demo": "demo -o OUT",
    "manifest": "manifest . . -o OUT.csv --images *image.nii.gz --supports *image_painted.nii.gz",
    "manifest, DICOM": "manifest dicom dicom -o OUT.csv",
    "dataset add": "dataset add OUT images",
    "dataset list": "dataset list done",
    "dataset flag": "dataset flag done one",
    "dataset accept": "dataset accept done one",
    "dataset export": "dataset export done --format nnunet -o OUT",
    "task create": "task create OUT",
    "task add": "task add other IMAGE TRUTH",
    "task add, batch": "task add other done",
    "task list": "task list",
    "task show": "task show known",
    "task next": "task next known done",
    "task export": "task export known -o OUT.zip",
    "task import": "task import known.zip --name OUT",
    "task train": "task train known --budget 8",
    "fill, task": "fill IMAGE --task known -o OUT.nii.gz",
    "task remove": "task remove other --yes",
    "library save": "library save OUT IMAGE SUPPORT",
    "library add": "library add painted IMAGE SUPPORT",
    "library list": "library list",
    "library show": "library show painted",
    "library export": "library export painted -o OUT.zip",
    "library import": "library import painted.zip --name OUT",
    "library remove": "library remove painted --yes",
    "export nifti": "export TRUTH --to nifti -o OUT.nii.gz",
    "export nrrd": "export TRUTH --to seg-nrrd -o OUT.seg.nrrd",
    "export dicom-seg": "export TRUTH --to dicom-seg --derive-series OUT --image IMAGE --modality MR --suggest-codes "
    "-o OUT.dcm",
    "export dicom-seg, reference": "export TRUTH --to dicom-seg --reference SERIES --suggest-codes -o OUT.dcm",
    "models list": "models list",
    "models info": "models info adapt",
    "models download": "models download toy",
    "models import": "models import toy weights.pt",
    "models verify": "models verify toy",
    "models remove": "models remove toy --yes",
}
# Commands before which weights that an earlier command downloaded are deleted.
FETCHING = ("models download", "models import")


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
    program = ["program.py"] if words[0] == "models" else ["-m", "fewshot_annotate.cli"]
    command = [sys.executable, *program, *words]
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
    """A bright ball in noise, labelled wholly and on every tenth slice, as files and DICOM; tables and tasks."""
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
    (folder / "dicom").mkdir()
    (folder / "program.py").write_text(PROGRAM)
    for line in (
        "task create known",
        "task create other",
        "task add known image.nii.gz truth.nii.gz",
        "task export known -o known.zip",
        "library save painted image.nii.gz image_painted.nii.gz",
        "library export painted -o painted.zip",
        "export truth.nii.gz --to dicom-seg --derive-series dicom/series --image image.nii.gz --modality MR "
        "--suggest-codes -o dicom/labels.dcm",
        "batch manifest.csv -o done --engine propagate",
        "dataset accept done one",
    ):
        if watch(line.split(), folder).code:
            sys.exit(f"fewshot-annotate {line} failed")


def words_of(line: str, out: str) -> list[str]:
    """A command line with names of files."""
    names = {"IMAGE": "image.nii.gz", "SUPPORT": "image_painted.nii.gz", "TRUTH": "truth.nii.gz"}
    names["SERIES"] = "dicom/series"
    return [names.get(word, word.replace("OUT", out)) for word in line.split()]


def main() -> int:
    """Run the benchmark; returns the exit code, 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS), metavar="COMMAND")
    options = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # the shell of a background job ignores it, for all of it
    table = Table(
        *("command", "seconds", "first output s", "longest pause s", "Ctrl+C: ends after s", "exit code"),
        *("log: first line s", "longest pause s"),
    )
    missed = []
    content = bytes(WEIGHTS_BYTES)
    with tempfile.TemporaryDirectory() as scratch, serving(content) as server:
        server.bytes_per_second = WEIGHTS_BYTES_PER_SECOND
        folder = Path(scratch)
        put_inputs(folder, options.size, options.slices)
        put_weights(folder, content, server.address)
        for number, name in enumerate(options.commands):
            row, good = measured(name, number, folder)
            table.add_row(*row)
            print(*row, sep="; ", file=sys.stderr, flush=True)
            if not good:
                missed.append(name)
    Console(width=110).print(table)
    if missed:
        print(f"A goal is missed by: {', '.join(missed)}.")
    return int(bool(missed))


def put_weights(folder: Path, content: bytes, address: str) -> None:
    """Weights as a file, and a table of weights with the address from which they are downloaded."""
    (folder / "weights.pt").write_bytes(content)
    row = toy_row(url=f"{address}/file.pt", size=len(content), sha256=hashlib.sha256(content).hexdigest())
    known = json.loads(catalog.TABLE.read_text(encoding="utf-8"))["checkpoints"]
    (folder / "weights.json").write_text(json.dumps({"version": 1, "checkpoints": [row, *known]}))


def measured(name: str, number: int, folder: Path) -> tuple[tuple[str, ...], bool]:
    """The row of a command, and whether it reaches the goals."""

    def run(out: str, interrupt_after: float | None = None, terminal: bool = True) -> Watched:
        if name in FETCHING:
            for path in (folder / "home" / "weights").glob(f"{NAME}.*"):
                path.unlink()
        return watch(words_of(COMMANDS[name], f"{out}{number}"), folder, interrupt_after, terminal)

    whole = run("out")
    good = whole.code == 0 and whole.first <= FIRST_SECONDS and whole.pause <= PAUSE_SECONDS
    row = (
        name,
        f"{whole.seconds:.1f}" + ("" if whole.code == 0 else f" (code {whole.code})"),
        f"{whole.first:.2f}",
        f"{whole.pause:.2f}",
    )
    if whole.seconds < QUICK_SECONDS:
        return row, good
    broken = run("cancelled", whole.seconds / 3)
    log = run("logged", terminal=False)
    good &= log.first <= FIRST_SECONDS and broken.code == CANCELLED and broken.seconds <= CANCEL_SECONDS
    return (*row, f"{broken.seconds:.2f}", str(broken.code), f"{log.first:.2f}", f"{log.pause:.2f}"), good


if __name__ == "__main__":
    sys.exit(main())
