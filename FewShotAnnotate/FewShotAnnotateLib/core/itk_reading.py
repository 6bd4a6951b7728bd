"""Image files of the many formats that ITK knows, read in a process of its own: a damaged one can end it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from .errors import InputError
from .file_kind import kind_of
from .image_file import ImageFile
from .itk_geometry import require_grid
from .python_program import python_program
from .volume import Geometry
from .voxel_stream import memory_bytes

_SCRIPT = Path(__file__).with_name("itk_child.py")
TIME_LIMIT_SECONDS = 600.0


def read_with_itk(path: Path) -> ImageFile:
    """Voxels and geometry of a file as ITK reads it.

    Raises
    ------
    InputError
        ITK cannot read it, for whatever reason; not one 3D image.
    """
    with tempfile.TemporaryDirectory() as folder:
        # -P: modules of ours that lie beside the script must not be taken for others of the same name.
        command = [python_program(), "-P", str(_SCRIPT), str(path.absolute()), folder, str(memory_bytes())]
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
        if code:
            raise InputError("file_unreadable", path=path, detail=kind_of(path))
        description = json.loads(Path(folder, "image.json").read_text(encoding="ascii"))
        if description["dimension"] != 3:
            raise InputError("not_3d", path=path, dimension=description["dimension"])
        array = np.load(Path(folder, "voxels.npy"))
    k, j, i = array.shape[:3]
    geometry = Geometry(
        (k, j, i), tuple(description["spacing"]), tuple(description["origin"]), tuple(description["direction"])
    )
    require_grid(geometry, path)
    return ImageFile(array, geometry)
