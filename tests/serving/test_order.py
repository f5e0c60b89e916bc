"""What parent and child say survives the pipe."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from junctor.serving.order import Order, Ready


@given(st.builds(Order))
def test_an_order_is_one_line_of_json(order: Order) -> None:
    """Whatever the path: a line break in it must not end the line."""
    line = msgspec.json.encode(order)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Order) == order


def test_ready_names_the_address() -> None:
    """The one thing the parent cannot know."""
    assert msgspec.json.decode(b'{"base_url":"http://x/v1"}', type=Ready).base_url == "http://x/v1"
