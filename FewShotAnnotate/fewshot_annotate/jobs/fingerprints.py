"""Digests that identify the input of a job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from ..core.support import Support
from ..core.volume import Volume


def fingerprints(volume: Volume, supports: Sequence[Support]) -> list[str]:
    """Digests of all input that the results of several layers depend on; all channels are read once."""
    of_volume = hashlib.blake2b(digest_size=16)
    for channel in (volume, *volume.further):
        of_volume.update(json.dumps([channel.geometry.to_json(), channel.array.dtype.name]).encode())
        for image in channel.array:
            of_volume.update(np.ascontiguousarray(image).data)
    digests = []
    for support in supports:
        digest = of_volume.copy()
        described = [support.axis.index, support.indices, support.labels, support.masks.dtype.name]
        digest.update(json.dumps(described).encode())
        digest.update(np.ascontiguousarray(support.masks).data)
        digest.update(np.ascontiguousarray(support.annotated).data)
        digests.append(digest.hexdigest())
    return digests
