"""The parts of `Testing/fuzz.py`: damaged inputs for every command, and the verdict on each outcome."""
