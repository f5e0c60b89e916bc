"""What an upstream says when it does not answer: a status and a body, as an error of the hall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec

from junctor.chat import (
    JunctorError,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnauthorised,
    WindowExceeded,
)
from junctor.wire.json_value import BAD_JSON, as_list, as_object

_WINDOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
"OpenAI's `code` and llama-server's `type`."
_WINDOW_WORDS = ("prompt is too long", "maximum context length")
"Anthropic's and vLLM's messages: they have no code for it."
_TIMEOUTS = frozenset({408, 504})
_MOST_SHOWN = 1000


class _Complaint(msgspec.Struct, frozen=True):
    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None


def parse_refusal(
    status: int, headers: Mapping[str, str], body: bytes, model: str, key: str | None = None
) -> JunctorError:
    """The error for a reply whose status is not 2xx. `key` is struck out wherever the upstream repeats it."""
    complaint = _parse_body(body)
    said = complaint.message or _phrase(status)
    if key:
        said = said.replace(key, "***")
    who = f"the model `{model}`"
    if status in (401, 403):
        # Not what it said: some repeat a part of the key.
        return UpstreamUnauthorised(
            f"{who} refused the key that is configured for it (status {status}); check its api_key_env",
            model=model,
        )
    if status == 429:
        wait_s = parse_retry_after(headers)
        return UpstreamRateLimited(f"{who} asks for a pause: {said}", model=model, retry_after_s=wait_s)
    if status in _TIMEOUTS:
        return UpstreamTimeout(f"{who} took too long (status {status}): {said}", model=model)
    if 400 <= status < 500:
        if status in (400, 413) and _is_window(complaint):
            return WindowExceeded(f"{who} cannot read that many tokens: {said}", param="messages")
        message = f"{who} refused the request: {said}"
        return UpstreamRefused(
            message, status=status, model=model, code=complaint.code, param=complaint.param
        )
    if status < 500:
        where = headers.get("location", "another address")[:200]
        message = f"{who} redirects to {where}, which is not followed: set its base_url to where it answers"
        return UpstreamBroken(message, model=model)
    wait_s = parse_retry_after(headers)
    return UpstreamBroken(f"{who} failed (status {status}): {said}", model=model, retry_after_s=wait_s)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"


def _is_window(complaint: _Complaint) -> bool:
    if complaint.code in _WINDOW_CODES or complaint.type in _WINDOW_CODES:
        return True
    message = (complaint.message or "").lower()
    return any(words in message for words in _WINDOW_WORDS)


def _parse_body(body: bytes) -> _Complaint:
    """The complaint in any of the forms that servers use; an empty one when there is none."""
    try:
        found: object = msgspec.json.decode(body)
    except BAD_JSON:
        return _Complaint()
    if several := as_list(found):
        found = several[0]
    outer = as_object(found)
    inner = outer.get("error")
    fields = as_object(inner) or outer
    return _Complaint(
        message=_text(fields.get("message") or fields.get("detail") or inner),
        type=_text(fields.get("type")),
        code=_text(fields.get("code")),
        param=_text(fields.get("param")),
    )


def _text(value: object) -> str | None:
    return value[:_MOST_SHOWN] if isinstance(value, str) and value else None


def parse_retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait: `retry-after-ms`, or `retry-after` as seconds or as a date; None without one."""
    wait_s = _number(headers.get("retry-after-ms"), 1e-3)
    if wait_s is None and (text := headers.get("retry-after")):
        wait_s = _number(text, 1.0)
        if wait_s is None:
            try:
                at = parsedate_to_datetime(text)
            except (ValueError, IndexError, OverflowError):
                return None
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            wait_s = (at - (now or datetime.now(UTC))).total_seconds()
    return None if wait_s is None else max(0.0, wait_s)


def _number(text: str | None, unit: float) -> float | None:
    if text is None:
        return None
    try:
        value = float(text) * unit
    except ValueError:
        return None
    return value if math.isfinite(value) else None
