"""FewShotAnnotate without Slicer: labelled slices and a volume in, a filled segmentation out.

>>> import fewshot_annotate as fsa
>>> sorted(fsa.__all__)[-5:]
['export_labels', 'fill', 'read_labels', 'read_volume', 'suggest']

See `fewshot_annotate.api` for what each does. Of these, nothing is imported before it is used.
"""

from __future__ import annotations

from .core.errors import Message

__version__ = "0.2.0"

TYPE_CHECKING = False  # of typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

    from .api import (
        Comparison,
        ExpectedDice,
        Filled,
        Geometry,
        InputError,
        LabelMap,
        Segment,
        SuggestedSlice,
        Unfinished,
        Volume,
        compare,
        export_labels,
        fill,
        read_labels,
        read_volume,
        suggest,
    )


def _sentence_of(message: Message) -> str:
    from .messages import neutral_sentence  # on first use, so that the program handles Ctrl+C sooner

    return neutral_sentence(message)


Message.to_sentence = staticmethod(_sentence_of)

__all__ = [
    "Comparison",
    "ExpectedDice",
    "Filled",
    "Geometry",
    "InputError",
    "LabelMap",
    "Segment",
    "SuggestedSlice",
    "Unfinished",
    "Volume",
    "compare",
    "export_labels",
    "fill",
    "read_labels",
    "read_volume",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(".api", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
