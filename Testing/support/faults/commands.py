"""The commands for fault injection: input, expected output, and how each is resumed."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.io.files import write_array

from support.faults.batch_commands import accept, batch
from support.faults.cases import GRID, write_case, write_old_result
from support.faults.command import QUIET, Command, Facts, strings
from support.faults.content import (
    BROKEN,
    NOTHING,
    image_fact,
    json_fact,
    label_fact,
    page_fact,
    table_fact,
)
from support.faults.dataset_commands import dataset, manifest, task
from support.faults.library_commands import library
from support.faults.running import Workspace
from support.faults.weights_commands import models_import

_FILL_MARKS = {"reading": ["image.nii.gz"], "filling": ["worker.log"], "writing": ["out/.fsa-"]}


def fill(suffix: str, old: bool = False, job: bool = False, confidence: bool = True) -> Command:
    """`fill`: alone, over an older result, and with a kept job."""

    def prepare(workspace: Workspace) -> None:
        write_case(workspace)
        if old:
            write_old_result(workspace.outputs / f"label{suffix}")
            write_array(workspace.outputs / "confidence.nii.gz", np.full(GRID.shape, 0.5, np.float32), GRID)

    def arguments(workspace: Workspace) -> list[str]:
        support = workspace.inputs / ("image-support.seg.nrrd" if "seg" in suffix else "image-support.nii.gz")
        found = strings(
            "fill",
            workspace.inputs / "image.nii.gz",
            support,
            "-o",
            workspace.outputs / f"label{suffix}",
            "--overwrite",
            *QUIET,
        )
        found += strings("--confidence", workspace.outputs / "confidence.nii.gz") if confidence else []
        return found + (strings("--job-dir", workspace.folder / "job") if job else [])

    def facts(workspace: Workspace) -> Facts:
        label = workspace.outputs / f"label{suffix}"
        painted = None
        if label.exists() and not old:
            painted = workspace.inputs / "image-support.nii.gz"
        return {
            "label": label_fact(label, painted),
            "confidence": image_fact(workspace.outputs / "confidence.nii.gz"),
        }

    name = f"fill{suffix}{' over old' if old else ''}{' --job-dir' if job else ''}"
    tags = frozenset({"worker"})
    return Command(
        name=name,
        prepare=prepare,
        arguments=arguments,
        facts=facts,
        arguments_after=lambda workspace: arguments(workspace) + ["--resume"] * job,
        marks=_FILL_MARKS,
        tags=tags,
    )


def compare(study: bool = False) -> Command:
    """`compare` on one volume, or on two with `--study`."""
    few = strings("--engines", "propagate", "--sizes", 2, "--draws", 1, "--held-out", 1, "--progress", "none")

    def prepare(workspace: Workspace) -> None:
        write_case(workspace)
        write_case(workspace, "other", 2)
        rows = "image.nii.gz,image-full.nii.gz,a\nother.nii.gz,other-full.nii.gz,b\n"
        (workspace.inputs / "study.csv").write_text("image,label,group\n" + rows)

    def arguments(workspace: Workspace) -> list[str]:
        given = (
            strings("--study", workspace.inputs / "study.csv")
            if study
            else strings(workspace.inputs / "image.nii.gz", workspace.inputs / "image-support.nii.gz")
        )
        return ["compare", *given, "-o", str(workspace.outputs / "report"), *few]

    def facts(workspace: Workspace) -> Facts:
        folder = workspace.outputs / "report"
        found = {"page": page_fact(folder / "report.html"), "plot": NOTHING}
        if (folder / "dice.png").exists():
            found["plot"] = "whole" if (folder / "dice.png").read_bytes().endswith(b"IEND\xaeB`\x82") else BROKEN
        times = ("seconds_to_first_slice", "seconds_per_further_slice")
        names = ("groups", "volumes", "labels") if study else ("summary", "slices")
        for name in names:
            found[name] = table_fact(folder / f"{name}.csv", *times)
        if not study:
            found["result"] = json_fact(folder / "result.json")
        return found

    def arguments_after(workspace: Workspace) -> list[str]:
        return arguments(workspace) + ["--resume"] * (workspace.outputs / "report" / "comparison.json").exists()

    marks = {"reading": [".nii.gz"], "filling": ["worker.log"], "writing": ["dice.png"]}
    name = "compare --study" if study else "compare"
    return Command(
        name=name,
        prepare=prepare,
        arguments=arguments,
        facts=facts,
        arguments_after=arguments_after,
        marks=marks,
        partial=True,
        tags=frozenset({"worker"}),
    )


def suggest() -> Command:
    """`suggest`, which writes nothing."""

    def arguments(workspace: Workspace) -> list[str]:
        return strings("suggest", workspace.inputs / "image.nii.gz", workspace.inputs / "image-support.nii.gz")

    marks = {"reading": ["image.nii.gz"]}
    return Command(
        name="suggest",
        prepare=write_case,
        arguments=arguments,
        facts=lambda workspace: {},
        arguments_after=arguments,
        marks=marks,
    )


def export(kind: str, old: bool = False, each: bool = False) -> Command:
    """`export` to a file, or to a file for each segment."""
    name = {"nifti": "out.nii.gz", "nrrd": "out.nrrd", "seg-nrrd": "out.seg.nrrd", "dicom-seg": "out.dcm"}[kind]

    def prepare(workspace: Workspace) -> None:
        write_case(workspace)
        if old and not each and kind != "dicom-seg":
            write_old_result(workspace.outputs / name)

    def arguments(workspace: Workspace) -> list[str]:
        output = workspace.outputs / ("each" if each else name)
        found = strings("export", workspace.inputs / "image-full.nii.gz", "--to", kind, "-o", output)
        if each:
            found.append("--one-file-per-segment")
        if kind == "dicom-seg":
            found += strings(
                "--derive-series", workspace.outputs / "series", "--image", workspace.inputs / "image.nii.gz"
            )
            found += strings("--modality", "CT", "--default-code")
        return found + ["--overwrite"] * old

    def facts(workspace: Workspace) -> Facts:
        if each:
            files = (
                sorted((workspace.outputs / "each").glob("*.nii.gz")) if (workspace.outputs / "each").exists() else []
            )
            return {"files": [label_fact(file) for file in files] or NOTHING}
        if kind != "dicom-seg":
            return {"label": label_fact(workspace.outputs / name)}
        series = workspace.outputs / "series"
        slices = len(list(series.iterdir())) if series.exists() else 0
        segmentation = label_fact(workspace.outputs / name)
        # only its labels: identifiers, and those of the series it refers to, are new each time
        return {"series": slices or NOTHING, "seg": segmentation}

    def arguments_after(workspace: Workspace) -> list[str]:
        found = arguments(workspace) if old else [*arguments(workspace), "--overwrite"]
        if kind == "dicom-seg" and (workspace.outputs / "series").exists():  # complete, as it appears at once
            at = found.index("--derive-series")
            found[at : at + 4] = ["--reference", str(workspace.outputs / "series")]
            del found[found.index("--modality") : found.index("--modality") + 2]
        return found

    marks = {"reading": ["image-full.nii.gz"], "writing": ["out/.fsa-"]}
    title = f"export {kind}{' each' if each else ''}{' over old' if old else ''}"
    return Command(
        name=title, prepare=prepare, arguments=arguments, facts=facts, arguments_after=arguments_after, marks=marks
    )


def every_command() -> list[Command]:
    """All commands."""
    return [
        fill(".nii.gz"),
        fill(".nii.gz", old=True),
        fill(".seg.nrrd", old=True),
        fill(".nii.gz", old=True, job=True),
        batch(),
        batch(resume=True),
        compare(),
        compare(study=True),
        suggest(),
        export("nifti"),
        export("nifti", old=True),
        export("nrrd", old=True),
        export("seg-nrrd", old=True),
        export("nifti", each=True),
        export("dicom-seg"),
        models_import(),
        models_import(over=True),
        *(library(action) for action in ("save", "add", "export", "import", "remove")),
        *(task(action) for action in ("create", "add", "export", "import", "remove")),
        *(dataset(action) for action in ("accept", "flag", "export")),
        manifest(),
        accept(),
    ]
