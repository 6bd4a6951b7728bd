"""What users of version 0.1 have in scripts and folders is still read: options, engines and folders of batches.

Job folders of version 0.1 are in `test_run_damage.py`, its scenes in `test_host_annotation_record.py`, its tasks in
`test_task.py`, its comparisons in `test_compare_damage.py`, its events in `test_core_job_and_events.py`.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.datasets.manifest import OPTIONAL, REQUIRED
from fewshot_annotate.datasets.status import Status
from fewshot_annotate.engines.registry import engine_class
from support.batches import Dataset, make_dataset

pytestmark = pytest.mark.usefixtures("forked_workers")

# Options of each command, as `--help` of version 0.1.0 printed them.
COMMANDS = {
    "batch": (
        "--budget --crop --device --engine --implementation --option --output --partial --progress "
        "--resample --resume --scheduler --slices --threads --workers"
    ),
    "compare": (
        "--axis --budget --crop --device --draws --engines --held-out --labelled-slices --option "
        "--output --partial --progress --resample --resume --seed --series --sizes --study"
    ),
    "demo": ("--engine --output --progress"),
    "export": (
        "--code --crop --default-code --derive-series --engine --image --leave-out-missing-slices "
        "--modality --one-file-per-segment --output --overwrite --patient-id --patient-name "
        "--reference --resample --series --slice-by-slice --structures --suggest-codes --to --type "
        "--weights"
    ),
    "fill": (
        "--axis --budget --confidence --crop --device --engine --implementation --job-dir "
        "--labelled-slices --option --output --partial --progress --resample --resume --series "
        "--slices"
    ),
    "library add": ("--axis --corrected --crop --labelled-slices --partial --resample --series"),
    "library export": ("--output"),
    "library import": ("--name"),
    "library list": "",
    "library remove": "",
    "library save": "--axis --crop --labelled-slices --partial --resample --series",
    "library show": "",
    "models download": "--accept-licence --progress",
    "models import": "",
    "models info": "",
    "models list": "",
    "models verify": "",
    "models remove": ("--forget"),
    "suggest": ("--axis --count --crop --labelled-slices --partial --resample --series --slices"),
}
# Options of each engine of version 0.1.0.
ENGINES = {
    "propagate": "",
    "adapt": "seed steps",
    "universeg": "ensemble implementation seed supports view",
    "multiverseg": "ensemble seed supports view",
    "sam": "cache intensities model outside points precision",
    "medsam": "cache intensities precision",
    "persam": "bounded cache intensities model precision",
    "persam-f": "bounded cache intensities model precision",
    "seggpt": "intensities model precision prompts",
    "painter": "intensities precision",
    "grounding-dino": "cache intensities model overlap precision side text threshold",
    "sam2-video": "intensities memory model precision side",
}
MANIFEST_COLUMNS = "image support name engine axis labelled_slices library series"
# What version 0.1.0 stored of a filled case.
OUTCOME = "seconds message engine version axis labelled_slices examples filled_slices expected digests"


@pytest.fixture
def dataset(awkward_path: Path) -> Dataset:
    """A batch of two filled cases in the form of version 0.1.0, of which the second was accepted."""
    dataset = make_dataset(awkward_path)
    dataset.add("a", "b")
    assert main(dataset.command()) == 0
    for name in "ab":
        record = dataset.case(name).record
        content = json.loads(record.read_text(encoding="utf-8"))
        outcome = {key: content["outcome"][key] for key in OUTCOME.split()} | {"version": "0.1.0", "expected": []}
        record.write_text(json.dumps(content | {"outcome": outcome}), encoding="utf-8")
    table = "name,status,seconds,message,accepted\na,done,4.28,,\nb,done,0.50,,yes\n"
    (dataset.output / "status.csv").write_text(table, encoding="utf-8")
    return dataset


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_still_taken(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        main([*command.split(), "--help"])
    present = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    assert set(COMMANDS[command].split()) <= present


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_still_has_its_options(name: str) -> None:
    assert set(ENGINES[name].split()) <= set(engine_class(name).options)


def test_every_column_of_manifests_is_still_read() -> None:
    assert set(MANIFEST_COLUMNS.split()) <= {*REQUIRED, *OPTIONAL}


def test_a_batch_continues_without_filling_its_cases_again(dataset: Dataset) -> None:
    before = [dataset.case(name).label.stat().st_mtime_ns for name in "ab"]
    dataset.add("c")
    assert main(dataset.command("--resume")) == 0
    assert [dataset.case(name).label.stat().st_mtime_ns for name in "ab"] == before
    rows = dataset.status()
    assert [(row.status, row.accepted) for row in rows.values()] == [
        *((Status.DONE, False), (Status.DONE, True), (Status.DONE, False)),
    ]


def test_its_cases_are_listed_and_accepted(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "list", str(dataset.output)]) == 0
    assert "1 filled" in capsys.readouterr().out
    assert main(["dataset", "accept", str(dataset.output), "a"]) == 0
    assert all(row.accepted for row in dataset.status().values())
