"""Find a model in the pool by its name, or by its alias.

Claude Code lists only models whose ids begin with `claude` or `anthropic`: each model of the pool also goes
by `claude-junctor-<name>`.
"""

from __future__ import annotations

import difflib

from junctor.chat import Model, Pool, UnknownModel

ALIAS_PREFIX = "claude-junctor-"
_MOST_LISTED = 20


def find(pool: Pool, name: str) -> Model:
    """The model of that name. Raises `UnknownModel`, which says what was probably meant and what there is."""
    model = pool.get(name) or pool.get(name.removeprefix(ALIAS_PREFIX))
    if model is not None:
        return model
    names = sorted(pool)
    near = difflib.get_close_matches(name[:200], names, n=1)
    meant = f" Did you mean `{near[0]}`?" if near else ""
    more = f", and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    known = ", ".join(names[:_MOST_LISTED]) + more if names else "none: add a [[models]] to junctor.toml"
    raise UnknownModel(f"the model `{name[:200]}` does not exist.{meant} There are: {known}", param="model")
