"""The members as they answer; what a record makes of them is in test_record.py."""

from __future__ import annotations

import pytest
from test_record import record_of

from junctor.chat import UpstreamTimeout, Usage
from junctor.fusion.billing import Bill
from junctor.pool.fan_out import Reply


def test_being_late_in_a_second_round_costs_what_it_had_come_to() -> None:
    roll = record_of().roll
    roll.pay(Bill(Usage(1000, 10), 0.001), 0)
    assert roll.hear(0, "42", 0.5).usd == 0.001
    late = roll.fail(
        0, Reply(at=0, model="a", error=UpstreamTimeout("x", model="a"), took_s=1.0, is_late=True)
    )
    assert late.usd == 0
    roll.pay(Bill(Usage(1200, 5, estimated=True), 0.002), 0)
    (first, *_) = roll.members
    assert (first.status, first.answer) == ("answered", "42")
    assert (first.input_tokens, first.output_tokens) == (2200, 15)
    assert first.usd == pytest.approx(0.003) == roll.spent.usd


def test_a_best_member_that_was_called_off_would_have_said_as_much_as_the_others() -> None:
    roll = record_of().roll
    for at, written in ((0, 400), (2, 600)):
        roll.pay(Bill(Usage(1000, written)), at)
        roll.hear(at, "42", 0.5)
    roll.spare(1, 0.5)
    assert roll.best_usd == pytest.approx((1000 + 500) * 10 / 1e6)
