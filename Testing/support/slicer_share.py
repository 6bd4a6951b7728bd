"""Stand-in for the files of Slicer's share folder that its logics read and the wheel does not contain.

The contents are small and made up for tests: three colours, a handful of terminology codes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_COLORS = """# Color table file, stand-in for tests
0 Background 0 0 0 0
1 label_1 128 174 128 255
2 label_2 241 214 145 255
3 label_3 177 122 101 255
"""

_SCHEMAS = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/"


def _code(value: str, meaning: str, **more: Any) -> dict[str, Any]:
    return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning, **more}


def _terminology(context_name: str) -> dict[str, Any]:
    tissue = _code("85756007", "Tissue", recommendedDisplayRGBValue=[128, 174, 128])
    mass = _code("4147007", "Mass", recommendedDisplayRGBValue=[144, 238, 144])
    organs = [
        _code("10200004", "Liver", recommendedDisplayRGBValue=[221, 130, 101]),
        _code("78961009", "Spleen", recommendedDisplayRGBValue=[157, 108, 162]),
        _code("64033007", "Kidney", recommendedDisplayRGBValue=[185, 102, 83]),
    ]
    return {
        "SegmentationCategoryTypeContextName": context_name,
        "@schema": _SCHEMAS + "segment-context-schema.json#",
        "SegmentationCodes": {
            "Category": [
                _code("85756007", "Tissue", showAnatomy=True, Type=[tissue]),
                _code("123037004", "Anatomical Structure", showAnatomy=False, Type=organs),
                _code("49755003", "Morphologically Altered Structure", showAnatomy=True, Type=[mass]),
            ]
        },
    }


def _anatomy(context_name: str) -> dict[str, Any]:
    return {
        "AnatomicContextName": context_name,
        "@schema": _SCHEMAS + "anatomic-context-schema.json#",
        "AnatomicCodes": {"AnatomicRegion": [_code("10200004", "Liver"), _code("39607008", "Lung")]},
    }


def write_slicer_share(folder: Path) -> None:
    """Write `ColorFiles` and `Terminologies` below `folder`."""
    colors, terminologies = folder / "ColorFiles", folder / "Terminologies"
    colors.mkdir(parents=True)
    terminologies.mkdir()
    for name in ("GenericColors.txt", "GenericAnatomyColors.txt"):
        (colors / name).write_text(_COLORS, encoding="ascii")
    contexts = {
        "SegmentationCategoryTypeModifier-SlicerGeneralAnatomy": _terminology(
            "Segmentation category and type - 3D Slicer General Anatomy list"
        ),
        "SegmentationCategoryTypeModifier-DICOM-Master": _terminology(
            "Segmentation category and type - DICOM master list"
        ),
        "AnatomicRegionAndModifier-DICOM-Master": _anatomy("Anatomic codes - DICOM master list"),
    }
    for name, context in contexts.items():
        (terminologies / f"{name}.term.json").write_text(json.dumps(context), encoding="ascii")
