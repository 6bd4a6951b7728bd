"""Volume and LabelMap: voxel arrays with their geometry, convertible to `SimpleITK.Image`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError
from .palette import label_colour
from .sparse_array import sparse_copy

if TYPE_CHECKING:
    import SimpleITK as sitk

GEOMETRY_TOLERANCE = 1e-6
# Grids whose voxel centres differ by at most this fraction of a voxel are the same: programs round origins to
# 0.01 mm, and 32-bit headers keep seven digits. Well below half a voxel, where the nearest voxel becomes ambiguous.
SAME_VOXEL_TOLERANCE = 0.05
# ITK and DICOM use LPS coordinates, NIfTI and Slicer RAS.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
LPS_TO_RAS_4X4 = np.diag([-1.0, -1.0, 1.0, 1.0])
# Label values stored as floating-point numbers, often scaled, may differ from an integer by this much.
LABEL_TOLERANCE = 0.01


class ImageHeader:
    """Geometry fields of an image file as stored; interpreted only by the reader and writer of the format."""


@dataclass(frozen=True)
class Geometry:
    """Position, spacing and orientation of a voxel grid, in ITK's convention (LPS, mm).

    Attributes
    ----------
    shape : (int, int, int)
        Voxels in array order `[k, j, i]` (slices, rows, columns).
    spacing : (float, float, float)
        Distance between voxel centres in mm, in ITK order `(i, j, k)`.
    origin : (float, float, float)
        Centre of voxel (0, 0, 0) in mm, LPS.
    direction : tuple of 9 floats
        Row-major 3x3 matrix; its columns are the directions of i, j and k.
    header : ImageHeader, optional
        The geometry as stored in the file that the grid was read from, for files to be written on this grid.
        Ignored when grids are compared.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    header: ImageHeader | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of_image(cls, image: sitk.Image) -> Geometry:
        """Geometry of a 3D ITK image."""
        i, j, k = image.GetSize()
        return cls((k, j, i), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Geometry:
        """The inverse of `to_json`."""
        k, j, i = (int(size) for size in data["shape"])
        sx, sy, sz = (float(value) for value in data["spacing"])
        ox, oy, oz = (float(value) for value in data["origin"])
        direction = tuple(float(value) for value in data["direction"])
        if len(direction) != 9:
            raise ValueError("direction needs nine numbers")
        if not np.isfinite([sx, sy, sz, ox, oy, oz, *direction]).all():
            raise ValueError("spacing, origin and direction must be finite")
        if min(k, j, i) < 1 or min(sx, sy, sz) <= 0 or not np.linalg.det(np.reshape(direction, (3, 3))):
            raise ValueError("size and spacing must be positive and the direction matrix invertible")
        return cls((k, j, i), (sx, sy, sz), (ox, oy, oz), direction)

    def to_json(self) -> dict[str, Any]:
        """Plain lists of numbers."""
        return {
            "shape": list(self.shape),
            "spacing": list(self.spacing),
            "origin": list(self.origin),
            "direction": list(self.direction),
        }

    @property
    def direction_matrix(self) -> np.ndarray:
        """`direction` as a matrix, float64 [3, 3]."""
        return np.reshape(np.asarray(self.direction, dtype=float), (3, 3))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return float(np.prod(self.spacing)) / 1000

    @property
    def index_to_world(self) -> np.ndarray:
        """Matrix from voxel steps (i, j, k) to mm (LPS), float64 [3, 3]."""
        return self.direction_matrix * self.spacing

    def difference(self, other: Geometry, tolerance: float = GEOMETRY_TOLERANCE) -> tuple[str, Any, Any] | None:
        """First property in which `other` differs, as (name, value, other's value), or None.

        Lengths are compared in voxels: the corners of both grids may differ by `tolerance` voxels at most.
        """
        if self.shape != other.shape:
            return "size", self.shape[::-1], other.shape[::-1]
        finest = min(self.spacing)
        extent = np.array(self.shape[::-1], dtype=float)
        checks = (
            ("spacing", self.spacing, other.spacing, extent * np.subtract(self.spacing, other.spacing) / finest),
            ("origin", self.origin, other.origin, np.subtract(self.origin, other.origin) / finest),
            (
                "direction",
                self.direction,
                other.direction,
                np.subtract(self.direction, other.direction) * np.tile(extent * self.spacing, 3) / finest,
            ),
        )
        for name, values, other_values, error in checks:
            if not np.abs(error).max() <= tolerance:  # NaN counts as a difference
                return name, *format_distinct(values, other_values)
        return None


def nearest_orthogonal_matrix(direction: np.ndarray) -> np.ndarray:
    """The orthogonal matrix nearest to a direction matrix, shape [3, 3]."""
    left, _, right = np.linalg.svd(direction)
    return np.asarray(left @ right)


def format_distinct(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> tuple[str, str]:
    """Two lists of numbers as text, with enough decimals to show where they differ."""
    difference = float(np.abs(np.subtract(first, second)).max())
    decimals = (
        3
        if difference == 0 or not math.isfinite(difference)
        else min(max(3, 2 - math.floor(math.log10(difference))), 15)
    )

    def text(values: Sequence[float] | np.ndarray) -> str:
        numbers = (f"{float(value):.{decimals}f}".rstrip("0").rstrip(".") for value in values)
        return f"({', '.join('0' if number == '-0' else number for number in numbers)})"

    return text(first), text(second)


def to_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """ITK image of `array` `[k, j, i]` on `geometry`."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


@dataclass(frozen=True)
class Volume:
    """One scalar volume, and co-registered ones of the same patient, such as other MR contrasts or phases of CT.

    Attributes
    ----------
    array : ndarray, shape [k, j, i], any real dtype
    geometry : Geometry
    further : tuple of Volume
        The other channels, each on its own grid; they have no further channels themselves. See `core.channels`.
    """

    array: np.ndarray = field(repr=False)
    geometry: Geometry
    further: tuple[Volume, ...] = ()

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise ValueError(f"array {self.array.shape} does not fit geometry {self.geometry.shape}")

    def require_usable(self, path: object = "The volume") -> None:
        """Raise `InputError` if some voxels are not finite or all are equal."""
        least, most = self.array.min(), self.array.max()  # NaN propagates through both
        if not (np.isfinite(least) and np.isfinite(most)):
            count = int(self.array.size - np.count_nonzero(np.isfinite(self.array)))
            raise InputError("volume_nan", path=path, count=count)
        if least == most:
            raise InputError("volume_constant", path=path, value=float(least))


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A segment: name, colour and tags of one label value.

    Attributes
    ----------
    value : int
        Label value in the array, 1 to 65535.
    name : str
    colour : (float, float, float)
        Red, green, blue in 0..1.
    tags : mapping of str to str
        Segment tags as in .seg.nrrd, terminology among them.
    segment_id : str
        Identifier of the segment in its file or scene; empty if none.
    order : int
        Position in the segment list of its file, over all layers. Segments of equal position are sorted by layer.
    """

    value: int
    name: str
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    tags: Mapping[str, str] = field(default_factory=dict)
    segment_id: str = ""
    order: int = field(default=0, compare=False)


def default_segment(value: int) -> Segment:
    """Segment for a label value without name and colour."""
    return Segment(value=value, name=f"Label {value}", colour=label_colour(value))


def names_by_value(segments: Iterable[Segment]) -> dict[int, str]:
    """Names of segments by label value."""
    return {segment.value: segment.name for segment in segments}


@dataclass(frozen=True)
class LabelMap:
    """Labels on a volume's grid, one label per voxel. Overlapping segments are several label maps (layers).

    Attributes
    ----------
    array : ndarray, shape [k, j, i], uint8 or uint16
        0 is background.
    geometry : Geometry
    segments : tuple of Segment
        One for each label value that may occur, in display order.
    """

    array: np.ndarray = field(repr=False)
    geometry: Geometry
    segments: tuple[Segment, ...] = ()

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise ValueError(f"array {self.array.shape} does not fit geometry {self.geometry.shape}")

    @classmethod
    def empty(cls, geometry: Geometry, segments: Sequence[Segment]) -> LabelMap:
        """A label map with segments and without labelled voxels."""
        dtype = np.min_scalar_type(max((segment.value for segment in segments), default=0))
        return cls(np.zeros(geometry.shape, dtype), geometry, tuple(segments))

    @property
    def values(self) -> tuple[int, ...]:
        """Label values of the segments."""
        return tuple(segment.value for segment in self.segments)

    def with_array(self, array: np.ndarray) -> LabelMap:
        """A label map with the same geometry and segments and other voxels `[k, j, i]`, uint8 or uint16."""
        return replace(self, array=array)


def as_label_array(array: np.ndarray, path: object) -> np.ndarray:
    """Convert an array of any shape and numeric dtype to uint8 or uint16 label values; not copied if it is one.

    Raises
    ------
    InputError
        A value is complex, fractional, negative or above 65535.
    """
    if array.dtype.kind == "c":
        raise InputError("not_scalar", path=path, components=2)
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # infinity minus infinity, and signalling NaN
            rounded = np.rint(array)
            is_integer = np.abs(array - rounded) <= LABEL_TOLERANCE
        if not is_integer.all():
            raise InputError("label_not_integer", path=path, value=float(array[~is_integer].flat[0]))
        array = rounded
    least, most = array.min().item(), array.max().item()  # 65535 is no number of half precision
    if least < 0 or most > 65535:
        raise InputError("label_out_of_range", path=path, value=int(least if least < 0 else most))
    dtype = np.min_scalar_type(int(most))
    return array if array.dtype == dtype else sparse_copy(array, dtype)


def present_values(array: np.ndarray) -> tuple[int, ...]:
    """Label values that occur in a uint8 or uint16 array of any shape, ascending, without 0."""
    is_present = np.zeros(np.iinfo(array.dtype).max + 1, dtype=bool)
    for label_slice in array:  # slice by slice, so that the array is neither sorted nor copied
        is_present[label_slice] = True
    return tuple(int(value) for value in np.flatnonzero(is_present) if value)
