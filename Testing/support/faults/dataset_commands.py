"""`task`, `dataset` and `manifest` as commands for fault injection."""

from __future__ import annotations

import shutil

from fewshot_annotate.cli import main

from support.faults.batch_commands import batch
from support.faults.cases import write_case
from support.faults.command import Command, Facts, strings
from support.faults.content import archive_fact, file_fact, folder_fact, review_fact, whole_task_fact
from support.faults.running import Workspace


def task(action: str) -> Command:
    """`task create`, `add`, `export`, `import` and `remove`, of whole labelled volumes."""

    def prepare(workspace: Workspace) -> None:
        write_case(workspace)
        write_case(workspace, "other", 2)
        if action != "create":
            _run("task", "create", "task", "--labels", workspace.inputs / "image-full.nii.gz")
            _run(*_added(workspace, "image"))
        if action == "import":
            _run("task", "export", "task", "-o", workspace.inputs / "task.zip")
            _run("task", "remove", "--yes", "task")

    def arguments(workspace: Workspace) -> list[str]:
        if action == "add":
            return strings(*_added(workspace, "other"))
        more = {
            "create": ("task", "--labels", workspace.inputs / "image-full.nii.gz"),
            "export": ("task", "-o", workspace.outputs / "task.zip"),
            "import": (workspace.inputs / "task.zip",),
            "remove": ("--yes", "task"),
        }
        return strings("task", action, *more[action])

    def facts(workspace: Workspace) -> Facts:
        return {"task": whole_task_fact("task"), "archive": archive_fact(workspace.outputs / "task.zip")}

    kept = ("task",) if action == "export" else ()
    marks = {
        "reading": ["image-full.nii.gz", "other.nii.gz", "task.json", "task.zip"],
        "writing": [".lock", "/.fsa-"],
    }
    return Command(
        name=f"task {action}",
        prepare=prepare,
        arguments=arguments,
        facts=facts,
        arguments_after=arguments,
        marks=marks,
        kept=kept,
    )


def dataset(action: str) -> Command:
    """`dataset accept`, `flag` and `export`, of a batch with an accepted and a corrected case."""
    of_batch = batch(resume=True)
    out = "data-set"

    def prepare(workspace: Workspace) -> None:
        of_batch.prepare(workspace)

    def arguments(workspace: Workspace) -> list[str]:
        folder = workspace.outputs / "batch"
        if action == "export":
            return strings(
                "dataset", "export", folder, "--format", "nnunet", "-o", workspace.outputs / out, "--no-previews",
                "--progress", "none",
            )  # fmt: skip
        return strings("dataset", action, folder, "corrected")

    def facts(workspace: Workspace) -> Facts:
        folder = workspace.outputs / "batch"
        found = of_batch.facts(workspace)
        kept = {name: found[name] for name in ("kept label", "corrected label", "corrected filled")}
        if action == "export":
            return {**kept, "data set": folder_fact(workspace.outputs / out)}
        return {**kept, "state": review_fact(folder, "corrected")}

    def arguments_after(workspace: Workspace) -> list[str]:
        if action == "export":  # it refuses an existing folder
            shutil.rmtree(workspace.outputs / out, ignore_errors=True)
        return arguments(workspace)

    kept = ("kept label", "corrected label", "corrected filled")
    marks = {"reading": ["status.csv"], "writing": ["/.fsa-", ".lock"]}
    return Command(
        name=f"dataset {action}",
        prepare=prepare,
        arguments=arguments,
        facts=facts,
        arguments_after=arguments_after,
        marks=marks,
        kept=kept,
    )


def manifest() -> Command:
    """`manifest` of a folder of images and labels, in place of an older table."""

    def prepare(workspace: Workspace) -> None:
        for folder, part in (("images", ""), ("labels", "-support")):
            (workspace.inputs / folder).mkdir()
            for number, name in enumerate(("first", "second")):
                write_case(workspace, name, number)
                (workspace.inputs / f"{name}{part}.nii.gz").replace(workspace.inputs / folder / f"{name}.nii.gz")
        (workspace.outputs / "cases.csv").write_text("image,support,name\n")

    def arguments(workspace: Workspace) -> list[str]:
        return strings(
            "manifest", workspace.inputs / "images", workspace.inputs / "labels", "-o",
            workspace.outputs / "cases.csv", "--overwrite", "--progress", "none",
        )  # fmt: skip

    def facts(workspace: Workspace) -> Facts:
        return {"table": file_fact(workspace.outputs / "cases.csv")}

    marks = {"reading": ["images"], "writing": ["/.fsa-"]}
    return Command(
        name="manifest", prepare=prepare, arguments=arguments, facts=facts, arguments_after=arguments, marks=marks
    )


def _added(workspace: Workspace, name: str) -> tuple[object, ...]:
    image, labels = workspace.inputs / f"{name}.nii.gz", workspace.inputs / f"{name}-full.nii.gz"
    return "task", "add", "task", image, labels, "--whole", "--patient", name


def _run(*arguments: object) -> None:
    assert main(strings(*arguments)) == 0
