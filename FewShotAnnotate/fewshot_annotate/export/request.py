"""Export request: what to export, and the user's consents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ..core.errors import InputError
from ..core.structures import Structures, common_structures
from ..core.terminology import Terminology
from ..core.volume import Geometry, LabelMap, Volume
from .algorithm import Algorithm
from .dicom_seg import SegType
from .dicom_series import DicomSeries


class Target(StrEnum):
    """Format to export to."""

    DICOM_SEG = "dicom-seg"
    NIFTI = "nifti"
    NRRD = "nrrd"
    SEG_NRRD = "seg-nrrd"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of this format, the usual one first."""
        return {
            Target.DICOM_SEG: (".dcm",),
            Target.NIFTI: (".nii.gz", ".nii"),
            Target.NRRD: (".nrrd",),
            Target.SEG_NRRD: (".seg.nrrd",),
        }[self]

    @classmethod
    def of_file(cls, path: Path) -> Target:
        """Format of a file name.

        Raises
        ------
        InputError
            Its suffix is unknown.
        """
        by_length = sorted(cls, key=lambda target: -len(target.suffixes[0]))  # .seg.nrrd before .nrrd
        for target in by_length:
            if path.name.lower().endswith(target.suffixes):
                return target
        suffixes = ", ".join(suffix for target in cls for suffix in target.suffixes)
        raise InputError("suffix_unknown", path=path, allowed=suffixes)


class Remedy(StrEnum):
    """How the user may resolve a problem. The value is the command line option without its dashes."""

    SUGGEST_CODES = "suggest-codes"
    GIVE_CODE = "code"
    DEFAULT_CODE = "default-code"
    GIVE_ENGINE = "engine"
    RESAMPLE = "resample"
    SLICE_BY_SLICE = "slice-by-slice"
    LEAVE_OUT_MISSING = "leave-out-missing-slices"
    CROP = "crop"
    OVERWRITE = "overwrite"
    GIVE_REFERENCE = "reference"
    DERIVE_SERIES = "derive-series"
    TYPE_BINARY = "type=binary"
    ONE_FILE_PER_SEGMENT = "one-file-per-segment"
    TO_SEG_NRRD = "to=seg-nrrd"


class Modality(StrEnum):
    """DICOM's Modality (0008,0060) of a derived series."""

    CT = "CT"
    MR = "MR"
    OTHER = "OT"


@dataclass(frozen=True)
class Derivation:
    """The DICOM series to derive from a volume that did not come from DICOM.

    Attributes
    ----------
    volume : Volume
    folder : Path
        New folder for its files.
    modality : Modality
    patient_id, patient_name : str
        The only patient data in the series. If empty, the identifier is random and the name 'Anonymous'.
    """

    volume: Volume
    folder: Path
    modality: Modality = Modality.OTHER
    patient_id: str = ""
    patient_name: str = ""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Request of one export.

    Attributes
    ----------
    layers : tuple of LabelMap
        All on one grid; segments that overlap are in different layers.
    output : Path
        File to write, or folder with `one_file_per_segment`.
    target : Target
        Format of the file.
    software_version : str
        Version of this program.
    algorithm : Algorithm or None
        Algorithm of the segments whose tags name none; None if unknown.
    series : DicomSeries or None
        The images that a DICOM segmentation belongs to.
    grid : Geometry or None
        Grid of an image file; None: the grid of the label maps. A DICOM segmentation has the grid of the series.
    derivation : Derivation or None
        The series to derive if there is none; giving it is the user's consent.
    type : SegType
        Segmentation Type of a DICOM segmentation.
    one_file_per_segment : bool
        Whether each segment gets a file of its own, in the folder `output`.
    agreed : frozenset of Remedy
        Remedies that the user agreed to.
    codes : mapping of str to Terminology
        Terminology by segment name; '*' for all segments without a code.
    order : tuple of str
        Ids of segments in the order of their Segment Numbers; the others come last, layer by layer.
    structures : Structures
        Table from which codes are suggested by name.
    source : object
        Name of the label map in errors.
    """

    layers: tuple[LabelMap, ...]
    output: Path
    target: Target
    software_version: str
    algorithm: Algorithm | None = None
    series: DicomSeries | None = None
    grid: Geometry | None = None
    derivation: Derivation | None = None
    type: SegType = SegType.BINARY
    one_file_per_segment: bool = False
    agreed: frozenset[Remedy] = frozenset()
    codes: Mapping[str, Terminology] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    structures: Structures = field(default_factory=common_structures)
    source: object = "The labels"


@dataclass(frozen=True)
class Problem:
    """A problem found by the pre-flight checks.

    Attributes
    ----------
    error : InputError
        Message about the problem.
    remedies : tuple of Remedy
        Each of these resolves it.
    blocks : bool
        Whether it prevents the export; otherwise it is a note.
    segments : tuple of str
        Names of the segments concerned.
    """

    error: InputError
    remedies: tuple[Remedy, ...] = ()
    blocks: bool = True
    segments: tuple[str, ...] = ()
