"""Errors with which functions refuse their input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fewshot_annotate.core.errors import InputError


def refusal_of(function: Callable[..., object], *arguments: object) -> InputError:
    """The error with which a function refuses its arguments; its message is one line."""
    with pytest.raises(InputError) as refused:
        function(*arguments)
    assert "\n" not in str(refused.value)
    return refused.value
