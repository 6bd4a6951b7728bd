"""Interrupt every command by signals, kills and full disks, and print what was lost, which must be nothing.

    python Testing/faults.py [--rounds 500] [--seed 1] [--only fill] [--verbose]

In each round, a command is started on small files of its own and interrupted at a point that the seed chooses. Then
the user's files must be unchanged, each result the old or the new one as a whole, and the temporary folder empty
(after SIGKILL: after the next start). The resumed command must give the same result as without a fault, with painted
slices as in the labels. The disk is full at every page, file and write of a command; SIGKILL comes at every rename.
Exit code 1 if anything was lost, left behind, or reported wrongly.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "FewShotAnnotate")]
# A forked process has none of the threads of its parent, so the parent must have none.
os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"

from support.disk import private_mounts  # noqa: E402
from support.faults.rounds import SIGNALS, FaultRunner, Round, moments  # noqa: E402

# Imported once, before processes are forked. The package is not, so that signals arrive during its import, too.
_LIBRARIES = ("SimpleITK", "scipy.ndimage", "scipy.optimize", "rich.progress", "rich.table", "pydicom", "highdicom")
COLUMNS = ("lost", "left behind", "wrong exit code", "unclear message")


def main() -> int:
    """Run the rounds; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", default="", help="only commands whose names begin with one of these, such as fill,batch"
    )
    parser.add_argument("--fault", default="", help="only kinds of faults whose names contain this text")
    parser.add_argument("--verbose", action="store_true", help="print every round")
    options = parser.parse_args()
    can_mount = private_mounts()
    if not can_mount:
        print("No small disks can be mounted here: disks with few free pages are left out.", file=sys.stderr)
    from support.faults.commands import every_command
    from support.faults.running import become_subreaper

    for library in _LIBRARIES:
        importlib.import_module(library)

    become_subreaper()
    generator = random.Random(options.seed)
    commands = [command for command in every_command() if command.name.startswith(tuple(options.only.split(",")))]
    done: list[Round] = []
    folder = Path(tempfile.mkdtemp(prefix="faults-"))  # no TemporaryDirectory: forked processes would remove it
    try:
        runner = FaultRunner(folder, can_mount)
        for make in itertools.islice(_rounds(runner, commands, generator, options.fault), options.rounds):
            completed = make()
            done.append(completed)
            if completed.findings or options.verbose:
                print(f"{len(done)}: {completed.fault} | {completed.command} | {completed.how}", flush=True)
                for finding in completed.findings:
                    print(f"    {finding.kind}: {finding.text}", flush=True)
    except KeyboardInterrupt:
        print("Ended early.", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print_table(done)
    return 1 if any(completed.findings for completed in done) else 0


def _rounds(
    runner: FaultRunner, commands: list, generator: random.Random, selected: str
) -> Iterator[Callable[[], Round]]:
    """Endless rounds, of each kind in turn; a kind goes through all of its points before it repeats one."""
    kinds = [
        _signals(runner, commands, generator),
        _renames(runner, commands, generator),
        _disks(runner, commands, generator),
    ]
    kinds = [kind for kind, name in zip(kinds, ("signal", "rename", "disk"), strict=True) if selected in name]
    while True:
        for kind in kinds:
            yield next(kind)


def _signals(runner: FaultRunner, commands: list, generator: random.Random) -> Iterator[Callable[[], Round]]:
    while True:
        points = [
            (command, name, stage)
            for command, name, stage in itertools.product(commands, SIGNALS, moments())
            if command.program is None or name == "SIGKILL"  # Slicer handles no other signal
        ]
        generator.shuffle(points)
        for command, name, stage in points:
            yield lambda command=command, name=name, stage=stage: runner.signal(command, name, stage, generator)


def _renames(runner: FaultRunner, commands: list, generator: random.Random) -> Iterator[Callable[[], Round]]:
    while True:
        points = [
            (command, at, kill_all)
            for command in commands
            for at in range(1, runner.reference(command).tree["rename"] + 1)
            for kill_all in (True, False)
        ]
        generator.shuffle(points)
        for command, at, kill_all in points:
            yield lambda command=command, at=at, kill_all=kill_all: runner.kill_at_rename(command, at, kill_all)


def _disks(runner: FaultRunner, commands: list, generator: random.Random) -> Iterator[Callable[[], Round]]:
    while True:
        points = []
        for command in commands:
            reference = runner.reference(command)
            counts = {"open": reference.tree["open"], "sync": reference.tree["sync"]}
            counts["pages"] = reference.pages + 2 if runner.can_mount else 0
            for kind, count in counts.items():
                points += [(command, kind, at) for at in range(1 if kind != "pages" else 0, count + 1)]
            points += [(command, "size", generator.randint(0, reference.largest)) for _ in range(5)]
        generator.shuffle(points)
        for command, kind, at in points:
            everywhere = generator.random() < 0.3
            yield lambda c=command, kind=kind, at=at, everywhere=everywhere: runner.full(c, kind, at, everywhere)


def _print_table(done: list[Round]) -> None:
    rows: dict[tuple[str, str], Counter[str]] = {}
    for completed in done:
        row = rows.setdefault((completed.fault, completed.command), Counter())
        row.update(rounds=1)
        row.update(dict.fromkeys({finding.kind for finding in completed.findings}, 1))
    head = ("fault", "command", "rounds", *COLUMNS)
    lines = [(*key, *(str(row[name]) for name in ("rounds", *COLUMNS))) for key, row in sorted(rows.items())]
    total = Counter()
    for row in rows.values():
        total.update(row)
    lines.append(("all", f"{len({key[1] for key in rows})} commands", *(str(total[name]) for name in head[2:])))
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    for line in (head, *lines):
        print(" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
