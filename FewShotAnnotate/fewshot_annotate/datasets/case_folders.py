"""A manifest from folders of images and label maps: any folders, DICOM trees, and data sets of nnU-Net and MSD."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any

from ..core import paths
from ..core.errors import InputError, Message
from ..core.folder_names import folder_name_key
from ..core.reading import DamagedContentError, read_json_as
from ..core.spreadsheet_cells import escape_formula
from ..core.storage import csv_bytes
from ..io.dicom.folder import is_dicom
from ..io.dicom.listing import list_segmentations, list_series
from ..io.label_names import DATASET_LIST
from .case_pairs import FoundFile, Pair, Pairing, is_named_as_labels, pair_sources, unlabelled_pair
from .image_and_label_names import image_suffix, is_segmentation, without_suffix
from .manifest import as_case_name

# Folders of the labelled cases of nnU-Net and the Medical Segmentation Decathlon.
_TRAINING_IMAGES, _TRAINING_LABELS = "imagesTr", "labelsTr"


def find_pairs(
    images: Path, labels: Path | None = None, *, image_pattern: str = "*", label_pattern: str = "*"
) -> Pairing:
    """Find images and the label maps that belong to them.

    Parameters
    ----------
    images : Path
        Folder of the images or of a data set; its subfolders are searched too, hidden files are not.
    labels : Path, optional
        Folder of the label maps; may be that of the images. Default: as the layout of a data set says.
    image_pattern, label_pattern : str
        Glob patterns that the end of a path must match, such as '*/ct.nii.gz'.

    Raises
    ------
    InputError
        A folder does not exist, `dataset.json` cannot be read, or a DICOM file is damaged.
    """
    for folder in filter(None, (images, labels)):
        paths.require_existing(folder)
        if not paths.is_folder(folder):
            raise InputError("not_a_folder", path=folder)
    if labels is None and paths.is_folder(images / _TRAINING_IMAGES):
        listed = _listed_pairs(images) if (image_pattern, label_pattern) == ("*", "*") else None
        if listed is not None:
            return listed
        images, labels = images / _TRAINING_IMAGES, images / _TRAINING_LABELS
        paths.require_existing(labels)
    found = _sources(images, image_pattern, list_series)
    if labels is None:
        are_labels = [
            is_named_as_labels(source) if image_pattern == "*" else is_segmentation(source.path) for source in found
        ]
        image_files = [source for source, is_label_map in zip(found, are_labels, strict=True) if not is_label_map]
        return replace(pair_sources(image_files, []), unused=tuple(compress(found, are_labels)))
    label_maps = _sources(labels, label_pattern, list_segmentations)
    if paths.is_same(images, labels) and label_pattern == "*":
        label_maps = [source for source in label_maps if source.uid or is_named_as_labels(source)]
    taken = {paths.resolve(source.path) for source in label_maps}
    image_files = [source for source in found if not is_segmentation(source.path)]
    return pair_sources([source for source in image_files if paths.resolve(source.path) not in taken], label_maps)


def manifest_bytes(
    path: Path, pairing: Pairing, *, unlabelled: bool = False, names: Path | None = None
) -> tuple[bytes, int]:
    """Content of a manifest with a row for each pair, and the number of its rows.

    Parameters
    ----------
    path : Path
        Where it is to be written; files below its folder are named relative to that.
    pairing : Pairing
    unlabelled : bool
        Whether images without labels get a row too, with an empty support.
    names : Path, optional
        File with the names of the labels.

    Raises
    ------
    InputError
        There is no row, or a path cannot stand in a table.
    """
    pairs = [*pairing.pairs, *(map(unlabelled_pair, pairing.unlabelled) if unlabelled else ())]
    if not pairs:
        raise InputError("pairs_none", path=path)
    folder = paths.resolve(path.parent)
    header, rows = ["name", "image", "support"], []
    with_series = any(pair.image.series for pair in pairs)
    header += ["series"] * with_series + ["labels"] * (names is not None)
    for name, pair in zip(_unique_names(pairs), pairs, strict=True):
        row = [name, _cell(pair.image.path, folder), "" if pair.labels is None else _cell(pair.labels.path, folder)]
        row += [pair.image.series] * with_series + ([] if names is None else [_cell(names, folder)])
        rows.append(row)
    return csv_bytes(header, rows), len(rows)


def _unique_names(pairs: Sequence[Pair]) -> Iterator[str]:
    used: set[str] = set()
    for pair in pairs:
        base = as_case_name(pair.name)
        name, number = base, 1
        while folder_name_key(name) in used:
            number += 1
            name = f"{base}-{number}"
        used.add(folder_name_key(name))
        yield name


def _cell(path: Path, folder: Path) -> str:
    """A path as a cell of a table in `folder`."""
    path = paths.resolve(path)
    text = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
    if escape_formula(text) != text:
        text = f".{os.sep}{text}"
    if text != text.strip() or escape_formula(text) != text or not text.isprintable():
        raise InputError("pair_path", path=path)
    return text


def _sources(root: Path, pattern: str, list_dicom: Any) -> list[FoundFile]:
    """Image files and DICOM objects below a folder, in the order of their paths."""
    found: list[FoundFile] = []
    for relative, names in _files_by_folder(root):
        folder, others = root / relative, []
        for name in names:
            if image_suffix(name):
                if (relative / name).match(pattern):
                    found.append(FoundFile(path=folder / name, relative_path=relative / without_suffix(name)))
            elif is_dicom(folder / name):
                others.append(folder / name)
        if others:
            found += _dicom_sources(root, relative, list_dicom(others, folder), pattern)
    return found


def _dicom_sources(root: Path, folder: PurePosixPath, listed: Iterable[Any], pattern: str) -> Iterator[FoundFile]:
    """DICOM objects of a folder, which is relative to the searched one."""
    for entry in listed:
        relative = folder if entry.path == root / folder else folder / without_suffix(entry.path.name)
        relative = relative if relative.parts else PurePosixPath(root.name or "series")
        if relative.match(pattern) or (folder / entry.path.name).match(pattern):
            yield FoundFile(path=entry.path, relative_path=relative, series=entry.series, uid=entry.uid)


def _files_by_folder(root: Path) -> Iterator[tuple[PurePosixPath, list[str]]]:
    """Relative path of each folder below `root`, and the names of its files; hidden ones are left out."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        yield (
            PurePosixPath(Path(folder).relative_to(root).as_posix()),
            [name for name in visible if paths.is_file(Path(folder, name))],
        )


def _listed_pairs(folder: Path) -> Pairing | None:
    """The pairs that a `dataset.json` lists; None if there is no such file or it lists none."""
    path = folder / DATASET_LIST
    if not paths.lexists(path):
        return None
    try:
        entries = read_json_as(path, _entries)
    except OSError as error:
        raise InputError("dataset_list", path=path, detail=error.strerror) from None
    except DamagedContentError:
        raise InputError("dataset_list", path=path, detail=Message("dataset_list_unknown")) from None
    pairs: list[Pair] = []
    problems: list[Message] = []
    listed_files: set[Path] = set()
    for name, images, labels in entries:
        files = [folder / listed for listed in (*images, labels)]
        listed_files.update(map(paths.resolve, files))
        missing = [file for file in files if not paths.is_file(file)]
        problems += [Message("file_missing", path=file) for file in missing]
        if len(images) != 1:
            problems.append(Message("pair_images", path=files[-1], images=", ".join(images)))
        elif not missing:
            image, label = (
                FoundFile(path=file, relative_path=PurePosixPath(without_suffix(file.name))) for file in files
            )
            pairs.append(replace(unlabelled_pair(image), name=name or unlabelled_pair(image).name, labels=label))
    found = _sources(folder / _TRAINING_IMAGES, "*", list_series)
    unlisted = [source for source in found if paths.resolve(source.path) not in listed_files]
    return Pairing(tuple(pairs), tuple(problems), (), (), tuple(unlisted)) if entries else None


def _entries(content: Mapping[str, Any]) -> list[tuple[str, list[str], str]]:
    """Name, images and label map of each listed case, of MSD and MONAI or of nnU-Net."""
    listed: list[tuple[str, list[str], str]] = []
    for entry in (*content.get("training", ()), *content.get("validation", ())):
        if isinstance(entry, Mapping):
            images = [entry["image"]] if isinstance(entry["image"], str) else list(entry["image"])
            if (case := ("", images, str(entry["label"]))) not in listed:  # some lists repeat the validation cases
                listed.append(case)
    for name, entry in content.get("dataset", {}).items():
        listed.append((str(name), [str(image) for image in entry["images"]], str(entry["label"])))
    return listed
