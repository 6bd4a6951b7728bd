"""`models import` as a command for fault injection: the file must be complete with its record, or not exist."""

from __future__ import annotations

from support.faults.command import Command, Facts, strings
from support.faults.content import file_fact
from support.faults.running import Workspace

NAME = "universeg-v1"  # its publisher gives no checksum, so that one is recorded when it is first imported


def models_import(over: bool = False) -> Command:
    """`models import`, also of a file that exists already."""

    def prepare(workspace: Workspace) -> None:
        import torch
        from fewshot_annotate.cli import main
        from fewshot_annotate.engines.in_context.universeg_network import state_shapes

        file = workspace.inputs / "weights.pt"
        torch.save({name: torch.zeros(shape) for name, shape in state_shapes().items()}, file)
        if over and main(strings("models", "import", NAME, file)):
            raise RuntimeError("the weights cannot be imported")

    def arguments(workspace: Workspace) -> list[str]:
        return strings("models", "import", NAME, workspace.inputs / "weights.pt")

    def facts(workspace: Workspace) -> Facts:
        folder = workspace.data / "weights"
        files = sorted(folder.iterdir()) if folder.exists() else []
        # A record of a checksum alone is harmless: it states which file is accepted.
        others = (".lock", ".sha256", ".copy")
        return {file.name: file_fact(file) for file in files if file.suffix not in others and file.name[0] != "."}

    marks = {"reading": ["weights.pt"], "writing": [".fsa-", ".sha256"]}
    name = "models import again" if over else "models import"
    return Command(
        name=name, prepare=prepare, arguments=arguments, facts=facts, arguments_after=arguments, marks=marks
    )
