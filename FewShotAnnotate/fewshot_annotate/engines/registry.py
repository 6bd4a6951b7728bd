"""Registry of engines by name; the module of an engine is imported on first use."""

from __future__ import annotations

from importlib import import_module

from ..core.errors import InputError
from ..core.job import Job
from .base import Engine

# Name -> (module below this package, class).
ENGINES = {
    "propagate": ("propagate.engine", "Propagate"),
    "adapt": ("adapt.engine", "Adapt"),
    "specialist": ("specialist.engine", "Specialist"),
    "universeg": ("in_context.universeg", "UniverSeg"),
    "multiverseg": ("in_context.multiverseg", "MultiverSeg"),
    "sam": ("sam.engine", "Sam"),
    "medsam": ("sam.medsam", "MedSam"),
    "persam": ("sam.persam", "PerSam"),
    "persam-f": ("sam.persam", "PerSamF"),
    "seggpt": ("in_context.seggpt", "SegGpt"),
    "painter": ("in_context.painter", "Painter"),
    "grounding-dino": ("grounding_dino.engine", "GroundingDino"),
    "sam2-video": ("sam2.engine", "Sam2Video"),
    "nninteractive": ("nninteractive.engine", "NnInteractive"),
}
# In order of accuracy: "auto" is the first of these that can run on this machine.
AUTO_ENGINES = ("adapt", "propagate")


def engine_names() -> tuple[str, ...]:
    """Names of all engines, in the order of menus."""
    return tuple(ENGINES)


def engine_class(name: str) -> type[Engine]:
    """Class of an engine; "auto" is the most accurate one that can run on this machine.

    Raises
    ------
    InputError
        No engine has this name.
    """
    if name == "auto":
        runnable = (other for other in AUTO_ENGINES if engine_class(other).unavailable_reason() is None)
        name = next(runnable, AUTO_ENGINES[-1])
    if not isinstance(name, str) or name not in ENGINES:
        raise InputError("engine_unknown", engine=name, known=", ".join(["auto", *ENGINES]))
    module, class_name = ENGINES[name]
    engine: type[Engine] = getattr(import_module(f".{module}", __package__), class_name)
    return engine


def engine_for(job: Job) -> Engine:
    """The engine of a job, with its device and options.

    Raises
    ------
    InputError
        As `runnable_engine`, or the engine has no such device or option.
    """
    return runnable_engine(job.engine)(job.device, job.options)


def runnable_engine(name: str) -> type[Engine]:
    """Class of an engine that can run on this machine.

    Raises
    ------
    InputError
        No engine has this name, or it cannot run here; the message says why.
    """
    engine = engine_class(name)
    reason = engine.unavailable_reason()
    if reason:
        raise InputError("engine_unavailable", engine=engine.name, detail=reason)
    return engine
