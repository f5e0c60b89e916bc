"""Fusion: several models are asked at once, and one answer comes of theirs."""
