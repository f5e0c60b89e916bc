"""Learning a ladder from made-up outcomes whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from junctor.routing.calibration.calibrate import TooFewOutcomes, calibrate, climb, lower_bound
from junctor.routing.calibration.outcomes import Outcomes

MODELS = ("cheap-a", "cheap-b", "cheap-c", "strong")


def make_outcomes(
    prompts: int,
    *,
    accuracy: tuple[float, ...] = (0.8, 0.8, 0.75, 0.85),
    wrong_answers: int = 8,
    seed: int = 0,
    comparable: bool = True,
) -> Outcomes:
    """Prompts of differing difficulty; a wrong answer is one of `wrong_answers`, by chance."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 1.2, prompts)
    logits = np.log(np.array(accuracy) / (1 - np.array(accuracy)))
    right = rng.random((len(accuracy), prompts)) < 1 / (1 + np.exp(-(logits[:, None] * 1.4 + ease)))
    wrong = rng.integers(1, wrong_answers + 1, right.shape)
    answers = tuple(
        tuple(
            (0 if ok else int(other)) if comparable else None for ok, other in zip(row, others, strict=True)
        )
        for row, others in zip(right, wrong, strict=True)
    )
    usd = np.array([0.01, 0.01, 0.02, 1.0])[:, None] * np.ones((1, prompts))
    return Outcomes(MODELS, right.astype(float), usd, np.full(right.shape, 100.0), answers)


def test_a_good_pool_saves_and_keeps_its_promise_on_prompts_it_never_saw() -> None:
    ladder = calibrate(make_outcomes(600), "strong", floor=0.98)
    assert ladder.rungs[0].models == ("cheap-a", "cheap-b")
    fresh = make_outcomes(3000, seed=1)
    for mode in ("quality", "balanced"):
        climbed = climb(ladder, fresh, mode)
        assert climbed.scores.mean() >= 0.98 * fresh.scores[3].mean()
    assert 1 - climbed.usd.sum() / fresh.usd[3].sum() > 0.4
    assert ladder.promises["balanced"].saved == pytest.approx(1 - climbed.usd.mean(), abs=0.08)


def test_where_cheap_models_agree_on_wrong_answers_nothing_is_promised() -> None:
    """They are wrong in the same way, so agreement proves nothing."""
    poor = make_outcomes(400, accuracy=(0.45, 0.45, 0.4, 0.95), wrong_answers=1)
    ladder = calibrate(poor, "strong", floor=0.99)
    assert "balanced" not in ladder.promises or ladder.promises["balanced"].saved < 0.3


def test_answers_that_cannot_be_compared_all_go_to_the_strongest() -> None:
    outcomes = make_outcomes(300, comparable=False)
    ladder = calibrate(outcomes, "strong")
    assert ladder.promises == {}
    assert all(rung.gains == {} for rung in ladder.rungs)


def test_too_little_to_learn_from_is_an_error_that_says_so() -> None:
    with pytest.raises(TooFewOutcomes, match="100 are the least"):
        calibrate(make_outcomes(99), "strong")
    dear = make_outcomes(200)
    dear.usd[:3] = 0.9
    with pytest.raises(TooFewOutcomes, match="fewer than two models cost at most 50%"):
        calibrate(dear, "strong")


def test_the_same_outcomes_give_the_same_ladder() -> None:
    outcomes = make_outcomes(200)
    assert calibrate(outcomes, "strong") == calibrate(outcomes, "strong")


def test_a_handful_of_faultless_prompts_proves_nothing() -> None:
    assert lower_bound(np.zeros(20), 0.95) < -0.1
    assert lower_bound(np.full(2000, 0.01), 0.95) > 0
