"""InstallationChecks: packages and weights come only after a question; checks of the self-test."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from subprocess import CalledProcessError
from typing import Any

import numpy as np
import slicer

from ...engines.registry import engine_class
from ...weights import catalog
from ..engines.installation import REQUESTER, REQUIREMENTS
from .panel_checks import PanelChecks
from .refusals import recorded_errors, recorded_questions, replaced

# The engine that seems to lack a package and weights during these checks.
_ENGINE = "universeg"
_PACKAGE, _REQUIREMENT = next(iter(REQUIREMENTS.items()))


class InstallationChecks(PanelChecks):
    """Checks in which the dialogs before an installation and a download are declined, and an installation fails."""

    def run(self) -> None:
        """Press Fill with an engine that lacks something, and decline."""
        engine = self._parameters.engine
        self._parameters.engine = _ENGINE
        with _lacking(packages=[_PACKAGE], checkpoints=()):
            asked = self._press_fill(_declined_installation, errors=0)
            self._test.assertIn(_REQUIREMENT, asked)
            asked = self._press_fill(_failed_installation, errors=1)
            self._test.assertIn(_REQUIREMENT, asked)
        checkpoint = catalog.checkpoints()[0]
        with _lacking(packages=[], checkpoints=(checkpoint,)):
            asked = self._press_fill(_declined_question, errors=0)
            for text in (checkpoint.title, checkpoint.licence, checkpoint.url):
                self._test.assertIn(text, asked)
        self._parameters.engine = engine
        self._walk.until(lambda: self._ui.fillButton.enabled)

    def _press_fill(self, answered: Callable[[list[str]], Any], errors: int) -> str:
        """Press Fill, which fills nothing. Returns what the dialogs asked for."""
        before, asked = self._walk.labels(), list[str]()
        self._walk.until(lambda: self._ui.fillButton.enabled)
        with recorded_errors() as reported, answered(asked):
            self._ui.fillButton.click()
        self._test.assertEqual(len(reported), errors, reported)
        self._test.assertTrue(self._walk.widget.fillStep.idle)
        np.testing.assert_array_equal(self._walk.labels(), before)
        return "\n".join(asked)


@contextmanager
def _lacking(packages: Sequence[str], checkpoints: Sequence[Any]) -> Iterator[None]:
    """Context manager: the engine seems to lack packages and weights."""
    engine = engine_class(_ENGINE)
    with ExitStack() as stack:
        stack.enter_context(replaced(engine, "missing_packages", staticmethod(lambda: tuple(packages))))
        stack.enter_context(replaced(engine, "missing_checkpoints", staticmethod(lambda: tuple(checkpoints))))
        yield


@contextmanager
def _declined_installation(asked: list[str]) -> Iterator[None]:
    """The user declines in pip's dialog."""
    with _installation(asked, RuntimeError("declined")), recorded_questions(False, asked):
        yield


@contextmanager
def _failed_installation(asked: list[str]) -> Iterator[None]:
    """The user agrees, and pip fails."""
    with _installation(asked, CalledProcessError(1, "pip")), recorded_questions(True, asked):
        yield


@contextmanager
def _declined_question(asked: list[str]) -> Iterator[None]:
    """The user presses Cancel."""
    with recorded_questions(False, asked):
        yield


@contextmanager
def _installation(asked: list[str], error: Exception) -> Iterator[None]:
    """Slicer's own functions of installation raise an error, once they are called as they are declared."""
    owner, name, arguments = slicer.util, "pip_install", (_REQUIREMENT,)
    keywords: dict[str, Any] = {}
    if find_spec("slicer.packaging") is not None:
        from slicer import packaging

        owner, name, keywords = packaging, "pip_ensure", {"requester": REQUESTER}
    declared = getattr(owner, name, None)
    if declared is not None:
        inspect.signature(declared).bind(*arguments, **keywords)

    def install(requirements: Any, **_keywords: Any) -> None:
        asked.append(str(requirements))
        raise error

    with replaced(owner, name, install):
        yield
