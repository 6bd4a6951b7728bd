"""Run folders with a single layer, and what they hold as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.host.fill.run_store import RunStore
from fewshot_annotate.jobs.layer_folder import LayerFolder
from fewshot_annotate.jobs.run_folder import JobFolder


def create_folder(path: Path, job: Job, volume: Volume, support: Support) -> JobFolder:
    """Write a new folder with one layer."""
    (folder,) = JobFolder.create_layers(path, [job], volume, [support])
    return folder


def reopen_folder(path: Path) -> JobFolder:
    """Open a folder with one layer to resume it."""
    (folder,) = JobFolder.reopen_layers(path)
    return folder


def result_of(folder: LayerFolder, support: Support | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and confidence as float32 with 1 on labelled slices, each `[k, j, i]`; both are 0 on pending slices.

    The labelled slices are those of the support, or else those in the folder.
    """
    support = support or folder.read_support()
    confidence = folder.axis.restore(np.ones(folder.shape, dtype=np.float32))
    folder.lower_confidence(confidence, support)
    return folder.assemble_labels(support), confidence


def active_runs(store: RunStore) -> list[str]:
    """Ids of the runs of the host that a process works on."""
    interrupted = {run.run_id for run in store.interrupted()}
    names = [path.name for path in store.folder.iterdir() if path.is_dir()] if store.folder.is_dir() else []
    return [name for name in names if name not in interrupted]
