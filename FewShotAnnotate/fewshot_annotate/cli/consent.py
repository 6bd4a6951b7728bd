"""Consent to what cannot be undone: replacing files and removing things."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from ..core import paths
from ..core.errors import InputError


def add_overwrite(parser: argparse.ArgumentParser, what: str = "OUT") -> None:
    """Add the option that allows to replace files."""
    parser.add_argument("--overwrite", action="store_true", help=f"replace {what} if it is there")


def require_free(options: argparse.Namespace, *outputs: Path) -> None:
    """Raise `InputError` if a file to be written is there already and the user did not agree to replace it."""
    for path in outputs:
        if not options.overwrite and paths.lexists(path) and not paths.is_folder(path):
            raise InputError("output_exists", path=path)


def require_different(outputs: Mapping[str, Path | None]) -> None:
    """Raise `InputError` if two outputs are the same file; they are given by the name of their option."""
    given = [(option, path) for option, path in outputs.items() if path is not None]
    for (other, earlier), (option, path) in combinations(given, 2):
        if paths.is_same(path, earlier):
            raise InputError("outputs_same", path=path, option=option, other=other)


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add the option that answers yes to the question whether to remove something."""
    parser.add_argument("--yes", action="store_true", help="remove without asking")


def require_yes(options: argparse.Namespace, what: str) -> None:
    """Ask whether to remove something, unless the user said so already.

    Parameters
    ----------
    options : argparse.Namespace
    what : str
        As within a sentence, such as "task 'liver'".

    Raises
    ------
    InputError
        The answer is no, or nobody can be asked.
    """
    if options.yes:
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"Remove {what}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise InputError("removal_unconfirmed", what=what[:1].upper() + what[1:])
