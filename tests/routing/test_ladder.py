"""Votes, stopping rules and the last word: pure functions of answers."""

from __future__ import annotations

import msgspec
import pytest

from junctor.pool.vote import Vote, stand
from junctor.routing.ladder import (
    FORMAT,
    SIGNALS,
    Ladder,
    Promise,
    Rung,
    conclude,
    expect_gain,
    models_of,
    parse_ladder,
    read_signals,
)

VOTE = Vote((1.0, 0.5, 0.25, 0.1), two=0.5, three=0.25, none=0.0)


def make_ladder() -> Ladder:
    promise = Promise(price=0.05, saved=0.5, quality=0.8, strongest_quality=0.8, low=0.01)
    rung = Rung(("a", "b"), Vote((1.0, 1.0), 0.5, 0.0, 0.0), {"balanced": (0.0,) * len(SIGNALS)})
    return Ladder(
        format=FORMAT,
        version="ladder-test",
        strongest="s",
        rungs=(rung,),
        last=Vote((1.0, 1.0, 1.5), 0.5, 0.0, -2.0),
        caution=0.2,
        floor=0.98,
        confidence=0.95,
        prompts=200,
        promises={"balanced": promise},
    )


def test_the_strongest_has_the_last_word_unless_another_answer_is_clearly_likelier() -> None:
    last = Vote((1.0, 1.0, 1.5), 0.5, 0.0, -2.0)
    assert conclude(last, [1, 2, 3], 0.2)[0] == 2
    assert conclude(last, [1, 1, 3], 0.2)[0] == 0
    assert conclude(last, [1, 1, 3], 0.9)[0] == 2
    assert conclude(last, [None, None, None], 0.2)[0] == 2


def test_signals_stand_in_the_order_of_their_names() -> None:
    standing = stand(VOTE, [7, 7, None])
    signals = dict(zip(SIGNALS, read_signals(standing, [10, 20, 30]), strict=True))
    assert signals["one"] == 1
    assert signals["p_top"] == standing.p_top
    assert signals["parsed"] == pytest.approx(2 / 3)
    assert expect_gain([0.5] + [0.0] * (len(SIGNALS) - 1), tuple(signals.values())) == 0.5


def test_a_ladder_survives_being_stored_and_another_layout_is_not_used() -> None:
    stored = msgspec.json.encode(make_ladder())
    assert parse_ladder(stored) == make_ladder()
    assert parse_ladder(stored.replace(b'"format":1', b'"format":2')) is None
    assert models_of(make_ladder()) == ("a", "b", "s")
