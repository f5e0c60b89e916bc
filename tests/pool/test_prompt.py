"""Reading a request as the router needs it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest, ChatRequest
from junctor.pool.prompt import (
    CONTEXT_CHARS,
    TEXT_CHARS,
    TOKENS_PER_IMAGE,
    estimate_tokens,
    parse_prompt,
    sample_text,
)


def request_of(messages: object, **more: object) -> ChatRequest:
    """A request with these messages, as JSON."""
    raw = messages if isinstance(messages, bytes) else msgspec.json.encode(messages)
    return ChatRequest(model="auto", messages=msgspec.Raw(raw), **more)  # pyright: ignore[reportArgumentType]


def said(text: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"[]", "messages"),
        (b"nonsense", "messages"),
        (b"", "messages"),
        (b"{}", "messages"),
        (b"[1]", "messages[0]"),
        (b'[{"content": "no role"}]', "messages[0]"),
        (b'[{"role": 7}]', "messages[0].role"),
        (b'[{"role":"user","content":"a"},{"role":"user","content":7}]', "messages[1].content"),
        (b'[{"role":"user","content":[{"text":"no type"}]}]', "messages[0].content[0]"),
        (b'[{"role":"user","content":[{"type":"text","text":7}]}]', "messages[0].content[0].text"),
        (b'[{"role":"user","content":"\xff"}]', "messages"),
        (b"[" * 100_000, "messages[0]"),
        (b'[{"role":"user","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]", "messages"),
    ],
)
def test_malformed_messages_are_refused_with_the_place_of_the_fault(raw: bytes, param: str) -> None:
    """A caller learns where, and never gets a 500."""
    with pytest.raises(BadRequest) as refused:
        parse_prompt(request_of(raw))
    assert refused.value.param == param
    assert param in refused.value.message


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_any_json_is_read_or_refused(messages: object) -> None:
    """No input makes another error than `BadRequest`."""
    try:
        ask = parse_prompt(request_of(messages))
    except BadRequest:
        return
    assert ask.tokens >= 0


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Not even invalid JSON or UTF-8."""
    with pytest.raises(BadRequest):
        parse_prompt(request_of(b"[" + data))


def test_the_last_user_turn_is_what_is_judged() -> None:
    """The system prompt is the same for every request of an application: it says nothing about this one."""
    long_turn = "Prove that there are infinitely many primes. " * 12
    ask = parse_prompt(request_of([said("Be brief.", "system"), said("earlier"), said(long_turn)]))
    assert ask.text == long_turn
    assert ask.turns == 3


def test_a_short_turn_is_judged_with_the_turns_before_it() -> None:
    """`And in French?` alone says little."""
    turns = [
        said("x" * 3000),
        said("Translate this poem."),
        said("Voila.", "assistant"),
        said("And in Greek?"),
    ]
    text = parse_prompt(request_of([said("secret", "system"), *turns])).text
    assert text.endswith("Translate this poem.\nVoila.\nAnd in Greek?")
    assert "secret" not in text
    assert len(text) <= len("And in Greek?") + CONTEXT_CHARS + 1


def test_a_conversation_that_ends_with_a_tools_result_is_judged_by_the_users_turn() -> None:
    """An agent's loop sends the result of a tool last; the task stands in the user's turn."""
    result = {"role": "tool", "tool_call_id": "c", "content": "42"}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]}
    question = "How warm is it in Rome? " * 30
    assert parse_prompt(request_of([said(question), call, result])).text == question


def test_without_a_user_turn_the_last_message_is_judged() -> None:
    """Some clients send a system message alone."""
    assert parse_prompt(request_of([said("Write a poem.", "developer")])).text == "Write a poem."


def test_a_huge_prompt_is_sampled_at_head_and_tail() -> None:
    """The work after decoding does not grow with the prompt."""
    ask = parse_prompt(request_of([said("HEAD" + "x " * 500_000 + "TAIL")]))
    assert len(ask.text) == TEXT_CHARS
    assert ask.text.startswith("HEAD")
    assert ask.text.endswith("TAIL")
    assert ask.tokens > 100_000


@given(st.text(max_size=300), st.integers(4, 100))
def test_a_sample_is_never_longer_than_asked(text: str, chars: int) -> None:
    """And a short text is left as it is."""
    assert len(sample_text(text, chars)) == min(len(text), chars)


def test_needs_are_read_from_the_request() -> None:
    """Tools, images, audio and JSON each show in their own field."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    text = {"type": "text", "text": "What is this?"}
    content = {"role": "user", "content": [text, image, audio]}
    ask = parse_prompt(
        request_of(
            [content],
            tools=msgspec.Raw(b'[{"type": "function"}]'),
            response_format=msgspec.Raw(b'{"type": "json_schema", "json_schema": {}}'),
        )
    )
    assert ask.needs == {"tools", "vision", "audio", "json"}
    assert ask.text == "What is this?"
    assert ask.tokens > TOKENS_PER_IMAGE


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        ("tools", b"[]"),
        ("tools", b" [ ] "),
        ("tools", b"null"),
        ("response_format", b'{"type":"text"}'),
        ("response_format", b"null"),
    ],
)
def test_empty_fields_need_nothing(field: str, raw: bytes) -> None:
    """SDKs send empty and null fields."""
    assert parse_prompt(request_of([said("Hi")], **{field: msgspec.Raw(raw)})).needs == frozenset()


@pytest.mark.parametrize(("field", "raw"), [("tools", b"{}"), ("response_format", b"[]"), ("tools", b"nul")])
def test_malformed_fields_are_refused_by_name(field: str, raw: bytes) -> None:
    """As malformed messages are."""
    with pytest.raises(BadRequest) as refused:
        parse_prompt(request_of([said("Hi")], **{field: msgspec.Raw(raw)}))
    assert refused.value.param == field


def test_asking_for_an_answer_in_audio_needs_audio() -> None:
    """OpenAI's `audio` field goes through untouched, but not every model can speak."""
    passthrough = {"audio": msgspec.Raw(b'{"voice":"alloy"}')}
    assert "audio" in parse_prompt(request_of([said("Hi")], passthrough=passthrough)).needs


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        # o200k and cl100k, counted with tiktoken; the estimate may lie a third outside.
        ("The quick brown fox jumps over the lazy dog. " * 20, 201, 201),
        ("def add(a: int, b: int) -> int:\n    return a + b\n\n" * 20, 380, 380),
        ("Съешь же ещё этих мягких французских булок. " * 20, 261, 581),
        ("敏捷的棕色狐狸跳过了懒狗。" * 20, 280, 500),
    ],
)
def test_token_estimates_lie_near_real_tokenizers(text: str, low: int, high: int) -> None:
    """Good enough to refuse a window and to price a prompt."""
    assert 0.67 * low <= estimate_tokens(text) <= 1.5 * high


@given(st.text(max_size=400))
def test_every_text_has_a_token_estimate(text: str) -> None:
    """Surrogates, control characters and all: at least one token, none for nothing."""
    assert (estimate_tokens(text) >= 1) == bool(text)


def test_a_repeated_text_counts_in_proportion_even_when_sampled() -> None:
    """Sampling scales up."""
    once = "Some words, 12 numbers and a line.\n"
    assert estimate_tokens(once * 10_000) == pytest.approx(
        10_000 * estimate_tokens(once * 100) / 100, rel=0.03
    )


def test_old_turns_of_a_long_conversation_still_count() -> None:
    """By their length."""
    short, long = ([said("word " * 100)] * turns for turns in (100, 1000))
    assert parse_prompt(request_of(long)).tokens == pytest.approx(
        10 * parse_prompt(request_of(short)).tokens, rel=0.2
    )


def test_a_conversation_has_begun_once_a_model_or_a_tool_has_spoken() -> None:
    assert not parse_prompt(request_of([said("Be brief.", "system"), said("Hi"), said("There?")])).begun
    assert parse_prompt(request_of([said("Hi"), said("Hello", "assistant"), said("2 + 2?")])).begun
    assert parse_prompt(request_of([said("Hi"), said("42", "tool")])).begun
