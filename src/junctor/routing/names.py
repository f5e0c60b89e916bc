"""Names of models as people spell them -> one spelling. Pure."""

from __future__ import annotations

import re

_SUFFIX = re.compile(
    r"-(?:20\d\d-?\d\d-?\d\d|[01]\d[0-3]\d|v0-\d|00\d|latest|instruct|chat|it|gguf|q\d(?:-[0-9a-z])*)$"
)


def canonical_name(name: str) -> str:
    """One spelling of a model's name: lower case, no maker or host, dashes only (`llama-3-1-8b-instruct`)."""
    name = name.lower().rsplit("/", 1)[-1].split("@")[0]
    for mark in "_.: ":
        name = name.replace(mark, "-")
    if name.endswith("-inst"):
        name += "ruct"
    return name.removeprefix("meta-")


def short_name(name: str) -> str:
    """A canonical name without date, tuning and quantisation: `gpt-4o-mini-2024-07-18` -> `gpt-4o-mini`."""
    while (shorter := _SUFFIX.sub("", name)) != name:
        name = shorter
    return name
