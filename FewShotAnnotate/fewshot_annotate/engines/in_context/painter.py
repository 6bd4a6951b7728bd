"""Engine `painter`: in-context painting from one labelled slice; the predecessor of SegGPT, on the same module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ..option import Option
from ..pretrained.base import PRECISION
from ..pretrained.intensity import INTENSITIES
from .seggpt import MODEL, SegGpt


class Painter(SegGpt):
    """In-context painting with one prompt: the nearest labelled slice that shows the label."""

    name = "painter"
    title = "Painter"
    summary = "Shows the model your nearest slice beside each slice to fill; SegGPT is usually better."
    licence = "code Apache-2.0; weights MIT"
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = {MODEL: ("painter-vit-large",)}
    options: ClassVar[Mapping[str, Option]] = {"intensities": INTENSITIES, "precision": PRECISION}
