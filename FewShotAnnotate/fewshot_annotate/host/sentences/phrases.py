"""Parts of sentences that the library words itself, such as what is damaged in a file, in the application's language.

They come in English as values of the placeholders of a sentence; their English text is looked up here, as Qt looks up
any text. What the system or another package says, such as "permission denied", stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import zip_longest

from ...core.errors import Message
from ..i18n import translated


def _(text: str) -> str:
    """Mark a text for Slicer's extractor of texts; it is translated when it is shown."""
    return text


# In curly brackets stands what varies, which may itself hold phrases. Of two that fit, the first one is taken.
PHRASES = (
    # files
    _("the disk is full"),
    _("the disk is full, or the folder does not accept such a file"),
    _("it does not read back as it was written; the disk is probably full or damaged"),
    _("another program holds it"),
    _("the name holds a zero byte"),
    _("it is a folder"),
    _("it is a link, which is not followed"),
    _("its header is damaged"),
    _("its header is incomplete"),
    _("its header has the same field twice"),
    _("its header gives no image size"),
    _("its header gives an unknown voxel type"),
    _("its header gives no valid offset of the voxels"),
    _("its header lacks {names}"),
    _("its encoding is unknown"),
    _("its compression is damaged"),
    _("its compressed part is not complete"),
    _("its voxels are missing"),
    _("its voxels are not complete"),
    _("its voxels are not numbers of its type"),
    _("its list of segments is damaged"),
    _("it does not describe all of its frames"),
    _("its name ends in .dcm, but it is no DICOM file"),
    _("it has another size than its image"),
    _("it is not UTF-8"),
    _("the slice is damaged"),
    _("{found} of {count} files of voxels"),
    _("{found} of {count} frames"),
    _("frame {found} of {count}"),
    _("{found} of {count} voxels"),
    _("{found} of {count} bytes"),
    _("{found} bytes for {count}"),
    _("{count} bytes"),
    _("{count} or more"),
    _("{first} or {second}"),
    _("{first} and {second}"),
    # DICOM
    _("images at each place"),
    _("stacks"),
    _("time points"),
    _("echoes"),
    _("diffusion weightings"),
    _("kinds of image"),
    _("structure set (RTSTRUCT)"),
    # grids
    _("direction"),
    _("spacing"),
    _("position"),
    _(", up to {voxels} voxels off"),
    _(" voxel by voxel"),
    _("their axes were flipped or permuted"),
    _("they cover a part of it"),
    _("their empty margin was cut off"),
    _("their rounded header is up to {voxels} voxels off"),
    _("{count} labelled voxels outside it were removed"),
    _(
        "they were resampled, so a painted slice may have spread to its neighbours or fallen between two; check the "
        "slices"
    ),
    _(". No voxel is left of: {names}"),
    _("{first}; {others}"),
    # runs
    _("{file} is damaged"),
    _("{file} is missing"),
    _("{file} is missing, damaged or of another version"),
    _("{file} is not a regular file"),
    _("{file} does not fit job.json"),
    _("the result is damaged"),
    _("a request is damaged"),
    _("its image or labels are damaged"),
    _("it is of other segments"),
    _("it is of another grid"),
    _("it was created by another version of this program: job version {found}, not {expected}"),
    _("image or labels"),
    _("engine, slice range or option"),
    # engines, options and weights
    _("none yet"),
    _("none here"),
    _("it must be {allowed}"),
    _("one of: {known}"),
    _("true or false"),
    _("a whole number from {least} to {most}"),
    _("a number from {least} to {most}"),
    _("a whole number of at least {least}"),
    _("a number of at least {least}"),
    _("a whole number of at most {most}"),
    _("a number of at most {most}"),
    _("a whole number"),
    _("a number"),
    _("a part of it has a wrong checksum"),
    _("it is no zip archive as torch writes them"),
    _("it is longer than {count} bytes"),
    _("no reason given"),
    _("{needed} MB are needed and {free} MB are free"),
    _("the server stopped answering"),
    _("the server cannot be reached"),
    _("the server redirects to an address that cannot be used"),
    _("the server answered {status}"),
    _("the connection broke off"),
    _("the connection broke off, or the answer cannot be understood"),
    _("the server uses an unknown compression"),
    _("the server sent another part of the file than requested"),
    _("the server sends more than the file"),
    _("the server sends too slowly"),
)
# Placeholders whose value may be several words; that of the others is a number or the name of a file.
_SEVERAL_WORDS = frozenset(("names", "known", "allowed", "status", "first", "second", "others"))
# These match only if each of their parts is a phrase, as names and paths may hold "and" or "or", too.
_IN_LISTS = frozenset(("{first} or {second}", "{first} and {second}", "{first}; {others}"))


def with_phrases(message: Message) -> Message:
    """The same message, with the library's own phrases among its data in the language of the application."""
    return message.with_data(**{name: _in_language(value) for name, value in message.data.items()})


def phrase(text: str) -> str:
    """A phrase of the library in the language of the application; another text stays as it is."""
    found = _find(text)
    if found is None:
        return text
    english, values = found
    return translated(__file__, english).format(**{name: phrase(value) for name, value in values.items()})


def _in_language(value: object) -> object:
    if isinstance(value, Message):
        return with_phrases(value)
    if isinstance(value, list):
        return [_in_language(item) for item in value]
    return phrase(value) if isinstance(value, str) else value


@lru_cache(maxsize=256)
def _find(text: str) -> tuple[str, dict[str, str]] | None:
    """The phrase that a text is, and what stands in its brackets."""
    for english, pattern in _patterns():
        match = pattern.fullmatch(text)
        if match is not None:
            values = match.groupdict()
            if english not in _IN_LISTS or all(_find(value) is not None for value in values.values()):
                return english, values
    return None


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Each phrase with a pattern that fits its English text; those without brackets come first."""
    ordered = sorted(PHRASES, key=lambda english: "{" in english)
    return [(english, re.compile("".join(_pattern_parts(english)), re.DOTALL)) for english in ordered]


def _pattern_parts(english: str) -> Iterator[str]:
    fixed_texts, names = (re.split(r"\{(\w+)\}", english)[first::2] for first in (0, 1))
    for fixed, name in zip_longest(fixed_texts, names):
        yield re.escape(fixed)
        if name is not None:
            yield rf"(?P<{name}>.+?)" if name in _SEVERAL_WORDS else rf"(?P<{name}>\S+)"
