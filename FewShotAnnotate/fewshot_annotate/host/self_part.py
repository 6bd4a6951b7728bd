"""SelfTestPart: checks of the self-test that have a file of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .self_test import SelfTest


class SelfTestPart:
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
