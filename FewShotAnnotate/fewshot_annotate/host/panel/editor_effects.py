"""EditorEffects: the effects that the panel's Segment Editor offers: all but our own."""

from __future__ import annotations

from typing import Any

import slicer

from ..effect.registration import EFFECT_NAME


class EditorEffects:
    """Keeps the effects of a Segment Editor up to date.

    An editor that was created before the application has started does not list effects that are registered later. Our
    own effect is left out, because the panel around the editor has the same functions and more.

    Parameters
    ----------
    editor : qMRMLSegmentEditorWidget
    """

    def __init__(self, editor: Any) -> None:
        self._editor = editor
        self._factory = slicer.qSlicerSegmentEditorEffectFactory.instance()
        self._order = tuple(editor.effectNameOrder())
        self._factory.connect("effectRegistered(QString)", self._update)
        self._update()

    def close(self) -> None:
        """Stop following the effects, before the panel is deleted."""
        self._factory.disconnect("effectRegistered(QString)", self._update)

    def _update(self, name: str = "") -> None:
        editor = self._editor
        editor.updateEffectList()
        others = [name for name in editor.availableEffectNames() if name not in self._order and name != EFFECT_NAME]
        editor.setEffectNameOrder((*self._order, *others))
        editor.unorderedEffectsVisible = False
        editor.updateEffectList()  # arranges the buttons again
