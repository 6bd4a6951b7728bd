"""A valid call of every command, and which of its inputs may be changed."""

from __future__ import annotations

from dataclasses import dataclass, field

from .originals import TASK, TRAINED, UNPUBLISHED


@dataclass(kw_only=True)
class Recipe:
    """A valid call of a command.

    Attributes
    ----------
    arguments : str
        With the names of files in braces.
    files : sequence of mappings
        Valid choices of these files, one of which is used.
    outputs : mapping
        The files or folders that it writes, by their name in braces.
    options : mapping of str to str
        Options that may be given, and the kind of their values.
    damageable : tuple of str
        Further files, or folders of files, that the command reads.
    changes : tuple of str
        Further files that it may change if it succeeds.
    check : str
        Name of the oracle for accepted inputs.
    share : float
        Relative number of inputs.
    ending : str
        Arguments after all others.
    """

    arguments: str
    files: tuple[dict[str, str], ...] = ({},)
    outputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    damageable: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    check: str = "nothing"
    share: float = 1.0
    ending: str = ""


def _pairs() -> tuple[dict[str, str], ...]:
    images = ("image.nii.gz", "image.nii", "image.nrrd", "image.mha", "image.mhd", "image.mgz")
    supports = ("support.nii.gz", "support.nii", "support.nrrd", "support.mha", "support.seg.nrrd")
    pairs = [{"image": image, "labels": support} for image in images for support in supports]
    pairs += 6 * [{"image": "series", "labels": "series-label.nii.gz"}, {"image": "series", "labels": "seg.dcm"}]
    return tuple(pairs)


_PAIRS = _pairs()
_PLAIN = ({"image": "image.nii.gz", "labels": "support.nii.gz"},)
_LABEL_MAPS = (".nii.gz", ".nii", ".nrrd", ".mha", ".seg.nrrd")
_RUN = "--engine propagate --progress none"
_SLICES = {"--axis": "axis", "--labelled-slices": "slices", "--series": "series"}
_FILL = {**_SLICES, "--slices": "range", "--engine": "engine", "--device": "choice", "--option": "setting",
    "--budget": "seconds",
         "--implementation": "text", "--confidence": "name", "--progress": "choice",
         "--overwrite": "nothing", "--preview": "name", "--statistics": "name"}  # fmt: skip
_COMPARE = {"--engines": "engine", "--sizes": "slices", "--draws": "number", "--held-out": "number",
    "--seed": "number",
            "--option": "setting", "--budget": "seconds", "--device": "choice"}  # fmt: skip
_BATCH = {"--engine": "engine", "--slices": "range", "--threads": "number", "--workers": "number",
    "--budget": "seconds",
          "--option": "setting", "--device": "choice", "--scheduler": "text"}  # fmt: skip
_EXPORT = {"--code": "code", "--structures": "name", "--engine": "text", "--weights": "text", "--series": "series",
           "--type": "choice", "--patient-id": "tag", "--patient-name": "tag", "--modality": "choice"}  # fmt: skip
_ADDED = {**_SLICES, "--patient": "tag", "--origin": "choice"}
_DATASET = {"--name": "name", "--number": "number", "--suffix": "tag", "--cases": "name", "--validation": "seconds",
            "--seed": "number"}  # fmt: skip
_MODEL = f"../home/library/{TRAINED}/models"
_TRIAL = "--engines propagate --sizes 1 --draws 1 --held-out 1 --progress none"

RECIPES = {
    "fill": Recipe(
        arguments=f"fill {{image}} {{labels}} -o {{out}} {_RUN}",
        files=_PAIRS,
        outputs={"out": _LABEL_MAPS},
        options=_FILL,
        damageable=("support.nii.gz.labels.json",),
        check="fill",
    ),
    "fill --resume": Recipe(
        arguments=f"fill {{image}} {{labels}} -o {{out}} --job-dir job --resume {_RUN}",
        files=_PLAIN,
        outputs={"out": _LABEL_MAPS},
        options=_FILL,
        damageable=("job",) * 6,
        changes=("job",),
        check="fill",
    ),
    "suggest": Recipe(
        arguments="suggest {image} {labels}",
        files=_PAIRS,
        options={**_SLICES, "--slices": "range", "--count": "number"},
        damageable=("support.nii.gz.labels.json",),
        check="suggest",
    ),
    "compare": Recipe(
        arguments=f"compare {{image}} {{labels}} -o {{out}} {_TRIAL}",
        files=_PAIRS,
        outputs={"out": ("",)},
        options={**_SLICES, **_COMPARE},
        check="compare",
        share=0.8,
    ),
    "compare --resume": Recipe(
        arguments=f"compare {{image}} {{labels}} -o report --resume {_TRIAL}",
        files=_PLAIN,
        options=_COMPARE,
        damageable=("report",) * 6,
        changes=("report",),
        check="compare",
        share=0.8,
    ),
    "compare --study": Recipe(
        arguments=f"compare --study {{manifest}} -o {{out}} {_TRIAL}",
        files=({"manifest": "study.csv"},),
        outputs={"out": ("",)},
        options=_COMPARE,
        damageable=("image.nii.gz", "support.nii.gz", "series", "series-label.nii.gz"),
        check="study",
        share=0.8,
    ),
    "batch": Recipe(
        arguments=f"batch {{manifest}} -o {{out}} {_RUN}",
        files=({"manifest": "cases.csv"},),
        outputs={"out": ("",)},
        options=_BATCH,
        damageable=("image.nii.gz", "support.nii.gz", "image.mha", "support.mha"),
        check="batch",
        share=0.8,
    ),
    "batch --resume": Recipe(
        arguments=f"batch {{manifest}} -o batch --resume {_RUN}",
        files=({"manifest": "cases.csv"},),
        options=_BATCH,
        damageable=("batch",) * 6,
        changes=("batch",),
        check="batch",
        share=0.8,
    ),
    "fill --task": Recipe(
        arguments=f"fill {{image}} --task {TRAINED} -o {{out}} --progress none",
        files=({"image": "image.nii.gz"},),
        outputs={"out": _LABEL_MAPS},
        options={"--task": "name", "--engine": "engine", "--device": "choice", "--overwrite": "nothing"},
        damageable=(*(_MODEL,) * 4, f"../home/library/{TRAINED}"),
        check="fill_of_task",
        share=0.3,
    ),
    "task create": Recipe(
        arguments="task create new --labels {labels}",
        files=tuple(
            {"labels": labels} for labels in ("support.nii.gz.labels.json", "support.nii.gz", "support.seg.nrrd")
        ),
        options={"--labels": "name"},
        damageable=("../home/library",),
        changes=("../home",),
        check="task",
        share=0.5,
    ),
    "task add": Recipe(
        arguments=f"task add {TRAINED} {{image}} {{labels}} --labelled-slices 1,4,8",
        files=_PAIRS[:30],
        options=_ADDED,
        damageable=(f"../home/library/{TRAINED}",) * 4,
        changes=("../home",),
        check="task",
    ),
    "task add batch": Recipe(
        arguments=f"task add {TRAINED} {{batch}}",
        files=({"batch": "batch"},),
        damageable=("batch",) * 4,
        changes=("../home",),
        check="task",
        share=0.5,
    ),
    "task train": Recipe(
        arguments=f"task train {TRAINED} --progress none",
        options={"--device": "choice", "--scheduler": "text"},
        damageable=(f"../home/library/{TRAINED}",) * 4,
        changes=(f"../home/library/{TRAINED}",),
        check="task",
        share=0.1,
        ending="--budget 1",
    ),
    "task list": Recipe(arguments="task list", damageable=("../home/library",), share=0.3),
    "task show": Recipe(arguments=f"task show {TRAINED}", damageable=(f"../home/library/{TRAINED}",) * 2, share=0.5),
    "task next": Recipe(
        arguments=f"task next {TRAINED} {{batch}}",
        files=({"batch": "batch"},),
        options={"--count": "number"},
        damageable=("batch",) * 3 + (f"../home/library/{TRAINED}",),
        share=0.5,
    ),
    "task export": Recipe(
        arguments=f"task export {TRAINED} -o {{out}}",
        outputs={"out": (".zip",)},
        options={"--overwrite": "nothing"},
        damageable=(f"../home/library/{TRAINED}",) * 3,
        check="archive",
        share=0.5,
    ),
    "task import": Recipe(
        arguments="task import {file} --name new",
        files=({"file": "trained.zip"},),
        options={"--name": "name"},
        changes=("../home",),
        check="task",
    ),
    "task remove": Recipe(
        arguments=f"task remove --yes {TRAINED}",
        options={"--example": "number"},
        damageable=(f"../home/library/{TRAINED}",),
        changes=("../home/library",),
        share=0.3,
    ),
    "dataset list": Recipe(
        arguments="dataset list {batch}", files=({"batch": "batch"},), damageable=("batch",) * 4, share=0.5
    ),
    "dataset accept": Recipe(
        arguments="dataset {action} batch second",
        files=({"action": "accept"}, {"action": "flag"}),
        damageable=("batch",) * 4,
        changes=("batch",),
    ),
    "dataset export": Recipe(
        arguments="dataset export {source} --format {layout} -o {out} --progress none",
        files=tuple(
            {"source": source, "layout": layout}
            for source in ("batch", "batch", TRAINED)
            for layout in ("nnunet", "msd", "monai", "bids")
        ),
        outputs={"out": ("",)},
        options=_DATASET,
        damageable=(*("batch",) * 4, f"../home/library/{TRAINED}", "image.nii.gz"),
        check="data_set",
    ),
    "dataset add": Recipe(
        arguments="dataset add {batch} images",
        files=({"batch": "batch"}, {"batch": "new"}),
        options={"--task": "name"},
        damageable=("batch", "images", "images"),
        changes=("batch", "new"),
        share=0.5,
    ),
    "manifest": Recipe(
        arguments="manifest images {labels} -o {out} --progress none",
        files=({"labels": "labels"},),
        outputs={"out": (".csv",)},
        options={
            "--overwrite": "nothing",
            "--images": "tag",
            "--supports": "tag",
            "--labels": "name",
            "--unlabelled": "nothing",
        },
        damageable=("images", "labels", "labels"),
        check="manifest",
        share=0.5,
    ),
    "library save": Recipe(
        arguments="library save new {image} {labels}",
        files=_PAIRS,
        options=_SLICES,
        damageable=("../home/library",),
        changes=("../home",),
        check="library",
    ),
    "library add": Recipe(
        arguments=f"library add {TASK} {{image}} {{labels}}",
        files=_PAIRS,
        options=_SLICES,
        damageable=("../home/library",) * 3,
        changes=("../home",),
        check="library",
    ),
    "library list": Recipe(arguments="library list", damageable=("../home/library",), check="nothing", share=0.5),
    "library show": Recipe(arguments=f"library show {TASK}", damageable=("../home/library",), share=0.5),
    "library remove": Recipe(
        arguments=f"library remove --yes {TASK}",
        damageable=("../home/library",),
        changes=("../home/library",),
        share=0.3,
    ),
    "library export": Recipe(
        arguments=f"library export {TASK} -o {{out}}",
        outputs={"out": (".zip",)},
        options={"--overwrite": "nothing"},
        damageable=("../home/library",) * 3,
        check="archive",
    ),
    "library import": Recipe(
        arguments="library import {file} --name new",
        files=({"file": "task.zip"},),
        options={"--name": "name"},
        changes=("../home",),
        check="library",
    ),
    "export": Recipe(
        arguments="export {labels} --to {kind} -o {out} --default-code",
        files=tuple(
            {"labels": labels, "kind": kind}
            for labels in (
                "support.nii.gz",
                "support.nrrd",
                "support.mha",
                "support.seg.nrrd",
                "seg.dcm",
                "filled.nii.gz",
            )
            for kind in ("nifti", "nrrd", "seg-nrrd")
        ),
        outputs={"out": (".nii.gz", ".nrrd", ".seg.nrrd")},
        options=_EXPORT,
        damageable=("support.nii.gz.labels.json", "support.nrrd.labels.json"),
        check="export",
    ),
    "export dicom-seg": Recipe(
        arguments="export {labels} --to dicom-seg -o {out} --reference {image} --default-code",
        files=({"labels": "series-label.nii.gz", "image": "series"}, {"labels": "seg.dcm", "image": "series"}),
        outputs={"out": (".dcm",)},
        options=_EXPORT,
        check="segmentation",
    ),
    "export --derive-series": Recipe(
        arguments="export {labels} --to dicom-seg -o {out} --image {image} --derive-series {series} --default-code",
        files=_PAIRS[:25],
        outputs={"out": (".dcm",), "series": ("",)},
        options=_EXPORT,
        check="segmentation",
    ),
    "models": Recipe(
        arguments="models {action} universeg-v1",
        files=tuple({"action": action} for action in ("info", "verify", "verify", "download")),
        options={"--progress": "choice"},
        damageable=("../home/weights",) * 4,
        changes=(f"../home/weights/{UNPUBLISHED}", f"../home/weights/{UNPUBLISHED}.sha256"),
    ),
    "models remove": Recipe(
        arguments="models remove --yes universeg-v1",
        options={"--forget": "nothing"},
        damageable=("../home/weights",) * 2,
        changes=("../home/weights",),
        share=0.3,
    ),
    "models list": Recipe(arguments="models list", damageable=("../home/weights",), share=0.2),
    "models import": Recipe(
        arguments="models import {name} {file}",
        files=tuple(
            {"name": name, "file": "weights.pt"} for name in ("universeg-v1", "sam-vit-b", "seggpt-vit-large")
        ),
        damageable=("../home/weights",),
        check="refusal",
    ),
    "demo": Recipe(
        arguments="demo -o {out} --engine nothing", outputs={"out": ("",)}, options={"--engine": "name"}, share=0.15
    ),
}
