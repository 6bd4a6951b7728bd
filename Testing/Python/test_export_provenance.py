"""The algorithm that filled a segment is in the export, from the command line and from the scene."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fewshot_annotate import __version__
from fewshot_annotate.cli import main
from fewshot_annotate.core.segment_tags import NAME_TAG, TYPE_TAG
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Segment
from fewshot_annotate.engines.pretrained.engine_weights import weights_in_use
from fewshot_annotate.export.algorithm import Algorithm, AlgorithmType, of_segment
from fewshot_annotate.host.export.segmentation_copy import read_segment
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from fewshot_annotate.weights import catalog, store
from pydicom import dcmread
from support.labels import every_nth, keep_slices, small_case
from support.scene_cases import Runs, case, scene_of
from support.tiny_weights import WeightsFolder

pytestmark = pytest.mark.usefixtures("forked_workers")

PROPAGATE = Algorithm("FewShotAnnotate propagate", __version__)


@pytest.mark.parametrize(
    "changed", [{NAME_TAG: ""}, {TYPE_TAG: "ROBOT"}, {TYPE_TAG: ""}], ids=["no name", "unknown type", "no type"]
)
def test_tags_of_a_file_that_name_no_algorithm_are_ignored(changed: dict[str, str]) -> None:
    assert of_segment(Segment(value=1, name="liver", tags=PROPAGATE.tags())) == PROPAGATE
    assert of_segment(Segment(value=1, name="liver", tags=PROPAGATE.tags() | changed)) is None


def test_a_filled_label_map_names_its_engine_in_the_exported_file(tmp_path: Path) -> None:
    volume, label_map = small_case()
    image, painted, filled, output = (tmp_path / name for name in ("i.nrrd", "p.nrrd", "f.nii.gz", "seg.dcm"))
    write_array(image, volume.array, volume.geometry)
    axis = SliceAxis(0)
    write_label_maps(painted, [keep_slices(label_map, axis, every_nth(label_map, axis, 8))])
    options = ["--engine", "propagate", "--progress", "none"]
    assert main(["fill", str(image), str(painted), "-o", str(filled), *options]) == 0
    (found,) = read_label_maps(filled)
    assert {of_segment(segment) for segment in found.segments} == {PROPAGATE}
    options = ["--derive-series", str(tmp_path / "images"), "--image", str(image), "--code", "*=hippocampus"]
    assert main(["export", str(filled), "--to", "dicom-seg", "-o", str(output), *options]) == 0
    items = dcmread(output).SegmentSequence
    assert {item.SegmentAlgorithmName for item in items} == {PROPAGATE.name}
    versions = {item.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion for item in items}
    assert versions == {__version__}


def test_a_fill_in_the_scene_marks_the_segments_it_changed(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    scene = scene_of(case("ct_vertebrae"))
    segmentation = scene.node.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    segmentation.AddEmptySegment("untouched", "untouched")
    runs(scene).fill(segment_ids=ids, engine="propagate")
    for name in ids:
        assert of_segment(read_segment(segmentation.GetSegment(name), name)) == PROPAGATE
    assert of_segment(read_segment(segmentation.GetSegment("untouched"), "untouched")) is None
    runs.finish()


def test_tags_are_read_as_written() -> None:
    algorithm = Algorithm("FewShotAnnotate sam", "1", "sam-vit-b sha256:ec2d", AlgorithmType.AUTOMATIC)
    assert of_segment(Segment(value=1, name="a", tags=algorithm.tags())) == algorithm
    assert of_segment(Segment(value=1, name="a", tags={"DICOM.SegmentAlgorithmType": "MAGIC"})) is None


@pytest.mark.parametrize("engine", ["propagate", "adapt"])
def test_engines_without_weights_have_no_weights_in_the_export(engine: str) -> None:
    assert weights_in_use(engine) == ""


def test_an_engine_names_its_weights_and_their_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights_folder = WeightsFolder(tmp_path, monkeypatch)
    path = weights_folder.put_file("universeg-v1", b"any content")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert store.known_digests(catalog.checkpoint("universeg-v1"))["sha256"] == digest
    named = weights_in_use("universeg")
    assert named.startswith("universeg-v1 ")
    assert f"sha256:{digest}" in named
    path.unlink()
    assert weights_in_use("universeg") == ""
