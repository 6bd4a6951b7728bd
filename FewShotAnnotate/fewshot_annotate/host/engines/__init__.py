"""What an engine needs before it can start: its state, installation, and downloaded weights."""
