"""Measuring: whether quality held on the traffic itself, and what routing saved."""
