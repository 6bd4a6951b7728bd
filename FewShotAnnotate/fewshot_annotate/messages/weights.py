"""Sentences about published weights and their download."""

from __future__ import annotations

WEIGHTS = {
    "licence_not_accepted": "The weights '{name}' may not be used for everything (licence: {licence}); read "
    "their licence and agree to it first.",
    "download_failed": "{url}: cannot be downloaded ({detail}); try again, it goes on where it broke off.",
    "download_wrong": "{url}: gave something else than '{name}', which was deleted: {detail}",
    "download_busy": "The weights '{name}' are just being downloaded by another program; wait for it.",
    "import_wrong": "{path}: was not imported as '{name}': {detail}",
    "weights_unknown": "There is no checkpoint named '{name}'; choose one of: {known}.",
    "weights_missing": "Weights '{name}' are not here; download them first.",
    "weights_unrecorded": "{path}: it is not known where this file came from; download '{name}' again.",
    "weights_size": "{path}: this is not '{name}' as published ({found} bytes instead of {expected}); download it "
    "again.",
    "weights_differ": "{path}: this is not '{name}' as published or first seen (its {algorithm} differs); remove "
    "it and download it again.",
    "weights_differ_first": "{path}: this is not '{name}' as first seen here (its {algorithm} differs); remove "
    "the file and download it again.",
    "installation_damaged": "{path} is missing or damaged; install FewShotAnnotate again.",
    "weights_damaged": "{path}: the weights cannot be read ({detail}); download the file again.",
    "weights_code": "{path}: the file holds more than tensors and could run code; it was not loaded. Download it "
    "from its publisher.",
    "weights_bomb": "{path}: the file would unpack to more than its own size; it was not loaded. Download it from "
    "its publisher.",
    "weights_escape": "{path}: the archive names files outside itself; it was not loaded. Download it from its "
    "publisher.",
    "weights_no_state": "{path}: the file holds no weights by name; download it from its publisher.",
    "weights_architecture": "{path}: these weights belong to another model ({detail}); download the right file.",
}
