"""BatchFolder: what a batch writes, all of it files.

======================  =============================================================================================
status.csv              a row for each case: name, status, seconds, message; `accepted` once somebody reviewed
index.html              the cases with their previews, to page through
NAME/label.nii.gz       the filled label map, names of labels beside it
NAME/confidence.nii.gz  0..1
NAME/label.filled...    the label map as it was filled, kept when a person corrected label.nii.gz
NAME/label.DATE...      a label map that another one took the place of, and so for the other files
NAME/preview.png        some slices of it
NAME/case.json          what was asked and how it came out; written last, so a folder with it is a finished case
NAME/error.log          where in the program a case failed that should not have
cancel                  its presence asks the batch to stop
======================  =============================================================================================

Every file is written under another name and renamed, so whoever reads one reads a whole one. A batch holds the lock
of its folder, which the system drops when the process ends, however it ends.

A label map, once written, is never deleted. The folder of a case in which a person has worked is not even touched by
a batch: `label.filled.nii.gz`, and the digests in case.json, tell that, whatever became of status.csv.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import paths
from ..core.errors import InputError
from ..core.files import sidecar_path
from ..core.lock import lock_file
from ..core.reading import read_json
from ..core.storage import write_json, written
from ..core.temporary import HIDDEN_PREFIX, remove_abandoned
from .manifest import require_case_name
from .status import StatusFile

_RECORD_VERSION = 1
_LOCK = ".batch.lock"
# Images of patients: nobody but the user looks into folders that are made here.
PRIVATE = 0o700
_DIGESTS = "digests"


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

    @property
    def names(self) -> Path:
        """Names of the labels, beside the label map; it need not exist."""
        return sidecar_path(self.label)

    def corrected(self) -> bool:
        """Whether a person has worked on the result: the files tell it, whatever is written about them elsewhere."""
        if not paths.is_file(self.label):
            return False
        if paths.is_occupied(self.filled):
            return True
        record = self.read_record()
        digests = record[1].get(_DIGESTS) if record is not None else None
        try:
            return isinstance(digests, dict) and digests != self.digests()
        except InputError:
            return True  # as long as it cannot be told

    def digests(self) -> dict[str, str]:
        """SHA-256 of the label map and of its names, by file name; what is not there is left out.

        Raises
        ------
        InputError
            A file cannot be read.
        """
        found = {}
        for path in (self.label, self.names):
            try:
                with path.open("rb") as file:
                    found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise InputError("file_unreadable", path=path, detail=error.strerror) from None
        return found

    def begin(self) -> None:
        """Make room for a new result: an earlier one is moved aside, what a killed process left half is removed."""
        self.folder.mkdir(PRIVATE, exist_ok=True)
        labels = (self.label, self.names, self.filled, sidecar_path(self.filled))
        made = (self.record, *labels, self.confidence, self.preview)
        remove_abandoned(self.folder, HIDDEN_PREFIX)
        self.error_log.unlink(missing_ok=True)
        if any(map(paths.is_occupied, (self.label, self.filled))):
            self.move_aside(*made)
        else:
            for file in made:  # a fill that came to no result
                file.unlink(missing_ok=True)

    def move_aside(self, *files: Path) -> None:
        """Rename the files that are there, in this order, so that their names hold the time: label.DATE.nii.gz."""
        for file, name in _dated(files).items():
            file.rename(name)

    def copy_aside(self, *files: Path) -> None:
        """As `move_aside`, but the files stay as well."""
        for file, name in _dated(files).items():
            copy_file(file, name)

    def write_record(self, request: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Say that the case is finished, and what its files are like now."""
        outcome = {**outcome, _DIGESTS: self.digests()}
        content = {"version": _RECORD_VERSION, "request": request, "outcome": outcome}
        write_json(self.record, content, indent=1)

    def read_record(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Request and outcome of the finished case, None if it is not finished."""
        try:
            content = read_json(self.record)
            if content["version"] != _RECORD_VERSION or not paths.is_file(self.label):
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
            The name is none of a folder right below this one, or the folder is a link, which may lead anywhere.
        """
        require_case_name(name)
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
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.mkdir(PRIVATE, exist_ok=True)
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
        file = lock_file(self.path / _LOCK)
        if file is None:
            raise InputError("batch_busy", path=self.path)
        with file:
            yield

    def busy(self) -> bool:
        """Whether a batch runs in the folder at this moment."""
        try:
            with self._locked():
                return False
        except (InputError, OSError):
            return True


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; `InputError` where that cannot be."""
    with written(target) as stream, source.open("rb") as file:
        shutil.copyfileobj(file, stream)


def _dated(files: Sequence[Path]) -> dict[Path, Path]:
    """For each file that is there a name with the time in it, which is free."""
    there = [file for file in files if paths.is_occupied(file)]
    stamp = time.strftime("%Y-%m-%dT%H%M%S")
    for number in itertools.count(1):
        when = stamp if number == 1 else f"{stamp}-{number}"
        parts = (file.name.partition(".") for file in there)
        names = [file.with_name(f"{stem}.{when}.{rest}") for file, (stem, _, rest) in zip(there, parts, strict=True)]
        if not any(map(paths.is_occupied, names)):
            break
    return dict(zip(there, names, strict=True))
