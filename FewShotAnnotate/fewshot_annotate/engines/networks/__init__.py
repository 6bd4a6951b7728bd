"""Layers and optimisers of the networks that `adapt` and `specialist` train."""
