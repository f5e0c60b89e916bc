"""Problem details (RFC 9457)."""

from __future__ import annotations

import json

import pytest

from junctor.chat import BadRequest, JunctorError, NoModelFits, UnknownRoute, UpstreamRefused
from junctor.wire.problem import render_problem


def test_a_problem_has_the_members_of_the_rfc_and_ours() -> None:
    status, body = render_problem(BadRequest("Change `x`.", param="x"))
    assert status == 400
    assert json.loads(body) == {
        "type": "urn:junctor:error:invalid_request",
        "title": "Bad Request",
        "status": 400,
        "detail": "Change `x`.",
        "code": "invalid_request",
        "param": "x",
    }


@pytest.mark.parametrize("error", [NoModelFits("a"), UnknownRoute("b"), UpstreamRefused("c", status=499)])
def test_the_status_is_the_errors_own(error: JunctorError) -> None:
    status, body = render_problem(error)
    assert status == error.status == json.loads(body)["status"]
    assert "param" not in json.loads(body)
