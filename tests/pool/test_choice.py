"""Whom to ask next: in order, within the budget, and never nobody while somebody could be probed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import (
    ChatRequest,
    ModelCard,
    UpstreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from junctor.pool.choice import PATIENCE_S, Chooser, Chosen, Counts, Policy, Visit, Watched
from junctor.pool.first_token import ENOUGH
from junctor.pool.outlier import Health
from junctor.pool.scripted import ScriptedModel, parse_script
from pool.virtual import Clock

REQUEST = ChatRequest(model="a", messages=msgspec.Raw(b"[]"), stream=True)
Fail = Callable[[], UpstreamError]
"Makes an error: each failure has one of its own."
BROKEN: Fail = partial(UpstreamBroken, "broken")
TIMEOUT: Fail = partial(UpstreamTimeout, "late")
PAUSE: Fail = partial(UpstreamRateLimited, "wait", retry_after_s=5.0)


class Bench:
    """A chooser over models that never answer anything themselves."""

    def __init__(self, *names: str, **rules: Any) -> None:
        self.policy = policy = Policy(**rules)
        self.clock = Clock()
        self.counts = Counts()
        self.chooser = Chooser(policy, self.counts, self.clock, lambda: 0.0)
        self.watched = [
            Watched(
                ScriptedModel(ModelCard(name=name), parse_script([{"text": name}])),
                Health(name, policy.ejection, self.clock),
            )
            for name in names
        ]

    def visit(self, request: ChatRequest = REQUEST) -> Visit:
        self.chooser.begin()
        return Visit(self.watched, request, self.clock() + self.policy.total_s)

    def choose(self, visit: Visit) -> Chosen:
        chosen = self.chooser.choose(visit)
        assert isinstance(chosen, tuple)
        return chosen

    def ask(self, visit: Visit, fail: Fail | None = None, *, after_s: float = 0.0) -> str:
        """Asks whoever is chosen, who fails or answers. Its name."""
        watched, call = self.choose(visit)
        self.clock.now += after_s
        if fail is None:
            watched.health.text_came(call)
            watched.health.finished()
            watched.health.left(call)
        else:
            error = fail()
            watched.health.failed(call, error)
            self.chooser.failed(visit, watched, error)
        return watched.model.card.name

    def eject(self, *names: str) -> None:
        for watched in self.watched:
            while watched.model.card.name in names and watched.health.state != "failing":
                call = watched.health.admit(REQUEST)
                assert call is not None
                watched.health.failed(call, BROKEN())


def test_the_first_is_asked_first_and_again_then_the_next() -> None:
    bench = Bench("a", "b")
    visit = bench.visit()
    assert [bench.ask(visit, BROKEN) for _ in range(4)] == ["a", "a", "a", "b"]
    assert (bench.counts.retries, bench.counts.fallbacks) == (2, 1)


def test_the_backoff_comes_before_the_second_try() -> None:
    bench = Bench("a")
    bench.chooser = Chooser(Policy(), bench.counts, bench.clock, lambda: 1.0)
    visit = bench.visit()
    waits: list[float] = []
    for _ in range(2):
        bench.ask(visit, BROKEN)
        wait_s = bench.chooser.choose(visit)
        assert isinstance(wait_s, float)
        waits.append(wait_s)
        bench.clock.now += wait_s
    assert waits == pytest.approx([0.25, 0.5])


def test_without_budget_the_next_is_asked_at_once() -> None:
    bench = Bench("a", "b", retry_share=0.0)
    visit = bench.visit()
    assert [bench.ask(visit, BROKEN) for _ in range(2)] == ["a", "b"]
    with pytest.raises(UpstreamBroken, match="all 2 models failed"):
        bench.chooser.choose(visit)
    assert bench.counts.retries_denied == 2


def test_what_did_not_come_in_time_is_not_asked_again() -> None:
    bench = Bench("a", "b")
    visit = bench.visit()
    assert [bench.ask(visit, TIMEOUT) for _ in range(2)] == ["a", "b"]


def test_an_ejected_model_is_skipped_until_its_probe() -> None:
    bench = Bench("a", "b")
    bench.eject("a")
    assert bench.ask(bench.visit()) == "b"
    bench.clock.now += 31
    assert [bench.ask(bench.visit()) for _ in range(2)] == ["a", "a"]


def test_a_failed_probe_falls_through_to_the_next() -> None:
    bench = Bench("a", "b")
    bench.eject("a")
    bench.clock.now += 31
    visit = bench.visit()
    assert [bench.ask(visit, BROKEN), bench.ask(visit)] == ["a", "b"]


def test_of_failing_models_one_is_probed_by_one_request_at_a_time() -> None:
    """The last host is never ejected; all others get an answer at once: come back later."""
    bench = Bench("a", "b", "c")
    bench.eject("b")
    bench.clock.now += 5
    bench.eject("a", "c")
    watched, _ = bench.choose(bench.visit())
    assert watched.model.card.name == "b", "its ejection ends first"
    for _ in range(100):
        with pytest.raises(UpstreamUnavailable, match=r"b: set aside for another 25 s: its last") as refused:
            bench.chooser.choose(bench.visit())
        assert refused.value.retry_after_s
        assert refused.value.retry_after_s >= 1
    assert bench.counts.refused == 100


def test_a_probe_of_the_last_is_not_repeated() -> None:
    bench = Bench("a", "b")
    bench.eject("a", "b")
    visit = bench.visit()
    bench.ask(visit, BROKEN)
    with pytest.raises(UpstreamBroken, match="2 models failed"):
        bench.chooser.choose(visit)


def test_a_slow_model_is_asked_when_there_is_no_other() -> None:
    bench = Bench("a", "b")
    a = bench.watched[0].health
    for _ in range(ENOUGH):
        bench.ask(bench.visit(), after_s=0.1)
    for _ in range(5):
        bench.ask(bench.visit(), after_s=3.0)
    assert a.state == "slow"
    assert bench.ask(bench.visit()) == "b"
    bench.eject("b")
    assert bench.ask(bench.visit(), after_s=3.0) == "a"
    assert bench.counts.refused == 0


def test_who_asks_for_a_pause_is_left_alone_while_another_can_answer() -> None:
    bench = Bench("a", "b")
    visit = bench.visit()
    assert [bench.ask(visit, PAUSE), bench.ask(visit)] == ["a", "b"]
    assert bench.ask(bench.visit()) == "b"


def test_a_short_pause_of_the_only_one_is_waited_for() -> None:
    bench = Bench("a")
    visit = bench.visit()
    bench.ask(visit, PAUSE)
    for each in (visit, bench.visit()):
        wait_s = bench.chooser.choose(each)
        assert isinstance(wait_s, float)
        assert 5.0 <= wait_s < 5.5
    bench.clock.now += 5.1
    assert bench.ask(visit) == "a"


def test_a_long_pause_is_not() -> None:
    bench = Bench("a")
    visit = bench.visit()
    bench.ask(visit, partial(UpstreamRateLimited, "wait", retry_after_s=3600.0))
    with pytest.raises(UpstreamRateLimited, match=r"^wait$"):
        bench.chooser.choose(visit)
    with pytest.raises(UpstreamRateLimited, match="it asked for a pause") as later:
        bench.chooser.choose(bench.visit())
    assert later.value.retry_after_s == pytest.approx(300)


def test_patience_is_counted_over_the_whole_request() -> None:
    bench = Bench("a", attempts=100, retry_share=1.0)
    visit, waited_s = bench.visit(), 0.0
    with pytest.raises(UpstreamRateLimited):
        while True:
            bench.ask(visit, partial(UpstreamRateLimited, "wait", retry_after_s=3.0))
            wait_s = bench.chooser.choose(visit)
            assert isinstance(wait_s, float)
            waited_s += wait_s
            bench.clock.now += wait_s
    assert 3.0 < waited_s <= PATIENCE_S


def test_who_waits_for_anothers_probe_gives_up_in_the_end() -> None:
    """Also where no time passes between two looks."""
    bench = Bench("a")
    bench.ask(bench.visit(), PAUSE)
    bench.clock.now += 5.1
    bench.choose(bench.visit())
    visit = bench.visit()
    with pytest.raises(UpstreamRateLimited):
        for _ in range(1000):
            assert isinstance(bench.chooser.choose(visit), float)


def test_after_the_deadline_nobody_is_asked() -> None:
    bench = Bench("a", "b", total_s=10.0)
    visit = bench.visit()
    bench.ask(visit, BROKEN, after_s=10.0)
    with pytest.raises(UpstreamBroken):
        bench.chooser.choose(visit)


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    bench = Bench("a", total_s=4.0)
    visit = bench.visit()
    bench.ask(visit, PAUSE)
    with pytest.raises(UpstreamRateLimited):
        bench.chooser.choose(visit)


def test_a_later_try_gets_the_time_that_is_left() -> None:
    bench = Bench("a", total_s=10.0)
    visit = bench.visit()
    watched, call = bench.choose(visit)
    assert visit.ask(watched, call, bench.policy, bench.clock) is REQUEST
    bench.clock.now += 3
    assert visit.ask(watched, call, bench.policy, bench.clock).within_s == 7
    bench.clock.now += 8
    assert visit.ask(watched, call, bench.policy, bench.clock).within_s == 0


@pytest.mark.parametrize(
    ("stream", "others", "usual_s", "first_text_s", "within_s"),
    [
        (True, "b", 1.0, 30.0, None),
        (False, "", 1.0, 30.0, None),
        (False, "b", None, 30.0, None),
        (False, "b", 1.0, 30.0, 200.0),
        (False, "b", 1.0, 250.0, 250.0),
        (False, "b", 60.0, 30.0, 300.0),
        (False, "b", 100.0, 30.0, None),
    ],
)
def test_a_whole_answer_may_not_take_all_of_the_time_while_another_model_could_give_it(
    stream: bool, others: str, usual_s: float | None, first_text_s: float, within_s: float | None
) -> None:
    """It gives no sign before it is whole; what is late for it, its history says."""
    bench = Bench("a", *others, first_text_s=first_text_s, total_s=400.0)
    whole = msgspec.structs.replace(REQUEST, stream=stream)
    for _ in range(ENOUGH if usual_s else 0):
        bench.ask(bench.visit(whole), after_s=usual_s or 0.0)
    visit = bench.visit(whole)
    watched, call = bench.choose(visit)
    assert visit.ask(watched, call, bench.policy, bench.clock).within_s == pytest.approx(within_s)


@given(
    st.lists(st.tuples(st.sampled_from([None, BROKEN, TIMEOUT]), st.floats(0, 40)), max_size=120),
    st.integers(1, 3),
)
def test_while_nobody_is_probing_somebody_is_always_asked(
    steps: list[tuple[Fail | None, float]], models: int
) -> None:
    """Never all ejected; and a request calls no model more than three times, whatever happens."""
    bench = Bench(*"abc"[:models])
    for outcome, wait_s in steps:
        bench.clock.now += wait_s
        visit = bench.visit()
        bench.ask(visit, outcome)
        if outcome is not None:
            with pytest.raises(UpstreamError):
                while True:
                    bench.ask(visit, outcome)
        assert all(tries <= 3 for tries in visit.tries.values())
    assert bench.counts.refused == 0


@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize("every_s", [0.001, 0.1, 3.0])
def test_when_everything_fails_the_load_is_hardly_more_than_the_requests(models: int, every_s: float) -> None:
    """10,000 requests, every call fails: at most 1.2 calls a request (fault F10)."""
    bench = Bench(*"abc"[:models])
    calls = 0
    for _ in range(10_000):
        bench.clock.now += every_s
        visit = bench.visit()
        with pytest.raises(UpstreamError):
            while True:
                chosen = bench.chooser.choose(visit)
                if isinstance(chosen, float):
                    bench.clock.now += chosen
                    continue
                calls += 1
                chosen[0].health.failed(chosen[1], BROKEN())
                bench.chooser.failed(visit, chosen[0], BROKEN())
    assert calls <= 1.2 * 10_000
    assert calls >= 10_000, "somebody is always probed: nobody else is asking"


def test_when_every_other_call_fails_retries_stay_within_their_share() -> None:
    """No model is ejected, so that the budget alone holds them back."""
    bench, calls = Bench("a"), 0
    for _ in range(10_000):
        bench.clock.now += 0.01
        visit = bench.visit()
        with suppress(UpstreamBroken):
            answered = False
            while not answered:
                answered = calls % 2 == 1
                bench.ask(visit, None if answered else BROKEN)
                calls += 1
    assert bench.watched[0].health.state == "ok"
    assert 0 < bench.counts.retries <= 0.2 * 10_000 + 3
