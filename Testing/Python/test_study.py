"""A study: the same trials on many volumes, scores by group, and nothing lost when it is killed."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import Message
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.spreadsheet_cells import unescape_formula
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.evaluation.design import TrialDesign
from fewshot_annotate.evaluation.recommendation import Evidence, Recommendation
from fewshot_annotate.evaluation.report.study_page import study_png, write_study_report, write_tables
from fewshot_annotate.evaluation.report.tables import write_slices, write_summary
from fewshot_annotate.evaluation.results import Comparison, UnscoredEngine
from fewshot_annotate.evaluation.scores import EngineScore
from fewshot_annotate.evaluation.study import StudyResult, VolumeScores, run_study
from fewshot_annotate.evaluation.study_manifest import read_study_manifest
from fewshot_annotate.evaluation.study_scores import ALL_VOLUMES, findings, group_points, groups_of, sizes_of
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs.planning import EngineSettings
from support.labels import long_case, small_case
from support.processes import Spawned, alive, wait_for

pytestmark = pytest.mark.usefixtures("forked_workers")

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="watches processes through /proc")
QUICK = ("--sizes", "1,2", "--draws", "1", "--held-out", "2")


def slices_of(volume: Volume, label_map: LabelMap, start: int, stop: int) -> tuple[Volume, LabelMap]:
    """A range of slices of a volume as a volume of its own."""
    image, labels = (np.ascontiguousarray(array[start:stop]) for array in (volume.array, label_map.array))
    grid = Geometry(image.shape, (1.0, 1.0, 3.0))
    return Volume(image, grid), LabelMap(labels, grid, label_map.segments)


@pytest.fixture
def manifest(awkward_path: Path) -> Path:
    """Three small volumes in two groups."""
    hippocampus, aorta = small_case(), long_case()
    volumes = {
        "Roe^Jack": slices_of(*hippocampus, 4, 20),
        "Roe^Jill": slices_of(*hippocampus, 16, 32),
        "Roe^Jim": slices_of(*aorta, 20, 36),
    }
    rows = []
    for (name, (volume, label_map)), group in zip(volumes.items(), ("MR", "MR", "CT"), strict=True):
        write_array(awkward_path / f"{name}.nii.gz", volume.array, volume.geometry)
        write_label_maps(awkward_path / f"{name}.seg.nrrd", [label_map])
        rows.append(f"{name}.nii.gz,{name}.seg.nrrd,{group},")
    rows[0] += "head"
    return write_manifest(awkward_path, rows)


def write_manifest(folder: Path, rows: Sequence[str], header: str = "image,label,group,name") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def study_command(manifest: Path, *more: object) -> list[str]:
    return ["compare", "--study", str(manifest), "-o", str(manifest.parent / "study"), *map(str, more)]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- from manifest to report


@pytest.mark.slow
def test_both_built_in_engines_are_studied_by_group(manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = ("--engines", "propagate,adapt", "--option", "adapt.steps=3", "--progress", "json")
    assert main(study_command(manifest, *QUICK, *more)) == 0
    out, err = capfd.readouterr()
    assert err == ""
    found = json.loads(out.splitlines()[-1])["findings"]
    folder = manifest.parent / "study"
    volumes = rows_of(folder / "volumes.csv")
    assert {(row["volume"], row["group"]) for row in volumes} == {
        ("head", "MR"),
        ("volume 2", "MR"),
        ("volume 3", "CT"),
    }
    assert len(volumes) == 3 * 2 * 2
    for row in rows_of(folder / "groups.csv"):
        own = [
            float(one["dice_mean"])
            for one in volumes
            if (one["engine"], one["support_size"]) == (row["engine"], row["support_size"])
            and row["group"] in (one["group"], ALL_VOLUMES)
        ]
        assert int(row["volumes"]) == len(own)
        assert float(row["dice_mean"]) == pytest.approx(np.mean(own), abs=1e-3)
        if len(own) > 1:
            assert float(row["dice_sd"]) == pytest.approx(np.std(own, ddof=1), abs=1e-3)
    labels = rows_of(folder / "labels.csv")
    one = [row for row in volumes if (row["volume"], row["engine"], row["support_size"]) == ("head", "adapt", "2")]
    own = [
        float(row["dice"])
        for row in labels
        if (row["volume"], row["engine"], row["support_size"]) == ("head", "adapt", "2")
    ]
    assert float(one[0]["dice_mean"]) == pytest.approx(np.mean(own), abs=1e-3)
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "With 3 volumes that is no finding yet" in html
    assert any("One-shot (one painted slice)" in sentence for sentence in found)
    assert html.index("What was found") < html.index("One-shot: one painted") < html.index("Few-shot: as many")
    assert not re.search(r'(?:src|href)="(?!data:image/png;base64,)|https?://|<script|<link', html)
    for path in folder.rglob("*"):
        assert path.is_dir() or b"Roe^J" not in path.read_bytes(), path.name


@pytest.mark.slow
@needs_proc
def test_a_killed_study_continues_where_it_was(manifest: Path, spawned: Spawned) -> None:
    options = (*QUICK, "--draws", "2", "--engines", "propagate", "--progress", "none")
    folder = manifest.parent / "study"
    program = spawned.cli(*study_command(manifest, *options))
    wait_for(lambda: len(list(folder.glob("volumes/*/runs/propagate/*.json"))) >= 3)
    program.kill()
    program.wait()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("volumes/*/runs/propagate/*.json")}
    assert not (folder / "report.html").exists()
    wait_for(lambda: not workers_of(folder))
    assert main(study_command(manifest, *options)) == 2
    assert main(study_command(manifest, *options, "--resume")) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (folder / "report.html").exists()
    assert not list(folder.rglob("working"))


def workers_of(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid() and alive(int(process.name)):
            try:
                command_line = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in command_line:
                found.append(int(process.name))
    return found


@needs_proc
def test_ctrl_c_is_one_line_and_keeps_what_is_finished(manifest: Path, spawned: Spawned) -> None:
    program = spawned.cli(*study_command(manifest, *QUICK, "--engines", "propagate", "--progress", "none"))
    folder = manifest.parent / "study"
    wait_for(lambda: any(folder.glob("volumes/*/runs/propagate/*.json")))
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err.count("\n")) == (130, "", 1)
    assert "--resume" in err


def test_volumes_may_be_added_later(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = read_study_manifest(manifest)
    design, folder = TrialDesign(sizes=(2,), draws=1, held_out=2), manifest.parent / "study"
    run_study(listed[1:2], [EngineSettings("propagate")], design, folder)
    before = set(folder.rglob("*.json"))
    times = {path: path.stat().st_mtime_ns for path in before}
    found = run_study(listed, [EngineSettings("propagate")], design, folder, resume=True)
    assert {path: path.stat().st_mtime_ns for path in before} == times
    assert [volume.name for volume in found.volumes] == ["head", "volume 2", "volume 3"]
    assert len(set(folder.rglob("*.json"))) > len(before)


# --- the manifest


def test_volumes_are_labelled_across_their_thickest_spacing_by_default(manifest: Path) -> None:
    first, *_ = read_study_manifest(manifest)
    assert first.read().axis == SliceAxis(0)
    assert replace(first, axis=SliceAxis(2)).read().axis == SliceAxis(2)
    write_manifest(manifest.parent, ["Roe^Jack.nii.gz,Roe^Jack.seg.nrrd,MR,1"], "image,label,group,axis")
    assert read_study_manifest(manifest)[0].axis == SliceAxis(1)
    assert read_study_manifest(manifest)[0].name == "volume 1"
    write_manifest(manifest.parent, ["Roe^Jack.nii.gz;Roe^Jack.seg.nrrd;MR"], "image;label;group")
    assert read_study_manifest(manifest)[0].group == "MR"


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a.nii.gz,MR"], "image,group", "no column label"),
        ([], "image,label,group", "lists no case"),
        ([",Roe^Jack.seg.nrrd,MR"], "image,label,group", "row 2: nothing is in column image"),
        (["no.nii.gz,Roe^Jack.seg.nrrd,MR"], "image,label,group", "no such file"),
        (["Roe^Jack.nii.gz,Roe^Jack.seg.nrrd,MR,4"], "image,label,group,axis", "row 2: Axis 4 does not exist"),
        (["Roe^Jack.nii.gz,Roe^Jack.seg.nrrd,MR,x"] * 2, "image,label,group,name", "row 3: the name 'x'"),
        (
            ["Roe^Jack.nii.gz,Roe^Jim.seg.nrrd,MR"],
            "image,label,group",
            "Volume 'volume 1' of the study",
        ),
    ],
)
def test_an_unusable_manifest_is_refused_in_one_clear_line(
    rows: list[str], header: str, message: str, manifest: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_manifest(manifest.parent, rows, header)
    assert main(study_command(manifest, "--engines", "propagate")) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


@pytest.mark.parametrize("more", [["image.nii.gz"], ["--axis", "0"], ["--labelled-slices", "1,2"]])
def test_options_of_one_volume_are_refused_for_a_study(
    more: list[str], manifest: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(study_command(manifest, *more)) == 2
    assert "Give IMAGE and SUPPORT, or --study" in capfd.readouterr().err


# --- scores and findings


def volume_scores(
    name: str, group: str, dice: dict[str, dict[int, float]], absent: Sequence[UnscoredEngine] = ()
) -> VolumeScores:
    """A volume on which each engine reached this Dice at each size."""
    points = tuple(
        EngineScore(
            engine=engine,
            size=size,
            dice=value,
            least=value,
            most=value,
            by_label=(value,),
            draws=1,
            start_seconds=1.0,
            slice_seconds=0.1,
        )
        for engine, sizes in dice.items()
        for size, value in sizes.items()
    )
    return VolumeScores(
        name=name, group=group, labelled=20, held_out=8, labels=("organ",), points=points, unscored=tuple(absent)
    )


def study_with_lead(count: int, lead: float, spread: float = 0.0) -> StudyResult:
    """A study of `count` volumes in which engine one is ahead by `lead`, more or less by `spread` on each."""
    volumes = [
        volume_scores(
            f"v{number}",
            "AB"[number % 2],
            {"one": {1: 0.5, 4: 0.6 + lead + (-1) ** number * spread}, "two": {1: 0.4, 4: 0.6}},
        )
        for number in range(count)
    ]
    return StudyResult(("one", "two"), tuple(volumes), ())


def test_a_lead_is_significant_if_it_is_consistent_over_volumes() -> None:
    assert any("+0.050" in text and "is beyond" in text for text in texts_of(study_with_lead(8, 0.05)))
    assert any("+0.010" in text and "is within" in text for text in texts_of(study_with_lead(8, 0.01, spread=0.1)))
    assert any("no finding yet: 5 or more" in text for text in texts_of(study_with_lead(4, 0.05)))


def texts_of(study: StudyResult) -> list[str]:
    return list(map(str, findings(study)))


def test_findings_are_codes_with_data() -> None:
    """Lead with one slice and with four, the rise between them, and the best by group."""
    lead, last, rise, best = findings(study_with_lead(8, 0.05))
    assert [finding.code for finding in (lead, last, rise, best)] == [
        *("study_scores_and_lead", "study_scores_and_lead", "dice_rises_for_all", "best_by_group"),
    ]
    assert lead.data["lead"].code == last.data["lead"].code == "study_lead_clear"
    assert str(lead) == (
        "One-shot (one painted slice): one 0.500, two 0.400. The lead of one over two (+0.100, 95 % CI +0.100 to "
        "+0.100) is beyond the variation from volume to volume."
    )
    assert str(last).startswith("Few-shot (4 painted slices): one 0.650, two 0.600. The lead of one over two (+0.050")
    assert str(rise) == (
        "From 1 to 4 painted slices Dice changes by: one +0.150, two +0.200; it rises at every step for all engines."
    )
    assert str(best) == "Best with the most painted slices, by group (number of volumes): one: A (4), B (4)."
    assert all(Message.from_json(json.loads(json.dumps(finding.to_json()))) == finding for finding in (lead, rise))


def test_a_rise_names_the_engines_that_have_it() -> None:
    def study(*dice: dict[int, float]) -> StudyResult:
        engines = ("one", "two")
        scores = volume_scores("v", "A", dict(zip(engines, dice, strict=True)))
        return StudyResult(engines, (scores,), ())

    rising, falling = {1: 0.4, 2: 0.5}, {1: 0.5, 2: 0.4}
    some, none = findings(study(rising, falling))[2], findings(study(falling, falling))[2]
    assert str(some).endswith("one +0.100, two -0.100; it rises at every step for one only.")
    assert str(none).endswith("it rises at every step for no engine.")


def test_sizes_that_a_volume_lacks_are_left_out_of_its_group() -> None:
    volumes = [
        volume_scores("long", "A", {"one": {1: 0.5, 4: 0.6, 16: 0.9}}),
        volume_scores("short", "A", {"one": {1: 0.5, 4: 0.6}}),
        volume_scores("other", "B", {"one": {1: 0.3, 16: 0.5}}),
    ]
    found = StudyResult(("one",), tuple(volumes), ())
    assert [sizes_of(own) for own in groups_of(found).values()] == [[1, 4], [1, 16], [1]]
    points = {(one.group, one.size): one for one in group_points(found)}
    assert points["A", 4].volumes == 2
    assert points[ALL_VOLUMES, 1].dice == pytest.approx(1.3 / 3)


def test_an_engine_that_failed_on_a_volume_has_fewer_volumes(tmp_path: Path) -> None:
    broken = UnscoredEngine("two", "it ran out of memory", started=True)
    volumes = [
        volume_scores("v1", "A", {"one": {1: 0.5, 4: 0.7}, "two": {1: 0.4, 4: 0.8}}),
        volume_scores("v2", "A", {"one": {1: 0.5, 4: 0.7}}, [broken]),
    ]
    found = StudyResult(("one", "two"), tuple(volumes), (UnscoredEngine("three", "it needs weights", started=False),))
    assert {one.engine: one.volumes for one in group_points(found) if one.size == 4} == {"one": 2, "two": 1}
    assert "rises at every step for all engines" in " ".join(texts_of(found))
    write_tables(tmp_path, found)
    contenders = [EngineSettings("one"), EngineSettings("two")]
    write_study_report(tmp_path / "report.html", found, contenders, TrialDesign(), study_png(found))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Failed on v2: it ran out of memory" in html
    assert "it needs weights" in html
    assert "(1 of 2)" in html


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "'=1"]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_of_a_table_is_evaluated_as_a_formula(name: str, tmp_path: Path) -> None:
    point = EngineScore(
        engine="one",
        size=1,
        dice=0.5,
        least=0.4,
        most=0.6,
        by_label=(0.5,),
        draws=1,
        start_seconds=1.0,
        slice_seconds=0.1,
    )
    found = StudyResult(
        ("one",),
        (VolumeScores(name=name, group=name, labelled=2, held_out=1, labels=(name,), points=(point,), unscored=()),),
        (),
    )
    write_tables(tmp_path, found)
    counts = {("one", 1): np.full((1, 1, 1, 3), 4)}
    write_slices(tmp_path / "slices.csv", comparison_of(counts, name, point))
    write_summary(tmp_path / "summary.csv", comparison_of(counts, name, point))
    texts = []
    for table in ("groups", "volumes", "labels", "slices", "summary"):
        with (tmp_path / f"{table}.csv").open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not any(cell.strip().startswith(tuple("=+-@")) for cell in cells), table
        texts += [unescape_formula(cell) for cell in cells]
    assert texts.count(name) >= 5


def comparison_of(counts: dict[tuple[str, int], np.ndarray], name: str, point: EngineScore) -> Comparison:
    """A comparison of one engine on one slice with one label of this name."""
    advice = Recommendation("one", next(iter(Evidence)), 1, {}, ())
    return Comparison(
        labels=(name,),
        not_scored=(),
        sizes=(1,),
        axis=0,
        plane="axial",
        held_out=(0,),
        folds=1,
        points=(point,),
        unscored=(),
        recommendation=advice,
        warnings={},
        samples=(),
        counts=counts,
    )
