"""Tables of `junctor.toml` for tests: scripted models, and keys."""

from __future__ import annotations

import hashlib
import json


def model_table(
    name: str, says: str = "Hi", *, script: str | None = None, usd: float | None = None, **fields: object
) -> str:
    """A scripted model that says so much, or what the script (TOML) says; `usd`: for a million tokens."""
    lines = [f"price = {{ input = {usd}, output = {usd} }}"] if usd is not None else []
    if fields.get("kind") != "embeddings":
        lines.append(f"script = {script or f'[{{ text = {json.dumps(says)} }}]'}")
    return _table("models", name=name, provider="scripted", **fields) + "\n".join([*lines, ""])


def key_table(name: str, key: str | None = None, **fields: object) -> str:
    """An API key; without one, the name is the key."""
    return _table("keys", name=name, sha256=hashlib.sha256((key or name).encode()).hexdigest(), **fields)


def _table(table: str, **fields: object) -> str:
    """Values are JSON, which TOML reads, too."""
    lines = (f"{field} = {json.dumps(value)}\n" for field, value in fields.items() if value is not None)
    return f"[[{table}]]\n{''.join(lines)}"
