"""HTML page of a batch with the previews of all cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.storage import write_text
from .accepted_case import expected_by_name
from .batch_folder import BatchFolder
from .status import CaseStatus, Status

_TEMPLATES = Path(__file__).with_name("templates")


def write_page(folder: BatchFolder, cases: Sequence[CaseStatus]) -> None:
    """Write index.html of a batch folder; it shows the previews and needs no network."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True)
    expected = {case.name: _expected(folder, case) for case in cases if case.status is Status.DONE}
    counts = {str(status): sum(case.status is status for case in cases) for status in Status}
    text = environment.get_template("index.html").render(
        title=folder.path.name, cases=cases, counts=counts, expected=expected
    )
    write_text(folder.page, text)


def _expected(folder: BatchFolder, case: CaseStatus) -> str:
    """Expected Dice of a finished case, by segment; empty if it is not known."""
    record = folder.case(case.name).read_record()
    expected = {} if record is None else expected_by_name(record[1])
    return ", ".join(
        f"{name} {label_dice.dice:.2f} ({label_dice.low:.2f} to {label_dice.high:.2f})"
        for name, label_dice in expected.items()
    )
