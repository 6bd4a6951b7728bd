"""Sample data for the tutorial, offered in Slicer's Sample Data module. Downloaded only when the user asks."""

from __future__ import annotations

from pathlib import Path

_ICONS = Path(__file__).parents[3] / "Resources" / "Icons"
_URL = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"

# Name, file, SHA-256. Both are Slicer's own sample data; CTLiver: Medical Segmentation Decathlon, CC-BY-SA 4.0.
SAMPLES = (
    ("FewShotAnnotateMRHead", "MR-head.nrrd", "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),
    ("FewShotAnnotateCTLiver", "CTLiver.nrrd", "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e"),
)


def register_sample_data() -> None:
    """List the samples in the Sample Data module, with their checksums, if the application has that module."""
    try:
        import SampleData  # type: ignore[import-not-found]
    except ImportError:
        return

    for name, file, digest in SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="Few-Shot Annotate",
            sampleName=name,
            thumbnailFileName=str(_ICONS / "FewShotAnnotate.png"),
            uris=_URL + digest,
            fileNames=file,
            checksums=f"SHA256:{digest}",
            nodeNames=name,
        )
