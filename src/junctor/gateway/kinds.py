"""What models are asked for: what a caller is told who names a model at the path of another kind. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from junctor.chat import UnknownModel

Kind = Literal["chat", "embeddings"]
"A kind of models, and of the dialects that they answer in."


def not_here(kind: Kind, name: str, own: Collection[str], *, is_elsewhere: bool) -> UnknownModel | None:
    """The refusal of a name that no model of this kind has; None: there is nothing to say of kinds.

    `own`: those of this kind that the caller may use. `is_elsewhere`: one of the other kind is called so.
    """
    if kind == "chat":
        if not is_elsewhere:
            return None
        return UnknownModel(
            f"`{name[:200]}` makes embeddings, and does not chat: ask it at /v1/embeddings", param="model"
        )
    if own and not is_elsewhere:
        return None
    what = f"`{name[:200]}` chats, and makes no embeddings" if is_elsewhere else f"there is no `{name[:200]}`"
    these = f"these do: {', '.join(own)}" if own else "no model here does"
    add = "" if own else ': add a [[models]] with kind = "embeddings" to junctor.toml'
    return UnknownModel(f"{what}; {these}{add}", param="model")
