"""Script: read an image file with ITK and write its voxels and geometry to a folder.

It runs in a separate process, because ITK aborts the process on some damaged files. Exit codes: 0 if `voxels.npy` and
`image.json` were written, the last argument if the folder cannot be written, any other if the image cannot be read.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from pathlib import Path


def main(source: str, folder: str, memory_bytes: str, unwritable: str) -> int:
    """Read `source` within a memory limit; `unwritable` is the exit code if `folder` cannot be written."""
    import numpy as np
    import SimpleITK as sitk

    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    output = Path(folder)
    image = sitk.ReadImage(_unicode_name(source, output))
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]
    array = sitk.GetArrayViewFromImage(image)
    description = {
        "dimension": image.GetDimension(),
        "components": image.GetNumberOfComponentsPerPixel(),
        "spacing": image.GetSpacing(),
        "origin": image.GetOrigin(),
        "direction": image.GetDirection(),
    }
    try:
        with (output / "voxels.npy").open("xb") as file:  # numpy.save does not notice a full disk
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.reshape(-1).view(np.uint8).data)
        (output / "image.json").write_text(json.dumps(description), encoding="ascii")
    except OSError:
        return int(unwritable)
    return 0


def _unicode_name(source: str, folder: Path) -> str:
    """Name of the file in Unicode, as ITK requires; that of a link in `folder` if the file's name is not Unicode."""
    try:
        return os.fsencode(source).decode("utf-8")
    except UnicodeDecodeError:
        alias = folder / ("alias" + "".join(character for character in Path(source).suffix if character.isascii()))
        alias.symlink_to(source)
        return str(alias)


if __name__ == "__main__":
    gc.disable()
    exit_code = main(*sys.argv[1:])
    gc.freeze()  # nothing that was loaded is garbage
    sys.exit(exit_code)
