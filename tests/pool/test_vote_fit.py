"""Votes that are learnt, on outcomes made up so that the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from junctor.pool.vote import Vote, stand
from junctor.pool.vote_fit import NONE_PENALTY, fit_logit, fit_weights, read_ballots
from junctor.pool.vote_prior import PRIOR, fold, prior_weights

Answers = list[list[int | None]]
"Of each model to each prompt; 0 is right."


def make_up(accuracies: list[float], prompts: int, seed: int = 0, *, lures: int = 5) -> Answers:
    """Models that are wrong independently, each time with one of a few wrong answers."""
    rng = np.random.default_rng(seed)
    rows: Answers = []
    for accuracy in accuracies:
        wrong = rng.integers(1, lures + 1, prompts)
        rows.append(np.where(rng.random(prompts) < accuracy, 0, wrong).tolist())
    return rows


def rights(answers: Answers) -> NDArray[np.bool_]:
    return np.array([[answer == 0 for answer in row] for row in answers])


def score(vote: Vote, answers: Answers) -> float:
    """Share of the prompts on which the vote takes the right answer."""
    tops = [stand(vote, row).top for row in zip(*answers, strict=True)]
    return float(np.mean([top is not None and answers[top][at] == 0 for at, top in enumerate(tops)]))


def test_better_members_weigh_more() -> None:
    answers = make_up([0.5, 0.9, 0.7], 400)
    fitted = fit_weights(answers, rights(answers))
    weak, strong, middle = fitted.vote.weights
    assert weak < middle < strong
    assert (fitted.best, fitted.prompts) == (1, 400)


def test_a_strong_member_is_not_outvoted_by_weak_ones() -> None:
    """On prompts that the vote was not learnt from; plain counting loses many of them."""
    accuracies = [0.9, 0.35, 0.35, 0.35]
    train, test = make_up(accuracies, 200, 1, lures=2), make_up(accuracies, 2000, 2, lures=2)
    learnt = score(fit_weights(train, rights(train)).vote, test)
    assert learnt >= rights(test)[0].mean() - 0.005
    assert score(prior_weights([0.5] * 4), test) < learnt - 0.1


def test_equals_gain_by_voting() -> None:
    accuracies = [0.7] * 5
    train, test = make_up(accuracies, 200, 3), make_up(accuracies, 2000, 4)
    assert score(fit_weights(train, rights(train)).vote, test) > rights(test).mean(axis=1).max() + 0.1


def test_with_few_labels_it_stays_near_the_prior() -> None:
    """Ten prompts say little, whatever they happen to say."""
    answers = make_up([0.5, 0.6, 0.7], 10, 5)
    fitted = fit_weights(answers, rights(answers))
    expected = fold(PRIOR, [0.0] * 3, fitted.shrunk, fitted.best)
    assert fitted.vote.weights == pytest.approx(expected.weights, abs=0.5)
    assert fitted.vote.two == pytest.approx(PRIOR.two, abs=0.2)


def test_no_weight_is_below_zero() -> None:
    """Even of a member that is right whenever the others are wrong, and the other way round."""
    others = make_up([0.8, 0.8, 0.8], 300, 6, lures=2)
    contrary = [7 if answer == 0 else 1 for answer in others[0]]
    vote = fit_weights([*others, contrary], rights([*others, contrary])).vote
    assert min(*vote.weights, vote.two, vote.three) == 0


def test_the_optimum_is_one() -> None:
    """Newton's method has ended where the slope of the penalised log likelihood is zero, by differences."""
    answers = make_up([0.5, 0.8, 0.6], 150, 7)
    ballots = read_ballots(answers, rights(answers))
    features, centre = ballots.agreement, np.zeros(6)
    penalties = np.array([2.0] * 5 + [NONE_PENALTY])
    best = fit_logit(ballots.counts, ballots.rights, features, centre=centre, penalties=penalties)

    def loss(weights: NDArray[np.float64]) -> float:
        total = 0.5 * float(penalties @ (weights - centre) ** 2)
        for at, row in enumerate(zip(*answers, strict=True)):
            logits = {answer: features[at, row.index(answer)] @ weights[:-1] for answer in set(row)}
            none = weights[-1]
            total += np.logaddexp.reduce([*logits.values(), none]) - logits.get(0, none)
        return total

    for direction in np.eye(6):
        up, down = loss(best + 1e-4 * direction), loss(best - 1e-4 * direction)
        assert (up - down) / 2e-4 == pytest.approx(0, abs=1e-4)
        assert min(up, down) > loss(best) - 1e-9


def test_odd_tables_are_fitted_too() -> None:
    """Nobody can be compared, everybody is right, a single member, a single prompt."""
    silent: Answers = [[None] * 5, [None] * 5]
    assert fit_weights(silent, np.zeros((2, 5), bool)).vote.weights == (PRIOR.count, PRIOR.count)
    perfect: Answers = [[0] * 5, [0] * 5]
    assert stand(fit_weights(perfect, rights(perfect)).vote, [1, 2]).top == 0
    assert fit_weights([[0, 1]], np.array([[True, False]])).best == 0
    assert fit_weights([[0], [1]], np.array([[True], [False]])).best == 0
