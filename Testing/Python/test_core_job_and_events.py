"""Job and events as JSON: what is written is read, and anything else is refused."""

from __future__ import annotations

import json
import math
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.cli import messages as command_line
from fewshot_annotate.core.errors import InputError, Message
from fewshot_annotate.core.events import (
    Cancelled,
    Event,
    Expected,
    Failed,
    Finished,
    Progress,
    SliceDone,
    Stage,
    Started,
    Warned,
    event_from_line,
)
from fewshot_annotate.core.job import JOB_VERSION, Device, Job
from hypothesis import given
from hypothesis import strategies as st

KINDS = (Started, Progress, SliceDone, Expected, Warned, Finished, Cancelled, Failed)
counts = st.integers(0, 10_000)
fractions = st.floats(0, 1)
seconds = st.floats(0, 1e6)
events = st.one_of(
    st.builds(Started, st.integers(2, 2**22), st.text(), st.text()),
    st.builds(
        Progress,
        done=counts,
        total=counts,
        eta=st.none() | seconds,
        fraction=fractions,
        drafts=counts,
        stage=st.sampled_from(Stage),
    ),
    st.builds(SliceDone, counts, st.booleans()),
    st.builds(
        lambda label, figures: Expected(label, figures[1], figures[0], figures[2]),
        st.integers(1, 65535),
        st.tuples(fractions, fractions, fractions).map(sorted),
    ),
    st.builds(Warned, st.text()),
    st.builds(Finished, seconds),
    st.builds(Cancelled),
    st.builds(Failed, st.text(), st.text()),
)
jobs = st.builds(
    Job,
    engine=st.text(min_size=1),
    slices=st.sets(counts).map(lambda slices: tuple(sorted(slices))),
    device=st.sampled_from(Device),
    options=st.dictionaries(st.text(), st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()),
    budget=st.none() | st.floats(1e-3, 1e6) | st.integers(1, 1000),
    model=st.none() | st.text(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(events)
def test_an_event_is_unchanged_by_conversion_to_a_line(event: Event) -> None:
    line = event.to_line()
    assert line.isascii()
    assert "\n" not in line
    assert event_from_line(line) == event


@given(jobs)
def test_a_job_is_unchanged_by_conversion_to_json(job: Job) -> None:
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


@given(st.text() | json_values.map(json.dumps))
def test_lines_of_other_content_are_ignored(line: str) -> None:
    assert event_from_line(line) is None


@given(
    st.sampled_from([kind.kind for kind in KINDS]),
    st.dictionaries(st.sampled_from(sorted({entry.name for kind in KINDS for entry in fields(kind)})), json_values),
)
def test_an_event_with_fields_of_other_types_is_converted_or_ignored(kind: str, fields: dict[str, Any]) -> None:
    event = event_from_line(json.dumps({"event": kind, **fields}))
    if event is not None:
        for name, value in vars(event).items():
            assert type(value) in (str, int, float, bool, type(None)), (name, value)
        assert event_from_line(event.to_line()) == event


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "slice", "index": true}',
        '{"event": "slice", "index": -1}',
        '{"event": "slice", "index": 1.0}',
        '{"event": "slice", "index": 1, "draft": 1}',
        '{"event": "slice", "index": 1, "draft": null}',
        '{"event": "progress", "done": 1, "total": 2, "eta": 1.0, "fraction": 1.5}',
        '{"event": "progress", "done": 1, "total": 2, "eta": 1.0, "fraction": -0.5}',
        '{"event": "progress", "done": 1, "total": 2, "eta": 1.0, "fraction": NaN}',
        '{"event": "progress", "done": 1, "total": 2, "eta": 1.0, "fraction": null}',
        '{"event": "progress", "done": 1, "total": 2, "eta": 1.0, "drafts": -1}',
        '{"event": "progress", "done": 1, "total": 2, "eta": 1.0, "stage": "resting"}',
        '{"event": "expected", "label": 1, "dice": 0.5, "low": 0.6, "high": 0.7}',
        '{"event": "expected", "label": 1, "dice": 0.8, "low": 0.6, "high": 0.7}',
        '{"event": "expected", "label": 1, "dice": 0.8, "low": 0.6, "high": 1.7}',
        '{"event": "expected", "label": 1, "dice": NaN, "low": 0.6, "high": 0.7}',
        '{"event": "expected", "label": 1.0, "dice": 0.6, "low": 0.6, "high": 0.7}',
        '{"event": "expected", "label": 1, "dice": 0.6, "low": 0.6}',
        '{"event": "progress", "done": 1, "total": 2, "eta": NaN}',
        '{"event": "progress", "done": 1, "total": 2, "eta": 1e999}',
        '{"event": "progress", "done": 1, "total": 2, "eta": -Infinity}',
        '{"event": "started", "pid": -1, "version": "0.1.0", "path": ""}',
        '{"event": "started", "pid": 1, "version": "0.1.0", "path": ""}',
        '{"event": "started", "pid": 99999999999, "version": "0.1.0", "path": ""}',
        '{"event": ["slice"], "index": 1}',
        '{"event": "slice", "index": 1, "more": 1}',
        '{"event": "slice", "index": 1' + "1" * 5000 + "}",
        "[" * 100_000,
    ],
    ids=lambda line: line[:60],
)
def test_a_line_with_impossible_values_is_ignored(line: str) -> None:
    assert event_from_line(line) is None


def test_a_message_shows_its_sentence_where_objects_are_listed() -> None:
    assert repr([Message("file_missing", path="a.nrrd")]) == (
        "[Message('file_missing': 'a.nrrd: no such file or folder; check the name.')]"
    )


def test_events_written_before_drafts_existed_are_read() -> None:
    assert event_from_line('{"event": "slice", "index": 1}') == SliceDone(1, draft=False)
    line = '{"event": "progress", "done": 1, "total": 2, "eta": 1.5}'
    assert event_from_line(line) == Progress(done=1, total=2, eta=1.5, fraction=0.0, drafts=0)


def test_reasons_are_passed_between_processes_as_code_and_data() -> None:
    reason = Message("needs_package", package="torch")
    error = InputError("engine_unavailable", engine="adapt", detail=reason)
    failed = event_from_line(Failed.of(error).to_line())
    assert isinstance(failed, Failed)
    assert (failed.content, failed.is_bad_input) == (error, True)
    assert failed.reason == str(error)
    assert not Failed.of(Message("run_memory_short")).is_bad_input
    data = {
        "path": Path("a.nrrd"),
        "least": np.float32(0.5),
        "count": np.int64(3),
        "most": math.inf,
        "names": [reason],
    }
    warned = event_from_line(Warned.of(Message("of_any_kind", **data)).to_line())
    assert isinstance(warned, Warned)
    assert warned.content == Message(
        "of_any_kind",
        path="a.nrrd",
        least=0.5,
        count=3,
        most="inf",
        names=[Message("needs_package", package="torch")],
    )


@pytest.mark.parametrize(("code", "is_bad_input"), [("", False), ("output_unwritable", True)])
def test_reasons_of_version_0_1_are_read_as_sentences(code: str, is_bad_input: bool) -> None:
    event = event_from_line(json.dumps({"event": "failed", "reason": "The disk is full.", "code": code}))
    assert isinstance(event, Failed)
    assert (event.content, event.is_bad_input) == ("The disk is full.", is_bad_input)
    assert command_line.error_text(event.content) == "The disk is full."
    warned = event_from_line('{"event": "warning", "message": "It is slow."}')
    assert isinstance(warned, Warned)
    assert warned.content == "It is slow."


@pytest.mark.parametrize(
    "data",
    [
        '{"path": {"code": "a", "data": 1}}',
        '{"path": [[], {}, null]}',
        '{"other": 1}',
        '{"code": "a", "data": {}, "self": 1}',
        '{"path": {"code": "file_missing", "data": ' * 200 + "{}" + "}}" * 200,
        '{"path": ' + "[" * 200 + "]" * 200 + "}",
        '{"path": ' * 900 + "1" + "}" * 900,
    ],
)
def test_unexpected_data_of_a_failure_never_raise(data: str) -> None:
    event = event_from_line(f'{{"event": "failed", "reason": "No.", "code": "file_missing", "data": {data}}}')
    assert event is None or str(event.content)  # type: ignore[attr-defined]


def test_incomplete_and_damaged_lines_never_raise() -> None:
    rng = random.Random(4)
    lines = [
        Started(4711, "0.1.0", "/a/worker.py").to_line(),
        Progress(done=3, total=10, eta=1.5, fraction=0.3, drafts=2).to_line(),
        SliceDone(3, draft=True).to_line(),
        Expected(2, 0.8, 0.7, 0.9).to_line(),
        Failed("The disk is full é", "output_unwritable", {"path": "é"}).to_line(),
    ]
    read = 0
    for _ in range(3000):
        data = bytearray(rng.choice(lines).encode())
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        event = event_from_line(bytes(data[rng.choice([0, 0, 5]) : rng.choice([None, None, 9])]).decode("latin-1"))
        read += event is not None
        assert event is None or isinstance(event, Event)
    assert read, "some changes are harmless, such as one inside a text"


@given(json_values)
def test_values_that_are_not_jobs_are_refused_with_one_of_three_errors(value: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Job.from_json(value)


@pytest.mark.parametrize(
    "change",
    [
        {"version": JOB_VERSION + 1},
        {"slices": [-1]},
        {"slices": [9, 3]},
        {"slices": [3, 3]},
        {"slices": [math.inf]},
        {"slices": [math.nan]},
        {"slices": [3.5]},
        {"slices": [True]},
        {"slices": None},
        {"version": 3},
        {"version": 3, "start": -1, "stop": 2},
        {"version": 3, "start": 9, "stop": 3},
        {"version": 3, "start": 0, "stop": math.inf},
        {"version": 3, "start": 0, "stop": 10**12},
        {"version": 3, "start": 0, "stop": 3.5},
        {"device": "tpu"},
        {"options": 3},
        {"engine": None},
        {"budget": 0},
        {"budget": -5.0},
        {"budget": math.nan},
        {"budget": math.inf},
        {"budget": 10**400},
        {"budget": True},
        {"budget": "60"},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_job_with_a_wrong_entry_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Job.from_json(Job(engine="propagate", slices=(2, 3, 6)).to_json() | change)


def test_a_job_of_version_3_named_a_range_with_labelled_slices_in_it() -> None:
    old = {"version": 3, "engine": "adapt", "start": 2, "stop": 7, "device": "cpu"}
    old |= {"options": {"steps": 20}, "budget": 9.0, "names": {"1": "liver"}}
    job = Job.from_json(old, labelled=(2, 5, 9))
    assert job == Job(
        engine="adapt", slices=(3, 4, 6), device=Device.CPU, options={"steps": 20}, budget=9.0, names={1: "liver"}
    )
