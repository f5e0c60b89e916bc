"""What an engine's parent and child say to each other: one line of JSON each way.

A file of its own, so that the child loads nothing else of the house.
"""

from __future__ import annotations

import msgspec


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told on its stdin."""

    weights: str
    "Path of the file."
    name: str
    "The model's name in its replies."
    window: int
    "Tokens each request can read and write in all."
    parallel: int
    "Requests answered at the same time."
    threads: int
    key: str = ""
    "Without this key the child answers nothing; new at every start."
    path: str = ""
    "First part of every path it serves; new at every start."


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says on its stdout once it can answer."""

    base_url: str
    "Ends with `/v1`."
