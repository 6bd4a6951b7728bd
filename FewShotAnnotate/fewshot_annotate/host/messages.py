"""What errors, warnings and states are called in the panel, in the language of the application.

Every text is a literal inside `_()`, so that Slicer's extractor finds it; what varies is filled in afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..core.errors import InputError, Message
from ..messages import sentence
from .i18n import tr as _
from .sentences.comparison import comparison_sentences
from .sentences.details import detail_sentences
from .sentences.files import files_sentences
from .sentences.panel import panel_sentences
from .sentences.results import results_sentences
from .sentences.runs import runs_sentences

# Why something cannot be done now; None if it can.
Refusal = InputError | None


def error_text(error: Message | str) -> str:
    """One line about an error or a warning; a sentence of version 0.1 stays as it is."""
    return sentence(error, sentences(), _("This cannot be done (code {code}); please report it."))


def refusal_text(refusal: Refusal) -> str:
    """One line about a refusal, empty if there is none."""
    return error_text(refusal) if refusal is not None else ""


@cache
def sentences() -> Mapping[str, str]:
    """Code -> sentence. Translated when the first one is needed, as one translation takes tens of microseconds."""
    return {
        **files_sentences(),
        **runs_sentences(),
        **results_sentences(),
        **comparison_sentences(),
        **panel_sentences(),
        **detail_sentences(),
    }
