"""BatchFolder: what a batch writes, all of it files.

======================  =============================================================================================
status.csv              a row for each case: name, status, seconds, message; `accepted` once somebody reviewed
index.html              the cases with their previews, to page through
NAME/label.nii.gz       the filled label map, names of labels beside it
NAME/confidence.nii.gz  0..1
NAME/label.filled...    the label map as it was filled, kept when a person corrected label.nii.gz
NAME/preview.png        some slices of it
NAME/case.json          what was asked and how it came out; written last, so a folder with it is a finished case
NAME/error.log          where in the program a case failed that should not have
cancel                  its presence asks the batch to stop
======================  =============================================================================================

Every file is written under another name and renamed, so whoever reads one reads a whole one. A batch holds the lock
of its folder, which the system drops when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import paths
from ..core.errors import InputError
from ..core.lock import take_lock
from ..core.reading import read_json
from ..core.storage import write_json
from ..core.temporary import HIDDEN_PREFIX, remove_abandoned
from .status import StatusFile

_RECORD_VERSION = 1
_LOCK = ".batch.lock"


@dataclass(frozen=True)
class CaseFiles:
    """Where the files of one case lie."""

    folder: Path

    @property
    def label(self) -> Path:
        """The filled label map."""
        return self.folder / "label.nii.gz"

    @property
    def filled(self) -> Path:
        """The label map as it was filled, if a person corrected it."""
        return self.folder / "label.filled.nii.gz"

    @property
    def confidence(self) -> Path:
        """The confidence, 0..1."""
        return self.folder / "confidence.nii.gz"

    @property
    def preview(self) -> Path:
        """Some slices as a picture."""
        return self.folder / "preview.png"

    @property
    def record(self) -> Path:
        """What was asked and how it came out."""
        return self.folder / "case.json"

    @property
    def error_log(self) -> Path:
        """Traceback of a failure that is the program's own."""
        return self.folder / "error.log"

    def clear(self) -> None:
        """Remove all files of an earlier run, the record first; also what a killed process left half written."""
        self.folder.mkdir(exist_ok=True)
        sidecar = self.label.with_name(f"{self.label.name}.labels.json")
        for file in (self.record, self.label, sidecar, self.filled, self.confidence, self.preview, self.error_log):
            file.unlink(missing_ok=True)
        remove_abandoned(self.folder, HIDDEN_PREFIX)

    def write_record(self, request: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Say that the case is finished."""
        content = {"version": _RECORD_VERSION, "request": request, "outcome": outcome}
        write_json(self.record, content, indent=1)

    def read_record(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Request and outcome of the finished case, None if it is not finished."""
        try:
            content = read_json(self.record)
            if content["version"] != _RECORD_VERSION or not self.label.is_file():
                return None
            return dict(content["request"]), dict(content["outcome"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None


class BatchFolder:
    """The folder of one batch.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | Path) -> None:
        self.path = paths.resolved(path)
        self.status = StatusFile(self.path / "status.csv")
        self.page = self.path / "index.html"
        self.cancel_file = self.path / "cancel"

    def case(self, name: str) -> CaseFiles:
        """The files of a case.

        Raises
        ------
        InputError
            The case's folder is a link, which may lead anywhere.
        """
        folder = self.path / name
        if paths.is_link(folder):
            raise InputError("case_link", path=folder)
        return CaseFiles(folder)

    @contextlib.contextmanager
    def exclusive(self, resume: bool) -> Iterator[None]:
        """Hold the folder for the time of a batch; it is made if it is not there.

        Parameters
        ----------
        resume : bool
            Whether the folder may hold a batch already. It may never hold anything else.

        Raises
        ------
        InputError
            Another batch runs in the folder, it holds something, or it cannot be written.
        """
        paths.require_nameable(self.path)
        with contextlib.ExitStack() as held:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                held.enter_context(self._locked())
                if any(self.path.glob("[!.]*")):
                    if not self.status.path.exists():
                        raise InputError("batch_folder_foreign", path=self.path)
                    if not resume:
                        raise InputError("batch_folder_used", path=self.path)
            except OSError as error:
                raise InputError("output_unwritable", path=self.path, detail=error.strerror) from None
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / _LOCK).open("a+b") as file:
            if not take_lock(file):
                raise InputError("batch_busy", path=self.path)
            yield

    def busy(self) -> bool:
        """Whether a batch runs in the folder at this moment."""
        try:
            with self._locked():
                return False
        except (InputError, OSError):
            return True
