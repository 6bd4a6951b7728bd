"""Engine `specialist`: networks trained on the examples of one task."""
