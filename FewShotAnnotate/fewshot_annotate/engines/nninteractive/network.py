"""The network of nnInteractive, built from the published plans and weights, and its session with muted output.

Isensee et al., "nnInteractive: Redefining 3D Promptable Segmentation" (2025). The session is that of the package
`nninteractive`, but its loading is not used, because that would execute code from the files.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..pretrained.architecture import load
from .prompts import LabelPrompts

# The configuration of the plans that version 1.0 was trained with.
CONFIGURATION = "3d_fullres_ps192_bs24"
# The image, the previous segmentation, and a positive and a negative channel of lassos, points and scribbles.
INPUT_CHANNELS = 8
OUTPUT_CHANNELS = 2
LICENCE = "CC BY-NC-SA 4.0"
# Allowed names in the plans. Other names are refused instead of imported, because a file could name any function.
ARCHITECTURES = ("ResidualEncoderUNet", "PlainConvUNet")
_LAYERS = {"Conv3d": nn.Conv3d, "InstanceNorm3d": nn.InstanceNorm3d, "LeakyReLU": nn.LeakyReLU}


class PromptableModel:
    """The network of nnInteractive on a device, with the parts of the plans that its session needs.

    Parameters
    ----------
    state : mapping of str to Tensor
    plans : mapping
        Content of the published `plans.json`.
    device : torch.device

    Raises
    ------
    KeyError, ValueError, TypeError, RuntimeError
        The plans do not have the expected configuration, or the weights do not fit the plans.
    """

    def __init__(
        self, state: Mapping[str, Tensor], plans: Mapping[str, Any], device: torch.device | str = "cpu"
    ) -> None:
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        self.device = torch.device(device)
        with _silent(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.plans = PlansManager(dict(plans))
            self.configuration = self.plans.get_configuration(CONFIGURATION)
        self.net = _build(self.configuration.configuration["architecture"])
        load(self.net, state)
        self.net.requires_grad_(False).to(self.device).eval()


class PromptedSession:
    """Segments one label after the other in a volume.

    Parameters
    ----------
    model : PromptableModel
    slices : ndarray, shape [n, h, w], any real dtype
        Not zero everywhere.
    autozoom : bool
        Whether to zoom out to a coarser view where a label reaches the edge of the network's field of view.
    report_pass : function
        Called after each pass of the network.
    """

    def __init__(
        self, model: PromptableModel, slices: np.ndarray, autozoom: bool, report_pass: Callable[[], None]
    ) -> None:
        from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

        self._model = model
        self._report_pass = report_pass
        self._slices: np.ndarray | None = slices
        self._target = torch.zeros(slices.shape, dtype=torch.uint8)
        with _silent():
            self._session = nnInteractiveInferenceSession(
                device=model.device, torch_n_threads=torch.get_num_threads(), do_autozoom=autozoom, enable_undo=False
            )
            self._session.initialize_from_loaded_artifacts(
                {
                    # The defaults are what version 1.0 supports.
                    "capability_content": {},
                    "point_interaction": None,
                    "preferred_scribble_thickness": [2, 2, 2],
                    # All prompts are given at once, so none is older than the others and should count less.
                    "interaction_decay": 1.0,
                    "pad_mode_data": "constant",
                    "network": model.net,
                    "plans_manager": model.plans,
                    "configuration_manager": model.configuration,
                    "dataset_json": {},
                    "trainer_name": "",
                    "label_manager": None,
                    "license": LICENCE,
                }
            )

    def segment(self, prompts: LabelPrompts) -> np.ndarray:
        """Mask of the label with these prompts, bool `[n, h, w]`."""
        shape = tuple(self._target.shape)
        stop = prompts.first + len(prompts.inside)
        box = [[prompts.first, stop], [0, shape[1]], [0, shape[2]]]
        visible = sys.stdout

        def report(*_: object) -> None:
            # The callback may print, and its output must not be muted.
            with redirect_stdout(visible):
                self._report_pass()

        hook = self._model.net.register_forward_hook(report)
        try:
            with _silent():
                if self._slices is not None:
                    self._session.set_image(self._slices[None])
                    self._session.set_target_buffer(self._target)
                    self._slices = None
                else:
                    self._session.reset_interactions()
                for negative, add in (
                    (prompts.others, self._session.add_lasso_interaction),
                    (prompts.background, self._session.add_scribble_interaction),
                ):
                    if negative.any():
                        add(negative, False, run_prediction=False, interaction_bbox=box)
                # The session predicts around the last prompt, so this must be the one that shows the whole label.
                self._session.add_lasso_interaction(prompts.inside, True, run_prediction=True, interaction_bbox=box)
        finally:
            hook.remove()
        mask: np.ndarray = self._target.numpy() > 0
        return mask


def require_names(state: Mapping[str, Tensor]) -> None:
    """Raise `KeyError` or `ValueError` unless the tensors have names and numbers of channels as in nnInteractive.

    Other shapes are not checked, because they depend on the plans.
    """
    inputs = [tensor for name, tensor in state.items() if name.startswith("encoder.") and tensor.ndim == 5]
    if not inputs:
        raise KeyError("encoder")
    if inputs[0].shape[1] != INPUT_CHANNELS:
        raise ValueError(f"{inputs[0].shape[1]} input channels and not {INPUT_CHANNELS}")
    outputs = state["decoder.seg_layers.0.weight"].shape[0]
    if outputs != OUTPUT_CHANNELS:
        raise ValueError(f"{outputs} output channels and not {OUTPUT_CHANNELS}")


def _build(architecture: Mapping[str, Any]) -> nn.Module:
    """The network that the plans describe, without weights."""
    from dynamic_network_architectures.architectures import unet

    name = str(architecture["network_class_name"]).rsplit(".", 1)[-1]
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown network {name}")
    settings = dict(architecture["arch_kwargs"])
    for key in architecture["_kw_requires_import"]:
        layer = settings[key]
        settings[key] = layer and _LAYERS[str(layer).rsplit(".", 1)[-1]]
    settings["deep_supervision"] = False
    with torch.device("meta"):
        network: nn.Module = getattr(unet, name)(
            input_channels=INPUT_CHANNELS, num_classes=OUTPUT_CHANNELS, **settings
        )
    return network


@contextmanager
def _silent() -> Iterator[None]:
    """Context in which the output that the package prints is discarded."""
    with redirect_stdout(io.StringIO()):
        yield
