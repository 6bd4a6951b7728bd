"""A valid call of every command, and which of its inputs may be changed."""

from __future__ import annotations

from dataclasses import dataclass, field

from .originals import TASK, TRAINED, UNPUBLISHED


@dataclass
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
        f"fill {{image}} {{labels}} -o {{out}} {_RUN}",
        _PAIRS,
        {"out": _LABEL_MAPS},
        _FILL,
        ("support.nii.gz.labels.json",),
        check="fill",
    ),
    "fill --resume": Recipe(
        f"fill {{image}} {{labels}} -o {{out}} --job-dir job --resume {_RUN}",
        _PLAIN,
        {"out": _LABEL_MAPS},
        _FILL,
        ("job",) * 6,
        ("job",),
        check="fill",
    ),
    "suggest": Recipe(
        "suggest {image} {labels}",
        _PAIRS,
        options={**_SLICES, "--slices": "range", "--count": "number"},
        damageable=("support.nii.gz.labels.json",),
        check="suggest",
    ),
    "compare": Recipe(
        f"compare {{image}} {{labels}} -o {{out}} {_TRIAL}",
        _PAIRS,
        {"out": ("",)},
        {**_SLICES, **_COMPARE},
        check="compare",
        share=0.8,
    ),
    "compare --resume": Recipe(
        f"compare {{image}} {{labels}} -o report --resume {_TRIAL}",
        _PLAIN,
        options=_COMPARE,
        damageable=("report",) * 6,
        changes=("report",),
        check="compare",
        share=0.8,
    ),
    "compare --study": Recipe(
        f"compare --study {{manifest}} -o {{out}} {_TRIAL}",
        ({"manifest": "study.csv"},),
        {"out": ("",)},
        _COMPARE,
        ("image.nii.gz", "support.nii.gz", "series", "series-label.nii.gz"),
        check="study",
        share=0.8,
    ),
    "batch": Recipe(
        f"batch {{manifest}} -o {{out}} {_RUN}",
        ({"manifest": "cases.csv"},),
        {"out": ("",)},
        _BATCH,
        ("image.nii.gz", "support.nii.gz", "image.mha", "support.mha"),
        check="batch",
        share=0.8,
    ),
    "batch --resume": Recipe(
        f"batch {{manifest}} -o batch --resume {_RUN}",
        ({"manifest": "cases.csv"},),
        options=_BATCH,
        damageable=("batch",) * 6,
        changes=("batch",),
        check="batch",
        share=0.8,
    ),
    "fill --task": Recipe(
        f"fill {{image}} --task {TRAINED} -o {{out}} --progress none",
        ({"image": "image.nii.gz"},),
        {"out": _LABEL_MAPS},
        {"--task": "name", "--engine": "engine", "--device": "choice", "--overwrite": "nothing"},
        (*(_MODEL,) * 4, f"../home/library/{TRAINED}"),
        check="fill_of_task",
        share=0.3,
    ),
    "task create": Recipe(
        "task create new --labels {labels}",
        tuple({"labels": labels} for labels in ("support.nii.gz.labels.json", "support.nii.gz", "support.seg.nrrd")),
        options={"--labels": "name"},
        damageable=("../home/library",),
        changes=("../home",),
        check="task",
        share=0.5,
    ),
    "task add": Recipe(
        f"task add {TRAINED} {{image}} {{labels}} --labelled-slices 1,4,8",
        _PAIRS[:30],
        options=_ADDED,
        damageable=(f"../home/library/{TRAINED}",) * 4,
        changes=("../home",),
        check="task",
    ),
    "task add batch": Recipe(
        f"task add {TRAINED} {{batch}}",
        ({"batch": "batch"},),
        damageable=("batch",) * 4,
        changes=("../home",),
        check="task",
        share=0.5,
    ),
    "task train": Recipe(
        f"task train {TRAINED} --progress none",
        options={"--device": "choice", "--scheduler": "text"},
        damageable=(f"../home/library/{TRAINED}",) * 4,
        changes=(f"../home/library/{TRAINED}",),
        check="task",
        share=0.1,
        ending="--budget 1",
    ),
    "task list": Recipe("task list", damageable=("../home/library",), share=0.3),
    "task show": Recipe(f"task show {TRAINED}", damageable=(f"../home/library/{TRAINED}",) * 2, share=0.5),
    "task next": Recipe(
        f"task next {TRAINED} {{batch}}",
        ({"batch": "batch"},),
        options={"--count": "number"},
        damageable=("batch",) * 3 + (f"../home/library/{TRAINED}",),
        share=0.5,
    ),
    "task export": Recipe(
        f"task export {TRAINED} -o {{out}}",
        outputs={"out": (".zip",)},
        options={"--overwrite": "nothing"},
        damageable=(f"../home/library/{TRAINED}",) * 3,
        check="archive",
        share=0.5,
    ),
    "task import": Recipe(
        "task import {file} --name new",
        ({"file": "trained.zip"},),
        options={"--name": "name"},
        changes=("../home",),
        check="task",
    ),
    "task remove": Recipe(
        f"task remove --yes {TRAINED}",
        options={"--example": "number"},
        damageable=(f"../home/library/{TRAINED}",),
        changes=("../home/library",),
        share=0.3,
    ),
    "dataset list": Recipe("dataset list {batch}", ({"batch": "batch"},), damageable=("batch",) * 4, share=0.5),
    "dataset accept": Recipe(
        "dataset {action} batch second",
        ({"action": "accept"}, {"action": "flag"}),
        damageable=("batch",) * 4,
        changes=("batch",),
    ),
    "dataset export": Recipe(
        "dataset export {source} --format {layout} -o {out} --progress none",
        tuple(
            {"source": source, "layout": layout}
            for source in ("batch", "batch", TRAINED)
            for layout in ("nnunet", "msd", "monai", "bids")
        ),
        {"out": ("",)},
        _DATASET,
        (*("batch",) * 4, f"../home/library/{TRAINED}", "image.nii.gz"),
        check="data_set",
    ),
    "dataset add": Recipe(
        "dataset add {batch} images",
        ({"batch": "batch"}, {"batch": "new"}),
        options={"--task": "name"},
        damageable=("batch", "images", "images"),
        changes=("batch", "new"),
        share=0.5,
    ),
    "manifest": Recipe(
        "manifest images {labels} -o {out} --progress none",
        ({"labels": "labels"},),
        {"out": (".csv",)},
        {
            "--overwrite": "nothing",
            "--images": "tag",
            "--supports": "tag",
            "--labels": "name",
            "--unlabelled": "nothing",
        },
        ("images", "labels", "labels"),
        check="manifest",
        share=0.5,
    ),
    "library save": Recipe(
        "library save new {image} {labels}",
        _PAIRS,
        options=_SLICES,
        damageable=("../home/library",),
        changes=("../home",),
        check="library",
    ),
    "library add": Recipe(
        f"library add {TASK} {{image}} {{labels}}",
        _PAIRS,
        options=_SLICES,
        damageable=("../home/library",) * 3,
        changes=("../home",),
        check="library",
    ),
    "library list": Recipe("library list", damageable=("../home/library",), check="nothing", share=0.5),
    "library show": Recipe(f"library show {TASK}", damageable=("../home/library",), share=0.5),
    "library remove": Recipe(
        f"library remove --yes {TASK}", damageable=("../home/library",), changes=("../home/library",), share=0.3
    ),
    "library export": Recipe(
        f"library export {TASK} -o {{out}}",
        outputs={"out": (".zip",)},
        options={"--overwrite": "nothing"},
        damageable=("../home/library",) * 3,
        check="archive",
    ),
    "library import": Recipe(
        "library import {file} --name new",
        ({"file": "task.zip"},),
        options={"--name": "name"},
        changes=("../home",),
        check="library",
    ),
    "export": Recipe(
        "export {labels} --to {kind} -o {out} --default-code",
        tuple(
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
        {"out": (".nii.gz", ".nrrd", ".seg.nrrd")},
        _EXPORT,
        ("support.nii.gz.labels.json", "support.nrrd.labels.json"),
        check="export",
    ),
    "export dicom-seg": Recipe(
        "export {labels} --to dicom-seg -o {out} --reference {image} --default-code",
        ({"labels": "series-label.nii.gz", "image": "series"}, {"labels": "seg.dcm", "image": "series"}),
        {"out": (".dcm",)},
        _EXPORT,
        check="segmentation",
    ),
    "export --derive-series": Recipe(
        "export {labels} --to dicom-seg -o {out} --image {image} --derive-series {series} --default-code",
        _PAIRS[:25],
        {"out": (".dcm",), "series": ("",)},
        _EXPORT,
        check="segmentation",
    ),
    "models": Recipe(
        "models {action} universeg-v1",
        tuple({"action": action} for action in ("info", "verify", "verify", "download")),
        options={"--progress": "choice"},
        damageable=("../home/weights",) * 4,
        changes=(f"../home/weights/{UNPUBLISHED}", f"../home/weights/{UNPUBLISHED}.sha256"),
    ),
    "models remove": Recipe(
        "models remove --yes universeg-v1",
        options={"--forget": "nothing"},
        damageable=("../home/weights",) * 2,
        changes=("../home/weights",),
        share=0.3,
    ),
    "models list": Recipe("models list", damageable=("../home/weights",), share=0.2),
    "models import": Recipe(
        "models import {name} {file}",
        tuple({"name": name, "file": "weights.pt"} for name in ("universeg-v1", "sam-vit-b", "seggpt-vit-large")),
        damageable=("../home/weights",),
        check="refusal",
    ),
    "demo": Recipe(
        "demo -o {out} --engine nothing", outputs={"out": ("",)}, options={"--engine": "name"}, share=0.15
    ),
}
