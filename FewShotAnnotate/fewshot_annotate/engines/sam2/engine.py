"""Engine `sam2-video`: the volume as a video, through which SAM 2 tracks each label between labelled slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...weights import store
from ...weights.catalog import Checkpoint
from ..base import Option
from ..pretrained.architecture import build_model, built_from, require_importable
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.grey_slices import GreyEngine
from ..pretrained.intensity import INTENSITIES
from ..pretrained.joint_labels import present
from ..pretrained.quarter_turns import Turns

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .network import Track, VideoModel

MODEL = "model"
CHECKPOINTS = {MODEL: ("sam2.1-hiera-tiny", "medsam2-latest")}
# Sides of the square are multiples of this.
STEP = 64
# Frames whose features are kept for the way back: about 9 MiB each at 512 pixels.
KEPT_FRAMES = 24


class Sam2Video(GreyEngine):
    """Tracking from both sides.

    All labelled slices condition the model's memory. Each gap between two of them is tracked forward from the one and
    backward from the other; the two are blended by inverse distance. Beyond the outermost labelled slices that speak
    about a label it is not followed: the model would not know where to stop.
    """

    name = "sam2-video"
    title = "SAM 2 video"
    summary = "Tracks labels through the slices as through a video, from both sides."
    licence = "Apache-2.0; weights Apache-2.0 or CC-BY-SA-4.0"
    packages = ("transformers", "safetensors", "PIL")
    checkpoints: ClassVar[Mapping[str, tuple[str, ...]]] = CHECKPOINTS
    options: ClassVar[Mapping[str, Option]] = {
        **checkpoint_options(CHECKPOINTS),
        "side": Option(
            512, "pixels of the square that slices are stretched to; SAM 2.1 was trained at 1024", STEP, 2048
        ),
        "memory": Option(8, "labelled slices remembered at each slice, the nearest; 0: all, as released", 0, 1000),
        "intensities": INTENSITIES,
        "precision": PRECISION,
    }

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Gap by gap; what lies beyond the labelled slices comes back empty."""
        asked = set(slice_indices)
        labelled = set(self._support.indices)
        wanted = [gap.slices for gap in self._support.gaps(asked) if len(gap.sides) == 2]
        inside = {index for gap in wanted for index in gap}
        for index in sorted(asked - inside - labelled):
            yield index, present(self._support.labels, {}, self._shape)
        if not inside:
            return
        device = self.choose_device()
        model = self.load(device)
        # Labelled slices count as turns, and those of a gap twice: they are gone through from both ends.
        steps = [len(_order(self._ways(gap, reverse))) for gap in wanted for reverse in (False, True)]
        turns = Turns(self.context.report_progress, len(labelled) + sum(steps))
        tracks, _ = self.with_less_memory(lambda _: self._condition(model, turns), (1,), device)
        for gap in wanted:
            found, _ = self.with_less_memory(
                lambda _, gap=gap: self._fill(model, tracks, gap, turns),  # type: ignore[misc]
                (1,),
                device,
            )
            for index, probabilities in found:
                yield index, present(self._support.labels, probabilities, self._shape)

    def load(self, device: torch.device) -> VideoModel:
        """The model on its device."""
        checkpoint = self.checkpoint(MODEL)
        side = max(STEP, self.settings["side"] // STEP * STEP)
        return _load(checkpoint, store.path_of(checkpoint), device, side, self.settings["memory"] or -1)

    @classmethod
    def require_weights(cls, state: Mapping[str, Tensor], path: Path) -> None:
        """Raise `InputError` unless the weights fit the network."""
        from .network import VideoModel

        require_importable("torchvision", "transformers")
        with built_from(path):
            VideoModel(state, cls.options["side"].default // STEP * STEP)

    def _condition(self, model: VideoModel, turns: Turns) -> dict[int, Track]:
        """A track for each label that shows, by its place, conditioned on the labelled slices that speak about it."""
        from .network import Frames, Track, shared_features

        support = self._support
        first = support.indices[0]
        frames = Frames(support.indices[-1] - first + 1, lambda frame: model.frame(self._greys.rgb(frame + first)))
        features = shared_features(model, KEPT_FRAMES)
        places = [place for place in range(len(support.labels)) if self._extents.showing(place)]
        tracks = {place: Track(model, frames, features) for place in places}
        with self.precision(model.device):
            for row, index in enumerate(support.indices):
                for number, place in enumerate(places):
                    if support.annotated[row, place]:
                        tracks[place].condition(index - first, support.masks[row] == support.labels[place])
                    turns.within((number + 1) / len(places))
                turns.next()
        return tracks

    def _fill(
        self, model: VideoModel, tracks: Mapping[int, Track], gap: Sequence[int], turns: Turns
    ) -> list[tuple[int, dict[int, np.ndarray]]]:
        """Probabilities `[h, w]` of labels by their place, on the wanted slices of a gap between labelled slices."""
        from .network import resized_logits

        first = self._support.indices[0]
        found: dict[int, dict[int, np.ndarray]] = {index: {} for index in gap}
        for reverse in (False, True):
            with self.precision(model.device):
                ways = self._ways(gap, reverse)
                order = _order(ways)
                for index in reversed(order) if reverse else order:
                    for place, way in ways.items():
                        if index not in way:
                            continue
                        logits = tracks[place].follow(index - first, reverse)
                        if index in found:
                            before, after = self._ends(gap[0], place)
                            share = (index - before if reverse else after - index) / (after - before)
                            probability = share * resized_logits(logits, self._shape)
                            found[index][place] = found[index].get(place, np.float32(0)) + probability
                        turns.within(0.0)
                    turns.next()
                for place in ways:
                    tracks[place].forget()
        return list(found.items())

    def _ways(self, gap: Sequence[int], reverse: bool) -> dict[int, range]:
        """Slices to track each label through, by place: from a labelled one to the last wanted slice of a gap."""
        ways = {}
        for place in range(len(self._support.labels)):
            known = len(self._extents.rows(gap[0], place)) == 2
            if known and self._extents.limit(gap[0], place) is not None:
                before, after = self._ends(gap[0], place)
                ways[place] = range(after - 1, gap[0] - 1, -1) if reverse else range(before + 1, gap[-1] + 1)
        return ways

    def _ends(self, index: int, place: int) -> tuple[int, int]:
        """The labelled slices on both sides of one that speak about a label."""
        before, after = (self._support.indices[row] for row in self._extents.rows(index, place))
        return before, after


def _order(ways: Mapping[int, range]) -> list[int]:
    """All slices that labels are tracked through, ascending."""
    return sorted({index for way in ways.values() for index in way})


@lru_cache(maxsize=1)
def _load(checkpoint: Checkpoint, path: Path, device: torch.device, side: int, conditioning: int) -> VideoModel:
    """The model of a checkpoint, kept for the life of the process."""
    from .network import VideoModel

    return build_model(
        checkpoint,
        path,
        ("torchvision", "transformers"),
        lambda state: VideoModel(state, side, device, conditioning),
    )
