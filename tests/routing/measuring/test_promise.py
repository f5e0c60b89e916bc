"""Whether the promise holds: kept, unproven or broken."""

from __future__ import annotations

import pytest

from junctor.pool.vote import Vote
from junctor.routing.ladder import FORMAT, Ladder
from junctor.routing.measuring.promise import Promise, PromiseWatch, promise_of, watch

PROMISE = Promise(version="v", margin=0.02, strongest="large")
VOTE = Vote(weights=(), two=0.0, three=0.0, none=0.0)
LADDER = Ladder(
    format=FORMAT,
    version="cal-7",
    strongest="huge",
    rungs=(),
    last=VOTE,
    caution=0.0,
    floor=0.95,
    confidence=0.9,
    prompts=1,
    promises={},
)


def seen(*verdicts: tuple[str, float | None, int]) -> PromiseWatch:
    return watch(PROMISE, [(verdict, d) for verdict, d, times in verdicts for _ in range(times)], [])


def test_nothing_seen_proves_nothing() -> None:
    report = seen().report(fallback=True)
    assert (report.status, report.compared, report.mean_points, report.fallback) == (
        "unproven",
        0,
        None,
        False,
    )


def test_equal_answers_keep_it() -> None:
    assert seen(("equal", 0.0, 400)).status == "kept"


def test_worse_answers_break_it_and_the_report_says_what_follows() -> None:
    report = seen(("worse", -1.0, 40)).report(fallback=True)
    assert (report.status, report.mean_points, report.fallback) == ("broken", -100.0, True)
    assert not seen(("worse", -1.0, 40)).report(fallback=False).fallback


def test_what_nobody_decided_neither_breaks_nor_proves() -> None:
    """Answers that differ may all be better, or all be worse."""
    report = seen(("differs", None, 200), ("equal", 0.0, 400)).report(fallback=True)
    assert (report.status, report.compared, report.undecided) == ("unproven", 600, 200)


def test_what_was_not_compared_does_not_count() -> None:
    report = seen(("incomparable", None, 300), ("failed", None, 300)).report(fallback=True)
    assert (report.compared, report.undecided) == (0, 0)


def test_broken_wins_over_kept() -> None:
    """It was kept for long; then it was not."""
    assert seen(("equal", 0.0, 1000), ("worse", -1.0, 300)).status == "broken"


def test_feedback_is_watched_by_pairs_and_breaks_nothing_by_itself() -> None:
    """One caller who calls everything bad must not turn everybody's router off."""
    watched = watch(PROMISE, [], [(False, 0.0)] * 200 + [(True, 1.0)] * 150)
    report = watched.report(fallback=True)
    assert (report.feedback, report.feedback_pairs) == ("broken", 150)
    assert (report.status, report.fallback) == ("unproven", False)


def test_without_a_ladder_the_mode_promises() -> None:
    promise = promise_of(None, "2026-11-01T00:00:00Z", None, "large")
    assert (promise.version, promise.margin, promise.confidence) == ("mode: balanced", 0.02, 0.95)
    assert promise.since == ""
    assert promise_of(None, "", "cost", "large").margin == 0.06


def test_a_ladder_promises_its_floor_from_then_on() -> None:
    promise = promise_of(LADDER, "2026-11-01T00:00:00Z", "cost", "large")
    assert promise.margin == pytest.approx(0.05)
    assert (promise.version, promise.confidence, promise.since, promise.strongest) == (
        "cal-7",
        0.9,
        "2026-11-01T00:00:00Z",
        "huge",
    )
