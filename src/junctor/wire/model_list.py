"""The models as `GET /v1/models` lists them: each object has OpenAI's fields and Anthropic's."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from junctor.chat import ModelCard

_SOME_DAY = "1970-01-01T00:00:00Z"
"We do not know when a model was made, and the field is required: Anthropic has this for such models too."


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    # OpenAI's.
    id: str
    object: str = "model"
    created: int = 0
    owned_by: str
    # Anthropic's.
    type: str = "model"
    display_name: str
    created_at: str = _SOME_DAY
    lifecycle: str = "active"
    max_input_tokens: int
    max_tokens: int | None


class _List(msgspec.Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[_Model]
    has_more: bool = False
    first_id: str | None
    last_id: str | None


def _model(name: str, card: ModelCard) -> _Model:
    return _Model(
        id=name,
        owned_by=card.provider or "junctor",
        display_name=card.name,
        max_input_tokens=card.window,
        max_tokens=card.max_output,
    )


def render_model(name: str, card: ModelCard) -> bytes:
    """One model under the name that it was asked for by, for `GET /v1/models/{name}`."""
    return msgspec.json.encode(_model(name, card))


def render_models(models: Iterable[tuple[str, ModelCard]]) -> bytes:
    """All models under the names that callers may use, on one page, for `GET /v1/models`."""
    listed = [_model(name, card) for name, card in models]
    return msgspec.json.encode(
        _List(
            data=listed, first_id=listed[0].id if listed else None, last_id=listed[-1].id if listed else None
        )
    )
