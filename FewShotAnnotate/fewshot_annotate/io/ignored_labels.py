"""Message on labels of slices that were not named as labelled."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.errors import Message
from ..core.slice_axis import labelled_indices
from ..core.support import Support
from ..core.volume import LabelMap

# Maximum number of slices listed in the message.
_MAX_LISTED = 10


def ignored_label_notes(label_maps: Iterable[LabelMap], support: Support) -> list[Message]:
    """Message on the slices that hold labels and were not named as labelled, if there are any."""
    labelled = {index for label_map in label_maps for index in labelled_indices(label_map.array, support.axis)}
    ignored = sorted(labelled - set(support.indices))
    if not ignored:
        return []
    listed = ", ".join(map(str, ignored[:_MAX_LISTED])) + (" ..." if len(ignored) > _MAX_LISTED else "")
    return [Message("labels_on_other_slices", slices=listed)]
