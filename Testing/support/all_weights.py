"""Random weights of every pretrained engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.tiny_weights import (
    WeightsFolder,
    random_grounding_dino,
    random_sam,
    random_sam2,
    random_seggpt,
    random_tensors,
    vocabulary,
)

# isort: split
from fewshot_annotate.engines.in_context import multiverseg_network as multiverseg_net
from fewshot_annotate.engines.in_context import seggpt_network as seggpt_model
from fewshot_annotate.engines.in_context import universeg_network as universeg_net
from fewshot_annotate.engines.sam2 import network as sam2_model


def all_weights(folder: Path, patch: pytest.MonkeyPatch) -> WeightsFolder:
    """A checkpoint for each need of each engine, the one that is preferred; all small but MultiverSeg's."""
    weights_folder = WeightsFolder(folder, patch)
    weights_folder.put("universeg-v1", random_tensors(universeg_net.state_shapes()))
    weights_folder.put("multiverseg-v1", random_tensors(multiverseg_net.state_shapes(), spread=0.05))
    for name in ("sam-vit-b", "medsam-vit-b"):
        weights_folder.put(name, random_sam().state_dict())
    weights_folder.put("seggpt-vit-large", seggpt_model.renamed(random_seggpt()))
    weights_folder.put("painter-vit-large", random_seggpt(type_tokens=False))
    weights_folder.put("grounding-dino-tiny", random_grounding_dino(folder / "detector"))
    weights_folder.put_file("grounding-dino-vocabulary", "\n".join(vocabulary()).encode())
    weights_folder.put("sam2.1-hiera-tiny", sam2_model.renamed(random_sam2()))
    return weights_folder
