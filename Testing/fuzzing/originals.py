"""Valid inputs for every command: small crops of the test volumes, and results computed from them."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "Data"
# In the headers of the DICOM files; none of it may appear on a stream or in a log.
PATIENT_NAME, PATIENT_ID, BIRTH_DATE = "Quirzweig^Zelda", "QZ771PID", "19370211"
UID_ROOT = "1.2.826.0.1.3680043.10.99917."
PRIVATE = ("Quirzweig", "Zelda", PATIENT_ID, BIRTH_DATE, UID_ROOT)
TASK = "liver"  # of labelled slices
TRAINED = "heart"  # of whole volumes, with a model
UNPUBLISHED = "universeg_v1_nf64_ss64_STA.pt"  # weights whose publisher gives no checksum


def make_originals(root: Path) -> None:
    """Make `root/workspace` and `root/home`, the user's data folder. Call it in a process of its own."""
    workspace, home = root / "workspace", root / "home"
    workspace.mkdir(parents=True)
    home.mkdir()
    os.environ["FEWSHOT_ANNOTATE_HOME"] = str(home)
    os.chdir(workspace)
    _make_images(workspace)
    _make_tables(workspace)
    run = "--engine propagate --progress none"
    for arguments in (
        f"fill image.nii.gz support.nii.gz -o filled.nii.gz --job-dir job {run}",
        f"batch cases.csv -o batch {run}",
        "compare image.nii.gz support.nii.gz -o report --engines propagate --sizes 1 --draws 1 --held-out 1 "
        "--progress none",
        "compare --study study.csv -o study --engines propagate --sizes 1 --draws 1 --held-out 1 --progress none",
        f"library save {TASK} image.nii.gz support.nii.gz",
        f"library export {TASK} -o task.zip",
        f"task create {TRAINED} --labels support.nii.gz",
        f"task add {TRAINED} image.nii.gz filled.nii.gz --whole --patient first",
        f"task add {TRAINED} brighter.nii.gz support.nii.gz --labelled-slices 1,4,8 --patient second",
        f"task train {TRAINED} --budget 1 --progress none",
        f"task export {TRAINED} -o trained.zip",
        "dataset accept batch first",
        "export support.nii.gz --to seg-nrrd -o support.seg.nrrd --default-code",
        "export series-label.nii.gz --to dicom-seg -o seg.dcm --reference series --default-code",
    ):
        _product(arguments)
    (home / "weights").mkdir(exist_ok=True)
    (home / "weights" / UNPUBLISHED).write_bytes(bytes(1000))
    (home / "weights" / f"{UNPUBLISHED}.sha256").write_text("0" * 64 + f"  {UNPUBLISHED}\n", encoding="ascii")
    (workspace / "weights.pt").write_bytes((workspace / "task.zip").read_bytes())


def _product(arguments: str) -> None:
    from fewshot_annotate.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(arguments.split())
    if code != 0:
        raise RuntimeError(f"the valid command '{arguments}' ended with {code}: {printed.getvalue()}")


def _make_images(workspace: Path) -> None:
    import nibabel
    import SimpleITK as sitk

    source = DATA / "mr_cardiac_sax"
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(source / "label.nii.gz")))
    box = tuple(slice(max(0, int(at.min()) - 6), int(at.max()) + 7) for at in np.nonzero(labels)[1:])
    cut = (slice(1, 11), *box)
    image = sitk.ReadImage(str(source / "image.nii.gz"))[tuple(reversed(cut))]
    support = sitk.GetArrayFromImage(sitk.ReadImage(str(source / "label.nii.gz"))[tuple(reversed(cut))])
    support[np.setdiff1d(np.arange(len(support)), (1, 4, 8))] = 0
    middle = support.shape[2] // 2
    support[:, :, middle:] *= 2
    labelled = sitk.GetImageFromArray(support.astype(np.uint8))
    labelled.CopyInformation(image)
    for suffix in (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"):
        sitk.WriteImage(image, f"image{suffix}")
    sitk.WriteImage(sitk.ShiftScale(image, 5), "brighter.nii.gz")
    for suffix in (".nii.gz", ".nii", ".nrrd", ".mha"):
        sitk.WriteImage(labelled, f"support{suffix}")
    for folder, names in (("images", ("image", "brighter")), ("labels", ("support", "support"))):
        (workspace / folder).mkdir()
        for case, name in zip(("first", "second"), names, strict=True):
            shutil.copy(f"{name}.nii.gz", workspace / folder / f"{case}.nii.gz")
    loaded = nibabel.load("image.nii.gz")
    nibabel.save(nibabel.MGHImage(np.asarray(loaded.dataobj).astype(np.float32), loaded.affine), "image.mgz")
    names = '{"1": {"name": "left half", "colour": [1, 0, 0]}, "2": "right half"}\n'
    for suffix in (".nii.gz", ".nrrd"):
        Path(f"support{suffix}.labels.json").write_text(names, encoding="utf-8")
    _make_series(workspace)


def _make_series(workspace: Path) -> None:
    import pydicom
    import SimpleITK as sitk
    from fewshot_annotate.core.volume import Geometry
    from support.synthetic_dicom import write_ct_series

    source = DATA / "dicom_ct"
    whole = sitk.GetArrayFromImage(sitk.ReadImage(str(source / "image.nii.gz")))
    grid = Geometry((8, 24, 20), (0.977, 0.977, 2.0), (-11.5, 23.25, -40.0))
    pixels = whole[4:12, 60:84, 60:80].astype(np.int16)
    write_ct_series(workspace / "series", grid, pixels)
    for number, path in enumerate(sorted((workspace / "series").iterdir())):
        file = pydicom.dcmread(path)
        file.PatientName, file.PatientID, file.PatientBirthDate = PATIENT_NAME, PATIENT_ID, BIRTH_DATE
        file.StudyInstanceUID, file.SeriesInstanceUID = f"{UID_ROOT}1", f"{UID_ROOT}2"
        file.FrameOfReferenceUID, file.SOPInstanceUID = f"{UID_ROOT}3", f"{UID_ROOT}4.{number + 1}"
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
        file.save_as(path)
    array = np.zeros(grid.shape, np.uint8)
    for at in (1, 4, 6):
        array[at, 6:16, 5:14] = 1
    labelled = sitk.GetImageFromArray(array)
    labelled.SetSpacing(grid.spacing)
    labelled.SetOrigin(grid.origin)
    sitk.WriteImage(labelled, "series-label.nii.gz")
    (workspace / "packed").mkdir()
    for path in sorted((source / "series").iterdir())[:5]:
        shutil.copyfile(path, workspace / "packed" / path.name)


def _make_tables(workspace: Path) -> None:
    (workspace / "cases.csv").write_text(
        "image,support,name,axis,labelled_slices\nimage.nii.gz,support.nii.gz,first,0,\n"
        'image.mha,support.mha,second,,"1,4,8"\n',
        encoding="utf-8",
    )
    (workspace / "study.csv").write_text(
        "image,label,group\nimage.nii.gz,support.nii.gz,heart\nseries,series-label.nii.gz,abdomen\n",
        encoding="utf-8",
    )
    (workspace / "structures.csv").write_text(
        "name,category,category_meaning,type,type_meaning\nleft half,123037004,Anatomical Structure,10200004,Liver\n",
        encoding="utf-8",
    )
