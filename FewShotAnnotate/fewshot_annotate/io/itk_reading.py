"""Reading of image files with ITK in a separate process, because ITK aborts the process on some damaged files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.python_executable import python_executable
from ..core.storage import temporary_folder
from ..core.volume import Geometry
from .foreign_formats import describe_format
from .image_file import ImageFile
from .itk_geometry import require_grid
from .voxel_stream import memory_bytes

_SCRIPT = Path(__file__).with_name("itk_child.py")
TIME_LIMIT_SECONDS = 600.0


def read_with_itk(path: Path) -> ImageFile:
    """Read voxels and geometry of an image file with ITK.

    Raises
    ------
    InputError
        ITK cannot read it, it is not a single 3D image, or temporary files cannot be written.
    """
    with temporary_folder() as folder:
        # -P: modules beside the script must not shadow others of the same name.
        command = [python_executable(), "-P", str(_SCRIPT), str(path.absolute()), str(folder), str(memory_bytes())]
        command.append(str(int(ExitCode.CANNOT_WRITE)))
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TIME_LIMIT_SECONDS,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                check=False,
            ).returncode
        except (OSError, subprocess.TimeoutExpired):
            code = os.EX_UNAVAILABLE if hasattr(os, "EX_UNAVAILABLE") else 1
        if code == ExitCode.CANNOT_WRITE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if code:
            raise InputError("file_unreadable", path=path, detail=describe_format(path))
        description = json.loads((folder / "image.json").read_text(encoding="ascii"))
        if description["dimension"] != 3:
            raise InputError("not_3d", path=path, dimension=description["dimension"])
        array = np.load(folder / "voxels.npy")
    k, j, i = array.shape[:3]
    geometry = Geometry(
        (k, j, i), tuple(description["spacing"]), tuple(description["origin"]), tuple(description["direction"])
    )
    require_grid(geometry, path)
    return ImageFile(array, geometry)
