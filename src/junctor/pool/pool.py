"""Find a model in the pool by its name, or by its alias.

Claude Code lists only models whose ids begin with `claude` or `anthropic`: each model of the pool also goes
by `claude-junctor-<name>`. And clients of OpenRouter's fusion find ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Container, Sequence

from junctor.chat import Model, ModelCard, Pool, UnknownModel

ALIAS_PREFIX = "claude-junctor-"
ALIASES = {"openrouter/fusion": "fusion"}
"What others call what we have, too. A model of the pool that has such a name goes before."
_MOST_LISTED = 20


def resolve(names: Container[str], name: str) -> str | None:
    """The one of these names that a caller means; None: none of them."""
    if name in names:
        return name
    spellings = (name.removeprefix(ALIAS_PREFIX), plain_name(name))
    return next((each for each in spellings if each in names), None)


def plain_name(name: str) -> str:
    """What an alias stands for; any other name as it is."""
    name = name.removeprefix(ALIAS_PREFIX)
    return ALIASES.get(name, name)


def find(pool: Pool, name: str) -> Model:
    """The model of that name. Raises `UnknownModel`, which says what was probably meant and what there is."""
    if (own := resolve(pool, name)) is not None:
        return pool[own]
    names = sorted(pool)
    near = difflib.get_close_matches(name[:200], names, n=1)
    meant = f" Did you mean `{near[0]}`?" if near else ""
    more = f", and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    known = ", ".join(names[:_MOST_LISTED]) + more if names else "none: add a [[models]] to junctor.toml"
    raise UnknownModel(f"the model `{name[:200]}` does not exist.{meant} There are: {known}", param="model")


def joint_card(name: str, cards: Sequence[ModelCard]) -> ModelCard:
    """What a model can do that has others answer for it: whatever one of them can."""
    return ModelCard(
        name=name,
        provider="junctor",
        window=max((card.window for card in cards), default=0),
        skills=frozenset(skill for card in cards for skill in card.skills),
    )
