"""Loading of torch without a search for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest
from fewshot_annotate.engines.torch_loading import load_torch


@pytest.fixture(params=[True, False], ids=["collecting", "not collecting"])
def collecting(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = gc.isenabled()
    if request.param:
        gc.enable()
    else:
        gc.disable()
    yield request.param
    if before:
        gc.enable()
    else:
        gc.disable()


def test_garbage_is_collected_afterwards_as_before(collecting: bool) -> None:
    load_torch()
    assert gc.isenabled() is collecting
    assert "torch" in sys.modules


def test_garbage_is_collected_again_if_torch_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, collecting: bool
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError):
        load_torch()
    assert gc.isenabled() is collecting
