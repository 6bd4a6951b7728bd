"""Make the effect *Few-Shot Fill* known to every Segment Editor."""

from __future__ import annotations

from pathlib import Path

# By which modules find the effect; not translated.
EFFECT_NAME = "Few-Shot Fill"
_SOURCE = Path(__file__).parent / "few_shot_fill" / "FewShotFillEffect.py"


def register_effect() -> None:
    """Register the effect with Slicer; called once it has started."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects  # type: ignore[import-not-found]

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(_SOURCE.as_posix())
    effect.self().register()
