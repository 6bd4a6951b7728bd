"""Lets torchvision be imported beside a build of torch that its compiled part does not load with.

The torchvision of the package index is made for CUDA. Beside torch's CPU build its operators are missing, and its
import fails where it names two of them. Declaring their schemas is enough here: nothing calls them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_operators() -> torch.library.Library | None:
    """The declaration, which holds as long as the object lives; None if torchvision's own operators can be loaded."""
    spec = find_spec("torchvision")
    assert spec is not None
    assert spec.submodule_search_locations
    try:
        for compiled in Path(spec.submodule_search_locations[0]).glob("_C*"):
            torch.ops.load_library(compiled)
        return None
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(name + SCHEMA)
        return library


# Kept for the life of the process.
DECLARED = declare_operators()
