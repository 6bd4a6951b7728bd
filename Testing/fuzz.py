"""Fuzz every command with damaged inputs, each in a process of its own, and print a table of the outcomes.

    .venv/bin/python Testing/fuzz.py --inputs 2000 --seed 1

The table has a row for each command. All columns but the first three must be zero, else the exit code is 1. The same
seed makes the same inputs; `--only 'fill:17'` makes one of them again, `--odd environment` limits all of them to
one kind of change, and `--keep FOLDER` keeps the workspaces of those that went wrong, with the call and its output.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "FewShotAnnotate")]

from fewshot_annotate.cli.program import COMMANDS
from fuzzing.inputs import STEPS, make_input
from fuzzing.originals import make_originals
from fuzzing.recipes import RECIPES
from fuzzing.sandbox import call, end_with_parent, snapshot
from fuzzing.verdict import BAD, GOOD, judge

# Imported once, before the processes are forked; commands import most of them when they need them.
_LIBRARIES = (
    *(f"fewshot_annotate.cli.{command}" for command in COMMANDS),
    *(
        "SimpleITK",
        "scipy.ndimage",
        "scipy.optimize",
        "scipy.special",
        "scipy.stats",
        "rich.progress",
        "rich.table",
        "nibabel",
        "pydicom",
        "highdicom",
        "matplotlib.pyplot",
        "jinja2",
        "PIL.Image",
        "torch",
    ),
    *(
        "fewshot_annotate.export.preflight",
        "fewshot_annotate.export.delivery",
        "fewshot_annotate.evaluation.report.page",
    ),
)
SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of one input."""

    command: str
    number: int
    column: str
    why: str
    steps: list[str]
    arguments: list[str]
    seconds: float


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    options = _parser().parse_args(arguments)
    commands = [name for name in RECIPES if not options.commands or name.startswith(tuple(options.commands))]
    if not commands:
        print(f"There is no such command; there are: {', '.join(RECIPES)}.", file=sys.stderr)
        return 2
    selected = numbers(commands, options.inputs)
    if options.only:
        command, _, number = options.only.rpartition(":")
        selected = [(command, int(number))]
    began = time.monotonic()
    counts: dict[str, Counter[str]] = {command: Counter() for command, _ in selected}
    with contextlib.suppress(KeyboardInterrupt):  # the table shows the inputs that were tried
        _collect(results(selected, options), counts, options)
    print(table(counts))
    tried = sum(count.total() for count in counts.values())
    print(f"{tried} of {len(selected)} inputs, seed {options.seed}, {time.monotonic() - began:.0f} s")
    return int(any(count[column] for count in counts.values() for column in BAD))


def _collect(outcomes: Iterator[Outcome], counts: dict[str, Counter[str]], options: argparse.Namespace) -> None:
    """Count the outcomes, and print those that are wrong."""
    for outcome in outcomes:
        counts[outcome.command][outcome.column] += 1
        if outcome.column in BAD or options.verbose or options.only:
            print(f"{outcome.command}:{outcome.number}  {outcome.column}: {outcome.why}")
            print(f"    {'; '.join(outcome.steps)}")
            print(f"    {' '.join(map(repr, outcome.arguments))[:600]}  ({outcome.seconds:.1f} s)", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--inputs", type=int, default=2000, metavar="N", help="for all commands together (default: 2000)"
    )
    parser.add_argument("--commands", nargs="*", metavar="NAME", help=f"some of: {', '.join(RECIPES)} (default: all)")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="inputs at the same time")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help="a command that takes longer counts as hanging"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep inputs that went wrong here")
    parser.add_argument("--only", metavar="COMMAND:NUMBER", help="only this input")
    parser.add_argument(
        "--odd", nargs="*", choices=STEPS, metavar="KIND", help=f"only these changes: {', '.join(STEPS)}"
    )
    parser.add_argument("--verbose", action="store_true", help="print every input")
    return parser


def numbers(commands: list[str], count: int) -> list[tuple[str, int]]:
    """Command and number of each input: commands in turn, each in proportion to its share and at least once."""
    total = sum(RECIPES[command].share for command in commands)
    each = {command: max(1, round(count * RECIPES[command].share / total)) for command in commands}
    return [
        (command, number) for number in range(max(each.values())) for command in commands if number < each[command]
    ]


def table(counts: dict[str, Counter[str]]) -> str:
    """A row for each command, and one for all."""
    columns = ("tried", *GOOD, *BAD)
    counts = {**counts, "all": sum(counts.values(), Counter())}
    wide = max(map(len, counts))
    lines = [" ".join((" " * wide, *columns))]
    for command, count in counts.items():
        cells = (count.total(), *(count[column] for column in columns[1:]))
        lines.append(
            " ".join(
                (
                    command.ljust(wide),
                    *(str(cell).rjust(len(name)) for cell, name in zip(cells, columns, strict=True)),
                )
            )
        )
    return "\n".join(lines)


def results(selected: list[tuple[str, int]], options: argparse.Namespace) -> Iterator[Outcome]:
    """Outcomes of the inputs, some run at the same time, in the order in which they end."""
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    running: dict[int, tuple[tuple[str, int], Path]] = {}
    try:
        _prepare(scratch / "originals")
        waiting = list(reversed(selected))
        while waiting or running:
            while waiting and len(running) < options.jobs:
                key = waiting.pop()
                folder = scratch / f"{key[0].replace(' ', '')}-{key[1]}"
                pid = _forked(lambda key=key, folder=folder: _try(key, scratch / "originals", folder, options))
                running[pid] = key, folder
            pid, status = os.wait()
            key, folder = running.pop(pid)
            yield _result(key, folder, status)
            _tidy(folder, options.keep)
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        _make_removable(scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def _prepare(originals: Path) -> None:
    """Import libraries, and make the originals in another process, because threads do not survive a fork."""
    import importlib

    for library in _LIBRARIES:
        importlib.import_module(library)
    pid = _forked(lambda: make_originals(originals))
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the originals cannot be made")


def _forked(action: object) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    end_with_parent()
    code = 1
    try:
        action()  # type: ignore[operator]
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _try(key: tuple[str, int], originals: Path, folder: Path, options: argparse.Namespace) -> None:
    made = make_input(*key, options.seed, originals, folder, options.odd or tuple(STEPS))
    before = snapshot(folder)
    result = call(made.arguments, folder, options.seconds, made.environment)
    verdict = judge(made, folder, result, before, snapshot(folder))
    (folder / "input.json").write_text(
        json.dumps([verdict.column, verdict.why, made.steps, made.arguments, result.seconds])
    )


def _result(key: tuple[str, int], folder: Path, status: int) -> Outcome:
    command, number = key
    with contextlib.suppress(OSError, ValueError):
        column, why, steps, arguments, seconds = json.loads((folder / "input.json").read_text())
        return Outcome(
            command=command, number=number, column=column, why=why, steps=steps, arguments=arguments, seconds=seconds
        )
    why = f"the verdict itself ended with {status}"
    return Outcome(command=command, number=number, column="crashes", why=why, steps=[], arguments=[], seconds=0.0)


def _tidy(folder: Path, keep: Path | None) -> None:
    with contextlib.suppress(OSError, ValueError):
        if keep is not None and json.loads((folder / "input.json").read_text())[0] in BAD:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(keep / folder.name, ignore_errors=True)
            shutil.move(folder, keep / folder.name)
            return
    _make_removable(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _make_removable(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink() and path.is_dir() and not os.access(path, os.W_OK):
            path.chmod(0o700)


if __name__ == "__main__":
    sys.exit(main())
