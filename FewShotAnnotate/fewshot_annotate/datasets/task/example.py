"""TaskExample: a labelled volume of a task, at its native resolution, without what identifies the patient."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from ...core import paths
from ...core.errors import InputError
from ...core.intensity import QUANTILES
from ...core.reading import system_error
from ...core.training_example import TrainingExample
from ...core.volume import Geometry, Volume
from ...io.nifti import nifti_layout, read_nifti

EXAMPLES = "examples"
IMAGE_FILE = "image.nii.gz"
LABELS_FILE = "labels.nii.gz"
EXAMPLE_FILES = (IMAGE_FILE, LABELS_FILE)
EXAMPLE_NUMBER = re.compile(r"\d{4}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_VOXELS = 1 << 33
_BLOCK_BYTES = 1 << 20


class LabelOrigin(StrEnum):
    """Who made the labels of a slice."""

    PAINTED = "painted"
    CORRECTED = "corrected"  # filled, and then changed by a person
    ACCEPTED = "accepted"  # filled, and accepted by a person as it was


@dataclass(frozen=True, kw_only=True)
class TaskExample:
    """A volume of which all or some slices are labelled.

    Attributes
    ----------
    number : str
        Four digits, which name its folder.
    digest : str
        SHA-256 of the voxels, by which the same image is recognised.
    patient : str
        Opaque identifier of the patient; by default the digest.
    geometry : Geometry
        Its origin is 0, because the patient's position in the scanner is irrelevant to the labels.
    axis : int or None
        Array axis of the labelled slices; None if the whole volume is labelled.
    labelled_slices : tuple of int or None
        None: the whole volume is labelled.
    voxels : tuple of int
        Number of labelled voxels of each segment of the task.
    quantiles : tuple of 5 floats
        Intensity quantiles at the fractions `QUANTILES`.
    origins : mapping of LabelOrigin to int
        Number of labelled slices by who made their labels.
    engine : str
        Engine and version that filled the slices nobody painted, such as 'adapt 0.2.0'; empty if all were painted.
    checksums : mapping of str to str
        SHA-256 of its files by name.
    added : str
        Date, as YYYY-MM-DD.
    program : str
        Version of this program that added it.
    """

    number: str
    digest: str
    patient: str
    geometry: Geometry
    axis: int | None
    labelled_slices: tuple[int, ...] | None
    voxels: tuple[int, ...]
    quantiles: tuple[float, ...]
    origins: Mapping[LabelOrigin, int]
    engine: str
    checksums: Mapping[str, str]
    added: str
    program: str

    @property
    def is_complete(self) -> bool:
        """Whether the whole volume is labelled."""
        return self.labelled_slices is None

    @property
    def slice_count(self) -> int:
        """Number of labelled slices; those along the first array axis if the whole volume is labelled."""
        return self.geometry.shape[0] if self.labelled_slices is None else len(self.labelled_slices)

    def folder(self, task: Path) -> Path:
        """Its folder in that of its task."""
        return task / EXAMPLES / self.number

    def to_json(self) -> dict[str, Any]:
        """Dict that `json` can write."""
        return {**self.__dict__, "geometry": self.geometry.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TaskExample:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, KeyError, TypeError
            The data does not describe an example.
        """
        slices = data["labelled_slices"]
        example = cls(
            number=str(data["number"]),
            digest=str(data["digest"]),
            patient=str(data["patient"]),
            geometry=Geometry.from_json(data["geometry"]),
            axis=None if data["axis"] is None else int(data["axis"]),
            labelled_slices=None if slices is None else tuple(int(index) for index in slices),
            voxels=tuple(int(count) for count in data["voxels"]),
            quantiles=tuple(float(value) for value in data["quantiles"]),
            origins={LabelOrigin(origin): int(count) for origin, count in data["origins"].items()},
            engine=str(data["engine"]),
            checksums={name: str(data["checksums"][name]) for name in EXAMPLE_FILES},
            added=str(data["added"]),
            program=str(data["program"]),
        )
        example._require_valid()
        return example

    def _require_valid(self) -> None:
        digests = (self.digest, self.patient, *self.checksums.values())
        if not EXAMPLE_NUMBER.fullmatch(self.number) or not all(map(_DIGEST.fullmatch, digests)):
            raise ValueError("not an example of a task")
        if self.axis not in (None, 0, 1, 2) or min((*self.voxels, *self.origins.values()), default=0) < 0:
            raise ValueError("not an example of a task")
        if len(self.quantiles) != len(QUANTILES) or np.prod(self.geometry.shape, dtype=float) > _MAX_VOXELS:
            raise ValueError("not an example of a task")
        if self.labelled_slices is not None:
            count = self.geometry.shape[self.axis] if self.axis in (0, 1, 2) else 0
            ascending = list(self.labelled_slices) == sorted(set(self.labelled_slices))
            if not self.labelled_slices or not ascending or not self.labelled_slices[0] >= 0:
                raise ValueError("labelled slices do not ascend")
            if self.labelled_slices[-1] >= count:
                raise ValueError("a labelled slice does not exist")

    def load(self, task: Path, labels: int) -> tuple[Volume, np.ndarray]:
        """Volume, and label index of each voxel, uint8 or uint16 [k, j, i].

        Parameters
        ----------
        task : Path
            Folder of the task.
        labels : int
            Number of segments of the task.

        Raises
        ------
        InputError
            A file is missing, was changed or cannot be read.
        """
        folder = self.folder(task)
        try:
            if {name: file_digest(folder / name) for name in EXAMPLE_FILES} != dict(self.checksums):
                raise ValueError("its files are not those that were added")
            image, array = (self._read(folder / name) for name in EXAMPLE_FILES)
            volume = Volume(image, self.geometry)
            volume.require_usable()
            if array.dtype not in (np.uint8, np.uint16) or array.max() > labels:
                raise ValueError("its labels are not those of the task")
        except (InputError, ValueError, OSError) as error:
            damaged = InputError("task_example_damaged", name=task.name, number=self.number)
            raise task_error(task, f"{EXAMPLES}/{self.number}", error, damaged) from None
        return volume, array

    def require_bounded(self, task: Path, ratio: int, small_bytes: int) -> None:
        """Raise `ValueError` or `InputError` unless its files have the listed size and a plausible compression ratio.

        Parameters
        ----------
        task : Path
            Folder of the task.
        ratio : int
            Maximum compression ratio of an image of more than `small_bytes`.
        small_bytes : int
            Size in bytes, uncompressed, up to which any ratio is allowed.
        """
        image, labels = (self.folder(task) / name for name in EXAMPLE_FILES)
        unpacked = self._layout(image).itemsize * float(np.prod(self.geometry.shape))
        if unpacked > max(small_bytes, ratio * paths.size(image)) or self._layout(labels).itemsize > 2:
            raise ValueError("its files are larger than they can be")

    def _read(self, path: Path) -> np.ndarray:
        self._layout(path)
        return read_nifti(path, paths.size(path)).array

    def _layout(self, path: Path) -> np.dtype:
        """Data type of a file, whose shape must be the listed one."""
        kind, shape = nifti_layout(path)
        if tuple(shape) != self.geometry.shape:
            raise ValueError("its size is not the listed one")
        return kind

    def for_training(self, task: Path, labels: int) -> TrainingExample:
        """The example as `fit_specialist` takes it."""
        return TrainingExample(
            patient=self.patient,
            load=lambda: self.load(task, labels),
            axis=self.axis,
            labelled_slices=self.labelled_slices,
        )


def task_error(task: Path, file: str, error: Exception, damaged: InputError | None = None) -> InputError:
    """The error for a file of a task that another error makes useless: it is damaged, or cannot be read now."""
    cause = system_error(error)
    if cause is not None:
        return InputError("task_unreadable", path=task / file, detail=cause.strerror)
    return damaged or InputError("library_damaged", name=task.name, file=file)


def file_digest(path: Path) -> str:
    """SHA-256 of a file; empty if there is none.

    Raises
    ------
    OSError
        It cannot be read.
    """
    if not paths.is_plain_file(path):
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def patient_digest(pseudonym: str) -> str:
    """Digest of a pseudonym of a patient."""
    return hashlib.sha256(f"patient {pseudonym.strip()}".encode("utf-8", "surrogatepass")).hexdigest()


def image_digest(array: np.ndarray) -> str:
    """SHA-256 of voxels `[k, j, i]` or pixels `[h, w]`, independent of the byte order."""
    # By the type's name: numpy writes the same type in more than one way, as '<f4' and as 'float32'.
    layout = str((np.dtype(array.dtype.name), array.shape))
    digest = hashlib.sha256(layout.encode())
    for row in array:  # a slice of a volume, or a row of a slice
        digest.update(np.ascontiguousarray(row, dtype=row.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
