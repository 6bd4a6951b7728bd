"""The commands that are disturbed: what each is given, what it is to write, and how it is gone on with."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.datasets.status import Status, StatusFile
from fewshot_annotate.datasets.task.library import task_folder, task_names
from fewshot_annotate.datasets.task.task import read_task
from fewshot_annotate.io.files import read_label_maps, read_volume, write_array, write_label_maps

from support.faults.running import Desk, Prepared

GRID = Geometry((16, 24, 20), (3.0, 0.8, 0.9), (5.0, -3.0, 11.0))
PAINTED = (1, 5, 9, 14)
NAMES = (Segment(1, "liver", (1.0, 0.5, 0.0)), Segment(2, "Étage", (0.0, 0.5, 1.0)))
OLD_NAMES = (Segment(1, "old name", (0.0, 0.0, 1.0)),)
# No result, and one that is not whole.
NOTHING, BROKEN = None, "broken"
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """One command and what is right after it.

    Attributes
    ----------
    name : str
    prepare : function
        Fills a desk.
    words, again : function
        The command's words, and those that go on with it after a fault.
    facts : function
        What is in the output, by part: None where there is nothing, `BROKEN` where a reader refuses it.
    marks : mapping
        What begins its stages, see `Stages`.
    kept : tuple of str
        Parts that must be as before, whatever happens.
    loose : tuple of str
        Parts that differ from run to run and must only be sound.
    program : function or None
        In place of the command line.
    """

    name: str
    prepare: Callable[[Desk], None]
    words: Callable[[Desk], list[str]]
    facts: Callable[[Desk], Facts]
    again: Callable[[Desk], list[str]]
    marks: Mapping[str, list[str]]
    kept: tuple[str, ...] = ()
    partial: bool = False
    program: Callable[[Desk], Callable[[], int]] | None = None
    tags: frozenset[str] = field(default_factory=frozenset)

    def start(self, desk: Desk) -> Callable[[], int]:
        """The program to run."""
        words = self.words(desk)
        return self.program(desk) if self.program else lambda: main(words)

    def go_on(self, desk: Desk) -> Callable[[], int]:
        """The program that goes on after a fault."""
        words = self.again(desk)
        return self.program(desk) if self.program else lambda: main(words)


# --- what is read


def label_fact(path: Path, support: Path | None = None) -> Any:
    """Voxels, grid and names of a label map together: they are one result. Painted slices must be the support's."""
    if not path.exists():
        return NOTHING
    try:
        layers = read_label_maps(path)
        painted = read_label_maps(support) if support else []
    except InputError:
        return BROKEN
    if painted and not np.array_equal(layers[0].array[list(PAINTED)], painted[0].array[list(PAINTED)]):
        return "painted slices differ"
    return [
        (_digest(layer.array.tobytes()), layer.geometry.to_json(), [(s.value, s.name) for s in layer.segments])
        for layer in layers
    ]


def image_fact(path: Path) -> Any:
    """Voxels and grid of an image."""
    if not path.exists():
        return NOTHING
    try:
        volume = read_volume(path)
    except InputError:
        return BROKEN
    return _digest(volume.array.tobytes()), volume.geometry.to_json()


def file_fact(path: Path) -> Any:
    """A file's bytes."""
    return _digest(path.read_bytes()) if path.exists() else NOTHING


def table_fact(path: Path, *left_out: str) -> Any:
    """Rows of a table but for some columns."""
    if not path.exists():
        return NOTHING
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    return [{key: value for key, value in row.items() if key not in left_out} for row in rows] or BROKEN


def page_fact(path: Path) -> Any:
    """Whether a page is whole."""
    if not path.exists():
        return NOTHING
    return "whole" if path.read_text(encoding="utf-8").rstrip().endswith("</html>") else BROKEN


def json_fact(path: Path) -> Any:
    """Whether a JSON file is whole."""
    if not path.exists():
        return NOTHING
    try:
        json.loads(path.read_text())
    except ValueError:
        return BROKEN
    return "whole"


def task_fact(name: str) -> Any:
    """All that is in a task of the library."""
    if name not in task_names():
        return NOTHING
    try:
        task = read_task(task_folder(name))
        pixels = [_digest(array.tobytes()) for one in task.slices for array in task.pixels(one)]
        pictures = [file_fact(task.thumbnail(one)) for one in task.slices]
    except InputError:
        return BROKEN
    return [task.plane, [(s.value, s.name) for s in task.segments], pixels, pictures]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- what is given


def arrays(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """An image and its full labels."""
    truth = np.zeros(GRID.shape, dtype=np.uint8)
    for k in range(GRID.shape[0]):
        truth[k, 4 + k // 4 : 14, 5:13] = 1
        truth[k, 14:18, 4 : 9 + k // 2] = 2
    noise = np.random.default_rng(seed).normal(0, 5, GRID.shape)
    return (noise + 60 * truth).astype(np.float32), truth


def give(desk: Desk, name: str = "image", seed: int = 1) -> None:
    """An image, and its labels on a few slices; twice, as NIfTI and as .seg.nrrd."""
    image, truth = arrays(seed)
    painted = np.zeros_like(truth)
    painted[list(PAINTED)] = truth[list(PAINTED)]
    write_array(desk.given / f"{name}.nii.gz", image, GRID)
    write_label_maps(desk.given / f"{name}-support.nii.gz", [LabelMap(painted, GRID, NAMES)])
    write_label_maps(desk.given / f"{name}-support.seg.nrrd", [LabelMap(painted, GRID, NAMES)])
    write_label_maps(desk.given / f"{name}-full.nii.gz", [LabelMap(truth, GRID, NAMES)])


def give_old(path: Path) -> None:
    """An older result."""
    old = np.zeros(GRID.shape, dtype=np.uint8)
    old[2:5, 3:9, 3:9] = 1
    write_label_maps(path, [LabelMap(old, GRID, OLD_NAMES)])


def _words(*words: object) -> list[str]:
    return [str(word) for word in words]


# --- the commands

_QUIET = ("--engine", "propagate", "--progress", "none")
_FILL_MARKS = {"reading": ["image.nii.gz"], "filling": ["worker.log"], "writing": ["out/.fsa-"]}


def fill(suffix: str, old: bool = False, job: bool = False, confidence: bool = True) -> Command:
    """`fill`, with an older result in place, with a kept job."""

    def prepare(desk: Desk) -> None:
        give(desk)
        if old:
            give_old(desk.out / f"label{suffix}")
            write_array(desk.out / "confidence.nii.gz", np.full(GRID.shape, 0.5, np.float32), GRID)

    def words(desk: Desk) -> list[str]:
        support = desk.given / ("image-support.seg.nrrd" if "seg" in suffix else "image-support.nii.gz")
        found = _words("fill", desk.given / "image.nii.gz", support, "-o", desk.out / f"label{suffix}", *_QUIET)
        found += _words("--confidence", desk.out / "confidence.nii.gz") if confidence else []
        return found + (_words("--job-dir", desk.folder / "job") if job else [])

    def facts(desk: Desk) -> Facts:
        label = desk.out / f"label{suffix}"
        painted = None
        if label.exists() and not old:
            painted = desk.given / "image-support.nii.gz"
        return {"label": label_fact(label, painted), "confidence": image_fact(desk.out / "confidence.nii.gz")}

    name = f"fill{suffix}{' over old' if old else ''}{' --job-dir' if job else ''}"
    tags = frozenset({"worker"})
    return Command(name, prepare, words, facts, lambda desk: words(desk) + ["--resume"] * job, _FILL_MARKS, tags=tags)


def batch(resume: bool = False) -> Command:
    """`batch` of two cases; with `resume` one more that was accepted and one that a person corrected."""
    done = ("kept", "mended") if resume else ()

    def prepare(desk: Desk) -> None:
        give(desk)
        names = (*done, "new", "newer")
        rows = "".join(f"image.nii.gz,image-support.nii.gz,{name}\n" for name in names)
        (desk.given / "manifest.csv").write_text("image,support,name\n" + rows)
        if resume:
            from fewshot_annotate.datasets.batch import run_batch
            from fewshot_annotate.datasets.case import BatchSettings, run_case
            from fewshot_annotate.datasets.manifest import read_manifest

            listed = read_manifest(desk.given / "manifest.csv")
            first = type(listed)(listed.path, listed.cases[:2], listed.unknown)
            run_batch(first, desk.out / "batch", BatchSettings(), lambda: _Here(run_case), engine="propagate")
            status = StatusFile(desk.out / "batch" / "status.csv")
            status.set_accepted("kept", True)
            folder = desk.out / "batch" / "mended"
            (folder / "label.filled.nii.gz").write_bytes((folder / "label.nii.gz").read_bytes())
            _, truth = arrays()
            write_label_maps(folder / "label.nii.gz", [LabelMap(truth, GRID, NAMES)])

    def words(desk: Desk) -> list[str]:
        found = _words("batch", desk.given / "manifest.csv", "-o", desk.out / "batch", *_QUIET)
        return found + ["--resume"] * resume

    def facts(desk: Desk) -> Facts:
        found: dict[str, Any] = {"page": page_fact(desk.out / "batch" / "index.html")}
        support = desk.given / "image-support.nii.gz"
        for name in (*done, "new", "newer"):
            folder = desk.out / "batch" / name
            found[f"{name} label"] = label_fact(folder / "label.nii.gz", support)
            found[f"{name} confidence"] = image_fact(folder / "confidence.nii.gz")
            found[f"{name} preview"] = file_fact(folder / "preview.png")
            found[f"{name} record"] = json_fact(folder / "case.json")
        try:
            rows = StatusFile(desk.out / "batch" / "status.csv").read()
        except InputError:
            rows = {}
            found["status"] = BROKEN
        for name in done:
            found[f"{name} accepted"] = rows[name].accepted if name in rows else BROKEN
            found[f"{name} filled"] = label_fact(desk.out / "batch" / name / "label.filled.nii.gz")
        found["all done"] = all(row.status is Status.DONE for row in rows.values()) if rows else NOTHING
        return found

    kept = tuple(f"{name} {part}" for name in done for part in ("label", "accepted", "filled", "confidence"))
    marks = {"reading": ["manifest.csv"], "filling": [".batch.lock"], "writing": ["status.csv", "index.html"]}

    def again(desk: Desk) -> list[str]:
        found = words(desk)
        if (desk.out / "batch" / "status.csv").exists() and "--resume" not in found:
            found.append("--resume")
        return found

    name = "batch --resume" if resume else "batch"
    return Command(name, prepare, words, facts, again, marks, kept, partial=True, tags=frozenset({"worker"}))


class _Here:
    """Runs the cases of a batch in this process, for preparing one."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self._run, self._ended = run, []  # type: ignore[var-annotated]

    def slots(self) -> int:
        return 1

    def submit(self, task: Any) -> None:
        self._ended.append(self._run(task))

    def poll(self, _seconds: float) -> list[Any]:
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        pass


def compare(study: bool = False) -> Command:
    """`compare` on one volume, or on two with `--study`."""
    few = _words("--engines", "propagate", "--sizes", 2, "--draws", 1, "--held-out", 1, "--progress", "none")

    def prepare(desk: Desk) -> None:
        give(desk)
        give(desk, "other", 2)
        rows = "image.nii.gz,image-full.nii.gz,a\nother.nii.gz,other-full.nii.gz,b\n"
        (desk.given / "study.csv").write_text("image,label,group\n" + rows)

    def words(desk: Desk) -> list[str]:
        given = (
            _words("--study", desk.given / "study.csv")
            if study
            else _words(desk.given / "image.nii.gz", desk.given / "image-support.nii.gz")
        )
        return ["compare", *given, "-o", str(desk.out / "report"), *few]

    def facts(desk: Desk) -> Facts:
        folder = desk.out / "report"
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

    def again(desk: Desk) -> list[str]:
        return words(desk) + ["--resume"] * (desk.out / "report" / "comparison.json").exists()

    marks = {"reading": [".nii.gz"], "filling": ["worker.log"], "writing": ["dice.png"]}
    name = "compare --study" if study else "compare"
    return Command(name, prepare, words, facts, again, marks, partial=True, tags=frozenset({"worker"}))


def suggest() -> Command:
    """`suggest`, which writes nothing."""

    def words(desk: Desk) -> list[str]:
        return _words("suggest", desk.given / "image.nii.gz", desk.given / "image-support.nii.gz")

    marks = {"reading": ["image.nii.gz"]}
    return Command("suggest", give, words, lambda desk: {}, words, marks)


def export(kind: str, old: bool = False, each: bool = False) -> Command:
    """`export` to a file, or to a file for each segment."""
    name = {"nifti": "out.nii.gz", "nrrd": "out.nrrd", "seg-nrrd": "out.seg.nrrd", "dicom-seg": "out.dcm"}[kind]

    def prepare(desk: Desk) -> None:
        give(desk)
        if old and not each and kind != "dicom-seg":
            give_old(desk.out / name)

    def words(desk: Desk) -> list[str]:
        goal = desk.out / ("each" if each else name)
        found = _words("export", desk.given / "image-full.nii.gz", "--to", kind, "-o", goal)
        if each:
            found.append("--one-file-per-segment")
        if kind == "dicom-seg":
            found += _words("--derive-series", desk.out / "series", "--image", desk.given / "image.nii.gz")
            found += _words("--modality", "CT", "--default-code")
        return found + ["--overwrite"] * old

    def facts(desk: Desk) -> Facts:
        if each:
            files = sorted((desk.out / "each").glob("*.nii.gz")) if (desk.out / "each").exists() else []
            return {"files": [label_fact(file) for file in files] or NOTHING}
        if kind != "dicom-seg":
            return {"label": label_fact(desk.out / name)}
        series = desk.out / "series"
        slices = len(list(series.iterdir())) if series.exists() else 0
        segmentation = label_fact(desk.out / name)
        # its identifiers are new each time, and so are those of the series that it names
        return {"series": slices or NOTHING, "seg": segmentation}

    def again(desk: Desk) -> list[str]:
        found = words(desk) if old else [*words(desk), "--overwrite"]
        if kind == "dicom-seg" and (desk.out / "series").exists():  # it is there, whole
            at = found.index("--derive-series")
            found[at : at + 4] = ["--reference", str(desk.out / "series")]
            del found[found.index("--modality") : found.index("--modality") + 2]
        return found

    marks = {"reading": ["image-full.nii.gz"], "writing": ["out/.fsa-"]}
    title = f"export {kind}{' each' if each else ''}{' over old' if old else ''}"
    return Command(title, prepare, words, facts, again, marks)


def library(action: str) -> Command:
    """`library save`, `add`, `export`, `import` and `remove`."""

    def prepare(desk: Desk) -> None:
        give(desk)
        give(desk, "other", 2)
        if action in ("add", "export", "remove"):
            _save(desk, "save", "task", "image")
        elif action == "import":
            _save(desk, "save", "task", "image")
            assert main(_words("library", "export", "task", "-o", desk.given / "task.zip")) == 0
            assert main(_words("library", "remove", "task")) == 0

    def words(desk: Desk) -> list[str]:
        if action == "save":
            return _words("library", "save", "task", desk.given / "image.nii.gz", _support(desk, "image"))
        if action == "add":
            return _words("library", "add", "task", desk.given / "other.nii.gz", _support(desk, "other"))
        more = {
            "export": ("task", "-o", desk.out / "task.zip"),
            "import": (desk.given / "task.zip",),
            "remove": ("task",),
        }
        return _words("library", action, *more[action])

    def facts(desk: Desk) -> Facts:
        return {"task": task_fact("task"), "archive": _archive_fact(desk.out / "task.zip")}

    kept = ("task",) if action == "export" else ()
    marks = {"reading": ["image.nii.gz", "other.nii.gz", "task.json", "task.zip"], "writing": [".lock", "/.fsa-"]}
    return Command(f"library {action}", prepare, words, facts, words, marks, kept)


def _support(desk: Desk, name: str) -> Path:
    return desk.given / f"{name}-support.nii.gz"


def _save(desk: Desk, verb: str, task: str, name: str) -> None:
    assert main(_words("library", verb, task, desk.given / f"{name}.nii.gz", _support(desk, name))) == 0


def _archive_fact(path: Path) -> Any:
    if not path.exists():
        return NOTHING
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _digest(archive.read(name)) for name in archive.namelist()}
    except (zipfile.BadZipFile, EOFError):
        return BROKEN


def accept() -> Command:
    """*Accept* in batch review, of a case that a person corrected."""
    of_batch = batch(resume=True)

    def program(desk: Desk) -> Callable[[], int]:
        return Prepared(_new_scene, lambda: _accept(desk.out / "batch"))

    def facts(desk: Desk) -> Facts:
        found = dict(of_batch.facts(desk))
        folder = desk.out / "batch" / "kept"
        rows = StatusFile(desk.out / "batch" / "status.csv").read()
        found["kept as filled"] = label_fact(folder / "label.filled.nii.gz")
        found["accepted"] = rows["kept"].accepted
        return {key: found[key] for key in ("kept label", "kept as filled", "accepted", "mended label")}

    def prepare(desk: Desk) -> None:
        of_batch.prepare(desk)
        StatusFile(desk.out / "batch" / "status.csv").set_accepted("kept", False)

    marks = {"reading": ["image.nii.gz"], "writing": ["label"]}
    kept = ("mended label",)
    return Command(
        "accept in review",
        prepare,
        lambda d: [],
        facts,
        lambda d: [],
        marks,
        kept,
        True,
        program,
        frozenset({"slicer"}),
    )


def _new_scene() -> None:
    from support import mrml

    mrml.new_scene()


def _accept(folder: Path) -> int:
    """What the panel does when a person corrects a case and presses *Accept*."""
    import sys

    import slicer
    from fewshot_annotate.host.batch_review import BatchReview

    from support import mrml

    review = BatchReview(slicer.mrmlScene, folder)
    try:
        review.show("kept")
        review.wait()
        node = review.nodes.segmentation
        (first, *_) = node.GetSegmentation().GetSegmentIDs()
        mask = mrml.segment_array(node, first).astype(np.uint8)
        mask[2:4, :3] = 1  # no painted slices
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, first, review.nodes.volume)
        review.accept()
        review.wait()
    except InputError as error:
        print(f"fewshot-annotate: {error}", file=sys.stderr)
        return 1
    finally:
        review.close()
    return 0


def every_command() -> list[Command]:
    """All of them."""
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
        *(library(action) for action in ("save", "add", "export", "import", "remove")),
        accept(),
    ]
