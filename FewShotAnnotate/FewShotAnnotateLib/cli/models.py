"""`models`: the engines and what they need."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from ..engines import engine_class, engine_names


def add(verbs: Any) -> None:
    """Add the command to the parser's subcommands."""
    models = verbs.add_parser("models", help="the engines and what they need")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all engines, and whether they can run here")
    listing.set_defaults(command=_list_models)


def _list_models(_options: argparse.Namespace) -> int:
    table = Table("engine", "state", "licence", "what it does")
    for name in engine_names():
        engine = engine_class(name)
        table.add_row(name, engine.cannot_run() or "ready", engine.licence, engine.summary)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    print(f"auto is {engine_class('auto').name} here.")
    return 0
