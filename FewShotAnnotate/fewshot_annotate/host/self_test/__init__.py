"""The self-test that Slicer runs on the module."""
