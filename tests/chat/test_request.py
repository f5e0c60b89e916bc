"""What a caller asks."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import ChatRequest, Constraints


def test_the_default_constraints_rule_nothing_out_and_encode_to_nothing() -> None:
    assert msgspec.json.encode(Constraints()) == b"{}"


def test_an_unknown_constraint_is_refused() -> None:
    """`junctor` is our own interface: a typing error must not silently mean `no limit`."""
    with pytest.raises(msgspec.ValidationError, match="max_cost"):
        msgspec.json.decode(b'{"max_cost": 1}', type=Constraints)


def test_requests_do_not_share_what_they_pass_through() -> None:
    one = ChatRequest(model="a", messages=msgspec.Raw(b"[]"))
    two = ChatRequest(model="b", messages=msgspec.Raw(b"[]"))
    assert one.passthrough == {}
    assert one.passthrough is not two.passthrough
