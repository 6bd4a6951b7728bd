"""Names of files and folders that tell whether they are images or label maps."""

from __future__ import annotations

import re
from pathlib import PurePath, PurePosixPath

_SEGMENTATION_SUFFIX = ".seg.nrrd"
# Suffixes of files that hold a volume, other than DICOM; one that ends in another comes before it.
IMAGE_SUFFIXES = (
    ".nii.gz",
    ".nii",
    _SEGMENTATION_SUFFIX,
    ".nrrd",
    ".nhdr",
    ".mha",
    ".mhd",
    ".mgz",
    ".mgh",
    ".gipl",
    ".hdr",
)
_DICOM_SUFFIX = ".dcm"
_CHANNEL = re.compile(r"_\d{4}$")
# `aseg` is of FreeSurfer, `dseg` of BIDS.
_LABEL_NAMES = r"[ad]?seg|segs|segmentations?|labels?|labelmaps?|masks?|gt|ground[ _-]?truth|support|painted"
_IMAGE_NAMES = r"images?|imgs?|volumes?|vols?"
# `labelsTr` of nnU-Net and the Decathlon: Tr or Ts says of which part of a data set the files are.
_SUBSET = r"([ _-]?(tr|ts|val|train|training|test|validation))?"
_IMAGE_FOLDER, _LABEL_FOLDER = (
    re.compile(rf"({names}){_SUBSET}", re.IGNORECASE) for names in (_IMAGE_NAMES, _LABEL_NAMES)
)
_LAST_IMAGE_NAME, _LAST_LABEL_NAME = (
    re.compile(rf"[ _.-]({names})$", re.IGNORECASE) for names in (_IMAGE_NAMES, _LABEL_NAMES)
)
_LABEL_NAME = re.compile(rf"(?<![a-z])({_LABEL_NAMES})(?![a-z])", re.IGNORECASE)


def image_suffix(name: str) -> str:
    """Suffix of the name of an image file, as it is written there; empty for DICOM and other files."""
    lower = name.lower()
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if lower.endswith(suffix) and lower != suffix), "")
    return name[len(name) - len(suffix) :]


def without_suffix(name: str) -> str:
    """Name of a file without the suffix of an image or of DICOM."""
    suffix = _DICOM_SUFFIX if name.lower().endswith(_DICOM_SUFFIX) else image_suffix(name)
    return name[: len(name) - len(suffix)]


def is_segmentation(file: PurePath) -> bool:
    """Whether a file is a segmentation of Slicer."""
    return file.name.lower().endswith(_SEGMENTATION_SUFFIX)


def has_label_name(stem: str) -> bool:
    """Whether a word of a file's name without suffix is 'seg', 'labels' or the like."""
    return _LABEL_NAME.search(stem) is not None


def ends_in_label_name(stem: str) -> bool:
    """Whether the last word of a file's name without suffix is 'seg', 'labels' or the like."""
    return _LAST_LABEL_NAME.search(f"_{stem}") is not None


def without_image_name(stem: str) -> str:
    """A file's name without suffix, up to a last word such as 'image'."""
    return _LAST_IMAGE_NAME.sub("", stem)


def without_label_name(stem: str) -> str:
    """A file's name without suffix, up to a last word such as 'seg'."""
    return _LAST_LABEL_NAME.sub("", stem)


def without_channel(stem: str) -> str:
    """A file's name without suffix, up to the number of a channel as nnU-Net writes it."""
    return _CHANNEL.sub("", stem)


def is_image_folder(name: str) -> bool:
    """Whether the name of a folder says only that it holds images, as 'images' or 'imagesTr'."""
    return _IMAGE_FOLDER.fullmatch(name) is not None


def is_in_label_folder(relative_path: PurePath) -> bool:
    """Whether a folder of a path has a name such as 'labels', 'masks' or 'labelsTr'."""
    return any(_LABEL_FOLDER.fullmatch(folder) for folder in relative_path.parts[:-1])


def without_image_folders(path: str) -> str:
    """A path without folders such as 'images'; of 'imagesTr', Tr is kept."""
    return _without_kind(_IMAGE_FOLDER, path)


def without_label_folders(path: str) -> str:
    """A path without folders such as 'labels'; of 'labelsTr', Tr is kept."""
    return _without_kind(_LABEL_FOLDER, path)


def _without_kind(kind: re.Pattern[str], path: str) -> str:
    *folders, name = PurePosixPath(path).parts
    kept = (match[2] or "" if (match := kind.fullmatch(folder)) else folder for folder in folders)
    return "/".join(filter(None, (*kept, name)))
