"""The engines, by name. An engine's file is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module

from ..core.errors import InputError
from .base import Engine

# name -> (file below this folder, class)
_ENGINES = {
    "propagate": ("propagate", "Propagate"),
    "adapt": ("adapt", "Adapt"),
    "universeg": ("pretrained.universeg", "UniverSeg"),
    "multiverseg": ("pretrained.multiverseg", "MultiverSeg"),
    "sam": ("pretrained.sam", "Sam"),
    "medsam": ("pretrained.medsam", "MedSam"),
    "persam": ("pretrained.persam", "PerSam"),
    "persam-f": ("pretrained.persam", "PerSamF"),
    "seggpt": ("pretrained.seggpt", "SegGpt"),
    "painter": ("pretrained.painter", "Painter"),
    "grounding-dino": ("pretrained.grounding_dino", "GroundingDino"),
    "sam2-video": ("pretrained.sam2_video", "Sam2Video"),
}
# Best first: 'auto' is the first of these that can run here.
_AUTO = ("adapt", "propagate")


def engine_names() -> tuple[str, ...]:
    """Names of all engines, in the order menus show them."""
    return tuple(_ENGINES)


def engine_class(name: str) -> type[Engine]:
    """The engine of a name; 'auto' gives the best that can run here.

    Raises
    ------
    InputError
        There is no such engine.
    """
    if name == "auto":
        runnable = (other for other in _AUTO if engine_class(other).cannot_run() is None)
        name = next(runnable, _AUTO[-1])
    if name not in _ENGINES:
        raise InputError("engine_unknown", engine=name, known=", ".join(["auto", *_ENGINES]))
    file, class_name = _ENGINES[name]
    engine: type[Engine] = getattr(import_module(f".{file}", __package__), class_name)
    return engine


def runnable_engine(name: str) -> type[Engine]:
    """As `engine_class`, but raises `InputError` with the reason if the engine cannot run here."""
    engine = engine_class(name)
    reason = engine.cannot_run()
    if reason:
        raise InputError("engine_unavailable", engine=engine.name, detail=reason)
    return engine
