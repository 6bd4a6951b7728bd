"""`batch`, and *Accept* in its review, as commands for fault injection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import LabelMap
from fewshot_annotate.datasets.status import Status, StatusFile
from fewshot_annotate.io.files import write_label_maps

from support.batches import read_valid_manifest
from support.faults.cases import GRID, NAMES, arrays, write_case
from support.faults.command import QUIET, Command, Facts, strings
from support.faults.content import BROKEN, NOTHING, file_fact, image_fact, json_fact, label_fact, page_fact
from support.faults.running import Prepared, Workspace
from support.processes import poll_while_busy


def batch(resume: bool = False) -> Command:
    """`batch` of two cases; with `resume` one more that was accepted and one that a person corrected."""
    done = ("kept", "corrected") if resume else ()

    def prepare(workspace: Workspace) -> None:
        write_case(workspace)
        names = (*done, "new", "newer")
        rows = "".join(f"image.nii.gz,image-support.nii.gz,{name}\n" for name in names)
        (workspace.inputs / "manifest.csv").write_text("image,support,name\n" + rows)
        if resume:
            from fewshot_annotate.datasets.batch import run_batch
            from fewshot_annotate.datasets.case import run_case
            from fewshot_annotate.datasets.case_plan import BatchSettings

            listed = read_valid_manifest(workspace.inputs / "manifest.csv")
            first = type(listed)(listed.path, listed.cases[:2], listed.unknown)
            run_batch(
                first,
                workspace.outputs / "batch",
                BatchSettings(),
                lambda: _InThisProcess(run_case),
                engine="propagate",
            )
            status = StatusFile(workspace.outputs / "batch" / "status.csv")
            status.set_accepted("kept", True)
            folder = workspace.outputs / "batch" / "corrected"
            (folder / "label.filled.nii.gz").write_bytes((folder / "label.nii.gz").read_bytes())
            _, truth = arrays()
            write_label_maps(folder / "label.nii.gz", [LabelMap(truth, GRID, NAMES)])

    def arguments(workspace: Workspace) -> list[str]:
        found = strings("batch", workspace.inputs / "manifest.csv", "-o", workspace.outputs / "batch", *QUIET)
        return found + ["--resume"] * resume

    def facts(workspace: Workspace) -> Facts:
        found: dict[str, Any] = {"page": page_fact(workspace.outputs / "batch" / "index.html")}
        support = workspace.inputs / "image-support.nii.gz"
        for name in (*done, "new", "newer"):
            folder = workspace.outputs / "batch" / name
            found[f"{name} label"] = label_fact(folder / "label.nii.gz", support)
            found[f"{name} confidence"] = image_fact(folder / "confidence.nii.gz")
            found[f"{name} preview"] = file_fact(folder / "preview.png")
            found[f"{name} record"] = json_fact(folder / "case.json")
        try:
            rows = StatusFile(workspace.outputs / "batch" / "status.csv").read()
        except InputError:
            rows = {}
            found["status"] = BROKEN
        for name in done:
            found[f"{name} accepted"] = rows[name].accepted if name in rows else BROKEN
            found[f"{name} filled"] = label_fact(workspace.outputs / "batch" / name / "label.filled.nii.gz")
        found["all done"] = all(row.status is Status.DONE for row in rows.values()) if rows else NOTHING
        return found

    kept = tuple(f"{name} {part}" for name in done for part in ("label", "accepted", "filled", "confidence"))
    marks = {"reading": ["manifest.csv"], "filling": [".batch.lock"], "writing": ["status.csv", "index.html"]}

    def arguments_after(workspace: Workspace) -> list[str]:
        found = arguments(workspace)
        if (workspace.outputs / "batch" / "status.csv").exists() and "--resume" not in found:
            found.append("--resume")
        return found

    name = "batch --resume" if resume else "batch"
    return Command(
        name=name,
        prepare=prepare,
        arguments=arguments,
        facts=facts,
        arguments_after=arguments_after,
        marks=marks,
        kept=kept,
        partial=True,
        tags=frozenset({"worker"}),
    )


class _InThisProcess:
    """Runs the cases of a batch in this process, for preparing one."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self._run = run
        self._finished: list[Any] = []

    def slots(self) -> int:
        return 1

    def submit(self, task: Any) -> None:
        self._finished.append(self._run(task))

    def poll(self, _seconds: float) -> list[Any]:
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        pass


def accept() -> Command:
    """*Accept* in batch review, of a case that a person corrected."""
    of_batch = batch(resume=True)

    def program(workspace: Workspace) -> Callable[[], int]:
        return Prepared(_new_scene, lambda: _accept(workspace.outputs / "batch"))

    def facts(workspace: Workspace) -> Facts:
        found = dict(of_batch.facts(workspace))
        folder = workspace.outputs / "batch" / "kept"
        rows = StatusFile(workspace.outputs / "batch" / "status.csv").read()
        found["kept as filled"] = label_fact(folder / "label.filled.nii.gz")
        found["accepted"] = rows["kept"].accepted
        return {key: found[key] for key in ("kept label", "kept as filled", "accepted", "corrected label")}

    def prepare(workspace: Workspace) -> None:
        of_batch.prepare(workspace)
        StatusFile(workspace.outputs / "batch" / "status.csv").set_accepted("kept", False)

    marks = {"reading": ["image.nii.gz"], "writing": ["label"]}
    kept = ("corrected label",)
    return Command(
        name="accept in review",
        prepare=prepare,
        arguments=lambda workspace: [],
        facts=facts,
        arguments_after=lambda workspace: [],
        marks=marks,
        kept=kept,
        partial=True,
        program=program,
        tags=frozenset({"slicer"}),
    )


def _new_scene() -> None:
    from support import mrml

    mrml.new_scene()


def _accept(folder: Path) -> int:
    """What the panel does when a person corrects a case and presses *Accept*."""
    import sys

    import slicer
    from fewshot_annotate.host.datasets.case_review import CaseReview

    from support import mrml

    review = CaseReview(slicer.mrmlScene, folder)
    try:
        poll_while_busy(review)
        review.show("kept")
        poll_while_busy(review)
        node = review.nodes.segmentation
        (first, *_) = node.GetSegmentation().GetSegmentIDs()
        mask = mrml.segment_array(node, first).astype(np.uint8)
        mask[2:4, :3] = 1  # no painted slices
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, first, review.nodes.volume)
        review.accept()
        poll_while_busy(review)
    except InputError as error:
        print(f"fewshot-annotate: {error}", file=sys.stderr)
        return 1
    finally:
        review.close()
    return 0
