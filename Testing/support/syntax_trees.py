"""Syntax trees of Python files, each of them parsed once in a process."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def tree_of(source: Path) -> ast.Module:
    """Syntax tree of a file, which several tests share."""
    return _parse(source.read_text(encoding="utf-8"))


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """All statements within a node, at any depth; unlike `ast.walk`, without a search through expressions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        if not isinstance(child, ast.expr):
            yield from statements(child)
