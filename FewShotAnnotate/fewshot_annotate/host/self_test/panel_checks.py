"""PanelChecks: base class of the checks of the self-test that have a file of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from .self_test import SelfTest


class PanelChecks:
    """Checks on the panel of a self-test.

    Parameters
    ----------
    walk : SelfTest
        Whose segmentation was filled and reviewed.
    """

    def __init__(self, walk: SelfTest) -> None:
        self._walk = walk
        self._test = walk.test
        self._widget = walk.widget
        self._ui = walk.widget.ui
        self._parameters = walk.widget.logic.getParameterNode()

    def _press(self, button: Any) -> None:
        """Press a button as soon as it can be pressed."""
        self._walk.until(lambda: button.enabled)
        button.click()

    @contextmanager
    def _own_segmentation(self, name: str) -> Iterator[Any]:
        """Context manager: a chosen segmentation with the head as it was painted."""
        node = self._walk.add_segmentation(name)
        self._parameters.segmentation = node
        self._walk.until(lambda: self._ui.fillButton.enabled)
        yield node
        self._parameters.segmentation = self._walk.segmentation
        slicer.mrmlScene.RemoveNode(node)
        self._walk.until(lambda: self._ui.fillButton.enabled)
