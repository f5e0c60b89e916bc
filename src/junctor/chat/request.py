"""What a caller asks: `ChatRequest` and the `Constraints` it may put on the choice of a model."""

from __future__ import annotations

from typing import Literal

import msgspec

from junctor.chat.fusion import FusionOptions

Dialect = Literal["openai_chat", "openai_responses", "anthropic_messages", "openai_embeddings"]
"""A wire format for chats, and one for embeddings, which are asked for in the same way. `openai_chat` is also
the form of `ChatRequest.messages`."""

Mode = Literal["balanced", "cost", "quality"]
"How much predicted quality may be given up for cost: 2 points, 6 points, none."

Skill = Literal["tools", "vision", "json", "audio"]
"Something a request may need and not every model can."


class Constraints(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Limits on which model may answer. The defaults rule nothing out."""

    max_usd: float | None = None
    "Estimated cost of the answer, USD, at most."
    max_first_token_ms: float | None = None
    "Estimated time to the first token, milliseconds, at most."
    max_total_ms: float | None = None
    "Estimated time to the whole answer, milliseconds, at most."
    needs: tuple[Skill, ...] = ()
    "Skills the model must have, on top of those the request itself shows."
    min_window: int | None = None
    "Context window in tokens, at least."
    only: tuple[str, ...] = ()
    "When not empty: no model but these."
    never: tuple[str, ...] = ()
    "Not these models."
    quality: float | None = None
    """Floor for the predicted probability of a good answer, 0..1. Without `mode` it says what will do: the
    cheapest model that reaches it is taken."""
    mode: Mode | None = None
    "None, without `quality`, takes the configured `routing.mode`."


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One chat to answer.

    JSON that nobody has to understand stays undecoded (`msgspec.Raw`), so that relaying a request costs no
    more than reading its outer object.
    """

    model: str
    "A name in the pool: a model, or `auto`."
    messages: msgspec.Raw
    "JSON array of messages in OpenAI's chat form, byte for byte as received."
    tools: msgspec.Raw | None = None
    "JSON array of tools in OpenAI's form; None when there are none."
    tool_choice: msgspec.Raw | None = None
    response_format: msgspec.Raw | None = None
    max_tokens: int | None = None
    "Most tokens to answer with; None leaves it to the model."
    stream: bool = False
    "Whether the caller wants the answer as it is made. Without it, text may come in one piece."
    relay: Dialect | None = None
    """The dialect whose raw frames the asker can use as they are. A model whose upstream speaks it answers
    with `Raw` events instead of `Text`, `Thought` and `ToolCall`. None: always decoded events."""
    body: msgspec.Raw | None = None
    """The caller's whole body in the dialect that `relay` names, where that is not `openai_chat`: an upstream
    of the dialect takes it as it is, but for `model`. The other fields say the same in our form."""
    refused_elsewhere: tuple[str, ...] = ()
    """What `body` asks for that only its own dialect can give, such as `tools[1] (web_search)`: upstreams of
    other dialects refuse the request."""
    lost_elsewhere: tuple[str, ...] = ()
    """What of `body` the other fields do not say, though the answer may differ without it: upstreams of other
    dialects name it in `Started.left_out`."""
    headers: dict[str, str] = {}
    "Headers of the caller's that belong to `body` (`anthropic-beta`): for an upstream of the same dialect."
    constraints: Constraints = Constraints()
    fusion: FusionOptions | None = None
    "What the request says of its fusion; None: nothing."
    passthrough: dict[str, msgspec.Raw] = {}
    """Every other field of the body, byte for byte: sampling (`temperature`, `top_p`, `stop`, ...) and fields
    that we do not know."""
    id: str = ""
    "Ours, unique, starts with `req_`. Calls made on behalf of a request keep its id."
    caller: str = ""
    "Id of the API key; empty when the server runs open."
    within_s: float | None = None
    """Seconds the answer may take, counted from the call of `answer`; None: as long as the model allows
    itself. What is left of a request's time when it has been tried elsewhere before."""
