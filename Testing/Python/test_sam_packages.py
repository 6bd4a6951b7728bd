"""Packages that are installed but do not load, and weights of another model: one line each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.engines.pretrained import base
from fewshot_annotate.engines.pretrained.architecture import architecture_errors, count, load, require_importable
from fewshot_annotate.engines.registry import engine_class

ENGINES = ("sam", "medsam", "persam", "persam-f", "seggpt", "painter", "grounding-dino", "sam2-video")


@pytest.mark.parametrize(
    "package_code",
    ["raise RuntimeError('operator torchvision::nms does not exist\\nmore')", "import no_such_package"],
)
def test_a_package_that_does_not_load_is_named_in_one_line(
    package_code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text(package_code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="package broken_package does not load") as refused:
        require_importable("broken_package")
    assert refused.value.code == "package_broken"
    assert "\n" not in str(refused.value)


def test_a_missing_package_is_not_reported_as_one_that_does_not_load() -> None:
    require_importable("no_such_package_at_all", "json")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("neck.weight"), "no neck.weight"),
        (RuntimeError("Error(s) in loading state_dict for Sam:\n\tsize mismatch for x"), "size mismatch for x"),
        (ZeroDivisionError("division by zero"), "division by zero"),
    ],
)
def test_errors_of_a_model_about_other_weights_become_one_line(error: Exception, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused, architecture_errors(Path("weights.pth")):
        raise error
    assert refused.value.code == "weights_architecture"
    assert "\n" not in str(refused.value)


def test_a_lack_of_memory_while_a_model_is_built_is_not_reported_as_wrong_weights() -> None:
    with pytest.raises(RuntimeError, match="out of memory"), architecture_errors(Path("weights.pth")):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")


def test_all_weights_must_be_there_and_no_others() -> None:
    model = torch.nn.Linear(2, 3)
    weight, bias = torch.ones(3, 2), torch.ones(3)
    with pytest.raises(ValueError, match="missing: bias"):
        load(model, {"weight": weight})
    with pytest.raises(ValueError, match="unknown: more"):
        load(model, {"weight": weight, "bias": bias, "more": bias})
    load(model, {"weight": weight, "bias": bias, "more.of": bias}, optional=("more.",))
    assert model.weight.data_ptr() == weight.data_ptr()


def test_repeated_blocks_are_counted_by_their_keys() -> None:
    state = {"blocks.0.a": torch.ones(1), "blocks.11.a": torch.ones(1)}
    assert count(state, "blocks.") == 12
    with pytest.raises(KeyError):
        count(state, "layers.")


def test_missing_packages_have_their_name_in_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    named = {package for name in ENGINES for package in engine_class(name).missing_packages()}
    assert named == {
        "torch",
        "platformdirs",
        "segment-anything",
        "torchvision",
        "pillow",
        "transformers",
        "safetensors",
    }
    reason = engine_class("medsam").unavailable_reason()
    assert reason is not None
    assert reason.data["install"] == "torch platformdirs segment-anything torchvision pillow"
    assert str(reason).endswith('[pretrained]"')
