"""The parts of `Testing/fuzz.py`: damaged and odd inputs for every command, and a judge of what became of them."""
