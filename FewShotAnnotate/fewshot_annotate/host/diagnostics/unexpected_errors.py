"""Unexpected errors in Slicer: each is logged once and becomes one sentence for the user."""

from __future__ import annotations

from collections.abc import Callable

from ... import __version__
from ...core.data_folder import data_folder
from ...core.errors import InputError
from ...core.unexpected_errors import LOG_NAME, append_to_log, error_fingerprint, is_out_of_memory


def as_input_error(error: Exception) -> InputError:
    """An error of any kind as one that can be shown; an unexpected one is written to the log."""
    if isinstance(error, InputError):
        return error
    if is_out_of_memory(error):
        return InputError("host_memory")
    log = data_folder() / LOG_NAME
    append_to_log(error, log, __version__)
    return InputError("step_unexpected", kind=type(error).__name__, number=error_fingerprint(error), log=log)


def error_of_run(error: Exception) -> InputError:
    """An error of any kind that ends a run; the segmentation is as it was."""
    refusal = as_input_error(error)
    return InputError("run_unexpected", **refusal.data) if refusal.code == "step_unexpected" else refusal


class StepRunner:
    """Runs the steps of a timer: an error in one step is shown once, and the other steps still run.

    Parameters
    ----------
    show : function
        Shows an InputError to the user.
    """

    def __init__(self, show: Callable[[InputError], object]) -> None:
        self._show = show
        self._shown: dict[str, InputError] = {}

    def run(self, step: Callable[[], object]) -> InputError | None:
        """Call a function; if it raises, show the error and return it.

        An unexpected error is shown the first time only: the timer comes back ten times a second.
        """
        try:
            step()
        except InputError as error:
            self._show(error)
            return error
        except Exception as error:
            number = error_fingerprint(error)
            if number not in self._shown:
                self._shown[number] = as_input_error(error)
                self._show(self._shown[number])
            return self._shown[number]
        return None
