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
        """File names of this format end in one of these; the first is usual."""
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
            Its suffix is that of no format.
        """
        by_length = sorted(cls, key=lambda target: -len(target.suffixes[0]))  # .seg.nrrd before .nrrd
        for target in by_length:
            if path.name.lower().endswith(target.suffixes):
                return target
        suffixes = ", ".join(suffix for target in cls for suffix in target.suffixes)
        raise InputError("suffix_unknown", path=path, allowed=suffixes)


class Remedy(StrEnum):
    """What resolves a problem if the user agrees. The value is the flag of the command line without its dashes."""

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
    """Kind of images a derived series claims to hold: DICOM's Modality (0008,0060)."""

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
    patient_id, patient_name : str
        All that is said about the patient. Empty: made up, the name 'Anonymous'.
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
        All on one grid; overlapping segments lie in several.
    output : Path
        File to write; with `one_file_per_segment` a folder.
    software_version : str
        Of this program.
    algorithm : Algorithm or None
        What made the segments whose tags do not say it; None: not known.
    series : DicomSeries or None
        The images that a DICOM segmentation belongs to.
    grid : Geometry or None
        Grid that an image file must have; None: the label map's own. Of a DICOM segmentation it is the series'.
    derivation : Derivation or None
        The series to derive where there is none; giving it is the user's consent.
    agreed : frozenset of Remedy
    codes : mapping of str to Terminology
        Segment name -> what it is, '*' for all that have no code otherwise.
    order : tuple of str
        Ids of segments in the order in which they are numbered; those not named come last, layer by layer.
    source : object
        Names the label map in errors.
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
        What is wrong, in one sentence.
    remedies : tuple of Remedy
        Any of these resolves it.
    blocks : bool
        Whether it prevents the export; otherwise it is a note.
    segments : tuple of str
        Names of the segments concerned.
    """

    error: InputError
    remedies: tuple[Remedy, ...] = ()
    blocks: bool = True
    segments: tuple[str, ...] = ()
