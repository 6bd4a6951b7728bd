"""Script: read one image file with ITK and leave its voxels and geometry in a folder.

It runs in a process of its own, because ITK ends its process at some damaged files. Exit code 0: `voxels.npy` and
`image.json` are there; else the file cannot be read.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path


def main(source: str, folder: str, memory_bytes: str) -> int:
    """Read `source` with no more memory than given."""
    import numpy as np
    import SimpleITK as sitk

    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limits on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    place = Path(folder)
    image = sitk.ReadImage(_name(source, place))
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]
    array = sitk.GetArrayViewFromImage(image)
    np.save(place / "voxels.npy", array)
    description = {
        "dimension": image.GetDimension(),
        "components": image.GetNumberOfComponentsPerPixel(),
        "spacing": image.GetSpacing(),
        "origin": image.GetOrigin(),
        "direction": image.GetDirection(),
    }
    (place / "image.json").write_text(json.dumps(description), encoding="ascii")
    return 0


def _name(source: str, folder: Path) -> str:
    """A name of the file that is Unicode, as ITK needs."""
    try:
        return os.fsencode(source).decode("utf-8")
    except UnicodeDecodeError:
        alias = folder / ("alias" + "".join(character for character in Path(source).suffix if character.isascii()))
        alias.symlink_to(source)
        return str(alias)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
