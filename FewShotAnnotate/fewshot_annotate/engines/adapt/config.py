"""Settings of `adapt`: its parts, each of which can be switched off, and every constant that was tuned.

The metadata of each field state its purpose (`help`) and the other values that it is compared with (`tried`): those
of earlier versions and a smaller and a larger one. A switch is measured on and off. The command

    python Testing/Benchmarks/ablation.py --parts SECTION.FIELD

measures one field and prints a table about its default; `Resources/Documentation/benchmarks.md` lists the fields for
which it was run last. The last row shows the result with the switch that precedes the constant turned off. Fields
without other values are limits of memory and time, or, in `BlendConfig`, are measured by `many.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..calibration.config import CalibrationConfig, ExpectedDiceConfig, LabellingConfig, tuned
from ..propagate.candidates import EQUALISED_SHARE, MAX_GROWING_SIDE_PIXELS


@dataclass(frozen=True, kw_only=True)
class CandidateConfig:
    """Candidates other than the network. One that is switched off is replaced by the first of the others."""

    min_probabilities: tuple[float, float, float] = tuned(
        (1e-3, 1e-2, 1e-3),
        "Added to the probabilities of each candidate, so that none of them can exclude a label.",
        (1e-3, 1e-3, 1e-3),
        (1e-2, 1e-2, 1e-2),
    )
    propagation: bool = tuned(True, "Propagation of labels along optical flow.", False)
    region_growing: bool = tuned(True, "Region growing from the labelled slices.", False)
    equalised_share: float = tuned(
        EQUALISED_SHARE,
        "Share of the equalised curve in the contrast of region growing and networks; 0: linear.",
        0.0,
        0.5,
        0.9,
    )
    max_growing_side: int = tuned(
        MAX_GROWING_SIDE_PIXELS, "Slices with a longer side, in pixels, are subsampled for region growing."
    )
    growing_dice_tolerance: float = tuned(
        0.05,
        "Region growing is reliable if its mean Dice on labels that end is at most this much below propagation's.",
        0.0,
        0.1,
    )
    tip_pixels: int = tuned(
        30,
        "A label on a single slice with fewer pixels is the tip of a structure. It has no outline to propagate, so "
        "region growing is used even if it is not reliable.",
        0,
        60,
    )
    shape_interpolation: bool = tuned(True, "Shape interpolation between the labelled slices.", False)
    structure_keeping: bool = tuned(True, "Keep structures that both neighbouring labelled slices show.", False)

    def __post_init__(self) -> None:
        if not (self.propagation or self.region_growing or self.shape_interpolation):
            raise ValueError("propagation, region growing or shape interpolation must be switched on")


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """Labelled slices that are held out to choose weights and to calibrate."""

    folds: int = tuned(3, "Folds of the labelled slices between the outermost; one network is fitted per fold.", 2, 4)
    max_slices: int = tuned(24, "Maximum number of labelled slices that are held out or fitted on.", 16, 40)
    max_bytes: int = tuned(2 * 2**30, "Memory limit of their predictions; with less, fewer slices are held out.")


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Weights of propagation, region growing, shape interpolation and the network, in this order."""

    fitted_weights: bool = tuned(True, "Choose weights on held-out slices instead of using the default ones.", False)
    default_weights: tuple[float, float, float, float] = tuned(
        (1.0, 0.1, 0.1, 0.6),
        "Weights without held-out slices, and those that fitted ones are shrunk towards.",
        (1.0, 0.5, 0.25, 0.5),
        (1.0, 0.2, 0.1, 0.6),
        (1.0, 0.1, 0.1, 0.4),
        (1.0, 0.1, 0.1, 0.8),
    )
    factors_where_label_ends: tuple[float, float, float, float] = tuned(
        (0.4, 3.5, 0.5, 1.0),
        "Factors of the weights of a label that only one neighbouring labelled slice shows: region growing is more "
        "accurate there than candidates that interpolate.",
        (1.0, 1.0, 1.0, 1.0),
        (0.5, 2.0, 0.4, 1.0),
    )
    factors_on_single_slice: tuple[float, float, float, float] = tuned(
        (0.0, 10.0, 0.0, 0.0),
        "The same for a label on a single labelled slice; only region growing can predict it.",
        (0.4, 3.5, 0.5, 1.0),
        (0.05, 10.0, 0.0, 0.1),
    )
    simple_weightings: tuple[tuple[float, float, float], ...] = tuned(
        ((1, 0.5, 0.25), (1, 0, 0.25), (1, 0, 1), (1, 0.5, 0), (1, 1, 0.25), (0.5, 1, 0), (1, 0, 0)),
        "Weights of the simple candidates that are tried on held-out slices, each with every network weight.",
        ((1, 0.5, 0.25), (1, 0, 0), (0.5, 1, 0)),
    )
    network_weightings: tuple[float, ...] = tuned(
        (0.0, 0.25, 0.5, 1.0),
        "Weights of the network that are tried on held-out slices.",
        (0.0, 1.0),
        (0.0, 0.5, 1.0, 2.0),
    )
    floor: bool = tuned(True, "Use propagation for labels that it predicts clearly better on held-out slices.", False)
    min_floor_gains: tuple[float, float] = tuned(
        (0.1, 0.4),
        "Minimum relative reduction of the error on held-out slices by an equal mixture with propagation, and by "
        "propagation alone. On query slices, the mixture was nearly always as accurate as the better of the two.",
        (0.05, 0.1),
        (0.1, 0.2),
        (0.2, 0.6),
    )
    pooling_slices: float = tuned(
        60.0,
        "Number of held-out slices with a label at which its own Dice and the mean Dice of all labels are weighted "
        "equally.",
        6.0,
        200.0,
    )
    half_blend_gain: float = tuned(
        0.01, "Gain in mean Dice at which the best and the default weights are averaged equally.", 0.003, 0.03
    )
    certain_probability: float = tuned(
        0.98, "Pixels with a more probable default prediction are not evaluated for each weighting.", 0.9, 1.0
    )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network, its training slices and its fit."""

    enabled: bool = tuned(True, "Fit a network and fuse its predictions.", False)
    longest_side: int = tuned(192, "Longest side, in pixels, of the slices given to the network.", 128, 256)
    context: tuple[int, ...] = tuned(
        (-2, -1, 0, 1, 2),
        "Offsets of the slices given as input channels.",
        (0,),
        (-1, 0, 1),
        (-3, -2, -1, 0, 1, 2, 3),
    )
    channels: tuple[int, ...] = tuned((32, 64, 64), "Channels of each level of the U-Net.", (16, 32, 32), (32, 64))
    patch: int = tuned(2, "Factor of pixel unshuffling at the input and pixel shuffling at the output.", 1)
    prior_channels: int = tuned(
        16, "Channels to which the prior of all labels is reduced by a 1 x 1 convolution.", 8, 32
    )
    prior_blur_pixels: float = tuned(
        3.0,
        "Standard deviation of the blur of the prior, so that it gives the position of a label but not its outline.",
        1.5,
        6.0,
    )
    prior_floor: float = tuned(1e-3, "Added to the prior probability of each label.", 1e-4, 1e-2)
    floor: float = tuned(1e-3, "Added to predicted probabilities, so that no label is excluded.", 1e-4, 1e-2)
    crop: int = tuned(48, "Side, in pixels, of the random crops that are fitted on.", 32, 64)
    batch: int = tuned(8, "Crops per step.", 4, 16)
    learning_rate: float = tuned(
        2e-3, "Largest learning rate of AdamW, for all but the inner convolutions.", 1e-3, 4e-3
    )
    weight_decay: float = tuned(1e-4, "Weight decay of AdamW.", 0.0, 1e-3)
    warm_up: float = tuned(
        0.15, "Share of the fit in which the learning rate rises; then it falls as a cosine.", 0.05
    )
    averaging_steps: int = tuned(50, "Number of last steps over which the weights are averaged.", 1, 25)
    augmentation: float = tuned(1.0, "Factor of all random deformations and changes of intensity.", 0.0, 0.5, 1.5)
    soft_targets: bool = tuned(True, "Fit it also on soft targets: fused candidates of query slices.", False)
    max_soft_targets: int = tuned(40, "Maximum number of soft targets.", 20, 80)
    labelled_share: float = tuned(0.5, "Share of crops that come from labelled slices.", 0.25, 0.75)
    pretrained: bool = tuned(
        True,
        "Start from weights trained on synthetic volumes; networks of other sizes than the default start at random.",
        False,
    )
    muon: bool = tuned(True, "Fit the inner convolutions by Muon instead of AdamW.", False)
    muon_step: float = tuned(
        0.03, "Step of Muon at the full learning rate, relative to the norm of the weights.", 0.015, 0.06
    )
    muon_momentum: float = tuned(0.9, "Momentum of Muon.", 0.8, 0.95)


@dataclass(frozen=True, kw_only=True)
class OrthogonalConfig:
    """Networks that refine the result in the two orthogonal views."""

    enabled: bool = tuned(True, "Refine the result in the orthogonal views.", False)
    examples: int = tuned(24, "Maximum number of planes of each view that a network is fitted on.", 12, 48)
    max_stretch: int = tuned(4, "Planes are enlarged along the stack to square pixels, by this factor at most.", 1, 2)
    labelled_log_odds: float = tuned(12.0, "Log-odds of the labels on labelled slices.", 6.0, 24.0)
    min_plane_log_odds: float = tuned(0.0, "Planes with smaller log-odds of every label are not predicted.", -2.0)
    max_weight: float = tuned(4.5, "Weight for a label without errors on labelled slices.", 1.0, 2.4, 9.0)
    zero_weight_error_ratio: float = tuned(
        0.85, "Error on labelled slices, relative to the expected one, at which the weight is 0.", 0.6, 1.2
    )
    prior_error_ratio: float = tuned(
        0.4, "Prior of the error on labelled slices, relative to the expected one.", 0.2, 0.6
    )
    prior_voxels: float = tuned(50.0, "Number of voxels that this prior is weighted like.", 10.0, 200.0)
    min_slices: int = tuned(8, "Fewer consecutive slices are not refined.", 4, 16)
    max_bytes: int = tuned(4 * 2**30, "Memory limit of the slices; more are not refined.")


@dataclass(frozen=True, kw_only=True)
class ThroughPlaneConfig:
    """Smoothing across neighbouring slices."""

    enabled: bool = tuned(True, "Average each slice with its neighbours, warped by optical flow.", False)
    neighbour_weight: float = tuned(0.25, "Weight of each neighbour, relative to the slice itself.", 0.1, 0.5)
    labelled_log_odds_ratio: float = tuned(
        0.25,
        "Log-odds of a labelled neighbour, relative to the largest ones on the slice. With more, the slice would "
        "become a copy of its neighbour.",
        0.1,
        0.5,
    )
    flow_regularisation: float = tuned(
        3.5e-4, "As in `propagate`, for labelled slices some eight slices apart.", 1e-4, 1e-3
    )


@dataclass(frozen=True, kw_only=True)
class BlendConfig:
    """Blend with a specialist, where the run names a model of a task.

    `ablation.py` runs without models, so `many.py --parts painted` measures these fields. They were chosen on two
    patients only.
    """

    enabled: bool = tuned(True, "Blend the result with the specialist of a task.")
    error_exponent: float = tuned(2.0, "Errors are raised to this power to give weights.")
    min_error: float = tuned(0.02, "Least error of the result, next to a labelled slice.")
    max_error: float = tuned(0.5, "A specialist with a larger error has no weight.")
    log_odds_outside: float = tuned(
        -2.0, "Log-odds of a label outside of the crop around the labelled slices, where the result is background."
    )
    default_dice: float = tuned(0.8, "Expected Dice of a specialist that was trained on a single patient.")
    slice_log_odds_sd: float = tuned(
        0.4, "Standard deviation of the log-odds of the specialist's Dice on one labelled slice."
    )
    half_weight_voxels: float = tuned(150.0, "Voxels of a label on a labelled slice at which it has half its weight.")
    patient_log_odds_sd: float = tuned(
        0.6, "Standard deviation of the log-odds of its Dice between patients, around the expected Dice."
    )
    prior_growth: float = tuned(
        0.3, "Error of the result per effective distance from labelled slices, without held-out ones."
    )
    prior_slices: float = tuned(2.0, "Number of held-out slices that `prior_growth` is weighted like.")
    beyond_factor: float = tuned(2.0, "Factor of the error of the result beyond the outermost labelled slices.")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Length of the fits, and division of a time limit among them."""

    reference_labels: int = tuned(
        15,
        "Number of labels up to which `steps` suffice. With more, or with a larger area than the next field, the "
        "steps grow in proportion; otherwise small labels would be smoothed away.",
        8,
        30,
    )
    reference_crops: int = tuned(
        107,
        "Number of crops without overlap, over all labelled slices, up to which `steps` suffice.",
        53,
        214,
    )
    max_steps_factor: float = tuned(4.7, "Maximum factor of the steps.", 2.5, 7.0)
    held_out_share: float = tuned(
        0.33,
        "Steps of networks with held-out slices, relative to the network fitted on all labelled slices. With a "
        "third, the three of them take one core as long as that network takes another.",
        0.2,
        0.42,
        1.0,
    )
    orthogonal_share: float = tuned(0.55, "The same for networks in the orthogonal views.", 0.3, 0.7, 1.0)
    orthogonal_work: float = tuned(1.0, "Time of the refinement in one orthogonal view, relative to a full fit.")
    preview_seconds: float = tuned(
        60.0,
        "Slices are shown before the refinement in the orthogonal views if it takes more seconds of one core, or if "
        "there is a time limit.",
    )
    candidates_per_draft_time: float = tuned(6.0, "Time of everything but the fits, relative to that of the drafts.")
    start_seconds: float = tuned(3.0, "Time to load torch.")
    min_fit_seconds: float = tuned(1.0, "With less time per fit, no network is fitted.")
    max_draft_bytes: int = tuned(256 * 2**20, "Memory limit of drafts that are kept as a candidate.")


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """All settings of `adapt`, by section; the defaults are those of the engine."""

    candidates: CandidateConfig = CandidateConfig()
    held_out: HeldOutConfig = HeldOutConfig()
    fusion: FusionConfig = FusionConfig()
    network: NetworkConfig = NetworkConfig()
    orthogonal: OrthogonalConfig = OrthogonalConfig()
    through_plane: ThroughPlaneConfig = ThroughPlaneConfig()
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    expected_dice: ExpectedDiceConfig = field(default_factory=ExpectedDiceConfig)
    labelling: LabellingConfig = field(default_factory=LabellingConfig)
    blend: BlendConfig = BlendConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    def replace(self, name: str, value: Any) -> AdaptConfig:
        """The same settings with another value of one of them, named `SECTION.FIELD`."""
        section, _, setting = name.partition(".")
        changed: dict[str, Any] = {section: dataclasses.replace(getattr(self, section), **{setting: value})}
        return dataclasses.replace(self, **changed)

    def settings(self) -> Iterator[tuple[str, Any, str, tuple[Any, ...]]]:
        """Yield `SECTION.FIELD`, value, help and tried values of every setting."""
        for section in dataclasses.fields(self):
            for setting in dataclasses.fields(getattr(self, section.name)):
                value = getattr(getattr(self, section.name), setting.name)
                yield f"{section.name}.{setting.name}", value, setting.metadata["help"], setting.metadata["tried"]
