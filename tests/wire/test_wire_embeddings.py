"""Embeddings pass byte for byte, and what they cost is read on the way."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import (
    BadRequest,
    ChatRequest,
    Constraints,
    Finished,
    Raw,
    UnsupportedByModel,
    UpstreamBroken,
    Usage,
)
from junctor.pool.metered import count_prompt_tokens
from junctor.wire.embeddings import (
    EmbeddingsCall,
    EmbeddingsRenderer,
    parse_reply,
    parse_request,
    render_request,
)


def parse(body: Any, **headers: str) -> EmbeddingsCall:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_request(raw, headers, request_id="req_1", caller="ann")


@pytest.mark.parametrize("given", ["Hi", ["Hi", "Ho"], [1, 2, 3], [[1, 2], [3]]])
def test_a_request_goes_as_it_came_but_for_the_model(given: Any) -> None:
    body = {"model": "m", "input": given, "dimensions": 3, "tomorrow": 1}
    request = parse({**body, "junctor": {"max_usd": 1}}).request
    assert (request.model, request.caller, request.stream) == ("m", "ann", False)
    assert request.constraints == Constraints(max_usd=1)
    assert json.loads(render_request(request, "theirs").body) == {**body, "model": "theirs"}


def test_the_urls_model_counts() -> None:
    call = parse_request(b'{"input":"Hi"}', {}, request_id="req_1", caller="", model="azure")
    assert call.request.model == "azure"


def test_the_prompt_is_measured() -> None:
    assert count_prompt_tokens(parse({"model": "m", "input": "x" * 4000}).request) > 1000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "input"),
        ({"model": "m", "input": None}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": {"a": 1}}, "input"),
        ({"model": "m", "input": 7}, "input"),
        ({"input": "Hi"}, "model"),
    ],
)
def test_the_field_at_fault_is_named(body: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(body)
    assert caught.value.param == param


@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    with suppress(BadRequest):
        parse(body)


def test_a_chat_is_refused() -> None:
    with pytest.raises(UnsupportedByModel, match="embeddings"):
        render_request(ChatRequest(model="m", messages=msgspec.Raw(b"[]")), "theirs")


def test_a_reply_and_its_cost() -> None:
    body = b'{"data": [ {} ], "usage": {"prompt_tokens": 5, "total_tokens": 5}}'
    assert [*parse_reply(body)] == [Raw(body, has_text=False), Usage(5, 0), Finished("stop")]
    assert [*parse_reply(b'{"data":[],"usage":{"total_tokens":7}}')][1] == Usage(7, 0)
    assert [*parse_reply(b'{"data":[]}')][1:] == [Finished("stop")]
    renderer = EmbeddingsRenderer(parse({"model": "m", "input": "Hi"}))
    assert [piece for event in parse_reply(body) for piece in renderer.render(event)] == []
    assert renderer.end() == body


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data": 1}', b'{"data":[],"usage":{"total_tokens":"x"}}']
)
def test_a_reply_that_is_none(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        list(parse_reply(body))
    with pytest.raises(UpstreamBroken):
        EmbeddingsRenderer(parse({"model": "m", "input": "Hi"})).end()
