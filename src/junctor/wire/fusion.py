"""What requests say of a fusion, and what replies say of one: the same words in every dialect.

    {"model": "fusion", "fusion": {"mode": "vote", "quorum": 2}}               the body field
    {"model": "gpt", "plugins": [{"id": "fusion", "preset": "general-high"}]}  OpenRouter's plugin

A field of the body wins over the plugin's. Neither is ever sent to a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec.structs import replace

from junctor.chat import BadRequest, ChatRequest, Drafted, FusionOptions, Judging, Settled, Verdict
from junctor.wire.constraints import suggest
from junctor.wire.json_body import MOST_TOKENS, Fields, opens_with
from junctor.wire.json_value import BAD_JSON, NULL

FIELD = "fusion"
"The body field, and the field of replies."
PLUGINS = "plugins"
PLUGIN_ID = "fusion"
"Of OpenRouter's plugin. Other plugins go to the model as they are."
NAME = "fusion"
"The model that answers where a request names none that is a fusion."
MOST_MEMBERS = 8
"As OpenRouter has it."
_DAY_MS = 86_400_000.0
_MOST_USD = 1_000_000.0
_MOST_SHOWN = 80

SAID_AS = {
    "analysis_models": f"a list of 1 to {MOST_MEMBERS} names of models",
    "model": "the name of a model",
    "preset": "the name of a fusion, general-high or general-budget",
    "max_completion_tokens": "a whole number of tokens, at least 1",
    "temperature": "a number from 0 to 2",
    "reasoning": 'an object, such as {"effort": "low"}',
    "mode": "one of auto, vote, best-of, merge, debate",
    "quorum": f"a whole number from 1 to {MOST_MEMBERS}",
    "grace_ms": "a number of milliseconds, from 0 to a day",
    "deadline_ms": "a number of milliseconds, above 0, at most a day",
    "max_usd": "an amount of USD, such as 0.05, from 0 to 1000000",
    "on_judge_failure": "one of vote, best, error",
    "events": "true or false",
}
"What each field is, in words."
RANGES = {
    "max_completion_tokens": (1, MOST_TOKENS),
    "temperature": (0, 2),
    "quorum": (1, MOST_MEMBERS),
    "grace_ms": (0, _DAY_MS),
    "deadline_ms": (0, _DAY_MS),
    "max_usd": (0, _MOST_USD),
}
"Lowest and highest value of each number."
ABOVE = frozenset({"deadline_ms"})
"Numbers that must be above the lowest."
MOST_NAMES = {"analysis_models": MOST_MEMBERS, "model": 1, "preset": 1}
"Of fields that hold names: how many at most."
MOST_NAME_CHARS = 200
UNREAD = "reasoning"
"An object that is passed on as it is."

_TYPES = {field.name: field.type for field in msgspec.structs.fields(FusionOptions)}
_NOT_CARRIED = "max_tool_calls"
"Of OpenRouter's plugin, whose members may run tools. Ours run none."
_IN_REQUESTS = {"members": "analysis_models", "judge": "model"}
"What fields of junctor.toml are called in requests: as OpenRouter calls them."
_EMPTY: tuple[object, ...] = (None, "", [], {})
_T = TypeVar("_T")


class Asked(msgspec.Struct, frozen=True):
    """What one body says of a fusion."""

    options: FusionOptions | None = None
    "None: nothing."
    left_out: tuple[str, ...] = ()
    "What it asks for that no fusion does."


_NOTHING = Asked()


def parse_fusion(fields: Fields) -> Asked:
    """What a body says. Raises `BadRequest`, which names the field at fault."""
    if FIELD not in fields and PLUGINS not in fields:
        return _NOTHING
    found: dict[str, Any] | None = None
    left_out: dict[str, None] = {}
    for at, plugin in _split(fields.get(PLUGINS, NULL))[0]:
        where = f"{PLUGINS}[{at}]"
        if not _is_enabled(plugin, where):
            continue
        if plugin.pop(_NOT_CARRIED, NULL) != NULL:
            left_out[f"{PLUGINS}.{_NOT_CARRIED}"] = None
        found = {**(found or {}), **_read(plugin, where)}
    if (said := fields.get(FIELD, NULL)) != NULL:
        if not opens_with(said, b"{"):
            raise BadRequest(f'`{FIELD}` must be an object, such as {{"mode": "vote"}}', param=FIELD)
        found = {**(found or {}), **_read(_decode(said, dict[str, msgspec.Raw], FIELD), FIELD)}
    return _NOTHING if found is None else Asked(FusionOptions(**found), tuple(left_out))


def drop_fusion(fields: dict[str, Any]) -> None:
    """Take out of a body, in place, what is ours: the field, and the plugin. Other plugins stay."""
    fields.pop(FIELD, None)
    if PLUGINS in fields:
        own, others = _split(fields[PLUGINS])
        if own and others:
            fields[PLUGINS] = msgspec.Raw(msgspec.json.encode(others))
        elif own:
            del fields[PLUGINS]


def as_fusion(request: ChatRequest, judge: str | None) -> ChatRequest:
    """A request that says something of a fusion and names another model is for `fusion`.

    `judge`: that model, unless it can be none; one that the request names goes before it. As in OpenRouter's
    plugin.
    """
    options = request.fusion or FusionOptions()
    return replace(request, model=NAME, fusion=replace(options, model=options.model or judge))


def note_fusion(named: str, request: ChatRequest) -> str:
    """What a caller is told who named that model, and said something of a fusion: `request` is for one."""
    judges = ", and it judges" if request.fusion is not None and request.fusion.model == named else ""
    return f"the request says something of a fusion: {NAME} answers it, not {named} alone{judges}"


def render_verdict(verdict: Verdict) -> dict[str, Any]:
    """The `fusion` block of a reply. What is empty is left out."""
    return _shown(verdict)


def render_progress(event: Drafted | Settled | Judging) -> dict[str, Any]:
    """How a fusion gets on, for clients that ask. Its `type` comes first."""
    match event:
        case Drafted():
            said = {"text": event.text} if event.text else {}
            return {"type": "member_done", **_shown(event.draft), "round": event.round, **said}
        case Settled():
            told = {"model": event.model, "awaited": event.awaited, "asked": event.asked}
            return {"type": "settled", **told}
        case Judging():
            return {"type": "judging", "judge": event.judge, "candidates": event.candidates}


def wants_progress(request: ChatRequest) -> bool:
    """Whether the stream is to say how the fusion gets on."""
    return request.stream and request.fusion is not None and request.fusion.events


# Reading.


def _split(plugins: msgspec.Raw) -> tuple[list[tuple[int, dict[str, msgspec.Raw]]], list[msgspec.Raw]]:
    """The fields of fusion's plugins, each with its place; and all others, as they are."""
    own: list[tuple[int, dict[str, msgspec.Raw]]] = []
    others: list[msgspec.Raw] = []
    for at, raw in enumerate(
        _decode(plugins, list[msgspec.Raw], PLUGINS) if opens_with(plugins, b"[") else ()
    ):
        where = f"{PLUGINS}[{at}]"
        plugin = _decode(raw, dict[str, msgspec.Raw], where) if opens_with(raw, b"{") else {}
        name = plugin.pop("id", NULL)
        if opens_with(name, b'"') and _decode(name, str, f"{where}.id") == PLUGIN_ID:
            own.append((at, plugin))
        else:
            others.append(raw)
    return own, others


def _decode(raw: msgspec.Raw, kind: type[_T], where: str) -> _T:
    """What is of that kind by its first byte. Raises `BadRequest` where the rest is broken."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except BAD_JSON:
        raise BadRequest(f"`{where}` is not valid JSON", param=where) from None


def _is_enabled(plugin: dict[str, msgspec.Raw], where: str) -> bool:
    said = bytes(plugin.pop("enabled", NULL))
    if said not in (b"true", b"false", b"null"):
        param = f"{where}.enabled"
        raise BadRequest(f"`{param}` must be true or false", param=param)
    return said != b"false"


def _read(values: Mapping[str, msgspec.Raw], where: str) -> dict[str, Any]:
    """The fields that are there and not null."""
    found: dict[str, Any] = {}
    for name, raw in values.items():
        param = f"{where}.{name[:_MOST_SHOWN]}"
        if name not in _TYPES:
            hint = f"; say `{_IN_REQUESTS[name]}`" if name in _IN_REQUESTS else suggest(name, _TYPES)
            raise BadRequest(f"`{param}` is not a field of a fusion{hint}", param=param)
        if raw != NULL:
            found[name] = _check(name, raw, param)
    return found


def _check(name: str, raw: msgspec.Raw, param: str) -> object:
    try:
        value: object = raw if name == UNREAD else msgspec.json.decode(raw, type=_TYPES[name])
    except BAD_JSON:
        raise _refusal(name, raw, param) from None
    if not _fits(name, value):
        raise _refusal(name, raw, param)
    return value


def _fits(name: str, value: object) -> bool:
    if isinstance(value, msgspec.Raw):
        return opens_with(value, b"{")
    if name in RANGES:
        number, (least, most) = cast("float", value), RANGES[name]
        return least <= number <= most and not (name in ABOVE and number == least)
    if name in MOST_NAMES:
        names = (value,) if isinstance(value, str) else cast("tuple[str, ...]", value)
        return 1 <= len(names) <= MOST_NAMES[name] and all(1 <= len(it) <= MOST_NAME_CHARS for it in names)
    return True


def _refusal(name: str, raw: msgspec.Raw, param: str) -> BadRequest:
    text = bytes(memoryview(raw)[: 4 * _MOST_SHOWN]).decode("utf-8", "ignore")
    shown = text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."
    return BadRequest(f"`{param}` must be {SAID_AS[name]}; it is {shown}", param=param)


# Writing.


@cache
def _names_of(kind: type[msgspec.Struct]) -> tuple[tuple[str, bool], ...]:
    """The fields of a struct, and whether they are always there: looking them up takes long."""
    return tuple((field.name, field.required) for field in msgspec.structs.fields(kind))


def _shown(struct: msgspec.Struct) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, is_needed in _names_of(type(struct)):
        value = _value(getattr(struct, name))
        if is_needed or value not in _EMPTY:
            shown[name] = value
    return shown


def _value(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return _shown(value)
    if isinstance(value, tuple):
        return [_value(each) for each in cast("tuple[object, ...]", value)]
    return value
