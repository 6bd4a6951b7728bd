"""Sentences about which engine a comparison recommends, and why, and about what a study found."""

COMPARISON = {
    "one_painted_slice": "one painted slice",
    "painted_slices": "{count} painted slices",
    "about_one_second": "about a second",
    "about_seconds": "about {number} seconds",
    "about_minutes": "about {number} minutes",
    "about_hours": "about {number} hours",
    "recommended_alone": "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices. Without a "
    "result of another engine there is nothing to compare it with.",
    "evidence_of_one_slice": "There is too little evidence to prefer an engine: on the one slice that could be "
    "hidden, {engine} was ahead of {other} ({dice:.3f} against {other_dice:.3f}), which may be chance. Paint at "
    "least {needed} slices and compare again.",
    "evidence_of_few_slices": "There is too little evidence to prefer an engine: on the {count} slices that could "
    "be hidden, {engine} was ahead of {other} ({dice:.3f} against {other_dice:.3f}), which may be chance. Paint at "
    "least {needed} slices and compare again.",
    "evidence_of_few_held_out": "There is too little evidence to prefer an engine: {engine} was ahead of {other} "
    "({dice:.3f} against {other_dice:.3f}), which may be chance, as only {count} of the painted slices were hidden. "
    "Compare again with at least {needed}.",
    "recommended_clearly": "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices, "
    "{difference:.3f} more than the next best, {other}. The lead is beyond the variation from slice to slice (95 % "
    "CI {low:.3f} to {high:.3f}).",
    "recommended_probably": "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices and is "
    "probably better: {difference:+.3f} against {other} (95 % CI {low:.3f} to {high:.3f}). {engine} takes {time}, "
    "{other} {other_time}.",
    "recommended_possibly": "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices and is "
    "ahead, perhaps by chance: {difference:+.3f} against {other} (95 % CI {low:.3f} to {high:.3f}). {engine} takes "
    "{time}, {other} {other_time}.",
    "recommended_as_good": "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices and is as "
    "good: {difference:+.3f} against {other} (95 % CI {low:.3f} to {high:.3f}). {engine} takes {time}, {other} "
    "{other_time}.",
    "recommended_quicker_and_equal": "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices. "
    "{other} had {difference:+.3f} (95 % CI {low:.3f} to {high:.3f}), too little to matter. {engine} takes {time}, "
    "{other} {other_time}.",
    "recommended_much_quicker": "With {painted} {engine} reached a mean Dice of {dice:.3f} on hidden slices. "
    "{other} had {difference:+.3f} (95 % CI {low:.3f} to {high:.3f}), a lead that may be chance and costs much more "
    "time. {engine} takes {time}, {other} {other_time}.",
    "recommended_duration_of_one": "Filling the one slice between yours should take {time}.",
    "recommended_duration": "Filling the {count} slices between yours should take {time}.",
    "recommended_dice_low": "A mean Dice of {dice:.2f} is low: expect to correct much, or paint more slices first.",
    "more_slices_help": "More slices should still help: from {first} to {last} its Dice rose by {difference:.3f}.",
    "ahead_with_few_slices": "With {painted} {engine} was ahead ({dice:.3f} against {other_dice:.3f}).",
    "weakest_label": "Its weakest label is {label} (Dice {dice:.2f}): check it first.",
    "one_shot": "One-shot",
    "few_shot": "Few-shot",
    "study_scores": "{setting} ({painted}): {scores}.",
    "study_scores_and_lead": "{setting} ({painted}): {scores}. {lead}",
    "study_too_small": "With {count} volumes that is no finding yet: {needed} or more are needed.",
    "study_lead_clear": "The lead of {engine} over {other} ({difference:+.3f}, 95 % CI {low:+.3f} to {high:+.3f}) is "
    "beyond the variation from volume to volume.",
    "study_lead_uncertain": "The lead of {engine} over {other} ({difference:+.3f}, 95 % CI {low:+.3f} to "
    "{high:+.3f}) is within the variation from volume to volume.",
    "study_without_common_size": "No support size was possible on all volumes; see the figures of each group.",
    "dice_rises_for_all": "From {first} to {last} painted slices Dice changes by: {changes}; it rises at every step "
    "for all engines.",
    "dice_rises_for_some": "From {first} to {last} painted slices Dice changes by: {changes}; it rises at every step "
    "for {engines} only.",
    "dice_rises_for_none": "From {first} to {last} painted slices Dice changes by: {changes}; it rises at every step "
    "for no engine.",
    "best_by_group": "Best with the most painted slices, by group (number of volumes): {engines}.",
}
