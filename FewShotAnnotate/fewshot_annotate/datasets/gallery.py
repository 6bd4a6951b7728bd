"""HTML page of a batch with the previews of all cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.storage import write_text
from .batch_folder import BatchFolder
from .status import CaseStatus, Status

_TEMPLATES = Path(__file__).with_name("templates")


def write_page(folder: BatchFolder, cases: Sequence[CaseStatus]) -> None:
    """Write index.html of a batch folder; it needs only the previews, no network."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True)
    counts = {str(status): sum(case.status is status for case in cases) for status in Status}
    text = environment.get_template("index.html").render(title=folder.path.name, cases=cases, counts=counts)
    write_text(folder.page, text)
