"""`library` as commands for fault injection."""

from __future__ import annotations

from pathlib import Path

from fewshot_annotate.cli import main

from support.faults.cases import write_case
from support.faults.command import Command, Facts, strings
from support.faults.content import archive_fact, task_fact
from support.faults.running import Workspace


def library(action: str) -> Command:
    """`library save`, `add`, `export`, `import` and `remove`."""

    def prepare(workspace: Workspace) -> None:
        write_case(workspace)
        write_case(workspace, "other", 2)
        if action in ("add", "export", "remove"):
            _save(workspace, "save", "task", "image")
        elif action == "import":
            _save(workspace, "save", "task", "image")
            assert main(strings("library", "export", "task", "-o", workspace.inputs / "task.zip")) == 0
            assert main(strings("library", "remove", "task", "--yes")) == 0

    def arguments(workspace: Workspace) -> list[str]:
        if action == "save":
            return strings("library", "save", "task", workspace.inputs / "image.nii.gz", _support(workspace, "image"))
        if action == "add":
            return strings("library", "add", "task", workspace.inputs / "other.nii.gz", _support(workspace, "other"))
        more = {
            "export": ("task", "-o", workspace.outputs / "task.zip"),
            "import": (workspace.inputs / "task.zip",),
            "remove": ("task", "--yes"),
        }
        return strings("library", action, *more[action])

    def facts(workspace: Workspace) -> Facts:
        return {"task": task_fact("task"), "archive": archive_fact(workspace.outputs / "task.zip")}

    kept = ("task",) if action == "export" else ()
    marks = {"reading": ["image.nii.gz", "other.nii.gz", "task.json", "task.zip"], "writing": [".lock", "/.fsa-"]}
    return Command(
        name=f"library {action}",
        prepare=prepare,
        arguments=arguments,
        facts=facts,
        arguments_after=arguments,
        marks=marks,
        kept=kept,
    )


def _support(workspace: Workspace, name: str) -> Path:
    return workspace.inputs / f"{name}-support.nii.gz"


def _save(workspace: Workspace, verb: str, task: str, name: str) -> None:
    assert main(strings("library", verb, task, workspace.inputs / f"{name}.nii.gz", _support(workspace, name))) == 0
