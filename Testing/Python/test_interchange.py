"""Every image file that is written, read by other programs and compared in world coordinates with what was painted.

Images have headers as they come from scanners and converters; the painted shape has no symmetry, so that any flip or
exchange of axes is detected. `test_interchange_dicom` does the same for DICOM.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.cli import main
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import read_volume, write_label_maps
from scipy.spatial.transform import Rotation

pytestmark = pytest.mark.usefixtures("forked_workers")

SHAPE = (14, 11, 9)  # i, j, k
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
Matrix = np.ndarray


def painted() -> np.ndarray:
    """Labels 1 and 2 [i, j, k]: an L in each plane, off centre, so that no mirror image equals it."""
    array = np.zeros(SHAPE, np.uint8)
    array[2:10, 2:4, 1:8] = 1
    array[2:4, 4:8, 1:8] = 1
    array[7:10, 4:6, 1:8] = 2
    return array


def voxels() -> np.ndarray:
    return (np.random.default_rng(1).integers(0, 50, SHAPE) + 300 * painted().astype(int)).astype(np.int16)


def affine(angles: tuple[float, float, float] = (0, 0, 0), scale: tuple[float, ...] = (-1, 2, 3)) -> Matrix:
    """Index to RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(scale)
    matrix[:3, 3] = [11, -22, 33]
    return matrix


PERMUTED = affine() @ np.eye(4)[:, [1, 2, 0, 3]]


def sheared() -> Matrix:
    matrix = affine((10, 20, 30))
    matrix[:3, 1] += 0.3 * matrix[:3, 0]
    return matrix


def nifti(qform: Matrix, codes: tuple[int, int], sform: Matrix | None = None, units: int = 2) -> Callable:
    def write(folder: Path) -> Path:
        header = nibabel.Nifti1Header()
        header.set_data_shape(SHAPE)
        header.set_data_dtype(np.int16)
        header.set_qform(qform, code=codes[0])
        header.set_sform(qform if sform is None else sform, code=codes[1])
        header["xyzt_units"] = units
        nibabel.Nifti1Image(voxels(), None, header).to_filename(folder / "image.nii.gz")
        return folder / "image.nii.gz"

    return write


def nrrd_image(space: str, matrix: Matrix) -> Callable:
    def write(folder: Path) -> Path:
        header = {
            "space": space,
            "space directions": matrix[:3, :3].T,
            "space origin": matrix[:3, 3],
            "kinds": ["domain"] * 3,
            "measurement frame": [[0, 1, 0], [1, 0, 0], [0, 0, -1]],
        }
        nrrd.write(str(folder / "image.nrrd"), voxels(), header)
        return folder / "image.nrrd"

    return write


def metaimage(transform: str) -> Callable:
    def write(folder: Path) -> Path:
        header = (
            f"ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = {transform}\nOffset = 4 -5 6.5\n"
            f"ElementSpacing = 1 2 3\nDimSize = {SHAPE[0]} {SHAPE[1]} {SHAPE[2]}\nElementType = MET_SHORT\n"
        )
        content = f"{header}ElementDataFile = LOCAL\n".encode() + voxels().T.tobytes()
        (folder / "image.mha").write_bytes(content)
        return folder / "image.mha"

    return write


IMAGES = {
    "codes 0 0": nifti(affine(), (0, 0)),
    "codes 1 1": nifti(affine((10, 20, 30)), (1, 1)),
    "codes 2 4": nifti(affine((10, 20, 30)), (2, 4)),
    "qform only": nifti(affine((10, 20, 30)), (1, 0), np.eye(4)),
    "sform only": nifti(np.eye(4), (0, 2), affine((-40, 15, 100))),
    "forms differ": nifti(affine((10, 20, 30)), (1, 2), affine((0, 0, 15))),
    "flipped": nifti(affine((0, 0, 0), (1, -2, -3)), (1, 1)),
    "permuted": nifti(PERMUTED, (1, 1)),
    "metres": nifti(affine((10, 0, 5), (-0.001, 0.002, 0.003)), (1, 1), units=1),
    "sheared sform": nifti(affine((10, 20, 30)), (0, 1), sheared()),
    "sheared sform beside a qform": nifti(affine((10, 20, 30)), (1, 1), sheared()),
    "nrrd RAS": nrrd_image("right-anterior-superior", affine((10, 20, 30))),
    "nrrd LPS": nrrd_image("left-posterior-superior", PERMUTED),
    "nrrd LAS": nrrd_image("left-anterior-superior", affine((0, 0, 0), (1, -2, 3))),
    "nrrd sheared": nrrd_image("left-posterior-superior", sheared()),
    "mha": metaimage("1 0 0 0 1 0 0 0 1"),
    "mha flipped": metaimage("-1 0 0 0 1 0 0 0 -1"),
    "mha permuted": metaimage("0 1 0 0 0 1 1 0 0"),
}


# --- readers: voxels [i, j, k] and the matrix from indices to LPS


def by_nibabel(path: Path) -> tuple[np.ndarray, Matrix]:
    image = nibabel.load(path)
    return np.asarray(image.dataobj), LPS @ image.affine


def by_itk(path: Path) -> tuple[np.ndarray, Matrix]:
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image).T, matrix_of(Geometry.of_image(image))


def by_pynrrd(path: Path) -> tuple[np.ndarray, Matrix]:
    array, header = nrrd.read(str(path))
    signs = [
        -1 if word in ("right", "anterior", "inferior") else 1
        for word in header["space"].split("-")  # to left, posterior, superior
    ]
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(signs) @ np.array(header["space directions"]).T
    matrix[:3, 3] = np.array(signs) * header["space origin"]
    return array, matrix


def by_torchio(path: Path) -> tuple[np.ndarray, Matrix]:
    import torchio

    image = torchio.LabelMap(path)
    return np.asarray(image.data)[0], LPS @ np.asarray(image.affine)


def by_monai(path: Path) -> tuple[np.ndarray, Matrix]:
    from monai.transforms import LoadImage

    image = LoadImage(image_only=True)(path)
    return np.asarray(image), LPS @ np.asarray(image.affine)


def by_slicer(path: Path) -> tuple[np.ndarray, Matrix]:
    import slicer
    from support.mrml import new_scene

    scene = new_scene()
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    matrix = slicer.util.arrayFromVTKMatrix(slicer_matrix(node))
    return slicer.util.arrayFromVolume(node).T.copy(), LPS @ matrix


def slicer_matrix(node: object) -> object:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)  # type: ignore[attr-defined]
    return matrix


def matrix_of(grid: Geometry) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(grid.direction, (3, 3)) * grid.spacing
    matrix[:3, 3] = grid.origin
    return matrix


READERS = {
    ".nii.gz": (by_nibabel, by_itk, by_torchio, by_monai, by_slicer),
    ".nrrd": (by_itk, by_pynrrd, by_torchio, by_monai, by_slicer),
    ".mha": (by_itk, by_torchio, by_monai, by_slicer),
}
READERS[".nii"] = READERS[".nii.gz"]


def quietly(read: Callable[[Path], tuple[np.ndarray, Matrix]], path: Path) -> tuple[np.ndarray, Matrix]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(path)


def world(array: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Points in the patient with their values, in the order of the points."""
    index = np.argwhere(array)
    points = index @ matrix[:3, :3].T + matrix[:3, 3]
    rows = np.column_stack([points, array[array != 0]])
    return rows[np.lexsort(np.round(rows[:, ::-1], 2).T)]


def suffix_of(path: Path) -> str:
    return next(suffix for suffix in (".nii.gz", ".nii", ".nrrd", ".mha") if path.name.endswith(suffix))


def assert_covers(output: Path, image: Path, expected: np.ndarray) -> int:
    """Each reader finds the expected voxels at those of the image; returns how many readers read both files."""
    count = 0
    readers = {read for read in READERS[suffix_of(output)] if read in READERS[suffix_of(image)]}
    for read in sorted(readers, key=lambda read: read.__name__):
        try:
            _, image_matrix = quietly(read, image)
        except Exception:  # such as that of ITK for sheared axes; this reader is then left out
            continue
        array, matrix = quietly(read, output)
        found, truth = world(array, matrix), world(expected, image_matrix)
        assert found.shape == truth.shape, read.__name__
        np.testing.assert_allclose(found, truth, atol=2e-3, err_msg=read.__name__)
        count += 1
    return count


def labels_of(image: Path, array: np.ndarray | None = None) -> LabelMap:
    """A label map on the grid of an image: of the painted labels, or of `array`."""
    array = painted() if array is None else array
    segments = (
        Segment(value=1, name="Größe", colour=(0.2, 0.4, 0.6)),
        Segment(value=2, name="Zwei", colour=(0.8, 0.2, 0.4)),
    )
    return LabelMap(array.T.copy(), read_volume(image).geometry, segments)


def support_of(image: Path) -> Path:
    """A file of the painted labels on every second slice."""
    array = painted()
    array[:, :, 2::2] = 0
    write_label_maps(image.parent / "support.nrrd", [labels_of(image, array)])
    return image.parent / "support.nrrd"


EXPORTS = {"nifti": (".nii", ".nii.gz"), "nrrd": (".nrrd",)}


@pytest.mark.parametrize("kind", IMAGES)
def test_filled_and_exported_files_cover_their_image_in_every_reader(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = IMAGES[kind](tmp_path)
    image_suffix = suffix_of(image)
    min_readers = 2 if "sheared" in kind else 3
    filled, confidence = tmp_path / f"filled{image_suffix}", tmp_path / f"confidence{image_suffix}"
    command = ["fill", str(image), str(support_of(image)), "-o", str(filled), "--confidence", str(confidence)]
    assert main([*command, "--engine", "propagate", "--progress", "json", "--axis", "0"]) == 0
    assert ("not at right angles" in capsys.readouterr().err) == ("sheared" in kind)
    expected = quietly(by_itk if image_suffix != ".nii.gz" else by_nibabel, filled)[0]
    painted_slices = [1, 3, 5, 7]
    np.testing.assert_array_equal(expected[:, :, painted_slices], painted()[:, :, painted_slices])
    assert assert_covers(filled, image, expected) >= min_readers
    for read in (by_nibabel,) if image_suffix == ".nii.gz" else (by_itk,):
        array, matrix = quietly(read, confidence)
        assert array.shape == SHAPE
        np.testing.assert_allclose(matrix, quietly(read, image)[1], atol=1e-5)
    labels = tmp_path / f"labels{image_suffix}"
    write_label_maps(labels, [labels_of(image)])
    for target, suffixes in EXPORTS.items():
        for suffix in suffixes:
            out = tmp_path / f"exported{suffix}"
            assert main(["export", str(labels), "--to", target, "-o", str(out)]) == 0
            if (suffix in (".nii", ".nii.gz")) == (image_suffix == ".nii.gz"):
                assert assert_covers(out, image, painted()) >= min_readers


@pytest.mark.parametrize("kind", IMAGES)
def test_a_segmentation_for_slicer_covers_the_image_with_its_names(kind: str, tmp_path: Path) -> None:
    import slicer
    import slicerio
    from support.mrml import new_scene

    image = IMAGES[kind](tmp_path)
    out, layer = tmp_path / "out.seg.nrrd", labels_of(image)
    write_label_maps(tmp_path / "labels.nrrd", [layer])
    assert main(["export", str(tmp_path / "labels.nrrd"), "--to", "seg-nrrd", "-o", str(out)]) == 0
    expected = world(painted(), matrix_of(layer.geometry))
    for read in (by_itk, by_pynrrd):
        np.testing.assert_allclose(world(*quietly(read, out)), expected, atol=2e-3, err_msg=read.__name__)
    described = slicerio.read_segmentation(str(out))
    # pynrrd, with which slicerio reads, leaves out letters that are not ASCII.
    assert [(segment["name"], segment["labelValue"]) for segment in described["segments"]] == [
        ("Gre", 1),
        ("Zwei", 2),
    ]
    np.testing.assert_array_equal(described["voxels"], painted())
    scene = new_scene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(out))
    assert storage.ReadData(node) == 1
    segmentation = node.GetSegmentation()
    names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
    assert names == ["Größe", "Zwei"]
    for number, value in enumerate((1, 2)):
        labelmap = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(segmentation.GetNthSegmentID(number), labelmap)
        assert points_of(labelmap) == {tuple(row) for row in np.round(expected[expected[:, 3] == value, :3], 2) + 0.0}


def points_of(image: object) -> set[tuple[float, ...]]:
    """Points in LPS of a segment's voxels in Slicer's own representation."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)  # type: ignore[attr-defined]
    to_ras = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    extent = image.GetExtent()  # type: ignore[attr-defined]
    sizes = [extent[2 * n + 1] - extent[2 * n] + 1 for n in range(3)]
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(sizes[::-1]).T  # type: ignore[attr-defined]
    index = np.argwhere(array) + np.array(extent[::2])
    points = index @ (LPS @ to_ras)[:3, :3].T + (LPS @ to_ras)[:3, 3]
    return {tuple(row) for row in np.round(points, 2) + 0.0}


KINDS_OF_A_BATCH = ("codes 0 0", "forms differ", "metres", "sheared sform", "nrrd LAS", "mha flipped")


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished batch, with a case for each kind of image."""
    folder = tmp_path_factory.mktemp("batch")
    rows = [("image", "support", "name", "engine", "axis")]
    for kind in KINDS_OF_A_BATCH:
        (folder / kind).mkdir()
        image = IMAGES[kind](folder / kind)
        support = support_of(image)
        rows.append((f"{kind}/{image.name}", f"{kind}/{support.name}", kind, "propagate", "0"))
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert main(["batch", str(folder / "cases.csv"), "-o", str(folder / "out"), "--progress", "json"]) == 0
    return folder


@pytest.mark.parametrize("kind", KINDS_OF_A_BATCH)
def test_files_of_a_batch_cover_each_image(kind: str, batch: Path) -> None:
    out = batch / "out" / kind
    (image,) = (path for path in (batch / kind).iterdir() if path.name.startswith("image."))
    label, _ = quietly(by_nibabel, out / "label.nii.gz")
    if suffix_of(image) == ".nii.gz":
        assert assert_covers(out / "label.nii.gz", image, label) >= 2
        np.testing.assert_array_equal(nibabel.load(out / "confidence.nii.gz").affine, nibabel.load(image).affine)
        return
    _, image_matrix = quietly(by_itk, image)
    for read in READERS[".nii.gz"]:
        found = world(*quietly(read, out / "label.nii.gz"))
        np.testing.assert_allclose(found, world(label, image_matrix), atol=2e-3, err_msg=read.__name__)


# --- messages


@pytest.mark.parametrize(
    ("kind", "suffix", "message"),
    [
        ("codes 1 1", ".nii.gz", "by our own reader and by SimpleITK and by nibabel;"),
        ("sheared sform", ".nii.gz", "by our own reader and by nibabel;"),
        ("mha", ".nrrd", "by our own reader and by SimpleITK;"),
    ],
)
def test_only_readers_that_read_the_file_are_named(
    kind: str, suffix: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = IMAGES[kind](tmp_path)
    labels = tmp_path / f"labels{suffix_of(image)}"
    write_label_maps(labels, [labels_of(image)])
    target = "nrrd" if suffix == ".nrrd" else "nifti"
    assert main(["export", str(labels), "--to", target, "-o", str(tmp_path / f"out{suffix}")]) == 0
    printed = capsys.readouterr().out
    assert f"read again {message}" in printed
    assert "codes are the same as read by our own reader alone" in printed
