"""Sentences about which engine a comparison recommends, and why."""

from __future__ import annotations

from collections.abc import Mapping

from ..i18n import tr as _


def comparison_sentences() -> Mapping[str, str]:
    """Code -> sentence, in the language of the application."""
    return {
        "one_painted_slice": _("one painted slice"),
        "painted_slices": _("{count} painted slices"),
        "about_one_second": _("about a second"),
        "about_seconds": _("about {number} seconds"),
        "about_minutes": _("about {number} minutes"),
        "about_hours": _("about {number} hours"),
        "recommended_alone": _(
            "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices. Without a result of "
            "another engine there is nothing to compare it with."
        ),
        "evidence_of_one_slice": _(
            "There is too little evidence to prefer an engine: on the one slice that could be hidden, {engine} was "
            "ahead of {other} ({dice:.3f} against {other_dice:.3f}), which may be chance. Paint at least {needed} "
            "slices and compare again."
        ),
        "evidence_of_few_slices": _(
            "There is too little evidence to prefer an engine: on the {count} slices that could be hidden, {engine} "
            "was ahead of {other} ({dice:.3f} against {other_dice:.3f}), which may be chance. Paint at least "
            "{needed} slices and compare again."
        ),
        "evidence_of_few_held_out": _(
            "There is too little evidence to prefer an engine: {engine} was ahead of {other} ({dice:.3f} against "
            "{other_dice:.3f}), which may be chance, as only {count} of the painted slices were hidden. Compare "
            "again with at least {needed}."
        ),
        "recommended_clearly": _(
            "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices, {difference:.3f} more than "
            "the next best, {other}. The lead is beyond the variation from slice to slice (95 % CI {low:.3f} to "
            "{high:.3f})."
        ),
        "recommended_probably": _(
            "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices and is probably better: "
            "{difference:+.3f} against {other} (95 % CI {low:.3f} to {high:.3f}). {engine} takes {time}, {other} "
            "{other_time}."
        ),
        "recommended_possibly": _(
            "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices and is ahead, perhaps by "
            "chance: {difference:+.3f} against {other} (95 % CI {low:.3f} to {high:.3f}). {engine} takes {time}, "
            "{other} {other_time}."
        ),
        "recommended_as_good": _(
            "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices and is as good: "
            "{difference:+.3f} against {other} (95 % CI {low:.3f} to {high:.3f}). {engine} takes {time}, {other} "
            "{other_time}."
        ),
        "recommended_quicker_and_equal": _(
            "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices. {other} had "
            "{difference:+.3f} (95 % CI {low:.3f} to {high:.3f}), too little to matter. {engine} takes {time}, "
            "{other} {other_time}."
        ),
        "recommended_much_quicker": _(
            "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices. {other} had "
            "{difference:+.3f} (95 % CI {low:.3f} to {high:.3f}), a lead that may be chance and costs much more "
            "time. {engine} takes {time}, {other} {other_time}."
        ),
        "recommended_duration_of_one": _("Filling the one slice between yours should take {time}."),
        "recommended_duration": _("Filling the {count} slices between yours should take {time}."),
        "recommended_dice_low": _(
            "A mean Dice of {dice:.2f} is low: expect to correct much, or paint more slices first."
        ),
        "more_slices_help": _(
            "More slices should still help: from {first} to {last} its Dice rose by {difference:.3f}."
        ),
        "ahead_with_few_slices": _("With {painted} {engine} was ahead ({dice:.3f} against {other_dice:.3f})."),
        "weakest_label": _("Its weakest label is {label} (Dice {dice:.2f}): check it first."),
    }
