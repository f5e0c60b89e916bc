"""What a body of feedback must be; that it is kept as it should be: see test_routing_api.py."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest
from junctor.pool.ledger_store import LedgerRow
from junctor.routing.measuring.feedback import is_answered, parse_feedback


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"request_id": "r"}', "score"),
        (b'{"request_id": "r", "score": 1, "rating": "good"}', "score"),
        (b'{"score": 1}', "request_id"),
        (b'{"request_id": "r", "decision_id": "d", "score": 1}', "request_id"),
        (b'{"request_id": "r", "score": 1.01}', "score"),
        (b'{"request_id": "r", "score": -0.01}', "score"),
        (b'{"request_id": "r", "rating": "great"}', None),
        (b'{"request_id": "r", "score": "1"}', None),
        (b'{"request_id": "r", "score": 1, "comment": "x"}', None),
        (b"\xff", None),
        (b'{"request_id": ' * 5000, None),
    ],
)
def test_a_bad_body_is_refused_with_its_field(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_feedback(body)
    assert caught.value.param == param


@given(st.floats(0, 1))
def test_every_score_from_0_to_1_is_taken(score: float) -> None:
    assert parse_feedback(msgspec.json.encode({"decision_id": "dec_1", "score": score})).score == score


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(BadRequest):
        parse_feedback(body)


@pytest.mark.parametrize(
    ("outcome", "status", "text", "stream", "answered"),
    [
        pytest.param("ok", 200, True, False, True, id="whole"),
        pytest.param("ok", 200, False, False, True, id="whole, of no words"),
        pytest.param("upstream_broken", 200, True, True, True, id="cut short"),
        pytest.param("upstream_broken", 502, False, False, False, id="failed"),
        pytest.param("upstream_broken", 502, True, False, False, id="failed after models had spoken"),
        pytest.param("client_gone", 499, True, True, True, id="left in the midst"),
        pytest.param("client_gone", 499, False, True, False, id="left before the first word"),
        pytest.param("client_gone", 499, True, False, False, id="left before it was told"),
    ],
)
def test_who_got_some_of_an_answer_can_say_how_good_it_was(
    outcome: str, status: int, text: bool, stream: bool, answered: bool
) -> None:
    row = LedgerRow(
        request_id="req_1",
        created_at=datetime.now(UTC),
        caller="ann",
        route="/v1/chat/completions",
        asked_model="auto",
        model="small",
        stream=stream,
        attempts=1,
        first_token_ms=1.0 if text else None,
        outcome=outcome,
        http_status=status,
    )
    assert is_answered(row) is answered
