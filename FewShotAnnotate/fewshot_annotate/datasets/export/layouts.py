"""Layouts of data sets: the paths of images and label maps, and the files that describe them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...core.errors import InputError
from ...core.spreadsheet_cells import escape_formula
from ...core.storage import write_json, write_text
from ...core.text import printable
from ...core.volume import Segment, names_by_value
from .facts import CaseFacts

BIDS_VERSION = "1.10.0"
_BIDS_SUFFIXES = ("T1w", "T2w", "T2starw", "FLAIR", "PDw", "PDT2", "inplaneT1", "inplaneT2", "angio", "UNIT1")
# Names in dataset.json for voxels without a label, and for those that training leaves out.
_NNUNET_NAMES = ("background", "ignore")
# Images whose 2 % quantile lies below this hold air in Hounsfield units.
_CT_LOW = -500.0


@dataclass(frozen=True, kw_only=True)
class LayoutOptions:
    """Choices of a layout.

    Attributes
    ----------
    name : str
        Of the data set.
    number : int
        Number of the data set, for nnU-Net and the Decathlon.
    suffix : str
        Kind of image for BIDS, such as 'T1w'.
    """

    name: str
    number: int = 501
    suffix: str = ""

    @property
    def plain_name(self) -> str:
        """Letters and digits of the name."""
        return re.sub(r"[^A-Za-z0-9]", "", self.name) or "Dataset"


@dataclass(frozen=True)
class CasePaths:
    """Where the files of a case lie in a data set, relative to its folder."""

    image: str
    labels: str


class Layout(ABC):
    """A layout of a data set.

    Parameters
    ----------
    options : LayoutOptions
    segments : sequence of Segment
    """

    def __init__(self, options: LayoutOptions, segments: Sequence[Segment]) -> None:
        self.options = options
        self.segments = segments

    @property
    def root(self) -> str:
        """Folder of the data set in that of the export; empty if it is the same."""
        return ""

    @abstractmethod
    def paths(self, number: str, patient: int, image_of_patient: int) -> CasePaths:
        """Where the files of a case lie.

        Parameters
        ----------
        number : str
            Name of the case in the export.
        patient, image_of_patient : int
            Counted from 1.
        """

    @abstractmethod
    def describe(
        self, folder: Path, cases: Sequence[CaseFacts], files: Mapping[str, CasePaths], validation: frozenset[str]
    ) -> None:
        """Write the files that describe the data set.

        Parameters
        ----------
        folder : Path
            Root of the data set.
        cases : sequence of CaseFacts
        files : mapping of str to CasePaths
            Paths of the files of each case, by its name in the export.
        validation : frozenset of str
            Names of the cases of the validation set.
        """

    @property
    def names(self) -> dict[int, str]:
        """Name by label value, background among them."""
        return {0: "background"} | names_by_value(self.segments)


class NnUNet(Layout):
    """nnU-Net version 2, raw data: DatasetNNN_NAME in the folder that `nnUNet_raw` names.

    Raises
    ------
    InputError
        A segment has a name that nnU-Net gives a meaning of its own.
    """

    def __init__(self, options: LayoutOptions, segments: Sequence[Segment]) -> None:
        super().__init__(options, segments)
        for segment in segments:
            if segment.name in _NNUNET_NAMES:
                raise InputError("dataset_nnunet_name", segment=segment.name)

    @property
    def root(self) -> str:
        """Folder with the name that nnU-Net requires."""
        return f"Dataset{self.options.number:03}_{self.options.plain_name}"

    def paths(self, number: str, patient: int, image_of_patient: int) -> CasePaths:
        """Image with the number of its channel."""
        return CasePaths(f"imagesTr/{number}_0000.nii.gz", f"labelsTr/{number}.nii.gz")

    def describe(
        self, folder: Path, cases: Sequence[CaseFacts], files: Mapping[str, CasePaths], validation: frozenset[str]
    ) -> None:
        """dataset.json, and splits_final.json for the folder `nnUNet_preprocessed/DatasetNNN_NAME`."""
        content = {
            "channel_names": {"0": modality(cases, "CT", "MRI")},
            "labels": {name: value for value, name in self.names.items()},
            "numTraining": len(cases),
            "file_ending": ".nii.gz",
        }
        write_json(folder / "dataset.json", content, indent=1)
        split = {
            "train": [case.number for case in cases if case.number not in validation],
            "val": [case.number for case in cases if case.number in validation],
        }
        write_json(folder / "splits_final.json", [split], indent=1)


class Decathlon(Layout):
    """Medical Segmentation Decathlon."""

    @property
    def root(self) -> str:
        """Folder named as the Decathlon's."""
        return f"Task{self.options.number:02}_{self.options.plain_name}"

    def paths(self, number: str, patient: int, image_of_patient: int) -> CasePaths:
        """Image and labels of the same name."""
        return CasePaths(f"imagesTr/{number}.nii.gz", f"labelsTr/{number}.nii.gz")

    def describe(
        self, folder: Path, cases: Sequence[CaseFacts], files: Mapping[str, CasePaths], validation: frozenset[str]
    ) -> None:
        """dataset.json with the lists `training` and `validation`, which share no case."""
        pairs = {
            number: {"image": f"./{case.image}", "label": f"./{case.labels}"}
            for number, case in sorted(files.items())
        }
        content = {
            "name": self.options.name,
            "description": "Accepted cases, exported by FewShotAnnotate",
            "reference": "",
            "licence": "",
            "release": __version__,
            "tensorImageSize": "3D",
            "modality": {"0": modality(cases, "CT", "MRI")},
            "labels": {str(value): name for value, name in self.names.items()},
            "numTraining": len(cases) - len(validation),
            "numTest": 0,
            "training": [pair for number, pair in pairs.items() if number not in validation],
            "test": [],
            "validation": [pairs[number] for number in sorted(validation)],
        }
        (folder / "imagesTs").mkdir()
        write_json(folder / "dataset.json", content, indent=1)


class Monai(Layout):
    """MONAI's data list, as `load_decathlon_datalist` reads it."""

    def paths(self, number: str, patient: int, image_of_patient: int) -> CasePaths:
        """Image and labels of the same name."""
        return CasePaths(f"images/{number}.nii.gz", f"labels/{number}.nii.gz")

    def describe(
        self, folder: Path, cases: Sequence[CaseFacts], files: Mapping[str, CasePaths], validation: frozenset[str]
    ) -> None:
        """datalist.json with the lists `training` and `validation`."""
        pairs = {number: {"image": case.image, "label": case.labels} for number, case in sorted(files.items())}
        content = {
            "name": self.options.name,
            "modality": {"0": modality(cases, "CT", "MRI")},
            "labels": {str(value): name for value, name in self.names.items()},
            "training": [{**pair, "fold": 1} for number, pair in pairs.items() if number not in validation],
            "validation": [{**pair, "fold": 0} for number, pair in pairs.items() if number in validation],
        }
        write_json(folder / "datalist.json", content, indent=1)


class Bids(Layout):
    """BIDS derivatives: label maps as `dseg` beside the images they belong to.

    Raises
    ------
    InputError
        The kind of image is not one that BIDS knows.
    """

    def __init__(self, options: LayoutOptions, segments: Sequence[Segment]) -> None:
        super().__init__(options, segments)
        if options.suffix not in _BIDS_SUFFIXES:
            raise InputError("dataset_bids_suffix", suffix=options.suffix or "none", known=", ".join(_BIDS_SUFFIXES))

    def paths(self, number: str, patient: int, image_of_patient: int) -> CasePaths:
        """A subject for each patient, and a run for each of its images."""
        subject, run = f"sub-{patient:03}", f"run-{image_of_patient:02}"
        stem = f"{subject}/anat/{subject}_{run}"
        return CasePaths(f"{stem}_desc-source_{self.options.suffix}.nii.gz", f"{stem}_desc-accepted_dseg.nii.gz")

    def describe(
        self, folder: Path, cases: Sequence[CaseFacts], files: Mapping[str, CasePaths], validation: frozenset[str]
    ) -> None:
        """dataset_description.json, participants.tsv with the split, and the labels' table."""
        description: dict[str, Any] = {
            "Name": self.options.name,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "FewShotAnnotate", "Version": __version__}],
        }
        write_json(folder / "dataset_description.json", description, indent=1)
        split = {files[case.number].image.split("/")[0]: case.number in validation for case in cases}
        rows = [f"{subject}\t{'validation' if held else 'training'}" for subject, held in sorted(split.items())]
        write_text(folder / "participants.tsv", "\n".join(["participant_id\tsplit", *rows]) + "\n")
        levels = {"training": "Used for training", "validation": "Held out from training"}
        write_json(folder / "participants.json", {"split": {"Description": "Split", "Levels": levels}}, indent=1)
        table = [f"{value}\t{escape_formula(printable(name))}" for value, name in self.names.items()]
        write_text(folder / "desc-accepted_dseg.tsv", "\n".join(["index\tname", *table]) + "\n")
        for file in files.values():
            image, labels = folder / file.image, folder / file.labels
            write_json(image.with_name(image.name.removesuffix(".nii.gz") + ".json"), {"SkullStripped": False})
            write_json(
                labels.with_name(labels.name.removesuffix(".nii.gz") + ".json"),
                {"Manual": False, "Description": "Filled from painted slices and accepted by a person"},
            )
        write_text(folder / ".bidsignore", "previews\ndata_sheet.json\n")


LAYOUTS: Mapping[str, type[Layout]] = {"nnunet": NnUNet, "msd": Decathlon, "monai": Monai, "bids": Bids}


def modality(cases: Sequence[CaseFacts], ct: str, other: str) -> str:
    """`ct` if most images hold air in Hounsfield units."""
    return ct if float(np.median([case.quantiles[1] for case in cases])) < _CT_LOW else other
