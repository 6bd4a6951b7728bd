"""Registration of the effect *Few-Shot Fill*, which every Segment Editor offers but that of the panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

# By which modules find the effect; not translated.
EFFECT_NAME = "Few-Shot Fill"
_SOURCE = Path(__file__).parent / "few_shot_fill" / "FewShotFillEffect.py"


def register_effect(source: Path = _SOURCE) -> str:
    """Register the effect with Slicer; called once it has started.

    Parameters
    ----------
    source : Path
        Of the class of another effect.

    Returns
    -------
    str
        Name of the effect.
    """
    import qSlicerSegmentationsEditorEffectsPythonQt as effects  # type: ignore[import-not-found]

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(source.as_posix())
    effect.self().register()
    return str(effect.name)


class EditorEffects:
    """The effects that the panel's Segment Editor offers: all but ours, also those that are registered later.

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
