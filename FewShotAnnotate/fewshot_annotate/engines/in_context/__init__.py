"""Engines that segment from labelled examples given with each slice: UniverSeg, MultiverSeg, SegGPT, Painter."""
