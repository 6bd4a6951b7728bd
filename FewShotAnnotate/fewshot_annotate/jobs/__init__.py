"""Runs: planning, filling slice by slice in a worker process, and storage in a run folder."""
