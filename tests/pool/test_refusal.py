"""An upstream's refusals as errors of the hall."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import (
    JunctorError,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnauthorised,
    WindowExceeded,
)
from junctor.pool.refusal import parse_refusal, parse_retry_after


def refusal(status: int, body: Any = None, **headers: str) -> JunctorError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return parse_refusal(status, names, raw, "small", "sk-secret")


OPENAI = {
    "error": {"message": "Bad top_p.", "type": "invalid_request_error", "param": "top_p", "code": "bad_value"}
}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamRefused),
        (401, UpstreamUnauthorised),
        (403, UpstreamUnauthorised),
        (404, UpstreamRefused),
        (408, UpstreamTimeout),
        (413, UpstreamRefused),
        (422, UpstreamRefused),
        (429, UpstreamRateLimited),
        (500, UpstreamBroken),
        (502, UpstreamBroken),
        (503, UpstreamBroken),
        (504, UpstreamTimeout),
        (529, UpstreamBroken),
        (599, UpstreamBroken),
        (301, UpstreamBroken),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[JunctorError]) -> None:
    error = refusal(status, OPENAI)
    assert type(error) is kind
    assert "`small`" in error.message


def test_a_refusal_keeps_status_code_param_and_words() -> None:
    error = refusal(422, OPENAI)
    assert (error.status, error.code, error.param) == (422, "bad_value", "top_p")
    assert "Bad top_p." in error.message
    assert refusal(400, {"error": "no"}).code == UpstreamRefused.code


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Bad.", "code": 400, "param": None}},
        {"error": "Bad."},
        {"message": "Bad."},
        {"detail": "Bad."},
        [{"error": {"message": "Bad.", "status": "INVALID_ARGUMENT"}}],
        {"type": "error", "error": {"type": "invalid_request_error", "message": "Bad."}},
    ],
)
def test_the_words_are_found_in_every_form(body: Any) -> None:
    assert refusal(400, body).message.endswith("refused the request: Bad.")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"null", b"5", b'"x"', b"[]", b"{}", b'{"error":' + b"[" * 50_000]
)
def test_without_words_the_status_speaks(body: bytes) -> None:
    assert refusal(502, body).message == "the model `small` failed (status 502): Bad Gateway"


@pytest.mark.parametrize(
    "error",
    [
        {"code": "context_length_exceeded", "message": "Too long."},
        {"type": "exceed_context_size_error", "code": 400, "message": "Too long.", "n_ctx": 4096},
        {"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"},
        {"type": "BadRequestError", "message": "This model's maximum context length is 4096 tokens."},
    ],
)
def test_too_many_tokens_is_an_error_of_its_own(error: dict[str, Any]) -> None:
    found = refusal(400, {"error": error})
    assert isinstance(found, WindowExceeded)
    assert error["message"] in found.message


def test_a_key_is_never_repeated() -> None:
    """Some servers repeat a part of the key they refuse: of a 401 nothing is repeated."""
    for status in (400, 403, 404, 429, 500):
        assert "secret" not in refusal(status, {"error": {"message": "key sk-secret is bad"}}).message
    error = refusal(401, {"error": {"message": "Incorrect API key provided: sk-se*et."}})
    assert "sk-se" not in error.message
    assert "api_key_env" in error.message


def test_a_redirect_says_where_to() -> None:
    assert "https://elsewhere/v1" in refusal(308, b"", location="https://elsewhere/v1").message


def test_a_pause_is_passed_on() -> None:
    error = refusal(429, OPENAI, retry_after="3")
    assert isinstance(error, UpstreamRateLimited)
    assert error.retry_after_s == 3.0
    overloaded = refusal(529, OPENAI, retry_after="4")
    assert isinstance(overloaded, UpstreamBroken)
    assert overloaded.retry_after_s == 4.0


NOW = datetime(2026, 11, 21, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Sat, 21 Nov 2026 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 08:00:30 -0000"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 07:00:00 GMT"}, 0.0),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(headers, NOW) == seconds


@given(st.text(max_size=30), st.text(max_size=10))
def test_any_header_is_seconds_or_nothing(text: str, ms: str) -> None:
    found = parse_retry_after({"retry-after": text, "retry-after-ms": ms}, NOW)
    assert found is None or found >= 0


@given(st.integers(300, 599), st.binary(max_size=60))
def test_any_body_is_an_error(status: int, body: bytes) -> None:
    assert refusal(status, body).message
