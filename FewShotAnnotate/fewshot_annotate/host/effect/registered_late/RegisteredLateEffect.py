"""A Segment Editor effect without function, which the self-test registers while the panel is open.

Slicer asks for the names: the class is named as its file, and is loaded as a module named as its folder.
"""

from pathlib import Path
from typing import Any

import qt
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect  # type: ignore[import-not-found]


class RegisteredLateEffect(AbstractScriptedSegmentEditorEffect):
    """Does nothing."""

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = "Few-Shot Annotate self-test"
        scriptedEffect.title = "Self-test"  # seen by developers alone
        scriptedEffect.perSegment = False
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)

    def clone(self) -> Any:
        """A new effect for another Segment Editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects  # type: ignore[import-not-found]

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource(Path(__file__).as_posix())
        return effect

    def icon(self) -> Any:
        """No icon."""
        return qt.QIcon()

    def helpText(self) -> str:
        """Help of the effect."""
        return "Registered by the self-test of Few-Shot Annotate; gone after a restart."
