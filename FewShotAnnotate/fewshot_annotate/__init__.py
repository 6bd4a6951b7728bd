"""FewShotAnnotate without Slicer: labelled slices and a volume in, a filled segmentation out.

>>> import fewshot_annotate as fsa
>>> sorted(fsa.__all__)[-5:]
['export_labels', 'fill', 'read_labels', 'read_volume', 'suggest']

See `fewshot_annotate.api` for what each does. Of these, nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core.errors import Message
from .messages import neutral_sentence

__version__ = "0.2.0"

if TYPE_CHECKING:
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

Message.to_sentence = staticmethod(neutral_sentence)

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
        return getattr(import_module(".api", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
