"""Reading of FreeSurfer's MGH and MGZ files with nibabel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.errors import InputError, Message
from ..core.volume import LPS_TO_RAS_4X4, Geometry
from .image_file import ImageFile
from .itk_geometry import require_grid
from .voxel_stream import (
    byte_count,
    file_errors_as_input_errors,
    is_compressed,
    open_decompressed,
    require_plausible_size,
)

_VERSION = 1
_HEADER_BYTES = 284
_TYPES = {0, 1, 3, 4, 10}  # unsigned char, int, float, short, unsigned short


def is_mgh(head: bytes) -> bool:
    """Whether the first bytes of a file are an MGH header."""
    if len(head) < _HEADER_BYTES:
        return False
    version, *sizes, type_code = np.frombuffer(head[:24], ">i4").tolist()
    return version == _VERSION and min(sizes) > 0 and type_code in _TYPES


def read_mgh(path: Path, size: int) -> ImageFile:
    """Read voxels and geometry of an MGH file of `size` bytes.

    Raises
    ------
    InputError
        It is not a single 3D volume, is truncated or damaged, or nibabel is not installed.
    """
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError
    except ImportError:
        raise InputError("nibabel_missing", path=path, install="nibabel") from None
    # Numbers of a damaged header overflow; the resulting geometry is checked at the end.
    with np.errstate(all="ignore"), file_errors_as_input_errors(path), open_decompressed(path) as stream:
        try:
            image = nibabel.MGHImage.from_stream(stream)
            dtype, shape = image.get_data_dtype(), image.shape
            if len(shape) != 3 and shape[3:] != (1,):
                raise InputError("not_3d", path=path, dimension=len(shape))
            require_plausible_size(path, byte_count(dtype, shape), size, is_compressed(stream))
            voxels = np.asanyarray(image.dataobj).reshape(shape[:3]).T
        except InputError:
            raise
        except (ValueError, TypeError, OverflowError, ImageFileError, HeaderDataError):
            raise InputError("file_unreadable", path=path, detail=Message("header_damaged")) from None
        except OSError as error:  # raised by nibabel for missing bytes
            if "bytes" in str(error):
                raise InputError("file_truncated", path=path, detail=Message("voxels_incomplete")) from None
            raise
        array = np.ascontiguousarray(voxels, dtype=dtype.newbyteorder("="))
        return ImageFile(array, _geometry(LPS_TO_RAS_4X4 @ image.affine, array.shape, path))


def _geometry(matrix: np.ndarray, shape: tuple[int, ...], path: Path) -> Geometry:
    """Geometry of an affine, shape [4, 4], from voxel (i, j, k) to LPS in mm."""
    k, j, i = shape
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    direction = matrix[:3, :3] / spacing
    x, y, z = spacing.tolist()
    geometry = Geometry((k, j, i), (x, y, z), tuple(matrix[:3, 3].tolist()), tuple(direction.ravel().tolist()))
    require_grid(geometry, path)
    return geometry
