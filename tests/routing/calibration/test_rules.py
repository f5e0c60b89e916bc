"""Votes are counted once and climbed at every price: as the running cascade would, prompt by prompt."""

from __future__ import annotations

import numpy as np
import pytest
from test_calibrate import MODELS, make_outcomes

from junctor.pool.vote import stand
from junctor.routing.calibration.outcomes import Outcomes
from junctor.routing.calibration.rules import (
    CAUTION,
    PRICES,
    Rules,
    choose_steps,
    count_votes,
    learn_rules,
)
from junctor.routing.ladder import conclude, expect_gain, read_signals

TOP = 3


def with_gaps(outcomes: Outcomes, seed: int) -> Outcomes:
    """Some answers cannot be compared; on one prompt in ten, none of the cheap ones can."""
    rng = np.random.default_rng(seed)
    gaps = rng.random(outcomes.scores.shape) < 0.2
    gaps[:TOP, rng.random(outcomes.prompts) < 0.1] = True
    answers = tuple(
        tuple(None if gap else each for each, gap in zip(row, its, strict=True))
        for row, its in zip(outcomes.answers, gaps, strict=True)
    )
    tokens = rng.integers(5, 900, gaps.shape).astype(float)
    return Outcomes(outcomes.models, outcomes.scores, outcomes.usd, tokens, answers)


def climb_one(outcomes: Outcomes, at: int, rules: Rules, price: float) -> tuple[float, float, bool]:
    """One prompt's way up, as cascade.py goes it: score, cost, and whether the strongest was asked."""
    asked, usd = list[int](), 0.0
    for step, vote, gains in zip(rules.steps, rules.votes, rules.gains[price], strict=False):
        asked += step
        usd += outcomes.usd[step, at].sum()
        answers = [outcomes.answers[model][at] for model in asked]
        standing = stand(vote, answers)
        if standing.top is None:
            return outcomes.scores[TOP, at], usd + outcomes.usd[TOP, at], True
        tokens = [float(outcomes.tokens[model, at]) for model in asked]
        if expect_gain(gains.tolist(), read_signals(standing, tokens)) <= 0:
            return outcomes.scores[asked[standing.top], at], usd, False
    asked.append(TOP)
    taken, _ = conclude(rules.votes[-1], [outcomes.answers[model][at] for model in asked], CAUTION)
    return outcomes.scores[asked[taken], at], usd + outcomes.usd[TOP, at], True


@pytest.mark.parametrize("price", [PRICES[0], 0.05, PRICES[-1]])
def test_what_is_climbed_at_once_is_what_each_prompt_would_climb(price: float) -> None:
    learnt_on, tried = with_gaps(make_outcomes(300), 1), with_gaps(make_outcomes(400, seed=2), 3)
    rules = learn_rules(learnt_on, choose_steps(learnt_on, TOP), TOP)
    climbed = count_votes(tried, rules.steps, TOP, rules.votes, CAUTION).climb(rules.gains[price])
    wanted = [climb_one(tried, at, rules, price) for at in range(tried.prompts)]
    assert climbed.scores.tolist() == [score for score, _, _ in wanted]
    assert climbed.usd == pytest.approx([usd for _, usd, _ in wanted])
    assert climbed.reached_strongest.tolist() == [reached for _, _, reached in wanted]
    assert 0.1 < climbed.reached_strongest.mean() < 0.95


def test_the_dearer_the_strongest_the_fewer_reach_it() -> None:
    outcomes = make_outcomes(500)
    rules = learn_rules(outcomes, choose_steps(outcomes, TOP), TOP)
    counted = count_votes(outcomes, rules.steps, TOP, rules.votes, CAUTION)
    reached = [
        counted.climb(rules.gains[price]).reached_strongest.mean() for price in (PRICES[0], PRICES[-1])
    ]
    assert reached[0] > reached[1] + 0.02


def test_the_worthiest_two_are_asked_first() -> None:
    outcomes = make_outcomes(500, accuracy=(0.6, 0.9, 0.8, 0.95))
    assert [[MODELS[at] for at in step] for step in choose_steps(outcomes, TOP)] == [
        ["cheap-b", "cheap-c"],
        ["cheap-a"],
    ]
