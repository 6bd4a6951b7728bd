"""Names of folders that tell whether the files in them are images or label maps."""

from __future__ import annotations

import re
from pathlib import PurePath, PurePosixPath

# `labelsTr` of nnU-Net and the Decathlon: Tr or Ts says of which part of a data set the files are.
_SUBSET = r"([ _-]?(tr|ts|val|train|training|test|validation))?"
_IMAGES = re.compile(rf"(images?|imgs?|volumes?|vols?){_SUBSET}", re.IGNORECASE)
_LABELS = re.compile(
    rf"(segs?|segmentations?|labels?|labelmaps?|masks?|gt|ground[ _-]?truth){_SUBSET}", re.IGNORECASE
)


def is_in_label_folder(relative_path: PurePath) -> bool:
    """Whether a folder of a path has a name such as 'labels', 'masks' or 'labelsTr'."""
    return any(_LABELS.fullmatch(folder) for folder in relative_path.parts[:-1])


def without_image_folders(path: str) -> str:
    """A path without folders such as 'images'; of 'imagesTr', Tr is kept."""
    return _without_kind(_IMAGES, path)


def without_label_folders(path: str) -> str:
    """A path without folders such as 'labels'; of 'labelsTr', Tr is kept."""
    return _without_kind(_LABELS, path)


def _without_kind(kind: re.Pattern[str], path: str) -> str:
    *folders, name = PurePosixPath(path).parts
    kept = (match[2] or "" if (match := kind.fullmatch(folder)) else folder for folder in folders)
    return "/".join(filter(None, (*kept, name)))
