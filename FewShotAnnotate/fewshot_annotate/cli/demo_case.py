"""The demo: the MNI152 brain, every 12th slice labelled, grey and white matter filled."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from ..core.slice_axis import SliceAxis
from ..core.volume import Geometry, LabelMap, Segment, Volume

LABELLED_SLICE_INTERVAL = 12
AXIS = SliceAxis(0)
SEGMENTS = (
    Segment(value=1, name="grey matter", colour=(0.90, 0.30, 0.24)),
    Segment(value=2, name="white matter", colour=(0.20, 0.60, 0.86)),
)


def read_mni152() -> tuple[Volume, LabelMap]:
    """ICBM 152 nonlinear symmetric template 2009a (Fonov et al. 2011), 1 mm, from the nilearn package's data.

    Returns
    -------
    volume : Volume
        T1-weighted brain, cropped to the head.
    label_map : LabelMap
        1 where grey, 2 where white matter is the more probable and above one half.

    Raises
    ------
    InputError
        nilearn is not installed, or carries these files elsewhere.
    """
    spec = find_spec("nilearn")
    missing = InputError("package_missing", package="nilearn", install='"fewshot-annotate[demo]"')
    if spec is None or spec.origin is None:
        raise missing
    folder = Path(spec.origin).parent / "datasets" / "data"
    try:
        t1, grey, white = (
            sitk.ReadImage(str(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"))
            for name in ("t1", "gm", "wm")
        )
    except RuntimeError:
        raise missing from None
    grey_matter, white_matter = sitk.GetArrayFromImage(grey), sitk.GetArrayFromImage(white)
    half = (grey_matter.max() / 2, white_matter.max() / 2)
    labels = np.zeros(grey_matter.shape, dtype=np.uint8)
    labels[(grey_matter > half[0]) & (grey_matter >= white_matter)] = 1
    labels[(white_matter > half[1]) & (white_matter > grey_matter)] = 2
    geometry = Geometry.of_image(t1)
    return Volume(sitk.GetArrayFromImage(t1), geometry), LabelMap(labels, geometry, SEGMENTS)


def labelled_slices(label_map: LabelMap) -> list[int]:
    """Every 12th slice of those that hold labels."""
    held = np.flatnonzero(AXIS.slices(label_map.array).any(axis=(1, 2)))
    return [
        int(index) for index in range(held[0] + LABELLED_SLICE_INTERVAL // 2, held[-1] + 1, LABELLED_SLICE_INTERVAL)
    ]


def keep_slices(label_map: LabelMap, indices: list[int]) -> LabelMap:
    """The label map with all slices but these emptied, as if only they had been painted."""
    array = np.zeros_like(label_map.array)
    AXIS.slices(array)[indices] = AXIS.slices(label_map.array)[indices]
    return label_map.with_array(array)
