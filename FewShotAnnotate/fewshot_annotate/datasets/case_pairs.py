"""Which label map belongs to which image, judged by DICOM references and names alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..core.errors import Message
from .image_and_label_names import (
    ends_in_label_name,
    is_in_label_folder,
    is_segmentation,
    without_channel,
    without_image_folders,
    without_image_name,
    without_label_folders,
    without_label_name,
)

_MAX_LISTED = 4
_Key = Callable[["FoundFile"], str]


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """An image or a label map that was found in a folder.

    Attributes
    ----------
    path : Path
        File, or folder of a DICOM series.
    relative_path : PurePosixPath
        Path relative to the searched folder, without suffix.
    series : str
        Which series of a DICOM folder with several, as `read_volume` takes it.
    uid : str
        Series Instance UID of a DICOM image, or of the images that a DICOM segmentation refers to.
    """

    path: Path
    relative_path: PurePosixPath
    series: str = ""
    uid: str = ""


@dataclass(frozen=True)
class Pair:
    """An image with its label map, None where it has none, and a name for the two."""

    name: str
    image: FoundFile
    labels: FoundFile | None


@dataclass(frozen=True)
class Pairing:
    """Result of `pair_sources`.

    Attributes
    ----------
    pairs : tuple of Pair
        In the order of the images.
    problems : tuple of Message
        Label maps that fit several images, and images that several label maps fit.
    unlabelled, unused : tuple of FoundFile
        Images without labels, and label maps without an image.
    unlisted : tuple of FoundFile
        Images beside those that the list of a data set names.
    """

    pairs: tuple[Pair, ...]
    problems: tuple[Message, ...]
    unlabelled: tuple[FoundFile, ...]
    unused: tuple[FoundFile, ...]
    unlisted: tuple[FoundFile, ...] = ()


def is_named_as_labels(source: FoundFile) -> bool:
    """Whether the name of a file ends in a word such as 'seg' or 'labels', or a folder of it has such a name."""
    named = ends_in_label_name(source.relative_path.name)
    return named or is_segmentation(source.path) or is_in_label_folder(source.relative_path)


def pair_sources(images: Sequence[FoundFile], labels: Sequence[FoundFile]) -> Pairing:
    """Pair images and label maps: by DICOM references, then by equal names, the most specific names first.

    Two names are equal if the relative paths are, with or without folders such as 'labels', or the file names without
    the number of a channel and without words such as 'seg', or the names of the folders of the cases.
    """
    pairs: list[Pair] = []
    problems: list[Message] = []
    left_images, left_labels = list(images), list(labels)
    settled: set[int] = set()
    for image_key, label_key in _KEYS:
        # The only image of a folder belongs to its only label map; the last that is left of several does not.
        among = (
            (images, labels) if image_key in _OF_FOLDERS or label_key in _OF_FOLDERS else (left_images, left_labels)
        )
        fitting_by_key, given_by_key = _by_key(among[0], image_key), _by_key(among[1], label_key)
        for key in given_by_key.keys() & fitting_by_key.keys() - {""}:
            fitting, given = fitting_by_key[key], given_by_key[key]
            if not settled.isdisjoint(map(id, (*fitting, *given))):
                continue
            settled.update(map(id, (*fitting, *given)))
            if len(fitting) > 1:
                problems += [Message("pair_images", path=source.path, images=_listed(fitting)) for source in given]
            elif len(given) > 1:
                problems.append(Message("pair_labels", path=fitting[0].path, labels=_listed(given)))
            else:
                pairs.append(Pair(_name(fitting[0]) if image_key is _uid else key, fitting[0], given[0]))
        left_images = [source for source in left_images if id(source) not in settled]
        left_labels = [source for source in left_labels if id(source) not in settled]
    order = {id(image): number for number, image in enumerate(images)}
    pairs.sort(key=lambda pair: order[id(pair.image)])
    problems.sort(key=lambda problem: str(problem.data["path"]))
    return Pairing(tuple(pairs), tuple(problems), tuple(left_images), tuple(left_labels))


def _by_key(sources: Sequence[FoundFile], key: _Key) -> dict[str, list[FoundFile]]:
    grouped: dict[str, list[FoundFile]] = {}
    for source in sources:
        grouped.setdefault(key(source), []).append(source)
    return grouped


def unlabelled_pair(image: FoundFile) -> Pair:
    """An image without labels."""
    return Pair(_name(image), image, None)


def _uid(source: FoundFile) -> str:
    return source.uid


def _relative_path(source: FoundFile) -> str:
    return str(source.relative_path)


def _image_name(source: FoundFile) -> str:
    return without_image_name(without_channel(source.relative_path.name))


def _label_name(source: FoundFile) -> str:
    return without_label_name(without_channel(source.relative_path.name))


def _image_path(source: FoundFile) -> str:
    return str(source.relative_path.with_name(_image_name(source)))


def _label_path(source: FoundFile) -> str:
    return str(source.relative_path.with_name(_label_name(source)))


def _image_place(source: FoundFile) -> str:
    return without_image_folders(_image_path(source))


def _label_place(source: FoundFile) -> str:
    return without_label_folders(_label_path(source))


def _folder(source: FoundFile) -> str:
    return "/".join(source.relative_path.parts[:-1])


def _top_folder(source: FoundFile) -> str:
    return source.relative_path.parts[0] if len(source.relative_path.parts) > 1 else ""


_OF_FOLDERS = (_folder, _top_folder)
# Keys of an image and of a label map, which belong together if these are equal and not empty.
_KEYS: tuple[tuple[_Key, _Key], ...] = (
    (_uid, _uid),
    (_relative_path, _relative_path),
    (_image_path, _label_path),
    (_image_place, _label_place),
    (_folder, _folder),
    (_image_name, _label_name),
    (_relative_path, _folder),
    (_folder, _label_name),
    (_image_name, _top_folder),
    (_top_folder, _label_name),
    (_top_folder, _top_folder),
)


def _name(image: FoundFile) -> str:
    return _image_path(image)


def _listed(sources: Sequence[FoundFile]) -> str:
    names = [
        f"{source.path.name} (series {source.series})" if source.series else str(source.relative_path)
        for source in sources
    ]
    return ", ".join(names[:_MAX_LISTED]) + (" ..." if len(names) > _MAX_LISTED else "")
