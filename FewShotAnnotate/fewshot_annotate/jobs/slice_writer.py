"""SliceWriter: writes the slices of a result one by one, in the worker."""

from __future__ import annotations

from collections.abc import Collection
from typing import IO

import numpy as np

from ..io.array_file import read_npy_header
from .layer_folder import LayerFolder
from .run_layout import CHECKSUMS, SliceState, checksum_of, quantised


class SliceWriter:
    """Writes slices of a result with their confidence; the state of a slice is written last."""

    def __init__(self, folder: LayerFolder) -> None:
        self._files: dict[str, tuple[IO[bytes], np.dtype, int, int]] = {}
        names = ["result", "confidence", *([CHECKSUMS] if folder.has_checksums else []), "finished"]
        for name in names:
            path = folder.array_path(name)
            layout = read_npy_header(path)
            self._files[name] = (path.open("r+b", buffering=0), layout.dtype, layout.start, layout.item_bytes)

    def write(self, index: int, labels: np.ndarray, confidence: np.ndarray, draft: bool = False) -> None:
        """Write one slice: label values [h, w] and confidence 0..1 [h, w]."""
        values = labels.astype(self._files["result"][1])
        scaled = quantised(confidence)
        arrays = {
            "result": values,
            "confidence": scaled,
            CHECKSUMS: np.array([checksum_of(values, scaled)]),
            "finished": np.array([SliceState.DRAFT if draft else SliceState.FINAL]),
        }
        for name, (file, dtype, start, size) in self._files.items():
            data = memoryview(np.ascontiguousarray(arrays[name].astype(dtype))).cast("B")
            if len(data) != size:
                raise ValueError(f"slice {index}: {arrays[name].shape} does not fit {name}.npy")
            file.seek(start + index * size)
            while data:
                data = data[file.write(data) :]

    def withdraw(self, indices: Collection[int]) -> None:
        """Mark slices as pending again."""
        file, dtype, start, size = self._files["finished"]
        for index in indices:
            file.seek(start + index * size)
            file.write(np.array([SliceState.PENDING]).astype(dtype).tobytes())

    def close(self) -> None:
        """Close the files."""
        for file, *_ in self._files.values():
            file.close()

    def __enter__(self) -> SliceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
