"""Names of folders that are valid on every system."""

from __future__ import annotations

import re
import unicodedata

MAX_CHARACTERS = 120
_MAX_BYTES = 255
# Characters and names that some file systems refuse.
FORBIDDEN_CHARACTERS = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³])( *\..*)?", re.IGNORECASE)


def is_folder_name(name: str) -> bool:
    """Whether a name is a valid folder name on every system, without path separators."""
    if not name or len(name) > MAX_CHARACTERS or FORBIDDEN_CHARACTERS.search(name):
        return False
    try:
        if len(name.encode("utf-8")) > _MAX_BYTES:
            return False
    except UnicodeEncodeError:  # bytes of file names that are not UTF-8, which no table can hold
        return False
    return name[0] not in ". " and name[-1] not in ". " and not _DEVICES.fullmatch(name)


def folder_name_key(name: str) -> str:
    """Normalised name: equal for names that some file systems do not distinguish."""
    return unicodedata.normalize("NFC", name).casefold()
