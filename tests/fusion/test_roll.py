"""The members as they answer; what a record makes of them is in test_record.py."""

from __future__ import annotations

import pytest
from test_record import answer, record_of

from junctor.chat import UpstreamTimeout, Usage
from junctor.fusion.roll import Bill
from junctor.pool.fan_out import Reply


def test_bills_add_up_in_every_kind_of_token() -> None:
    one = Bill(Usage(1, 2, 3, cache_written_tokens=4, reasoning_tokens=5), 0.5)
    both = one + Bill(Usage(10, 20, 30, estimated=True), 0.25)
    assert both == Bill(Usage(11, 22, 33, estimated=True, cache_written_tokens=4, reasoning_tokens=5), 0.75)


def test_being_late_in_a_second_round_costs_the_prompt_once_more() -> None:
    roll = record_of().roll
    roll.hear(0, answer(usage=Usage(1000, 10)), "42", 0.5)
    roll.fail(0, Reply(at=0, model="a", error=UpstreamTimeout("x", model="a"), took_s=1.0, is_late=True))
    (first, *_) = roll.members
    assert (first.status, first.answer, first.input_tokens) == ("answered", "42", 2000)
    assert first.usd == pytest.approx(0.00201) == roll.spent.usd


def test_a_best_member_that_was_called_off_would_have_said_as_much_as_the_others() -> None:
    roll = record_of().roll
    roll.hear(0, answer(usage=Usage(1000, 400)), "42", 0.5)
    roll.hear(2, answer(usage=Usage(1000, 600)), "42", 0.5)
    roll.spare(1, 0.5)
    assert roll.best_usd == pytest.approx((1000 + 500) * 10 / 1e6)
