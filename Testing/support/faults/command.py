"""Command: one command for fault injection, and what its files must be afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fewshot_annotate.cli import main

from support.faults.running import Workspace

Facts = Mapping[str, Any]
# Options of `fill` and `batch`.
QUIET = ("--engine", "propagate", "--progress", "none")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command, and what its files must be afterwards.

    Attributes
    ----------
    name : str
    prepare : function
        Fills a workspace.
    arguments, arguments_after : function
        The command's arguments, and those that resume it after a fault.
    facts : function
        Content of the output, by part: None where it is missing, `BROKEN` where a reader refuses it.
    marks : mapping
        Events that begin its stages, see `Stages`.
    kept : tuple of str
        Parts that must never change.
    partial : bool
        Whether some parts may be new while others are old.
    tags : set of str
        Programs that it runs: "worker", "slicer".
    program : function or None
        In place of the command line.
    """

    name: str
    prepare: Callable[[Workspace], None]
    arguments: Callable[[Workspace], list[str]]
    facts: Callable[[Workspace], Facts]
    arguments_after: Callable[[Workspace], list[str]]
    marks: Mapping[str, list[str]]
    kept: tuple[str, ...] = ()
    partial: bool = False
    program: Callable[[Workspace], Callable[[], int]] | None = None
    tags: frozenset[str] = field(default_factory=frozenset)

    def start(self, workspace: Workspace) -> Callable[[], int]:
        """The program to run."""
        arguments = self.arguments(workspace)
        return self.program(workspace) if self.program else lambda: main(arguments)

    def resume(self, workspace: Workspace) -> Callable[[], int]:
        """The program that resumes the command after a fault."""
        arguments = self.arguments_after(workspace)
        return self.program(workspace) if self.program else lambda: main(arguments)


def strings(*arguments: object) -> list[str]:
    """Arguments of a command line."""
    return [str(argument) for argument in arguments]
