"""Segments of a DICOM segmentation: name, colour, codes and algorithm of each item of its Segment Sequence.

PS3.3 C.8.20.4.
"""

from __future__ import annotations

import re
from typing import Any

from ...core.segment_tags import NAME_TAG, TERMINOLOGY_TAG, TYPE_TAG, VERSION_TAG
from ...core.terminology import Code, Terminology, format_tag
from ...core.volume import Segment, default_segment

_DESIGNATIONS = re.compile(r"\x1b\$\)[AC]")  # of GB 2312 and KS X 1001, PS3.3 C.12.1.1.2
_SEPARATORS = str.maketrans(dict.fromkeys("~^|", " "))  # of Slicer's tags, so a meaning must not contain them


def read_segment(item: Any, dataset: Any) -> Segment:
    """A segment, with its Segment Number as label value.

    Parameters
    ----------
    item : pydicom.Dataset
        Item of the Segment Sequence.
    dataset : pydicom.Dataset
        The segmentation, whose palette may hold the colours.
    """
    number = int(item.SegmentNumber)
    default = default_segment(number)
    colour = segment_colour(item) or _palette_colour(number, dataset) or default.colour
    label = without_designations(str(item.get("SegmentLabel") or item.get("SegmentDescription") or ""))
    name = " ".join(label.split())
    tags = {}
    category, kind, *others = segment_codes(item)
    if category and kind and category.is_valid and kind.is_valid:
        tags[TERMINOLOGY_TAG] = format_tag(
            Terminology(category, kind, *(code if code and code.is_valid else None for code in others))
        )
    identification = first_item(item, "SegmentationAlgorithmIdentificationSequence")
    for tag, text in (
        (TYPE_TAG, item.get("SegmentAlgorithmType")),
        (NAME_TAG, item.get("SegmentAlgorithmName")),
        (VERSION_TAG, identification.get("AlgorithmVersion") if identification is not None else None),
    ):
        if text:
            tags[tag] = str(text).translate(_SEPARATORS)
    return Segment(value=number, name=name or default.name, colour=colour, tags=tags, order=number)


def segment_codes(item: Any) -> tuple[Code | None, ...]:
    """Category, type, type modifier, anatomic region and region modifier; each None if it is missing."""
    kind = first_item(item, "SegmentedPropertyTypeCodeSequence")
    region = first_item(item, "AnatomicRegionSequence")
    codes = (
        first_item(item, "SegmentedPropertyCategoryCodeSequence"),
        kind,
        first_item(kind, "SegmentedPropertyTypeModifierCodeSequence"),
        region,
        first_item(region, "AnatomicRegionModifierSequence"),
    )
    return tuple(_code(code) for code in codes)


def segment_colour(item: Any) -> tuple[float, float, float] | None:
    """Recommended Display CIELab Value as red, green, blue in 0..1; None if it is missing or malformed."""
    from highdicom.color import CIELabColor

    values = item.get("RecommendedDisplayCIELabValue")
    if values is None or len(values) != 3:
        return None
    red, green, blue = CIELabColor.from_dicom_value([int(value) for value in values]).to_rgb(clip=True)
    return red / 255, green / 255, blue / 255


def without_designations(text: str) -> str:
    """Text without the escape sequences before Chinese and Korean characters, which pydicom may leave in it."""
    return _DESIGNATIONS.sub("", text)


def first_item(dataset: Any, name: str) -> Any:
    """First item of a sequence, or None."""
    sequence = dataset.get(name) if dataset is not None else None
    return sequence[0] if sequence else None


def _palette_colour(number: int, dataset: Any) -> tuple[float, float, float] | None:
    """Colour of a label value of a label map segmentation with a palette."""
    import numpy as np
    from pydicom.pixels import apply_color_lut

    if dataset.get("PhotometricInterpretation") != "PALETTE COLOR":
        return None
    colours = apply_color_lut(np.array([[number]], dtype=np.uint16), dataset)
    red, green, blue = (colours.reshape(-1)[:3] / np.iinfo(colours.dtype).max).tolist()
    return red, green, blue


def _code(item: Any) -> Code | None:
    if item is None:
        return None
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    scheme, meaning = str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or "")
    return Code(str(value), scheme, " ".join(meaning.translate(_SEPARATORS).split()))
