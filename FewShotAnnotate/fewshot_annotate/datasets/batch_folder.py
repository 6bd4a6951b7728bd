"""BatchFolder: the files that a batch writes.

======================  =============================================================================================
status.csv              a row for each case: name, status, seconds, message; `accepted` after a review
index.html              page with the previews of all cases
NAME/label.nii.gz       the filled label map, names of labels beside it
NAME/confidence.nii.gz  0..1
NAME/label.filled...    the label map as it was filled, kept when a person corrected label.nii.gz
NAME/label.DATE...      backup of a label map that was replaced, and so for the other files
NAME/preview.png        some slices of it
NAME/case.json          request and outcome; written last, so its presence marks a finished case
NAME/error.log          traceback of an unexpected error
cancel                  its presence asks the batch to stop
cases.csv               manifest of the cases, of a data set that lists its own; `listed_cases.py`
dataset.json            task of the data set
======================  =============================================================================================

Files are written atomically, so readers never see a partial one. A batch holds the lock of its folder, which the
system releases when the process ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..core import paths
from ..core.disk import unwritable_error
from ..core.errors import InputError
from ..core.locks import open_locked
from ..core.memo import Memo
from .case_files import PRIVATE, CaseFiles
from .manifest import require_case_name
from .status import StatusFile

_LOCK = ".batch.lock"
# By the records of its cases a batch is known whose status.csv was lost or moved away.
_RECORDS = "*/case.json"
# Code of the error that another batch runs in the folder, to which new files belong.
_OTHER_BATCH_ERROR = "batch_busy"


class BatchFolder:
    """The folder of one batch.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | Path) -> None:
        self.path = paths.resolve(path)
        self.status = StatusFile(self.path / "status.csv")
        self.page = self.path / "index.html"
        self.cancel_file = self.path / "cancel"
        self.memo = Memo()

    def case(self, name: str) -> CaseFiles:
        """The files of a case.

        Raises
        ------
        InputError
            The name is invalid, or the folder is a link, which may lead out of the batch folder.
        """
        require_case_name(name)
        folder = self.path / name
        if paths.is_link(folder):
            raise InputError("case_link", path=folder)
        return CaseFiles(folder, self.memo)

    @contextlib.contextmanager
    def exclusive(self, resume: bool) -> Iterator[None]:
        """Context manager: lock the folder for a batch; it is created if missing.

        Parameters
        ----------
        resume : bool
            Whether the folder may hold an earlier batch. It must not hold other files.

        Raises
        ------
        InputError
            Another batch runs in the folder, it is not empty, or it cannot be written.
        """
        paths.require_nameable(self.path)
        with contextlib.ExitStack() as held:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.mkdir(PRIVATE, exist_ok=True)
                held.enter_context(self._locked())
                if any(self.path.glob("[!.]*")):
                    if not self.status.path.exists() and not any(map(paths.is_file, self.path.glob(_RECORDS))):
                        raise InputError("batch_folder_foreign", path=self.path)
                    if not resume:
                        raise InputError("batch_folder_used", path=self.path)
            except OSError as error:
                raise unwritable_error(self.path, error) from None
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        file = open_locked(self.path / _LOCK)
        if file is None:
            raise InputError("batch_busy", path=self.path)
        with file:
            yield

    def clear_cancel(self) -> None:
        """Remove the request of an earlier run to cancel.

        Raises
        ------
        InputError
            It cannot be removed.
        """
        try:
            self.cancel_file.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable_error(self.cancel_file, error) from None

    def request_cancel(self) -> None:
        """Request that the batch be cancelled, by the presence of a file."""
        with contextlib.suppress(OSError):
            self.cancel_file.open("xb").close()

    def cancel_requested(self) -> bool:
        """Whether cancelling was requested."""
        return paths.lexists(self.cancel_file)

    def busy(self) -> bool:
        """Whether a batch runs in the folder."""
        try:
            with self._locked():
                return False
        except (InputError, OSError):
            return True


@contextlib.contextmanager
def no_trace_if_refused(folder: Path) -> Iterator[None]:
    """Context manager: remove new files and folders if the block raises `InputError` before a case has run.

    Files of another batch that runs in the folder are left alone.
    """
    before = {path.name for path in paths.entries(folder)}
    missing = [path for path in (folder, *folder.parents) if not paths.lexists(path)]
    try:
        yield
    except InputError as error:
        new = [path for path in paths.entries(folder) if path.name not in before]
        if error.code != _OTHER_BATCH_ERROR and not any(map(paths.is_folder, new)):
            with contextlib.suppress(OSError, ValueError):  # what cannot be removed is harmless
                for path in new:
                    path.unlink(missing_ok=True)
                for path in missing:
                    path.rmdir()
        raise
