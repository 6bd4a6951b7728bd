"""Requests of live updates, which the panel writes and the live worker reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.jobs.live_requests import LiveRequest, LiveRequests
from fewshot_annotate.jobs.run_folder import JobFolder
from support.labels import small_case
from support.processes import make_folder


def folder_of_run(path: Path) -> JobFolder:
    return make_folder(path / "run", *small_case(), SliceAxis(0), 8)


@pytest.mark.parametrize(
    "damage",
    [
        lambda live: (live / "1.npy").unlink(),
        lambda live: (live / "1.npy").write_bytes((live / "1.npy").read_bytes()[:-1]),
        lambda live: np.save(live / "1.npy", np.load(live / "1.npy")[:, :3, :3]),
        lambda live: (live / "1.json").write_text("{", encoding="utf-8"),
        lambda live: (live / "1.json").write_text('{"slices": [1]}', encoding="utf-8"),
        lambda live: (live / "1.json").write_text(
            (live / "1.json").read_text(encoding="utf-8").replace('"slices": [', '"slices": [9999, '),
            encoding="utf-8",
        ),
    ],
    ids=["missing", "truncated", "another grid", "no JSON", "incomplete", "another slice"],
)
def test_a_damaged_request_of_live_updates_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    folder = folder_of_run(tmp_path)
    request = LiveRequest(folder.read_support(), folder.job.slices)
    requests = LiveRequests(folder)
    requests.write(1, request)
    assert requests.read(requests.latest()).slices == request.slices
    damage(folder.path / "live")
    with pytest.raises(InputError) as refused:
        requests.read(1)
    assert refused.value.code == "job_folder_unreadable"
    assert "\n" not in str(refused.value)


def test_only_the_latest_request_of_live_updates_is_kept(tmp_path: Path) -> None:
    folder = folder_of_run(tmp_path)
    requests = LiveRequests(folder)
    for number in (9, 10, 11):
        requests.write(number, LiveRequest(folder.read_support(), folder.job.slices[-number:]))
    requests.remove_before(requests.latest())
    assert sorted(path.name for path in (folder.path / "live").iterdir()) == ["11.json", "11.npy"]
    assert requests.read(11).slices == folder.job.slices[-11:]
