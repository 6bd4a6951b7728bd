"""Acceptance of a case: label map, record and status table are changed together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .. import __version__
from ..core.disk import unwritable_error
from ..core.errors import InputError
from ..core.file_transaction import FileTransaction
from ..core.results import write_results
from ..core.slice_axis import SliceAxis
from ..core.temporary import TemporaryFolder
from ..core.volume import LabelMap
from ..io.files import write_label_maps
from ..io.label_names import move_label_map, sidecar_path
from .batch_folder import BatchFolder
from .case import write_preview
from .case_files import add_copy
from .case_table import set_flag
from .reviewed_case import ReviewedCase
from .status import CaseStatus, Status


@dataclass(frozen=True, kw_only=True)
class LabelHistory:
    """How the labels of a case were made that no batch filled.

    Attributes
    ----------
    axis : SliceAxis
    painted : tuple of int
        Slices that a person labelled.
    engine : str
        Engine that filled the others; empty if a person labelled all.
    """

    axis: SliceAxis
    painted: tuple[int, ...]
    engine: str = ""


def accept_case(
    case: ReviewedCase, corrected: LabelMap | None, folder: BatchFolder, history: LabelHistory | None = None
) -> ReviewedCase:
    """Accept a case, and write its label map if a person corrected it; the filled one is kept as a backup.

    Parameters
    ----------
    case : ReviewedCase
        As it was read.
    corrected : LabelMap or None
        On the grid of the image; needed if the case was not filled.
    folder : BatchFolder
    history : LabelHistory or None
        Needed if the case was not filled.

    Returns
    -------
    ReviewedCase
        The case as it is now.

    Raises
    ------
    InputError
        The files cannot be written, or a batch fills the case. A corrected label map that cannot be written is kept
        where there is room.
    """

    def write(path: Path) -> None:
        if path == case.files.label:
            _accept(case, corrected, folder, history)
        elif corrected is not None:  # `write_results` keeps it there, as the folder of the case cannot be written
            write_label_maps(path, [corrected])

    if corrected is None:
        write(case.files.label)
    else:
        write_results([(case.files.label, write)])
    set_flag(case.files, False)
    changed = replace(case, digests=case.files.digests())
    if history is not None and not case.is_filled:
        changed = replace(changed, axis=history.axis, labelled=history.painted)
    if corrected is not None:
        changed = replace(changed, label_map=corrected)
        assert changed.axis is not None
        with contextlib.suppress(InputError):  # no Pillow in this application: the old picture stays
            write_preview(case.files, case.volume, corrected, changed.axis, changed.labelled)
    return changed


def _accept(
    case: ReviewedCase, corrected: LabelMap | None, folder: BatchFolder, history: LabelHistory | None
) -> None:
    """Replace the result by a corrected one, and accept the case.

    The new label map is first written beside the old one. Then, while the status table is locked so that no batch can
    begin to fill the case, its state is checked again, and files and table are changed together.
    """
    with _temporary_file(case, corrected) as new:

        def accept(rows: Mapping[str, CaseStatus], files: FileTransaction) -> list[CaseStatus]:
            row = rows.get(case.name, CaseStatus(name=case.name, status=Status.DONE))
            gone = case.is_filled and not case.files.label.is_file()
            if (gone or row.status is Status.RUNNING) and folder.busy():
                raise InputError("review_running", name=case.name)
            if gone and new is None:
                raise InputError("review_not_done", name=case.name)
            if new is not None:
                if history is not None and not case.is_filled:
                    _add_record(files, case, corrected, history, new)
                _put_in_place(files, new, case)
            message = row.message if case.is_filled else ""
            return [replace(row, status=Status.DONE, message=message, accepted=True)]

        folder.status.change_with_files(accept)


def _add_record(
    files: FileTransaction, case: ReviewedCase, corrected: LabelMap | None, history: LabelHistory, new: Path
) -> None:
    assert corrected is not None
    outcome = {
        "engine": history.engine,
        "version": __version__ if history.engine else "",
        "axis": history.axis.index,
        "labelled_slices": list(history.painted),
        "names": {str(segment.value): segment.name for segment in corrected.segments},
    }
    request = {"image": {"path": str(case.image)}, **({"series": case.series} if case.series else {})}
    content = case.files.record_content(request, outcome, type(case.files)(new.parent).digests())
    files.stream(case.files.record).write(content)


@contextlib.contextmanager
def _temporary_file(case: ReviewedCase, corrected: LabelMap | None) -> Iterator[Path | None]:
    """Context manager: a temporary file with a label map, which the block may move; None if there is none."""
    if corrected is None:
        yield None
        return
    try:
        temporary = TemporaryFolder(case.files.folder)
    except OSError as error:
        raise unwritable_error(case.files.label, error) from None
    with temporary as folder:
        new = folder / case.files.label.name
        write_label_maps(new, [corrected])
        yield new


def _put_in_place(transaction: FileTransaction, new: Path, case: ReviewedCase) -> None:
    """Replace label map and names of a case by corrected ones; the replaced files are kept."""
    files = case.files
    filled = ((files.label, files.filled), (files.names, sidecar_path(files.filled)))
    if case.is_filled and not files.filled.exists():
        for source, target in filled[::-1]:
            if source.exists():
                add_copy(transaction, source, target)
    elif files.digests() != case.digests:  # somebody else corrected it since it was shown
        files.copy_aside(transaction, files.label, files.names)
    move_label_map(transaction, new, files.label)
