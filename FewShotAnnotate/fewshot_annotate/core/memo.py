"""Memo: what was computed from the content of files, kept as long as they hold the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Value = TypeVar("Value")


class Memo:
    """Results of a process, the newest for each key; threads may share it.

    Each is kept with what it was computed from, and is computed anew if that differs. Times, sizes and inodes of
    files play no role: on some file systems they differ late or not at all.
    """

    def __init__(self) -> None:
        self._computed: dict[Hashable, tuple[object, Any]] = {}

    def of(self, key: Hashable, source: object, compute: Callable[[], Value]) -> Value:
        """The result of `compute`, which is called unless it was for this key from an equal source.

        What it raises is not kept. The result must not be changed by callers.
        """
        before = self._computed.get(key)
        if before is not None and (before[0] is source or before[0] == source):
            value: Value = before[1]
            return value
        computed = compute()
        self._computed[key] = (source, computed)
        return computed
