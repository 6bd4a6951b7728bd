"""Segments in .seg.nrrd headers: names, colours, tags and layers, as written by Slicer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import InputError, Message
from ..core.paths import require_file
from ..core.volume import LabelMap, Segment, as_label_array, default_segment, present_values
from .image_file import ImageFile
from .nrrd_header import NrrdHeader
from .voxel_stream import Writable, file_errors_as_input_errors, gzip_writer

_TAG_SEPARATOR = "|"
_SEGMENT_ID = re.compile(r"Segment(\d{1,9})_ID")
_FRACTIONAL = "Fractional labelmap"
_HEADER_BYTES = 1 << 16
# Control characters, for which the format has no escape, except line break and tab; halves of a character.
_UNSTORABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def label_maps(image: ImageFile, path: Path) -> list[LabelMap]:
    """One label map per layer of a .seg.nrrd image, on its own grid.

    Raises
    ------
    InputError
        The list of segments is damaged, values are not whole numbers, or the segmentation is fractional.
    """
    if any(image.metadata.get(f"Segmentation_{kind}Representation") == _FRACTIONAL for kind in ("Source", "Master")):
        raise InputError("segmentation_fractional", path=path)
    layers = image.array[None] if image.components == 1 else np.moveaxis(image.array, -1, 0)
    grid = image.geometry
    try:
        described = _segments(image.metadata, layered=len(layers) > 1)
    except ValueError:
        raise InputError("file_unreadable", path=path, detail=Message("segment_list_damaged")) from None
    last = 1 + max((segment.order for segments in described.values() for segment in segments.values()), default=0)
    result = []
    for number, values in enumerate(layers):
        array = as_label_array(values, path)
        segments = described.get(number, {})
        bare = [
            replace(default_segment(value), order=last) for value in present_values(array) if value not in segments
        ]
        result.append(LabelMap(array, grid, (*segments.values(), *bare)))
    return result


def describes_segments(metadata: Mapping[str, str]) -> bool:
    """Whether a header lists segments, regardless of the file name."""
    return any(map(_SEGMENT_ID.fullmatch, metadata))


def has_no_voxels(path: Path) -> bool:
    """Whether a segmentation has no voxels; some programs write such a file if nothing was painted."""
    require_file(path)
    with file_errors_as_input_errors(path), path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    sizes = re.search(rb"^sizes:([ \t\d]+)\r?$", header.split(b"\n\n")[0], re.MULTILINE)
    return header.startswith(b"NRRD") and sizes is not None and b"0" in sizes[1].split()


def write_seg_nrrd(stream: Writable, layers: Sequence[LabelMap]) -> None:
    """Write label maps as the layers of one file, slice by slice, with the segments in its header.

    Several layers are the first axis, whose kind is 'list', as slicerio and Slicer expect.
    """
    grid, count = layers[0].geometry, len(layers)
    dtype = np.min_scalar_type(max(int(layer.array.max()) for layer in layers))
    fields = dict(NrrdHeader.of_geometry(replace(grid, header=None)).fields)
    several = count > 1
    lines = [
        "NRRD0005",
        f"type: {'unsigned char' if dtype.itemsize == 1 else 'unsigned short'}",
        f"dimension: {3 + several}",
        f"space: {fields['space']}",
        "sizes: " + " ".join(map(str, ([count] if several else []) + list(reversed(grid.shape)))),
        f"space directions: {'none ' * several}{fields['space directions']}",
        f"kinds: {'list ' * several}{fields['kinds']}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {fields['space origin']}",
        *(f"{name}:={_escaped(text)}" for name, text in _metadata(layers).items()),
    ]
    stream.write("\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
    with gzip_writer(stream) as packed:
        for layer_slices in zip(*(layer.array for layer in layers), strict=True):
            packed.write(np.ascontiguousarray(np.stack(layer_slices, axis=-1), dtype.newbyteorder("<")).data)


def _escaped(text: str) -> str:
    """A value as a header holds it: a line break as two characters, what else would end or damage it as a space."""
    return _UNSTORABLE.sub(" ", text).replace("\\", "\\\\").replace("\n", "\\n")


def _metadata(layers: Sequence[LabelMap]) -> dict[str, str]:
    """The text fields that describe the segments."""
    extent = " ".join(f"0 {size - 1}" for size in reversed(layers[0].geometry.shape))
    fields = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    listed = [(layer, segment) for layer, label_map in enumerate(layers) for segment in label_map.segments]
    listed.sort(key=lambda entry: entry[1].order)
    for number, (layer, segment) in enumerate(listed):
        tags = "".join(f"{name}:{text}{_TAG_SEPARATOR}" for name, text in segment.tags.items())
        values = {
            "ID": segment.segment_id or f"Segment_{layer}_{segment.value}",
            "Name": segment.name,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{component:.6g}" for component in segment.colour),
            "ColorAutoGenerated": "0",
            "LabelValue": str(segment.value),
            "Layer": str(layer),
            "Extent": extent,
            "Tags": tags or _TAG_SEPARATOR,
        }
        fields.update({f"Segment{number}_{name}": text for name, text in values.items()})
    return fields


def _segments(metadata: Mapping[str, str], layered: bool) -> dict[int, dict[int, Segment]]:
    """Segments by layer and label value, in file order.

    Headers of Slicer before 4.11 have neither: each segment is a binary layer.
    """
    segments: dict[int, dict[int, Segment]] = {}
    for number in sorted(int(match[1]) for match in map(_SEGMENT_ID.fullmatch, metadata) if match):

        def text(name: str, default: str, number: int = number) -> str:
            content = metadata.get(f"Segment{number}_{name}", default)
            return content.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

        value = int(text("LabelValue", "1"))
        layer = int(text("Layer", str(number) if layered else "0"))
        colour = [float(component) for component in text("Color", "").split()]
        red, green, blue = colour if len(colour) == 3 else default_segment(value).colour
        pairs = (tag.partition(":") for tag in text("Tags", "").split(_TAG_SEPARATOR) if tag)
        tags = {name: content for name, _, content in pairs}
        name = text("Name", f"Label {value}")
        segment = Segment(
            value=value, name=name, colour=(red, green, blue), tags=tags, segment_id=text("ID", ""), order=number
        )
        segments.setdefault(layer, {})[value] = segment
    return segments
