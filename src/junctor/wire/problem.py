"""Errors of our own API: problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from junctor.chat import JunctorError


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of a problem: the RFC's, and our `code` and `param`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    param: str | None = None


def render_problem(error: JunctorError) -> tuple[int, bytes]:
    """Status and body (`application/problem+json`) for an error."""
    try:
        title = HTTPStatus(error.status).phrase
    except ValueError:
        title = "Error"
    problem = Problem(
        type=f"urn:junctor:error:{error.code}",
        title=title,
        status=error.status,
        detail=error.message,
        code=error.code,
        param=error.param,
    )
    return error.status, msgspec.json.encode(problem)
