"""A segmentation sent to a real DICOM archive, found, retrieved and compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fewshot_annotate.core.structures import common_structures
from fewshot_annotate.export.delivery import deliver
from fewshot_annotate.export.dicom_seg import CodedSegment, SegContent, SegType
from fewshot_annotate.export.dicom_series import read_series
from fewshot_annotate.export.preflight import check
from fewshot_annotate.export.request import ExportRequest, Remedy, Target
from fewshot_annotate.export.seg_verification import compare_segmentation
from pydicom import dcmread
from support.dicom import cropped_labels, dcmqi_segments, names_of, needs_programs, two_layers, write_cropped_headers
from support.orthanc import DICOMWEB_PLUGIN, Orthanc, running_orthanc
from test_export_dicom_seg import ENGINE

pytestmark = [
    needs_programs("Orthanc", "dcmsend", "findscu"),
    pytest.mark.skipif(
        not DICOMWEB_PLUGIN.exists(), reason="which need a program: apt-get install orthanc-dicomweb (Debian, Ubuntu)"
    ),
]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


def exported(folder: Path, kind: SegType = SegType.BINARY) -> tuple[Path, SegContent]:
    """A segmentation of the cropped series, overlapping where its type allows it: the file and its content."""
    layers = two_layers(cropped_labels()) if kind is SegType.BINARY else (cropped_labels(),)
    series = read_series(write_cropped_headers(folder / "series"))
    path = folder / "seg.dcm"
    agreed = frozenset({Remedy.SUGGEST_CODES})
    request = ExportRequest(
        layers=layers,
        output=path,
        target=Target.DICOM_SEG,
        software_version="0.1.0",
        algorithm=ENGINE,
        series=series,
        type=kind,
        agreed=agreed,
    )
    preflight = check(request)
    assert deliver(preflight).verified
    segments = [(number, segment) for number, layer in enumerate(layers) for segment in layer.segments]
    coded = tuple(
        CodedSegment(count, number, segment, terminology, ENGINE)
        for count, (number, segment) in enumerate(segments, start=1)
        if (terminology := common_structures().suggest(segment.name))
    )
    return path, SegContent(series, layers, coded, kind, "0.1.0")


def test_sent_by_c_store_found_by_c_find_and_retrieved_by_c_get(orthanc: Orthanc, tmp_path: Path) -> None:
    path, content = exported(tmp_path)
    sent = dcmread(path)
    orthanc.c_store(path)
    answer = orthanc.c_find(
        "SERIES", StudyInstanceUID=sent.StudyInstanceUID, SeriesInstanceUID=sent.SeriesInstanceUID, Modality=""
    )
    assert "SEG" in answer
    (returned,) = orthanc.c_get(tmp_path / "returned", sent.StudyInstanceUID, sent.SeriesInstanceUID)
    assert compare_segmentation(returned, content) == []
    names = [name for layer in content.layers for name in names_of(layer.segments)]
    assert sorted(dcmqi_segments(returned, tmp_path / "dcmqi")) == sorted(names)


@pytest.mark.parametrize("kind", list(SegType))
def test_sent_by_stow_found_by_qido_and_retrieved_by_wado(orthanc: Orthanc, tmp_path: Path, kind: SegType) -> None:
    path, content = exported(tmp_path, kind)
    sent = dcmread(path)
    answer = orthanc.stow(path)
    assert answer.get("00081198", {}).get("Value", []) == []  # Failed SOP Sequence
    resource = f"studies/{sent.StudyInstanceUID}/series/{sent.SeriesInstanceUID}"
    (found,) = orthanc.qido(f"{resource}/instances")
    assert found["00080018"]["Value"] == [sent.SOPInstanceUID]
    (series,) = orthanc.qido(f"studies/{sent.StudyInstanceUID}/series?SeriesInstanceUID={sent.SeriesInstanceUID}")
    assert series["00080060"]["Value"] == ["SEG"]
    (body,) = orthanc.wado(resource)
    returned = tmp_path / "returned.dcm"
    returned.write_bytes(body)
    assert compare_segmentation(returned, content) == []


def test_a_changed_segmentation_is_detected(tmp_path: Path) -> None:
    path, content = exported(tmp_path)
    first, *others = content.segments
    renamed = replace(first, segment=replace(first.segment, name="another"))
    assert compare_segmentation(path, replace(content, segments=(renamed, *others))) != []
