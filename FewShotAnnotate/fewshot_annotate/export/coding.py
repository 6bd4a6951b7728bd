"""Choice of the terminology of each segment: given by the user, from its tags, or suggested by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core.errors import InputError, Message
from ..core.segment_tags import TERMINOLOGY_TAG
from ..core.structures import TISSUE
from ..core.terminology import Terminology, format_tag, segment_terminology
from ..core.text import first_of
from ..core.volume import LabelMap, Segment
from .request import ExportRequest, Problem, Remedy

ALL_OTHERS = "*"
_MAX_LISTED = 8


@dataclass(frozen=True)
class Coding:
    """Terminology of the segments of a request.

    Attributes
    ----------
    chosen : dict of (int, int) to Terminology
        (layer, label value) -> terminology, for segments that have one.
    problems : tuple of Problem
    """

    chosen: dict[tuple[int, int], Terminology]
    problems: tuple[Problem, ...]

    def of(self, layer: int, segment: Segment) -> Terminology | None:
        """Terminology of a segment."""
        return self.chosen.get((layer, segment.value))

    def tagged(self, layers: Sequence[LabelMap]) -> list[LabelMap]:
        """The layers, with the chosen terminology in the tags of their segments."""
        result = []
        for number, layer in enumerate(layers):
            segments = [_tagged(segment, self.of(number, segment)) for segment in layer.segments]
            result.append(LabelMap(layer.array, layer.geometry, tuple(segments)))
        return result


def code_segments(request: ExportRequest, layers: Sequence[LabelMap], required: bool) -> Coding:
    """Choose the terminology of the segments of `layers`; missing codes are a problem only if `required`.

    With the user's consent, segments without any code get *Tissue*, as in Slicer.

    Raises
    ------
    InputError
        A code was given for a segment that does not exist.
    """
    segments = [(number, segment) for number, layer in enumerate(layers) for segment in layer.segments]
    names = [segment.name for _, segment in segments]
    for name in request.codes:
        if name not in names and name != ALL_OTHERS:
            raise InputError("code_without_segment", name=name, known=_listed(names))
    chosen: dict[tuple[int, int], Terminology] = {}
    suggested: dict[str, Terminology] = {}
    agreed = Remedy.SUGGEST_CODES in request.agreed
    rest_is_coded = ALL_OTHERS in request.codes or Remedy.DEFAULT_CODE in request.agreed
    unknown, generic = [], []
    for number, segment in segments:
        tagged = segment_terminology(segment)
        suggestion = request.structures.suggest(segment.name)
        is_generic = tagged is not None and tagged.is_same(TISSUE)
        terminology = request.codes.get(segment.name) or (None if is_generic and suggestion and agreed else tagged)
        if terminology is None and suggestion and (agreed or not rest_is_coded):
            suggested[segment.name] = suggestion
            terminology = suggestion if agreed else None
        elif terminology is None:
            terminology = request.codes.get(ALL_OTHERS) or (TISSUE if Remedy.DEFAULT_CODE in request.agreed else None)
            if terminology is None:
                unknown.append(segment.name)
        elif is_generic and suggestion and segment.name not in request.codes:
            generic.append(segment.name)
        if terminology is not None:
            chosen[number, segment.value] = terminology
    return Coding(chosen, _problems(suggested, unknown, generic, agreed, required))


def _problems(
    suggested: dict[str, Terminology], unknown: list[str], generic: list[str], agreed: bool, required: bool
) -> tuple[Problem, ...]:
    problems = []
    if suggested and (required or agreed):
        description = _listed([f"{name}: {terms.description}" for name, terms in suggested.items()])
        remedies = () if agreed else (Remedy.SUGGEST_CODES, Remedy.GIVE_CODE, Remedy.DEFAULT_CODE)
        problems.append(
            Problem(
                InputError("codes_suggested" if agreed else "codes_missing", segments=description),
                remedies,
                not agreed,
                tuple(suggested),
            )
        )
    if unknown and required:
        error = InputError("codes_unknown", segments=_listed(unknown))
        problems.append(Problem(error, (Remedy.GIVE_CODE, Remedy.DEFAULT_CODE), True, tuple(unknown)))
    if generic and required:
        error = InputError("codes_generic", segments=_listed(generic))
        problems.append(Problem(error, (Remedy.SUGGEST_CODES, Remedy.GIVE_CODE), False, tuple(generic)))
    return tuple(problems)


def _tagged(segment: Segment, terminology: Terminology | None) -> Segment:
    if terminology is None or terminology.is_same(segment_terminology(segment)):
        return segment
    return replace(segment, tags={**segment.tags, TERMINOLOGY_TAG: format_tag(terminology)})


def _listed(names: Sequence[str]) -> Message | str:
    return first_of(names, _MAX_LISTED)
