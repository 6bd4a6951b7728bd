"""Where reviews are kept: on the module's parameter node, one parameter and one node reference a segmentation.

The reference follows the segmentation when a saved scene is loaded into another one, where ids are given anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from .review_state import ReviewState

_PREFIX = "review."


def read_review(parameter_node: Any, segmentation_node: Any) -> ReviewState:
    """The review of a segmentation; an empty one if there is none or it cannot be read."""
    return _parsed(review_text(parameter_node, segmentation_node))


def review_text(parameter_node: Any, segmentation_node: Any) -> str:
    """The review of a segmentation as it is kept, empty if there is none."""
    name = _name_of(parameter_node, segmentation_node)
    return parameter_node.GetParameter(name) if name else ""


def write_review(parameter_node: Any, segmentation_node: Any, state: ReviewState) -> None:
    """Keep the review of a segmentation."""
    _write_text(parameter_node, segmentation_node, json.dumps(state.to_json(), separators=(",", ":")))


def restore_review(parameter_node: Any, segmentation_node: Any, text: str) -> None:
    """Keep a review again as `review_text` gave it: a scene loaded into this one brings its own parameter node."""
    _write_text(parameter_node, segmentation_node, text)


def drop_orphans(parameter_node: Any) -> None:
    """Forget the reviews of segmentations that were removed."""
    for name in list(_names(parameter_node)):
        if parameter_node.GetNodeReference(name) is None:
            parameter_node.UnsetParameter(name)
            parameter_node.RemoveNodeReferenceIDs(name)


def _write_text(parameter_node: Any, segmentation_node: Any, text: str) -> None:
    name = _name_of(parameter_node, segmentation_node) or _free_name(parameter_node)
    modifying = parameter_node.StartModify()
    parameter_node.SetParameter(name, text)
    parameter_node.SetNodeReferenceID(name, segmentation_node.GetID())
    parameter_node.EndModify(modifying)


@lru_cache(maxsize=4)
def _parsed(text: str) -> ReviewState:
    """The review in a text, which is asked for many times between two changes."""
    try:
        return ReviewState.from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return ReviewState()


def _names(parameter_node: Any) -> Iterator[str]:
    return (name for name in parameter_node.GetParameterNames() if name.startswith(_PREFIX))


def _name_of(parameter_node: Any, segmentation_node: Any) -> str:
    for name in _names(parameter_node):
        if parameter_node.GetNodeReference(name) is segmentation_node:
            return name
    return ""


def _free_name(parameter_node: Any) -> str:
    used = set(_names(parameter_node))
    return next(name for number in range(len(used) + 1) if (name := f"{_PREFIX}{number}") not in used)
