"""The health of one model: when it is set aside, for how long, and how it comes back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from junctor.chat import (
    ChatRequest,
    JunctorError,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnauthorised,
    UpstreamUnavailable,
    WindowExceeded,
)
from junctor.pool.first_token import ENOUGH, KEPT
from junctor.pool.outlier import FORGET_S, LATE_S, PROBE_S, Call, Ejection, Health
from pool.virtual import Clock

REQUEST = ChatRequest(model="a", messages=msgspec.Raw(b"[]"), stream=True)
BROKEN = UpstreamBroken("broken")


class Bench:
    """A model's health, and what happens to it."""

    def __init__(self, **rule: Any) -> None:
        self.clock = Clock()
        self.noted: list[tuple[str, str]] = []
        self.health = Health("a", Ejection(**rule), self.clock, lambda *noted: self.noted.append(noted))

    def ask(self) -> Call:
        call = self.health.admit(REQUEST)
        assert call is not None
        return call

    def fail(self, error: JunctorError = BROKEN, times: int = 1) -> None:
        for _ in range(times):
            self.health.failed(self.ask(), error)

    def answer(self, after_s: float = 0.1, times: int = 1) -> None:
        for _ in range(times):
            call = self.ask()
            self.clock.now += after_s
            self.health.text_came(call)
            self.health.finished()
            self.health.left(call)

    @property
    def is_away(self) -> bool:
        return self.health.away_because is not None


def test_five_failures_in_a_row_set_it_aside_for_half_a_minute() -> None:
    bench = Bench()
    bench.fail(times=4)
    assert not bench.is_away
    bench.fail()
    assert bench.health.snapshot().state == "failing"
    assert bench.health.snapshot().again_in_s == 30
    assert bench.health.admit(REQUEST) is None
    assert bench.noted == [("a", "failing")]
    bench.clock.now += 29.9
    assert bench.is_away
    bench.clock.now += 0.2
    assert not bench.is_away


def test_an_answer_in_between_starts_the_count_again() -> None:
    bench = Bench()
    for _ in range(20):
        bench.fail(times=4)
        bench.answer()
    assert bench.health.state == "ok"


def test_a_text_without_its_end_does_not() -> None:
    """A model that breaks off every answer is no better than one that gives none."""
    bench = Bench()
    for _ in range(5):
        call = bench.ask()
        bench.health.text_came(call)
        bench.health.failed(call, BROKEN)
    assert bench.health.state == "failing"


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRefused("no", status=400),
        UpstreamRefused("gone", status=404),
        WindowExceeded("long"),
        UpstreamUnavailable("we are full"),
    ],
)
def test_what_is_not_its_fault_does_not_count(error: JunctorError) -> None:
    bench = Bench()
    bench.fail(error, times=50)
    assert bench.health.state == "ok"


@pytest.mark.parametrize(
    "error", [UpstreamTimeout("slow"), UpstreamUnauthorised("key"), UpstreamRateLimited("no wait stated")]
)
def test_a_timeout_a_wrong_key_and_a_limit_without_a_wait_count(error: JunctorError) -> None:
    bench = Bench()
    bench.fail(error, times=5)
    assert bench.health.state == "failing"


def test_one_probe_goes_first_and_its_text_brings_it_back() -> None:
    bench = Bench()
    bench.fail(times=5)
    bench.clock.now += 31
    probe = bench.ask()
    assert bench.health.admit(REQUEST) is None
    assert bench.is_away
    bench.health.text_came(probe)
    assert bench.health.state == "ok"
    assert bench.health.admit(REQUEST) is not None


def test_it_comes_back_on_trial() -> None:
    """Until an answer is whole, one more failure is enough; then it takes five again."""
    bench = Bench()
    bench.fail(times=5)
    bench.clock.now += 31
    call = bench.ask()
    bench.health.text_came(call)
    bench.health.failed(call, BROKEN)
    assert bench.health.snapshot().again_in_s == 60
    bench.clock.now += 61
    bench.answer()
    bench.fail(times=4)
    assert bench.health.state == "ok"


def test_each_failed_probe_makes_it_longer_up_to_a_cap() -> None:
    bench = Bench()
    bench.fail(times=5)
    waits: list[float] = []
    for _ in range(12):
        waits.append(bench.health.snapshot().again_in_s)
        bench.clock.now += waits[-1]
        bench.fail()
    assert waits == pytest.approx([30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300])
    assert bench.noted == [("a", "failing")]


def test_a_good_time_is_credited() -> None:
    bench = Bench()
    bench.fail(times=5)
    for _ in range(3):
        bench.clock.now += 300
        bench.fail()
    bench.clock.now += 300
    bench.answer()
    bench.clock.now += 2.5 * FORGET_S
    bench.fail(times=5)
    assert bench.health.snapshot().ejections == 4 - 2 + 1


def test_failures_of_calls_made_before_do_not_prolong_it() -> None:
    bench = Bench()
    calls = [bench.ask() for _ in range(50)]
    for call in calls:
        bench.health.failed(call, BROKEN)
    assert bench.health.snapshot().again_in_s == 30
    assert bench.health.snapshot().failures == 5


def test_a_probe_that_is_left_makes_room_for_the_next() -> None:
    bench = Bench()
    bench.fail(times=5)
    bench.clock.now += 31
    bench.health.left(bench.ask())
    bench.health.failed(bench.ask(), UpstreamRefused("no", status=400))
    assert bench.health.admit(REQUEST) is not None


def test_a_probe_that_hangs_does_not_keep_the_model_away_for_ever() -> None:
    bench = Bench()
    bench.fail(times=5)
    bench.clock.now += 31
    bench.ask()
    bench.clock.now += PROBE_S
    assert bench.health.admit(REQUEST) is not None


def test_a_pause_that_it_asks_for_is_kept_and_needs_no_count() -> None:
    bench = Bench()
    bench.fail(UpstreamRateLimited("slow down", retry_after_s=7))
    assert bench.health.snapshot().state == "limited"
    assert bench.health.snapshot().failures == 0
    assert bench.health.snapshot().again_in_s == 7
    bench.clock.now += 7
    bench.answer()
    assert bench.health.state == "ok"
    assert bench.health.snapshot().ejections == 0


def test_a_pause_has_an_end_whatever_was_asked_for() -> None:
    """A mistake, or a clock that was set, must not cost us the model for a day."""
    bench = Bench()
    bench.fail(UpstreamRateLimited("come back tomorrow", retry_after_s=86_400))
    assert bench.health.snapshot().again_in_s == 300


def test_a_pause_does_not_shorten_an_ejection_nor_the_other_way_round() -> None:
    bench = Bench()
    calls = [bench.ask() for _ in range(12)]
    bench.health.failed(calls[0], UpstreamRateLimited("", retry_after_s=100))
    for call in calls[1:6]:
        bench.health.failed(call, BROKEN)
    assert (bench.health.state, bench.health.snapshot().again_in_s) == ("failing", 100)
    bench.health.failed(calls[6], UpstreamRateLimited("", retry_after_s=1))
    assert (bench.health.state, bench.health.snapshot().again_in_s) == ("failing", 100)


def test_a_probe_after_a_pause_that_fails_otherwise_is_one_failure() -> None:
    bench = Bench()
    bench.fail(UpstreamRateLimited("", retry_after_s=1))
    bench.clock.now += 1
    bench.fail()
    assert (bench.health.state, bench.health.snapshot().failures) == ("ok", 1)


def test_five_late_first_texts_in_a_row_set_it_aside() -> None:
    """Twenty times slower than it was: out within five answers (fault F9)."""
    bench = Bench()
    bench.answer(0.2, times=ENOUGH)
    bench.answer(4.0, times=4)
    assert bench.health.state == "ok"
    bench.answer(4.0)
    assert bench.health.snapshot().state == "slow"
    assert bench.noted == [("a", "slow")]


def test_stragglers_are_not_an_outlier() -> None:
    bench = Bench()
    for _ in range(30):
        bench.answer(0.2, times=19)
        bench.answer(4.0)
    assert bench.health.state == "ok"


def test_what_nobody_would_notice_is_not_late() -> None:
    bench = Bench()
    bench.answer(0.002, times=ENOUGH)
    bench.answer(LATE_S - 0.01, times=20)
    assert bench.health.state == "ok"


def test_without_a_history_nothing_is_late() -> None:
    bench = Bench()
    bench.answer(0.2, times=ENOUGH - 1)
    bench.answer(60.0, times=1)
    assert bench.health.state == "ok"


def test_it_is_slow_before_any_of_the_late_texts_has_come() -> None:
    """An upstream that hangs is noticed long before the timeout says so."""
    bench = Bench()
    bench.answer(0.2, times=ENOUGH)
    bench.clock.now += 1
    for _ in range(5):
        bench.ask()
    bench.clock.now += 1.1
    assert bench.health.admit(REQUEST) is None
    assert bench.health.state == "slow"


def test_late_calls_beside_answered_ones_are_not_a_hang() -> None:
    bench = Bench()
    bench.answer(0.2, times=ENOUGH)
    bench.clock.now += 1
    for _ in range(8):
        bench.ask()
        bench.answer(0.2)
    bench.clock.now += 5
    assert bench.health.admit(REQUEST) is not None


def test_a_quick_probe_brings_a_slow_model_back_and_a_late_one_does_not() -> None:
    bench = Bench()
    bench.answer(0.2, times=KEPT)
    bench.answer(4.0, times=5)
    bench.clock.now += 30
    bench.answer(4.0)
    assert bench.health.snapshot().again_in_s == 60
    bench.clock.now += 60
    bench.answer(0.2)
    assert bench.health.state == "ok"


def test_a_model_that_stays_slow_is_normal_one_day() -> None:
    """A new normal must not cost the model for ever."""
    bench = Bench()
    bench.answer(0.2, times=KEPT)
    bench.answer(4.0, times=5)
    for _ in range(20):
        bench.clock.now += 300
        bench.answer(4.0)
    assert bench.health.state == "ok"


def test_a_slow_model_that_is_asked_for_want_of_another_may_prove_itself() -> None:
    bench = Bench()
    bench.answer(0.2, times=ENOUGH)
    bench.answer(4.0, times=5)
    call = bench.health.ask_anyway(REQUEST)
    bench.clock.now += 0.2
    bench.health.text_came(call)
    assert bench.health.state == "ok"


def test_a_call_that_was_cut_counts_for_as_long_as_it_waited() -> None:
    """Else what is cut at the percentile would pull the percentile down."""
    bench = Bench()
    bench.answer(0.1, times=ENOUGH - 5)
    for _ in range(5):
        call = bench.ask()
        bench.health.cut(call, 0.3)
    assert call.times.p95 == 0.3
    assert bench.health.snapshot().waiting == 0


def test_it_is_crowded_when_most_calls_wait_longer_than_usual() -> None:
    bench = Bench()
    bench.answer(0.2, times=ENOUGH)
    calls = [bench.ask() for _ in range(3)]
    bench.clock.now += 0.3
    calls += [bench.ask() for _ in range(3)]
    assert not bench.health.is_crowded
    bench.health.left(calls.pop())
    assert bench.health.is_crowded


ERRORS = [BROKEN, UpstreamTimeout("t"), UpstreamRefused("r", status=400), WindowExceeded("w")]


class Life(RuleBasedStateMachine):
    """Any order of events that callers and a clock can produce."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(failures=3, base_s=10, max_s=40)
        self.calls: list[Call] = []
        self.spoken: set[Call] = set()
        self.in_row = 0

    @rule()
    def ask(self) -> None:
        health, before = self.bench.health, self.bench.health.away_because
        call = health.admit(REQUEST)
        assert call is None or before is None
        if call is not None:
            self.calls.append(call)

    @rule()
    def ask_the_last(self) -> None:
        if self.bench.health.state == "failing" and (call := self.bench.health.probe(REQUEST)) is not None:
            self.calls.append(call)

    @rule(seconds=st.floats(0, 50))
    def wait(self, seconds: float) -> None:
        self.bench.clock.now += seconds

    @rule(data=st.data())
    def speak(self, data: st.DataObject) -> None:
        silent = [call for call in self.calls if call not in self.spoken]
        if silent:
            call = data.draw(st.sampled_from(silent))
            self.bench.health.text_came(call)
            self.spoken.add(call)

    @rule(data=st.data(), error=st.sampled_from(ERRORS), pause_s=st.sampled_from([None, 0.0, 5.0, 1e9]))
    def fail(self, data: st.DataObject, error: JunctorError, pause_s: float | None) -> None:
        if self.calls:
            call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
            said = UpstreamRateLimited("wait", retry_after_s=pause_s) if pause_s is not None else error
            self.bench.health.failed(call, said)
            self.bench.health.left(call)

    @rule(data=st.data(), whole=st.booleans())
    def end(self, data: st.DataObject, whole: bool) -> None:
        if self.calls:
            call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
            if whole and call in self.spoken:
                self.bench.health.finished()
            self.bench.health.left(call)

    @invariant()
    def the_state_is_legal(self) -> None:
        seen = self.bench.health.snapshot()
        assert seen.again_in_s <= 40 + 1e-6, "the clock's figures are rounded"
        assert (seen.state == "ok") == (self.bench.health.state == "ok")
        assert seen.state != "ok" or (seen.again_in_s == 0 and seen.failures < 3)
        assert seen.state != "failing" or seen.failures >= 3
        assert seen.waiting <= len(self.calls)

    @invariant()
    def it_can_always_come_back(self) -> None:
        """Whatever happened: after the longest ejection and a lost probe somebody may ask it."""
        assert self.bench.health.until <= self.bench.clock.now + 40


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestLife = Life.TestCase
