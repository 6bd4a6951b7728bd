"""Many volumes: batches of cases, and labelled slices kept for other patients."""
