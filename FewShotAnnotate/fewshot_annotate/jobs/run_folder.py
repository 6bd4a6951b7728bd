"""JobFolder: the files through which host and worker exchange the job of a layer and its result.

========================  ============================================================================================
job.json                  job, grid, axis, labelled slices; labels, names and fingerprint of the input of each layer
image.npy                 [n, h, w] slices along the job's axis, the volume's own dtype
image-2.npy, ...          [k, j, i] voxels of each further channel on its own grid, which job.json gives
layers/K/support.npy      [m, h, w] label values of the labelled slices of layer K, counted from 0
layers/K/result.npy       [n, h, w] label values, written slice by slice
layers/K/confidence.npy   [n, h, w] uint8, 0..255 for 0..1, written slice by slice
layers/K/finished.npy     [n] uint8, state of each slice of both: 0 not yet written, 1 draft, 2 final
layers/K/checksums.npy    [n] uint32, CRC-32 of each slice of both as written
layers/K/expected.json    expected Dice of each label, once the engine has estimated it
events.jsonl              one event a line, appended
cancel                    its presence asks the worker to stop
worker.lock               locked by the worker of this folder
worker.log                what the last worker printed to stderr
========================  ============================================================================================

Overlapping segments are in different layers, which workers fill one after the other.

Folders of version 0.1 can be read and resumed: they hold the files of one layer in the folder itself, in 0.1.0
without checksums.npy; several layers are in folders named layerN, each with its own image.

A folder is created while worker.lock is held, so that two programs cannot create the same one. job.json is written as
job.json.partial first and renamed last; a folder with only the partial file was left by a process that crashed
meanwhile, and is created again.

A final slice is written over its draft, and its state after that. If the worker crashes in between, the checksum does
not match when the job is resumed, and the slice is filled again.

Disk space is allocated when the folder is created, so a full disk is noticed before the work starts. Result files are
never memory-mapped, so they can be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from ..core import paths
from ..core.errors import InputError, Message
from ..core.job import Job
from ..core.locks import locked_folder
from ..core.reading import DamagedContentError, decoding
from ..core.storage import write_json
from ..core.support import Support
from ..core.volume import Volume
from .fingerprints import fingerprints
from .layer_folder import LayerFolder
from .run_layout import (
    ARRAYS,
    CHECKSUMS,
    FURTHER,
    JOB,
    LAYERS,
    folders_of_layers,
    further_file,
    is_incomplete,
    read_description,
    write_files,
)
from .work_folder import LOCK


class JobFolder(LayerFolder):
    """The job of one layer on disk, from `create_layers`, `open`, `open_layers` or `reopen_layers`."""

    @classmethod
    def create_layers(
        cls, path: str | Path, jobs: Sequence[Job], volume: Volume, supports: Sequence[Support]
    ) -> list[JobFolder]:
        """Write a new folder; nothing is left behind if that fails.

        Parameters
        ----------
        path : path
        jobs : sequence of Job
            Jobs of the layers, which differ only in names.
        volume : Volume
        supports : sequence of Support
            Supports of the layers, with the same axis and labelled slices.

        Raises
        ------
        InputError
            The folder is not empty, or cannot be written.
        """
        path = Path(path)
        if paths.would_be_overwritten(path) and not is_incomplete(path):
            raise InputError("job_folder_used", path=path)
        if len({(support.axis, support.indices) for support in supports}) > 1 or any(
            replace(job, names=jobs[0].names) != jobs[0] for job in jobs
        ):
            raise ValueError("layers must have the same job, axis and labelled slices")
        described = [
            {
                "labels": list(support.labels),
                "known": support.annotated.tolist(),
                "fingerprint": digest,
                "names": dict(job.names),
            }
            for job, support, digest in zip(jobs, supports, fingerprints(volume, supports), strict=True)
        ]
        description = {
            "job": replace(jobs[0], names={}).to_json(),
            "grid": volume.geometry.to_json(),
            "axis": supports[0].axis.index,
            "labelled": list(supports[0].indices),
            LAYERS: described,
            "checksums": True,
        }
        if volume.further:
            description[FURTHER] = [channel.geometry.to_json() for channel in volume.further]
        folders = [cls(path, description, layer) for layer in range(len(supports))]
        try:
            with locked_folder(path, LOCK) as acquired:
                if not acquired:
                    raise InputError("job_busy", path=path)
                if not is_incomplete(path):
                    raise InputError("job_folder_used", path=path)
                write_files(path, description, volume, supports)
        except OSError as error:
            # The error of numpy for a full disk has no system message.
            detail = error.strerror or Message("disk_full")
            raise InputError("output_unwritable", path=path, detail=detail) from None
        return folders

    @classmethod
    def open(cls, path: str | Path, layer: int = 0) -> JobFolder:
        """One layer of an existing folder.

        Raises
        ------
        InputError
            There is no job or no such layer, it is of another version, or files are missing or truncated.
        """
        path = Path(path)
        return cls._open_described(path, read_description(path), layer)

    @classmethod
    def open_layers(cls, path: str | Path) -> list[JobFolder]:
        """All layers of an existing folder; also reads folders of version 0.1.

        Raises
        ------
        InputError
            As `open`.
        """
        path = Path(path)
        if older := folders_of_layers(path):
            return [cls.open(folder) for folder in older]
        description = read_description(path)
        layers = description.get(LAYERS, [description])
        if not isinstance(layers, list) or not layers:
            raise InputError("job_folder_unreadable", path=path, detail=Message("file_is_damaged", file=JOB))
        return [cls._open_described(path, description, layer) for layer in range(len(layers))]

    @classmethod
    def _open_described(cls, path: Path, description: dict[str, Any], layer: int) -> JobFolder:
        try:
            with decoding():
                folder = cls(path, description, layer)
        except DamagedContentError:
            raise InputError(
                "job_folder_unreadable", path=path, detail=Message("file_is_damaged", file=JOB)
            ) from None
        for name in (*ARRAYS, *([CHECKSUMS] if folder.has_checksums else [])):
            folder.require_array(name)
        for number, grid in enumerate(folder.further_grids):
            folder.require_array(further_file(number), grid.shape)
        return folder

    @classmethod
    def reopen_layers(cls, path: str | Path) -> list[JobFolder]:
        """Open all layers of a folder to resume it, after checking every file.

        Damaged finished slices become pending again.

        Raises
        ------
        InputError
            As `open`, or image or labels are damaged, or a worker is running on it.
        """
        folders = cls.open_layers(path)
        for _, shared in groupby(folders, lambda folder: folder.path):
            cls._require_undamaged(list(shared))
        return folders

    @staticmethod
    def _require_undamaged(folders: Sequence[JobFolder]) -> None:
        """Check layers that share a folder, and mark their damaged slices as pending."""
        first = folders[0]
        first.require_own_files()
        with first.exclusive():
            digests = fingerprints(first.read_volume(), [folder.read_support() for folder in folders])
            for folder, digest in zip(folders, digests, strict=True):
                if digest != folder.fingerprint:
                    raise folder.unreadable(Message("run_input_damaged"))
                folder.reset_damaged()

    @staticmethod
    def holds_job(path: str | Path) -> bool:
        """Whether a path is a completely created run folder."""
        path = Path(path)
        return paths.is_file(path / JOB) or bool(folders_of_layers(path))

    def require_same_input(self, job: Job, fingerprint: str) -> None:
        """Raise `InputError` if the folder holds another job, so that it cannot be resumed.

        Parameters
        ----------
        job : Job
            Its time limit may differ.
        fingerprint : str
            Digest of the volume and the labelled slices.
        """
        if self.fingerprint != fingerprint:  # checked first, because other labels also change the slices to fill
            raise InputError("job_differs", path=self.path, what=Message("run_other_input"))
        if replace(self.job, budget=job.budget) != job:
            raise InputError("job_differs", path=self.path, what=Message("run_other_settings"))

    def set_budget(self, budget: float | None) -> None:
        """Set another time limit of the job, which counts from the start of the next worker.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        if budget == self.job.budget:
            return
        self.job = replace(self.job, budget=budget)
        self._description["job"] |= {"budget": budget}
        write_json(self.path / JOB, self._description)
