"""Test support: real MRML from slicer-core, and stand-ins for what that wheel lacks."""
