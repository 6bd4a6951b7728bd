"""Running of fills from the command line: run folder, progress, and message on an early end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..core import paths
from ..core.events import Failed, Unfinished
from ..core.storage import temporary_folder
from ..core.volume import LabelMap, Volume
from ..jobs.layers import FilledLayers, fill_layers
from ..jobs.planning import PlannedRun
from .messages import error_text
from .progress import RUN, open_display


def run_all(
    runs: Sequence[PlannedRun],
    layers: Sequence[LabelMap],
    volume: Volume,
    progress: str,
    job_dir: Path | None = None,
    *,
    resume: bool = False,
    seconds_after: float = 0.0,
) -> FilledLayers:
    """Fill all layers with progress output.

    Parameters
    ----------
    progress : str
        How progress is shown; see `add_progress`.
    job_dir : Path, optional
        The run folder; default: a temporary one.
    resume : bool
        Whether the run folder may hold an unfinished run of the same job.
    seconds_after : float
        Expected duration of what follows the fill; the remaining time that is shown includes it.

    Raises
    ------
    InputError, Unfinished
    """
    with _run_folder(job_dir) as folder, open_display(progress, RUN) as report:
        return fill_layers(runs, layers, volume, folder, report, resume=resume, seconds_after=seconds_after)


def unfinished_message(unfinished: Unfinished, job_folder: Path | None) -> str:
    """Message about a run that ended early."""
    hint = f" Continue it with --job-dir {job_folder} --resume." if job_folder else ""
    if isinstance(unfinished.ending, Failed):
        return error_text(unfinished.ending.content) + ("" if unfinished.ending.is_bad_input else hint)
    return f"cancelled; no output was written.{hint}"


@contextmanager
def _run_folder(job_folder: Path | None) -> Iterator[Path]:
    """Context manager: the user's run folder, or a temporary one."""
    if job_folder:
        paths.require_nameable(job_folder)
        yield job_folder
        return
    with temporary_folder() as folder:
        yield folder / "job"
