"""A scene under review: run, survey and review ticked as the panel does. Real MRML, the real worker."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import slicer

from support import slicer_standin
from support.scene_cases import Runs, Scene

slicer_standin.install()  # for texts, which Slicer translates

from fewshot_annotate.host.annotation.annotations import SliceAnnotations  # noqa: E402
from fewshot_annotate.host.annotation.record import SliceStatus  # noqa: E402
from fewshot_annotate.host.annotation.review_rows import ReviewRow  # noqa: E402
from fewshot_annotate.host.mrml.chosen_nodes import ChosenNodes  # noqa: E402
from fewshot_annotate.host.review.controller import ReviewController  # noqa: E402

WAIT_SECONDS = 30.0


def parameter_node() -> Any:
    """The module's own node, as ScriptedLoadableModuleLogic makes it."""
    node = slicer.mrmlScene.GetSingletonNode("FewShotAnnotate", "vtkMRMLScriptedModuleNode")
    if node is None:
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag("FewShotAnnotate")
        node = slicer.mrmlScene.AddNode(node)
    return node


class Review:
    """A segmentation with a survey and a review on it."""

    def __init__(self, volume_node: Any, node: Any) -> None:
        self.volume_node, self.node = volume_node, node
        self.annotations = SliceAnnotations()
        self.controller = ReviewController(parameter_node, lambda: self.nodes, self.annotations)

    @property
    def nodes(self) -> ChosenNodes:
        """What is under review."""
        return ChosenNodes(self.volume_node, self.node)

    def settle(self) -> None:
        """Survey the segmentation again and tick until nothing is under way."""
        self.annotations.survey.request(0.0)
        end = time.monotonic() + WAIT_SECONDS
        while self.annotations.survey.busy or self.controller.busy:
            assert time.monotonic() < end
            self.annotations.poll(self.nodes)
            self.controller.poll()
        self.controller.poll()

    @property
    def rows(self) -> dict[int, ReviewRow]:
        """Slices under review."""
        return {row.index: row for row in self.controller.view.rows}

    def accept(self, *indices: int) -> None:
        """Accept slices."""
        self.controller.accept(indices)
        self.settle()

    def of_status(self, status: SliceStatus) -> list[int]:
        """Slices of a status that are not the user's own."""
        return [index for index, row in self.rows.items() if row.status is status and not row.manual]

    def close(self) -> None:
        """Release the threads."""
        self.controller.close()
        self.annotations.close()


class ReviewScene(Review):
    """A review where fills can be run, too; `python` runs their workers."""

    def __init__(self, scene: Scene, runs: Runs, python: str | None = None) -> None:
        super().__init__(scene.volume_node, scene.node)
        self.scene = scene
        self.runner = runs(scene, python)
        self.runner.controller.committed.connect(self.controller.add_run)

    def fill(self, **changed: Any) -> None:
        """A run to its end; painted and corrected slices are support, accepted ones are kept."""
        labelled = sorted({*self.scene.labelled, *self.annotations.snapshot(self.node).selection.labelled})
        self.runner.fill(**{"labelled": labelled, "keep": self.controller.accepted_slices, **changed})
        self.settle()

    def refill(self) -> None:
        """Fill what is not accepted."""
        request = self.controller.refill()
        assert request is not None
        self.fill(keep=request.keep, slices=request.slices)

    def paint(self, index: int) -> None:
        """A stroke of the first segment by hand."""
        name = self.scene.ids[0]
        mask = self.scene.array(name)
        self.scene.axis.slices(mask)[index][2:6, 2:6] ^= True
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), self.node, name, self.volume_node)
        self.settle()

    def labels(self, index: int) -> np.ndarray:
        """What all segments hold on a slice, bool [segments, h, w]."""
        return np.stack([self.scene.axis.slices(mask)[index] for mask in self.scene.arrays().values()])
