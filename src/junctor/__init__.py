"""Junctor: one self-hosted endpoint in front of a pool of language models."""

__version__ = "0.1.0"
