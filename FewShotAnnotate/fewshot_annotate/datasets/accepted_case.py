"""AcceptedCase: a case of a batch whose result a person accepted, with who made which of its slices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core import paths
from ..core.errors import InputError
from ..core.expected_dice import ExpectedDice
from ..core.reading import DamagedContentError, decoding
from ..core.slice_axis import SliceAxis
from ..core.volume import Geometry, LabelMap, Segment, Volume, default_segment
from ..io.files import merge_layers, read_label_maps, read_volume
from .batch_folder import BatchFolder
from .case_files import CaseInBatch, recorded_image
from .status import CaseStatus, Status
from .task.example import LabelOrigin
from .task.segments import present_segments


@dataclass(frozen=True, kw_only=True)
class AcceptedCase(CaseInBatch):
    """A case of a batch that was accepted.

    Attributes
    ----------
    outcome : mapping
        Outcome in case.json.
    patient : str
        As of `Case`.
    """

    outcome: Mapping[str, Any]
    patient: str

    @property
    def engine(self) -> str:
        """Engine and version that filled it."""
        return f"{self.outcome.get('engine', '')} {self.outcome.get('version', '')}".strip()

    @property
    def expected(self) -> dict[str, ExpectedDice]:
        """Expected Dice of the result as it was filled, by name of the segment; empty if it is not known."""
        return expected_by_name(self.outcome)

    @property
    def filled_names(self) -> dict[int, str]:
        """Name of each segment that was to be filled, by label value; empty if it is not known."""
        try:
            with decoding():
                return {int(value): str(name) for value, name in self.outcome.get("names", {}).items()}
        except DamagedContentError:
            return {}

    def read(self) -> tuple[Volume, LabelMap]:
        """Image and accepted label map.

        Raises
        ------
        InputError
            A file is missing or unreadable, or they do not fit together.
        """
        volume = read_volume(self.image, self.series or None)
        return volume, self.read_labels(volume.geometry)

    def read_labels(self, grid: Geometry | None = None) -> LabelMap:
        """Accepted label map, on the grid of the image or on that of its file.

        Raises
        ------
        InputError
            The file is missing or unreadable, or does not fit the grid.
        """
        self.files.require_no_later_labels()
        layers = read_label_maps(self.files.label, grid)
        label_map = layers[0] if len(layers) == 1 else merge_layers(layers, self.files.label)
        return replace(label_map, segments=tuple(self._named(label_map)))

    def _named(self, label_map: LabelMap) -> Iterator[Segment]:
        """Segments of a label map; those without a name, as of a program that keeps none, get that of the fill."""
        present = present_segments(label_map.array, label_map.segments)
        by_value = {segment.value: segment for segment in (*label_map.segments, *present)}
        taken = {segment.name.casefold() for segment in by_value.values()}
        for value, segment in sorted(by_value.items()):
            name = self.filled_names.get(value, segment.name)
            unnamed = segment.name == default_segment(value).name
            yield replace(segment, name=name) if unnamed and name.casefold() not in taken else segment

    def origins(self, label_map: LabelMap) -> dict[LabelOrigin, int]:
        """Number of slices by who made their labels."""
        axis = SliceAxis(self.outcome["axis"]) if self.outcome.get("axis") in (0, 1, 2) else SliceAxis(0)
        slices = axis.slices(label_map.array)
        painted = {int(index) for index in self.outcome.get("labelled_slices", ())}
        corrected = self._corrected(label_map, axis) - painted
        counts = {LabelOrigin.PAINTED: len(painted), LabelOrigin.CORRECTED: len(corrected)}
        counts[LabelOrigin.ACCEPTED] = max(0, len(slices) - sum(counts.values()))
        return counts

    def _corrected(self, label_map: LabelMap, axis: SliceAxis) -> set[int]:
        """Slices that a person changed after the fill; all of them if it is not known which."""
        if not self.files.corrected():
            return set()
        count = axis.count(label_map.geometry)
        if not paths.is_file(self.files.filled):
            return set(range(count))
        try:
            filled = read_label_maps(self.files.filled, label_map.geometry)
        except InputError:
            return set(range(count))
        before = np.max([layer.array for layer in filled], axis=0)
        changed = axis.slices(before != label_map.array).any(axis=(1, 2))
        return {int(index) for index in np.flatnonzero(changed)}


def expected_by_name(outcome: Mapping[str, Any]) -> dict[str, ExpectedDice]:
    """Expected Dice by name of the segment, of the outcome that case.json records."""
    try:
        with decoding():
            names, expected = outcome.get("names", {}), map(ExpectedDice.from_json, outcome.get("expected", []))
            return {
                str(names[str(label_dice.label)]): label_dice
                for label_dice in expected
                if str(label_dice.label) in names
            }
    except DamagedContentError:
        return {}


def accepted_cases(
    folder: BatchFolder, names: Collection[str] | None = None
) -> Iterator[AcceptedCase | tuple[str, InputError]]:
    """The accepted cases of a batch, or those of them with some names; those that cannot be used with the reason.

    Raises
    ------
    InputError
        No batch was written there.
    """
    for status in batch_statuses(folder).values():
        if is_accepted(status) and (names is None or status.name in names):
            yield accepted_case(folder, status)


def batch_statuses(folder: BatchFolder) -> dict[str, CaseStatus]:
    """Status of each case of a batch.

    Raises
    ------
    InputError
        No batch was written there, or it cannot be accessed.
    """
    if not paths.is_file(folder.status.path):
        detail = paths.access_error(folder.status.path)
        if detail:
            raise InputError("path_unreachable", path=folder.path, detail=detail)
        raise InputError("no_batch", path=folder.path)
    return folder.status.read()


def is_accepted(status: CaseStatus) -> bool:
    """Whether a person accepted the result."""
    return status.accepted and status.status is Status.DONE


def accepted_case(folder: BatchFolder, status: CaseStatus) -> AcceptedCase | tuple[str, InputError]:
    """A case whose result was accepted, or its name with the reason why it cannot be used."""
    name = status.name
    files = folder.case(name)
    record = files.read_record()
    try:
        with decoding():
            if record is None:
                raise ValueError
            request, outcome = record
            image, series = recorded_image(request)
            return AcceptedCase(
                name=name, files=files, image=image, series=series, outcome=outcome, patient=status.patient
            )
    except DamagedContentError:
        return name, InputError("case_unrecorded", path=files.record)
