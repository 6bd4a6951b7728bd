"""Tasks: labelled examples of a labelling job, kept for the volumes of other patients."""
