"""Progress of commands as a bar, as JSON lines, or not at all."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
from fewshot_annotate.cli import activity_indicator as indicator_module
from fewshot_annotate.cli.activity_indicator import activity_indicator, command_begins, starting
from fewshot_annotate.cli.progress import RUN, Display, open_display
from fewshot_annotate.core.events import Progress, Started, Warned
from support.processes import wait_for

COUNTING = Display[int](
    columns=("{task.fields[unit]}",),
    show=lambda bar, step: bar.update("Counting", step, 10, unit=f"{step} apples"),
    line_of=lambda step: json.dumps({"done": step}),
)


def wait_for_output(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Wait until this, and nothing before it, was printed on stderr."""
    found: list[str] = []

    def is_printed() -> bool:
        found.append(capsys.readouterr().err)
        return "".join(found) == text

    wait_for(is_printed)


def test_each_step_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with open_display("json", COUNTING) as show:
        show(1)
        show(2)
    printed = capsys.readouterr()
    assert [json.loads(line) for line in printed.out.splitlines()] == [{"done": 1}, {"done": 2}]
    assert printed.err == ""


def test_the_bar_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with open_display("bar", COUNTING) as show:
        show(4)
    printed = capsys.readouterr()
    assert "Counting" in printed.err
    assert "4 apples" in printed.err
    assert printed.out == ""


def test_a_log_has_a_line_for_each_stage_and_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with open_display("bar", COUNTING) as show:
        for step in (0, 1, 1, 2):
            show(step)
    assert [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()] == [
        "Counting 0 %",
        "Counting 10 %",
        "Counting 20 %",
    ]


def test_a_log_has_a_line_a_minute_if_the_work_is_slow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, open_display("bar", COUNTING) as show:
        began = time.monotonic()
        for seconds in (0, 1, 2, 63, 64):
            patch.setattr(time, "monotonic", partial(float, began + seconds))
            show(1)
    assert capsys.readouterr().err.count("Counting 10 %") == 2


def test_a_log_has_no_progress_of_quick_work_whose_result_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indicator_module, "DELAY_SECONDS", 20.0)
    with monkeypatch.context() as patch, open_display("bar", replace(COUNTING, silent_if_quick=True)) as show:
        show(1)
        assert capsys.readouterr().err == ""
        patch.setattr(time, "monotonic", partial(float, time.monotonic() + 20))
        show(2)
    assert "Counting 20 %" in capsys.readouterr().err


def test_long_work_shows_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indicator_module, "DELAY_SECONDS", 0.3)
    with activity_indicator("bar", "Reading"):
        wait_for_output(capsys, "Reading ...\n")
    with activity_indicator("bar", "Planning"):
        pass
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [True, False])
def test_slow_loading_of_the_program_is_announced_on_a_terminal(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indicator_module, "DELAY_SECONDS", 0.3)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    command_begins()
    with starting():
        if terminal:
            wait_for_output(capsys, "Starting ...")
        else:
            time.sleep(0.5)
            assert capsys.readouterr() == ("", "")
    assert capsys.readouterr().err.strip() == "", "the line is cleared"
    command_begins()
    with starting():
        pass
    time.sleep(0.4)
    assert capsys.readouterr() == ("", "")


def test_the_delay_before_the_first_output_counts_from_the_start_of_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indicator_module, "DELAY_SECONDS", 10.0)
    command_begins(time.monotonic() - 20)
    with activity_indicator("bar", "Reading"):
        wait_for_output(capsys, "Reading ...\n")
    with activity_indicator("bar", "Planning"):
        time.sleep(0.6)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["bar", "json", "none"])
def test_nothing_is_printed_before_the_first_step(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    with pytest.raises(ValueError, match="refused"), open_display(kind, COUNTING):
        raise ValueError("refused")
    assert capsys.readouterr() == ("", "")


def test_warnings_are_printed_without_progress_too(capsys: pytest.CaptureFixture[str]) -> None:
    with open_display("none", RUN) as show:
        show(Started(2, "0", "worker.py"))
        show(Progress(done=1, total=4, eta=None, fraction=0.25))
        show(Warned("The slices are far apart."))
    assert capsys.readouterr() == ("", "fewshot-annotate: The slices are far apart.\n")


def test_a_warning_is_printed_above_the_bar_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "The slices are far apart; " * 10
    with open_display("bar", RUN) as show:
        show(Progress(done=1, total=4, eta=12.0, fraction=0.25))
        show(Warned(sentence))
    printed = capsys.readouterr().err
    assert sentence in printed
    assert "1/4 slices" in printed
