"""The Segment Editor effect *Few-Shot Fill*."""
