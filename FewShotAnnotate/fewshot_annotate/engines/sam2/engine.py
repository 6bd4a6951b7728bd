"""Engine `sam2-video`: SAM 2 tracks each label through the slices, as through the frames of a video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...weights import store
from ...weights.catalog import Checkpoint
from ..option import Option
from ..pretrained.architecture import architecture_errors, build_model, require_importable
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.greyscale_engine import GreyscaleEngine
from ..pretrained.intensity import INTENSITIES
from ..pretrained.joint_labels import joint_of_segmented
from ..pretrained.slice_progress import SliceProgress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .network import Track, VideoModel

MODEL = "model"
CHECKPOINTS = {MODEL: ("sam2.1-hiera-tiny", "medsam2-latest")}
# The side length of the square input is a multiple of this.
SIDE_MULTIPLE_PIXELS = 64
# Frames whose features are cached for tracking backward: about 9 MiB each at 512 pixels.
CACHED_FRAMES = 24


class Sam2Video(GreyscaleEngine):
    """Tracking between labelled slices from both sides.

    All labelled slices condition the model's memory. Each gap between two of them is tracked forward and
    backward, and both results are blended by distance. A label is not tracked beyond the outermost labelled slices
    on which it is annotated, because the model would not know where it ends.
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
            512,
            "pixels of the square that slices are stretched to; SAM 2.1 was trained at 1024",
            SIDE_MULTIPLE_PIXELS,
            2048,
        ),
        "memory": Option(8, "nearest labelled slices in the model's memory; 0: all, as released", 0, 1000),
        "intensities": INTENSITIES,
        "precision": PRECISION,
    }

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield slices gap by gap; those beyond the labelled slices are empty."""
        query = set(slice_indices)
        labelled = set(self._support.indices)
        gaps = [gap.slices for gap in self._support.gaps(query) if len(gap.sides) == 2]
        inside = {index for gap in gaps for index in gap}
        for index in sorted(query - inside - labelled):
            yield index, joint_of_segmented(self._support.labels, {}, self._shape)
        if not inside:
            return
        device = self.choose_device()
        model = self.load(device)
        # Each labelled slice is one step of the progress; each slice of a gap is two, as it is tracked in both
        # directions.
        steps = [len(_order(self._paths(gap, reverse))) for gap in gaps for reverse in (False, True)]
        progress = SliceProgress(self.context.report_progress, len(labelled) + sum(steps))
        tracks, _ = self.with_less_memory(lambda _: self._condition(model, progress), (1,), device)
        for gap in gaps:
            results, _ = self.with_less_memory(
                lambda _, gap=gap: self._fill(model, tracks, gap, progress),  # type: ignore[misc]
                (1,),
                device,
            )
            for index, probabilities in results:
                yield index, joint_of_segmented(self._support.labels, probabilities, self._shape)

    def load(self, device: torch.device) -> VideoModel:
        """Load the model."""
        checkpoint = self.checkpoint(MODEL)
        side = max(SIDE_MULTIPLE_PIXELS, self.settings["side"] // SIDE_MULTIPLE_PIXELS * SIDE_MULTIPLE_PIXELS)
        return load_network(checkpoint, store.path_of(checkpoint), device, side, self.settings["memory"] or -1)

    @classmethod
    def require_weights(cls, state: Mapping[str, Tensor], path: Path) -> None:
        """Raise `InputError` naming `path` unless the tensors fit the network."""
        from .network import VideoModel

        require_importable("torchvision", "transformers")
        with architecture_errors(path):
            VideoModel(state, cls.options["side"].default // SIDE_MULTIPLE_PIXELS * SIDE_MULTIPLE_PIXELS)

    def _condition(self, model: VideoModel, progress: SliceProgress) -> dict[int, Track]:
        """Track of each visible label, by label index, conditioned on the labelled slices where it is annotated."""
        from .network import Frames, Track, shared_features

        support = self._support
        first = support.indices[0]
        frames = Frames(support.indices[-1] - first + 1, lambda frame: model.frame(self.greyscale.rgb(frame + first)))
        features = shared_features(model, CACHED_FRAMES)
        label_indices = [
            label_index for label_index in range(len(support.labels)) if self._extents.slices_showing(label_index)
        ]
        tracks = {label_index: Track(model, frames, features) for label_index in label_indices}
        with self.precision(model.device):
            for support_index, index in enumerate(support.indices):
                for number, label_index in enumerate(label_indices):
                    if support.annotated[support_index, label_index]:
                        tracks[label_index].condition(
                            index - first, support.masks[support_index] == support.labels[label_index]
                        )
                    progress.report((number + 1) / len(label_indices))
                progress.finish()
        return tracks

    def _fill(
        self, model: VideoModel, tracks: Mapping[int, Track], gap: Sequence[int], progress: SliceProgress
    ) -> list[tuple[int, dict[int, np.ndarray]]]:
        """Probabilities `[h, w]` of labels, by label index, on the query slices of a gap."""
        from .network import resized_probabilities

        first = self._support.indices[0]
        results: dict[int, dict[int, np.ndarray]] = {index: {} for index in gap}
        for reverse in (False, True):
            with self.precision(model.device):
                paths = self._paths(gap, reverse)
                order = _order(paths)
                for index in reversed(order) if reverse else order:
                    for label_index, label_path in paths.items():
                        if index not in label_path:
                            continue
                        logits = tracks[label_index].track(index - first, reverse)
                        if index in results:
                            before, after = self._neighbours(gap[0], label_index)
                            weight = (index - before if reverse else after - index) / (after - before)
                            probability = weight * resized_probabilities(logits, self._shape)
                            results[index][label_index] = results[index].get(label_index, np.float32(0)) + probability
                        progress.report(0.0)
                    progress.finish()
                for label_index in paths:
                    tracks[label_index].reset()
        return list(results.items())

    def _paths(self, gap: Sequence[int], reverse: bool) -> dict[int, range]:
        """Slices to track each label through in a gap, by label index, beginning beside a labelled slice."""
        paths = {}
        for label_index in range(len(self._support.labels)):
            annotated = len(self._extents.neighbours(gap[0], label_index)) == 2
            if annotated and self._extents.limit(gap[0], label_index) is not None:
                before, after = self._neighbours(gap[0], label_index)
                paths[label_index] = range(after - 1, gap[0] - 1, -1) if reverse else range(before + 1, gap[-1] + 1)
        return paths

    def _neighbours(self, index: int, label_index: int) -> tuple[int, int]:
        """The nearest labelled slices on both sides of a slice on which a label is annotated."""
        before, after = (
            self._support.indices[support_index] for support_index in self._extents.neighbours(index, label_index)
        )
        return before, after


def _order(paths: Mapping[int, range]) -> list[int]:
    """All slices on the paths, ascending."""
    return sorted({index for label_path in paths.values() for index in label_path})


@lru_cache(maxsize=1)
def load_network(
    checkpoint: Checkpoint, path: Path, device: torch.device, side: int, conditioning: int
) -> VideoModel:
    """Load the model of a checkpoint; cached for the life of the process."""
    from .network import VideoModel

    return build_model(
        checkpoint,
        path,
        ("torchvision", "transformers"),
        lambda state: VideoModel(state, side, device, conditioning),
    )
