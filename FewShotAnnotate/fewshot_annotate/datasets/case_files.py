"""CaseFiles: the files of one case in the folder of a batch.

A label map, once written, is never deleted. A batch does not touch the folder of a case that a user corrected; this
is detected by `label.filled.nii.gz` and by the digests in case.json, independently of status.csv.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import paths
from ..core.errors import InputError
from ..core.file_transaction import FileTransaction
from ..core.memo import Memo
from ..core.reading import DamagedContentError, json_as, read_bytes
from ..core.storage import write_bytes
from ..core.temporary import HIDDEN_PREFIX, remove_abandoned
from ..io.label_names import sidecar_path
from .image_and_label_names import image_suffix

_RECORD_VERSION = 1
# The folders hold images of patients, so only the user may read them.
PRIVATE = 0o700
_DIGESTS = "digests"
# Folder of the batch when the record was written: images beside it are found after both were moved.
_BATCH = "folder"


@dataclass(frozen=True)
class CaseFiles:
    """Paths of the files of one case.

    Attributes
    ----------
    folder : Path
    memo : Memo
        What was read from them before.
    """

    folder: Path
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)

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
        """Preview image of some slices."""
        return self.folder / "preview.png"

    @property
    def record(self) -> Path:
        """Record of request and outcome."""
        return self.folder / "case.json"

    @property
    def error_log(self) -> Path:
        """Traceback of an unexpected error."""
        return self.folder / "error.log"

    @property
    def names(self) -> Path:
        """Sidecar file of label names; it need not exist."""
        return sidecar_path(self.label)

    def corrected(self) -> bool:
        """Whether a user corrected the result, judged by the files alone."""
        if not paths.is_file(self.label):
            return False
        if paths.lexists(self.filled):
            return True
        record = self.read_record()
        digests = record[1].get(_DIGESTS) if record is not None else None
        try:
            return isinstance(digests, dict) and digests != self.digests()
        except InputError:
            return True  # unknown: assume so, as nothing may be lost

    def seems_corrected(self) -> bool:
        """As `corrected`, but files of the same size, time and inode are not read again: for what is shown."""
        about = [paths.stat(path) for path in (self.label, self.names, self.filled, self.record)]
        source = [status and (status.st_size, status.st_mtime_ns, status.st_ino) for status in about]
        return self.memo.of(("corrected", self.folder), source, self.corrected)

    def require_no_later_labels(self) -> None:
        """Raise `InputError` if a label map that is not used was saved beside the result, and later than it.

        Programs suggest names such as label.seg.nrrd when a corrected label map is saved.
        """
        for path in paths.entries(self.folder):
            lower = path.name.lower()
            is_result = lower.startswith((".", "label.", "confidence.")) and lower.endswith(".nii.gz")
            if image_suffix(lower) and not is_result and paths.is_file(path):
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime_ns > self.label.stat().st_mtime_ns:
                        raise InputError("case_other_labels", path=path, label=self.label.name)

    def digests(self) -> dict[str, str]:
        """SHA-256 of the label map and its sidecar, by file name; missing files are left out.

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
        """Prepare for a new result: back up an earlier one and remove partial files."""
        self.folder.mkdir(PRIVATE, exist_ok=True)
        labels = (self.label, self.names, self.filled, sidecar_path(self.filled))
        made = (self.record, *labels, self.confidence, self.preview)
        remove_abandoned(self.folder, HIDDEN_PREFIX)
        self.error_log.unlink(missing_ok=True)
        if any(map(paths.lexists, (self.label, self.filled))):
            self.move_aside(*made)
        else:
            for file in made:  # remains of a run without a result
                file.unlink(missing_ok=True)

    def move_aside(self, *files: Path) -> None:
        """Back up existing files by renaming them, in this order, with the time: label.DATE.nii.gz.

        A label map and its sidecar stay together even if this is interrupted.
        """
        dated = _dated(files)
        names = {sidecar_path(file) for file in dated} & dated.keys()
        for file, name in dated.items():
            if file in names:
                continue
            beside = sidecar_path(file)
            if beside in names:
                copy_file(beside, dated[beside])
            file.rename(name)
            if beside in names:
                beside.unlink()

    def copy_aside(self, transaction: FileTransaction, *files: Path) -> None:
        """As `move_aside`, but copy the files, at the end of a transaction."""
        for file, name in _dated(files).items():
            add_copy(transaction, file, name)

    def write_record(self, request: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Record that the case is finished, with digests of its files."""
        write_bytes(self.record, self.record_content(request, outcome, self.digests()))

    def record_content(
        self, request: Mapping[str, Any], outcome: Mapping[str, Any], digests: Mapping[str, str]
    ) -> bytes:
        """Content of case.json for files with these digests."""
        content = {
            "version": _RECORD_VERSION,
            _BATCH: str(self.folder.parent),
            "request": request,
            "outcome": {**outcome, _DIGESTS: digests},
        }
        return (json.dumps(content, indent=1) + "\n").encode("ascii")

    def read_record(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Request and outcome of a finished case; None if it is not finished."""
        try:
            content = read_bytes(self.record)
            version, batch, request, outcome = self.memo.of(self.record, content, lambda: json_as(content, _record))
        except (OSError, DamagedContentError):
            return None
        if version != _RECORD_VERSION or not paths.is_file(self.label):
            return None
        return _after_move(request, batch, self.folder.parent), outcome


def _record(content: Mapping[str, Any]) -> tuple[int, str, dict[str, Any], dict[str, Any]]:
    folder = str(content.get(_BATCH, ""))
    return content["version"], folder, dict(content["request"]), dict(content["outcome"])


def _after_move(request: dict[str, Any], old: str, new: Path) -> dict[str, Any]:
    """A request with the present paths of files that were moved together with the folder of the batch."""
    if not old or old == str(new):
        return request

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        if not isinstance(value, Mapping) or not isinstance(path := value.get("path"), str) or paths.exists(path):
            return value
        for before, now in ((Path(old), new), (Path(old).parent, new.parent)):
            if Path(path).is_relative_to(before):
                there = now / Path(path).relative_to(before)
                if paths.is_folder(there) or (paths.is_file(there) and paths.size(there) == value.get("bytes")):
                    return {**value, "path": str(there)}
        return value

    return {key: moved(value) for key, value in request.items()}


@dataclass(frozen=True, kw_only=True)
class CaseInBatch:
    """A case as the folder of a batch holds it.

    Attributes
    ----------
    name : str
    files : CaseFiles
    image : Path
    series : str
        As of `Case`.
    """

    name: str
    files: CaseFiles
    image: Path
    series: str


def recorded_image(request: Mapping[str, Any]) -> tuple[Path, str]:
    """Path and DICOM series of the image, from the request in a case's record; see `decoding` for what it raises."""
    return Path(request["image"]["path"]), str(request.get("series", ""))


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically; raises `InputError` if it cannot be written."""
    with FileTransaction() as transaction:
        add_copy(transaction, source, target)


def add_copy(transaction: FileTransaction, source: Path, target: Path) -> None:
    """Add a copy of a file to a transaction."""
    stream = transaction.stream(target)
    with source.open("rb") as file:
        shutil.copyfileobj(file, stream)


def _dated(files: Sequence[Path]) -> dict[Path, Path]:
    """For each existing file, an unused name that contains the time."""
    there = [file for file in files if paths.lexists(file)]
    stamp = time.strftime("%Y-%m-%dT%H%M%S")
    for number in itertools.count(1):
        when = stamp if number == 1 else f"{stamp}-{number}"
        split_names = ((file, *file.name.partition(".")) for file in there)
        names = [file.with_name(f"{stem}.{when}.{suffix}") for file, stem, _, suffix in split_names]
        if not any(map(paths.lexists, names)):
            break
    return dict(zip(there, names, strict=True))
