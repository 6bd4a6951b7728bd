"""Arrays that take memory only where something was written."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core import sparse_array
from fewshot_annotate.core.sparse_array import copy_nonzero, release_pages, sparse_copy, sparse_zeros
from fewshot_annotate.core.volume import Geometry, LabelMap, default_segment
from fewshot_annotate.io.files import read_label_maps, write_label_maps

_WRITE = """
import resource, sys
import numpy as np
from pathlib import Path
from fewshot_annotate.core.volume import Geometry, LabelMap, default_segment
from fewshot_annotate.core.sparse_array import sparse_zeros
from fewshot_annotate.io.files import read_label_maps, write_label_maps

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before, grid = peak(), Geometry((40, 512, 512))
layers = []
for number in range(30):
    array = sparse_zeros(grid.shape, np.uint8)
    array[10:20, 200 : 230 + number, 100:140] = 1
    layers.append(LabelMap(array, grid, (default_segment(1),)))
path = Path(sys.argv[1])
write_label_maps(path, layers)
found = read_label_maps(path)
assert all((one.array == two.array).all() for one, two in zip(layers, found, strict=True))
print(peak() - before)
"""


def test_a_copy_equals_its_array() -> None:
    values = np.random.default_rng(0).integers(0, 3, (5, 500, 600)) * (np.arange(500)[:, None] % 7 == 0)
    values[2] = 0
    copied = sparse_copy(values[:, ::-1], np.uint16)
    assert copied.dtype == np.uint16
    np.testing.assert_array_equal(copied, values[:, ::-1])
    part = sparse_zeros((6, 502, 600), np.uint8)
    copy_nonzero(part[1:, 1:-1], values)
    np.testing.assert_array_equal(part[1:, 1:-1], values)
    assert not part[0].any()


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 1000, 1000), (0, 5, 5)])
def test_sparse_zeros_are_writable_and_equal_those_of_numpy(shape: tuple[int, ...]) -> None:
    array = sparse_zeros(shape, np.uint16)
    assert array.shape == shape
    assert array.dtype == np.uint16
    assert not array.any()
    array[...] = 7
    assert (array == 7).all()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="where the system takes memory back")
def test_many_full_arrays_are_kept_in_files_and_not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_array, "MAX_MEMORY_BYTES", 10 << 20)
    monkeypatch.setattr(sparse_array, "MAX_FILE_BYTES", 0)
    before, arrays = resident_mib(), []
    for number in range(1, 21):
        array = sparse_zeros((4, 1024, 1024), np.uint8)
        array[...] = number
        arrays.append(array)
    until = time.monotonic() + 60
    while resident_mib() - before > 20 and time.monotonic() < until:
        time.sleep(0.05)
    assert resident_mib() - before < 20
    assert [int(array.min()) for array in arrays] == list(range(1, 21))
    assert [int(array.max()) for array in arrays] == list(range(1, 21))


@pytest.mark.skipif(sys.platform != "linux", reason="where the system takes memory back")
def test_arrays_for_which_the_disk_has_no_room_are_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_words: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sparse_array, "MAX_MEMORY_BYTES", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    array = sparse_zeros((2, 1024, 1024), np.uint8)
    array[...] = 3
    assert (array == 3).all()


@pytest.mark.skipif(sys.platform != "linux", reason="where the system takes memory back")
def test_full_layers_kept_in_files_are_written_and_read_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_array, "MAX_MEMORY_BYTES", 0)
    grid, random = Geometry((20, 256, 256)), np.random.default_rng(0)
    layers = [LabelMap(sparse_zeros(grid.shape, np.uint8), grid, (default_segment(1),)) for _ in range(8)]
    for layer in layers:
        layer.array[...] = random.integers(0, 8, (20, 1, 1)) > 0
    write_label_maps(tmp_path / "a.seg.nrrd", layers)
    before = resident_mib()
    found = read_label_maps(tmp_path / "a.seg.nrrd")
    release_pages()
    assert resident_mib() - before < 5
    assert all(np.array_equal(one.array, two.array) for one, two in zip(layers, found, strict=True))


def resident_mib() -> float:
    """Memory of this process, file pages included."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="which need Linux, where peaks are in KiB")
def test_layers_of_a_file_take_the_memory_of_their_labels(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WRITE, str(tmp_path / "a.seg.nrrd")], check=True, capture_output=True, text=True
    )
    assert float(done.stdout) < 200, "30 layers of 10 MiB, twice, would be 600 MiB"
