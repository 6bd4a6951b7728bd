"""Test oracles: whether the output for an accepted input is right, judged by readers other than the product's own."""

from __future__ import annotations

import bz2
import csv
import io
import json
import os
import pickle
import re
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .inputs import Input
from .originals import TASK
from .sandbox import CallResult

# An image as an independent reader reads it: voxels [k, j, i], and the matrix from (i, j, k) to mm.
ReadImage = tuple[np.ndarray, np.ndarray]
_TOLERANCE_MM = 1e-3


def nothing(given: Input, workspace: Path, result: CallResult) -> str:
    """Accept everything: for commands that only print."""
    return ""


def refusal(given: Input, workspace: Path, result: CallResult) -> str:
    """Accept only help; every other input must be refused."""
    return "" if result.stdout.startswith("usage") else "it should have been refused"


def fill(given: Input, workspace: Path, result: CallResult) -> str:
    """The output has the geometry of the image and the labelled slices of the labels."""
    path = workspace / given.outputs["out"]
    out, image = read_image(path), read_image(workspace / given.files["image"])
    if out is None:
        return "the output cannot be read"
    if image is None:
        return "no independent reader can read the image"
    if out[0].shape != image[0].shape:
        return f"the output has the shape {out[0].shape} and the image {image[0].shape}"
    if not _same_geometry(out, image):
        return f"the output has another geometry than the image: {out[1].tolist()} {image[1].tolist()}"
    if "confidence" in given.outputs:
        confidence = read_image(workspace / given.outputs["confidence"])
        if confidence is None or confidence[0].shape != image[0].shape or not _are_probabilities(confidence[0]):
            return "the confidence is no map of values from 0 to 1 on the grid of the image"
    if any(word in ("--resample", "--crop") for word in given.arguments):
        return ""
    return _labelled_kept(given, workspace, result, out)


def _labelled_kept(given: Input, workspace: Path, result: CallResult, seen: ReadImage) -> str:
    labels = read_labels(workspace / given.files["labels"], seen)
    if labels is None and given.files["labels"].endswith(".dcm"):
        return ""  # highdicom refuses segmentations without attributes that their voxels do not need
    if labels is None:
        return "no independent reader can read the labels"
    found = re.search(r"\(axis (\d)", result.stdout)
    axis = int(found[1]) if found else 0
    named = re.findall(r"^--labelled-slices=([\d,]+)$", "\n".join(given.arguments), re.MULTILINE)
    labels, out = np.moveaxis(labels, axis, 0), np.moveaxis(seen[0], axis, 0)
    slices = (
        sorted({int(number) for number in named[-1].split(",")}) if named else np.flatnonzero(labels.any(axis=(1, 2)))
    )
    one_value = given.outputs["out"].endswith(".seg.nrrd") or not np.array_equal(
        np.unique(labels[slices]), np.unique(out[slices])
    )
    for index in slices:
        same = (
            np.array_equal(labels[index] != 0, out[index] != 0)
            if one_value
            else np.array_equal(labels[index], out[index])
        )
        if not same:
            return f"labelled slice {index} was changed"
    return ""


def suggest(given: Input, workspace: Path, result: CallResult) -> str:
    """A list of different slices of the image, at most as many as requested."""
    if not given.environment.stdout_readable:
        return ""
    suggested = json.loads(result.stdout)
    indices = [row["slice"] for row in suggested]
    count = next(
        (int(word.partition("=")[2]) for word in given.arguments if re.fullmatch(r"--count=\d{1,6}", word)), 3
    )
    if len(set(indices)) < len(indices) or len(indices) > count:
        return f"repeated slices, or too many: {indices}"
    image = read_image(workspace / given.files["image"])
    if image is None:
        return "no independent reader can read the image"
    if any(not 0 <= index < max(image[0].shape) for index in indices):
        return f"slices that the image does not have: {indices}"
    return ""


def compare(given: Input, workspace: Path, result: CallResult) -> str:
    """A report with all of its files, whose figures are finite and whose Dice are from 0 to 1."""
    return _report(workspace / given.outputs.get("out", "report"), "result.json", "summary.csv", "slices.csv")


def study(given: Input, workspace: Path, result: CallResult) -> str:
    """As `compare`, for a study."""
    return _report(workspace / given.outputs.get("out", "study"))


def _report(folder: Path, *files: str) -> str:
    missing = [name for name in ("report.html", "dice.png", *files) if not (folder / name).is_file()]
    if missing:
        return f"the report lacks {missing}"
    if (folder / "dice.png").read_bytes()[:4] != b"\x89PNG":
        return "dice.png is no picture"
    for name in files:
        text = (folder / name).read_text(encoding="utf-8")
        if name.endswith(".json") and "NaN" in json.dumps(json.loads(text)):
            return f"{name} holds NaN"
    for table in folder.glob("*.csv"):
        rows = list(csv.DictReader(table.open(encoding="utf-8", newline="")))
        for row in rows:
            if row.get("dice") and not 0 <= float(row["dice"]) <= 1:
                return f"{table.name} has a Dice of {row['dice']}"
        if not rows:
            return f"{table.name} has no row"
    return ""


def batch(given: Input, workspace: Path, result: CallResult) -> str:
    """A row for each case: a readable label map and confidence for each case that is done, else a reason."""
    folder = workspace / given.outputs.get("out", "batch")
    rows = list(csv.DictReader((folder / "status.csv").open(encoding="utf-8", newline="")))
    if not rows or not (folder / "index.html").is_file():
        return "status.csv or index.html is empty"
    for row in rows:
        if row["status"] == "done" and "corrected" not in row["message"]:  # corrected ones are kept, even if damaged
            label = read_image(folder / row["name"] / "label.nii.gz")
            # An accepted case is not filled again, so its confidence may be damaged.
            confidence = label if row.get("accepted") else read_image(folder / row["name"] / "confidence.nii.gz")
            if label is None or confidence is None or not _same_grid(label, confidence):
                return f"case {row['name']!r} is done and its files cannot be read"
        elif not row["message"] or "\n" in row["message"]:
            return f"case {row['name']!r} failed without a reason of one line"
        elif "unexpected" in row["message"] or "crashed" in row["message"]:
            return f"case {row['name']!r}: {row['message']}"
    failed = sum(row["status"] == "failed" for row in rows)
    if bool(failed) != (result.code == 1) and "--resume" not in given.command:
        return f"{failed} cases failed, and the exit code is {result.code}"
    return ""


def library(given: Input, workspace: Path, result: CallResult) -> str:
    """A task in a folder of the library, with an image and a mask of the same shape for each slice."""
    newest = _newest_task(given, workspace)
    if newest is None:
        return "there is no task"
    content = json.loads(newest.read_text(encoding="utf-8"))
    rows = content["slices"] if newest.parent.name != TASK else content["slices"][-1:]
    for row in rows:
        arrays = [np.load(path, allow_pickle=False) for path in newest.parent.glob(f"{row['file']}.*.npy")]
        if len(arrays) != 2 or arrays[0].shape != arrays[1].shape:
            return f"slice {row['file']} lacks an array, or its arrays have different shapes"
    return ""


def _newest_task(given: Input, workspace: Path) -> Path | None:
    """The task.json that was written last; None if the library has no task."""
    found = (given.environment.data_folder(workspace.parent) / "library").glob("[!.]*/task.json")
    return max((path for path in found if path.is_file()), key=lambda path: path.stat().st_mtime_ns, default=None)


def task(given: Input, workspace: Path, result: CallResult) -> str:
    """A task whose newest example has an image and labels of the same shape."""
    newest = _newest_task(given, workspace)
    if newest is None:
        return "there is no task"
    content = json.loads(newest.read_text(encoding="utf-8"))
    for row in content.get("examples", [])[-1:]:
        folder = newest.parent / "examples" / row["number"]
        image, labels = (read_image(folder / name) for name in ("image.nii.gz", "labels.nii.gz"))
        if image is None or labels is None or image[0].shape != labels[0].shape:
            return f"example {row['number']} cannot be read"
        if labels[0].max() > len(content["labels"]):
            return f"example {row['number']} has a label that the task does not have"
    return ""


def fill_of_task(given: Input, workspace: Path, result: CallResult) -> str:
    """The output has the geometry of the image and no other labels than the task."""
    out, image = read_image(workspace / given.outputs["out"]), read_image(workspace / given.files["image"])
    if out is None or image is None or not _same_grid(out, image):
        return "the output does not cover the image"
    return "" if out[0].max() <= 2 else f"label {out[0].max()}"


def data_set(given: Input, workspace: Path, result: CallResult) -> str:
    """Each label map has an image, and there is a README."""
    folder = workspace / given.outputs["out"]
    labels = [
        path for path in folder.rglob("*.nii.gz") if "label" in str(path.relative_to(folder)) or "dseg" in path.name
    ]
    images = [path for path in folder.rglob("*.nii.gz") if path not in labels]
    if not labels or len(labels) != len(images) or not list(folder.rglob("README*")):
        return f"{len(labels)} label maps and {len(images)} images"
    return "" if all(read_image(path) for path in (*labels, *images)) else "a file cannot be read"


def manifest(given: Input, workspace: Path, result: CallResult) -> str:
    """A table of images and label maps that exist."""
    path = workspace / given.outputs["out"]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    named = [row.get(column) for row in rows for column in ("image", "support")]
    missing = [name for name in named if name and not (path.parent / name).exists()]
    return f"{len(missing)} files of the table do not exist" if missing or not rows else ""


def archive(given: Input, workspace: Path, result: CallResult) -> str:
    """An undamaged archive with all files that its task.json lists."""
    with zipfile.ZipFile(workspace / given.outputs["out"]) as packed:
        if packed.testzip() is not None:
            return "the archive is damaged"
        content = json.loads(packed.read("task.json"))
        names = set(packed.namelist())
        if any(f"examples/{row['number']}/image.nii.gz" not in names for row in content.get("examples", [])):
            return "an example is missing"
        for row in content["slices"]:
            for kind in ("image", "mask"):
                np.load(io.BytesIO(packed.read(f"{row['file']}.{kind}.npy")), allow_pickle=False)
    return ""


def export(given: Input, workspace: Path, result: CallResult) -> str:
    """The same voxels are labelled as in the input."""
    path = workspace / given.outputs["out"]
    if path.is_dir():
        return "" if any(path.iterdir()) else "the folder is empty"
    out = read_image(path)
    if out is None:
        return "the output cannot be read"
    labels = read_labels(workspace / given.files["labels"], out)
    if labels is None:
        is_dicom = given.files["labels"].endswith(".dcm") or (workspace / given.files["labels"]).is_dir()
        return "" if is_dicom else "no independent reader can read the labels"
    if any(word in ("--resample", "--crop", "--reference") for word in given.arguments):
        return ""
    if not np.array_equal(out[0] != 0, labels != 0):
        return "other voxels are labelled"
    return ""


def segmentation(given: Input, workspace: Path, result: CallResult) -> str:
    """A DICOM segmentation that highdicom reads, with as many labelled voxels as the input."""
    import highdicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = highdicom.seg.segread(workspace / given.outputs["out"])
        count = int(np.count_nonzero(read.get_total_pixel_matrix() if read.is_tiled else read.pixel_array))
    labelled = labelled_count(workspace / given.files["labels"])
    if labelled is None and given.files["labels"].endswith(".dcm"):
        return ""
    if labelled is None:
        return "no independent reader can read the labels"
    if any(
        word in ("--resample", "--crop", "--leave-out-missing-slices", "--slice-by-slice") for word in given.arguments
    ):
        return ""
    return "" if count == labelled else f"{count} voxels are labelled instead of {labelled}"


CHECKS: dict[str, Callable[[Input, Path, CallResult], str]] = {
    name: globals()[name]
    for name in (
        *("nothing", "refusal", "fill", "suggest", "compare", "study", "batch", "library", "archive", "export"),
        *("segmentation", "task", "fill_of_task", "data_set", "manifest"),
    )
}


def _are_probabilities(array: np.ndarray) -> bool:
    return bool((array >= 0).all() and (array <= 1).all())


def _same_grid(first: ReadImage, second: ReadImage) -> bool:
    return first[0].shape == second[0].shape and _same_geometry(first, second)


def _same_geometry(first: ReadImage, second: ReadImage) -> bool:
    """Whether all corners of two images coincide, to a thousandth of a voxel's size or of a millimetre."""
    k, j, i = np.array(first[0].shape[-3:]) - 1
    corners = np.array([(x, y, z, 1) for x in (0, i) for y in (0, j) for z in (0, k)]).T
    points, others = first[1] @ corners, second[1] @ corners
    scale = max(1.0, float(np.abs(points[np.isfinite(points)]).max(initial=0)) * 1e-3)
    return bool(np.allclose(points, others, rtol=0, atol=_TOLERANCE_MM * scale))


def read_image(path: Path) -> ReadImage | None:
    """An image as nibabel, SimpleITK or pynrrd read it, in a process of its own; None if none does."""
    return _isolated(_read_image, path)


def read_labels(path: Path, grid: ReadImage) -> np.ndarray | None:
    """Labels on the grid of an image, 0 where there are none; on their own grid if that has the same shape."""
    seen: ReadImage | None = _isolated(_read_labels, path)
    if seen is None or (seen[0].shape == grid[0].shape and path.suffix != ".dcm"):
        return None if seen is None else seen[0]
    labels = np.zeros(grid[0].shape[:3], seen[0].dtype)
    indices = np.argwhere(seen[0])
    points = seen[1] @ np.concatenate([indices[:, ::-1], np.ones((len(indices), 1))], axis=1).T
    columns, rows, slices = np.rint(np.linalg.inv(grid[1]) @ points)[:3].astype(int)
    inside = np.all(
        [(at >= 0) & (at < size) for at, size in zip((slices, rows, columns), labels.shape, strict=True)], axis=0
    )
    labels[slices[inside], rows[inside], columns[inside]] = seen[0][tuple(indices[inside].T)]
    return labels


def labelled_count(path: Path) -> int | None:
    """Number of labelled voxels; None if no independent reader can read the file."""
    seen: ReadImage | None = _isolated(_read_labels, path)
    return None if seen is None else int(np.count_nonzero(seen[0]))


def _read_image(path: Path) -> ReadImage:
    import SimpleITK as sitk

    path = Path(os.path.realpath(path))
    with tempfile.TemporaryDirectory() as folder:
        if path.is_dir():
            reader = sitk.ImageSeriesReader()
            names = reader.GetGDCMSeriesFileNames(str(path))
            if len(names) < len(list(path.iterdir())) and (series := _read_series(path)):
                return series  # GDCM skips files without a transfer syntax
            reader.SetFileNames(names)
            image = reader.Execute()
        else:
            data = path.read_bytes()
            data = bz2.decompress(data) if data[:3] == b"BZh" else data
            packed = data[:2] == b"\x1f\x8b"
            magic = (zlib.decompressobj(31).decompress(data, 348) if packed else data)[344:347]
            if path.suffix in (".mgz", ".mgh") and magic != b"n+1":
                return _read_nifti(data, Path(folder), path.suffix)
            if path.name.lower().endswith((".nii.gz", ".nii")) or magic == b"n+1" or packed:
                return _read_nifti(data, Path(folder))
            suffix = (
                ".mha"
                if data.startswith(b"ObjectType") and b"LOCAL" in data[:3000]
                else ".nrrd"
                if data[:4] == b"NRRD"
                else path.suffix
            )
            plain = Path(folder) / f"plain{suffix}"
            if suffix == ".mhd" or data[:4] == b"NRRD":
                plain = path  # its voxels may be in a file beside it
            else:
                plain.write_bytes(data)
            try:
                image = sitk.ReadImage(str(plain))
            except RuntimeError:
                if data[:4] != b"NRRD":
                    raise
                return _read_nrrd(plain)
        while image.GetDimension() > 3:
            image = image[..., 0]
        array = sitk.GetArrayFromImage(image)
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
        matrix[:3, 3] = image.GetOrigin()
        return array, np.diag((-1, -1, 1, 1)) @ matrix


def _read_nrrd(path: Path) -> ReadImage:
    """As pynrrd reads it, which ignores an empty `kinds`; in left-posterior-superior only."""
    import nrrd

    array, header = nrrd.read(str(path))
    if array.ndim != 3 or header.get("space", "left-posterior-superior") != "left-posterior-superior":
        raise ValueError("another space")
    matrix = np.eye(4)
    matrix[:3, :3] = np.transpose(header["space directions"])
    matrix[:3, 3] = header["space origin"]
    return array.T, np.diag((-1, -1, 1, 1)) @ matrix


def _read_series(path: Path) -> ReadImage | None:
    """A series of single slices of a common grid, as pydicom reads them; None if there are several series."""
    import pydicom

    files = [pydicom.dcmread(file) for file in path.iterdir() if file.is_file()]
    for file in files:
        file.file_meta.TransferSyntaxUID = file.file_meta.get("TransferSyntaxUID", pydicom.uid.ExplicitVRLittleEndian)
    first = files[0]
    if any(file.SeriesInstanceUID != first.SeriesInstanceUID for file in files):
        return None
    rows, columns = np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3))
    normal = np.cross(rows, columns)
    files.sort(key=lambda file: float(normal @ np.array(file.ImagePositionPatient, float)))
    origin, last = (np.array(file.ImagePositionPatient, float) for file in (files[0], files[-1]))
    spacing = np.array(first.PixelSpacing, float)
    step = (last - origin) / max(1, len(files) - 1) if len(files) > 1 else normal
    matrix = np.eye(4)
    matrix[:3] = np.stack([rows * spacing[1], columns * spacing[0], step, origin], axis=1)
    return np.stack([file.pixel_array for file in files]), np.diag((-1, -1, 1, 1)) @ matrix


def _read_nifti(data: bytes, folder: Path, suffix: str = ".nii") -> ReadImage:
    import nibabel

    plain = folder / f"plain{suffix}{'.gz' if data[:2] == bytes((31, 139)) and suffix == '.nii' else ''}"
    plain.write_bytes(data)
    loaded: Any = nibabel.load(plain)
    array = np.asarray(loaded.dataobj)
    array = array.reshape([size for at, size in enumerate(array.shape) if at < 3 or size > 1])
    return array.T, loaded.affine


def _read_labels(path: Path) -> ReadImage:
    path = Path(os.path.realpath(path))
    data = b"" if path.is_dir() else path.read_bytes()[:200]
    if data[128:132] == b"DICM":
        return _read_segmentation(path)
    array, matrix = _read_image(path)
    if array.ndim == 4:  # layers of a .seg.nrrd
        array = array.max(axis=3)
    return array, matrix


def _read_segmentation(path: Path) -> ReadImage:
    import highdicom

    read = highdicom.seg.segread(path)
    volume = read.get_volume(combine_segments=True)
    order = np.eye(4)[[2, 1, 0, 3]]  # its indices are [k, j, i]
    return np.asarray(volume.array), np.diag((-1, -1, 1, 1)) @ volume.affine @ order


def _with_plain_name(path: Path) -> Path:
    """Path of a file that every reader accepts: a link beside it if its name is not UTF-8."""
    if path.name.isprintable() or not path.is_file():
        return path
    plain = path.with_name(f"plain{path.suffix}")
    plain.unlink(missing_ok=True)
    plain.hardlink_to(os.path.realpath(path))
    return plain


def _isolated(read: Callable[[Path], ReadImage], path: Path) -> Any:
    """Result of a function in a process of its own; None if it raises, crashes or takes too long."""
    end, begin = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        code = 1
        try:
            import signal

            signal.alarm(60)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content = pickle.dumps(read(_with_plain_name(path)))
            with os.fdopen(begin, "wb") as stream:
                stream.write(content)
            code = 0
        except BaseException:
            sys.exc_info()
        finally:
            os._exit(code)
    os.close(begin)
    with os.fdopen(end, "rb") as stream:
        content = stream.read()
    _, status = os.waitpid(pid, 0)
    return pickle.loads(content) if os.waitstatus_to_exitcode(status) == 0 else None
