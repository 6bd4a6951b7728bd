"""Make the effect *Few-Shot Fill* known to every Segment Editor."""

from __future__ import annotations

from pathlib import Path

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
