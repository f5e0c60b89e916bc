"""Ids say who made them, and for which request."""

from __future__ import annotations

import pytest

from junctor.wire.responses_ids import input_id, output_id, response_id, response_of, without_our_id

SUFFIX = "0193" + "ab" * 14


@pytest.mark.parametrize("kind", ["message", "reasoning", "function_call", "function_call_output", "other"])
def test_an_items_id_leads_to_its_response(kind: str) -> None:
    assert response_of(output_id(kind, SUFFIX, 12)) == response_id(SUFFIX)
    assert response_of(input_id(kind, SUFFIX, 3)) == response_id(SUFFIX)
    assert output_id(kind, SUFFIX, 1) != input_id(kind, SUFFIX, 1)


@pytest.mark.parametrize(
    "other", ["", "msg_abc", f"msg_{SUFFIX}", f"msg_junctor_{SUFFIX}_x", "rs_junctor_1_1"]
)
def test_ids_of_others_lead_nowhere(other: str) -> None:
    assert response_of(other) is None
    item = {"type": "message", "id": other}
    assert without_our_id(item) is item


def test_our_ids_are_taken_off_for_other_servers() -> None:
    assert without_our_id({"type": "message", "id": output_id("message", SUFFIX, 0)}) == {"type": "message"}
    assert without_our_id({"id": 7}) == {"id": 7}
