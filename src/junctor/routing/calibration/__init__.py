"""Calibration: what the pool's models can do, and which to ask first, learnt from known answers."""
