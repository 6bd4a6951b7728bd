"""Terminology of a segment: coded concepts as in DICOM SEG and in Slicer's segment tag."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .segment_tags import TERMINOLOGY_TAG
from .volume import Segment

# The content of Slicer's segment tag is seven parts: name of the terminology, category, type, type modifier, name of
# the anatomic context, region, region modifier. A code in it is scheme^value^meaning.
_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
_ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"
_FIELD_SEPARATOR, _CODE_SEPARATOR = "~", "^"
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,15}")  # SH of DICOM: at most 16 characters
_SCHEME_LENGTH, _MEANING_LENGTH = 16, 64


@dataclass(frozen=True)
class Code:
    """A coded concept: DICOM's Code Value, Coding Scheme Designator and Code Meaning (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str

    @property
    def is_valid(self) -> bool:
        """Whether the code conforms to DICOM."""
        return (
            bool(_VALUE.fullmatch(self.value))
            and 0 < len(self.scheme) <= _SCHEME_LENGTH
            and 0 < len(self.meaning) <= _MEANING_LENGTH
            and "\\" not in self.scheme + self.meaning
        )

    def is_same(self, other: Code | None) -> bool:
        """Whether value and scheme are equal; the meaning may differ."""
        return other is not None and (self.value, self.scheme) == (other.value, other.scheme)


@dataclass(frozen=True)
class Terminology:
    """Coded category, type and anatomic region of a segment.

    Attributes
    ----------
    category, type : Code
        Segmented Property Category and Type, such as Anatomical Structure and Liver.
    modifier : Code or None
        Modifier of the type, such as Left.
    region, region_modifier : Code or None
        Anatomic region, if the type does not imply it.
    """

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    @property
    def codes(self) -> tuple[Code | None, ...]:
        """All codes in the order of the attributes."""
        return self.category, self.type, self.modifier, self.region, self.region_modifier

    @property
    def description(self) -> str:
        """Readable text of modifier, type and region."""
        meanings = [code.meaning for code in (self.modifier, self.type) if code]
        region = [code.meaning for code in (self.region_modifier, self.region) if code]
        return " ".join(meanings) + (f" of {' '.join(region)}" if region else "")

    def is_same(self, other: Terminology | None) -> bool:
        """Whether all codes are the same."""
        return other is not None and all(
            code is two if code is None or two is None else code.is_same(two)
            for code, two in zip(self.codes, other.codes, strict=True)
        )


def segment_terminology(segment: Segment) -> Terminology | None:
    """Terminology from a segment's tag; None if it is missing or does not conform to DICOM."""
    return parse_tag(segment.tags.get(TERMINOLOGY_TAG, ""))


def parse_tag(text: str) -> Terminology | None:
    """Parse Slicer's segment tag; None if category or type is missing or malformed."""
    fields = [*text.split(_FIELD_SEPARATOR), *[""] * 7][:7]
    category, kind, modifier, region, region_modifier = (_code(fields[number]) for number in (1, 2, 3, 5, 6))
    if category is None or kind is None:
        return None
    return Terminology(category, kind, modifier, region, region_modifier)


def format_tag(terminology: Terminology) -> str:
    """Format terminology as Slicer's segment tag."""
    category, kind, modifier, region, region_modifier = map(_text, terminology.codes)
    return _FIELD_SEPARATOR.join((_CONTEXT, category, kind, modifier, _ANATOMIC_CONTEXT, region, region_modifier))


def _code(text: str) -> Code | None:
    fields = text.split(_CODE_SEPARATOR)
    if len(fields) != 3:
        return None
    code = Code(fields[1].strip(), fields[0].strip(), fields[2].strip())
    return code if code.is_valid else None


def _text(code: Code | None) -> str:
    return _CODE_SEPARATOR.join((code.scheme, code.value, code.meaning)) if code else _CODE_SEPARATOR * 2
