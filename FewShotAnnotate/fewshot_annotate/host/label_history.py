"""How the labels of a case were made that was painted and filled in the panel, as its record keeps it."""

from __future__ import annotations

from ..core.slice_axis import SliceAxis, thickest_axis
from ..datasets.accepting import LabelHistory
from .annotation.annotations import SliceAnnotations
from .chosen_nodes import ChosenNodes


def label_history(annotations: SliceAnnotations, nodes: ChosenNodes, engine: str) -> LabelHistory | None:
    """How the labels of the chosen nodes were made; None as long as their grid is not known.

    Parameters
    ----------
    annotations : SliceAnnotations
    nodes : ChosenNodes
    engine : str
        The engine that is chosen.
    """
    grid = annotations.survey.grid
    if not nodes.complete or grid is None:
        return None
    found = annotations.snapshot(nodes.segmentation)
    filled = set(found.record.present.filled)
    axis = found.selection.axis
    if axis is None or not filled:
        axis = thickest_axis(grid.geometry).index if axis is None else axis
        filled, engine = set(), ""
    count = SliceAxis(axis).count(grid.geometry)
    painted = tuple(index for index in range(count) if not filled or index in set(found.selection.labelled))
    return LabelHistory(axis=SliceAxis(axis), painted=painted, engine=engine)
