"""Outcomes -> the votes and the stopping rules of a ladder, and what they come to on other outcomes.

Pure, with numpy. The votes on each prompt, and whose answer would be taken in the end, do not depend on what
the strongest model's cost is worth: they are counted once, and climbed at every price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from junctor.pool.vote import Vote, stand
from junctor.routing.calibration.fit import fit_ridge, fit_vote
from junctor.routing.calibration.outcomes import Floats, Outcomes
from junctor.routing.ladder import SIGNALS, conclude, read_signals

PRICES = (
    0.005,
    0.01,
    0.02,
    0.03,
    0.035,
    0.04,
    0.045,
    0.05,
    0.055,
    0.06,
    0.065,
    0.07,
    0.08,
    0.1,
    0.12,
    0.15,
    0.2,
)
"""What the strongest model's cost for a prompt is worth, in right answers, from careful to cheap: at 0.05,
one right answer in twenty may be given up to save all of it."""
CHEAP_MODELS = 3
AFFORDABLE = 0.5
"A model that costs more than this share of the strongest one is not asked before it."
WORTH_OF_COST = 1.0
"A model's place on the ladder: its mean score less so much of its share of the strongest model's cost."
CAUTION = 0.2
"""How much likelier an answer must be to be taken instead of the strongest model's; also what an answer that
differs from it is charged while learning: the fewer, the narrower the interval of the difference."""
SMOOTHING = 0.5
"Share of the vote's own probability in the quality that rules are learnt from; the rest is the outcome."


@dataclass(frozen=True)
class Climbed:
    """What a ladder came to on some prompts."""

    scores: Floats
    usd: Floats
    reached_strongest: NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """What was learnt: models, votes and stopping rules."""

    steps: list[list[int]]
    "Models asked at once, step by step; the strongest comes after them."
    votes: list[Vote]
    "One for each step, and the last one."
    gains: dict[float, list[Floats]]
    "For each price, one for each step: `ladder.Rung.gains`."


@dataclass(frozen=True)
class Standings:
    """The state of a vote on n prompts."""

    compared: NDArray[np.bool_]
    "Whether any answer can be compared."
    signals: Floats
    "(n, len(SIGNALS))"
    scores: Floats
    "Of the answer that the vote would take, 0 where there is none."


@dataclass(frozen=True)
class Counted:
    """The votes on n prompts after each step and in the end, and the costs: all that no price changes."""

    steps: list[Standings]
    usd: list[Floats]
    "(models of the step, n) of each step."
    final: Floats
    "Scores of the answers that are taken once all have answered, the strongest included."
    final_p: Floats
    "How likely these were to be right."
    strongest: Floats
    "Scores of the strongest model."
    strongest_usd: Floats

    def climb(self, gains: Sequence[Floats]) -> Climbed:
        """Go up with every prompt. Where no answer can be compared, the strongest is next."""
        count = len(self.final)
        scores, usd = np.zeros(count), np.zeros(count)
        going, skips = np.ones(count, bool), np.zeros(count, bool)
        for step, step_usd, rule in zip(self.steps, self.usd, gains, strict=True):
            usd += np.where(going & ~skips, step_usd.sum(axis=0), 0.0)
            stops = going & ~skips & step.compared & (step.signals @ rule <= 0)
            scores = np.where(stops, step.scores, scores)
            going &= ~stops
            skips |= going & ~step.compared
        final = np.where(skips, self.strongest, self.final)
        return Climbed(np.where(going, final, scores), usd + np.where(going, self.strongest_usd, 0.0), going)


def choose_steps(outcomes: Outcomes, top: int) -> list[list[int]]:
    """Which models to ask before the strongest: the two that are worth most at once, then one by one.

    By a fixed rule, not by trial: choosing among ladders by their results on a few hundred prompts cost up to
    0.8 points of quality on prompts held out (docs/adr/0006-a-ladder-of-votes.md).
    """
    usd = outcomes.usd.mean(axis=1)
    share = usd / usd[top]
    worth = outcomes.scores.mean(axis=1) - WORTH_OF_COST * share
    cheap = [at for at in range(len(outcomes.models)) if at != top and share[at] <= AFFORDABLE]
    cheap = sorted(cheap, key=lambda at: -float(worth[at]))[:CHEAP_MODELS]
    return [cheap[:2], *([at] for at in cheap[2:])] if len(cheap) > 1 else []


def learn_rules(outcomes: Outcomes, steps: list[list[int]], top: int) -> Rules:
    """Votes after each step, then for each price the rules, from the last step back to the first."""
    votes = [fit_vote(outcomes, models) for models in _asked(steps, top)]
    counted = count_votes(outcomes, steps, top, votes, CAUTION)
    return Rules(steps, votes, {price: _fit_gains(counted, price) for price in PRICES})


def count_votes(
    outcomes: Outcomes, steps: list[list[int]], top: int, votes: Sequence[Vote], caution: float
) -> Counted:
    """Count them once, to climb at any price. `votes`: one for each step, and the last one."""
    asked = _asked(steps, top)
    final, final_p = _conclude_all(outcomes, asked[-1], votes[-1], caution)
    return Counted(
        steps=[_stand_all(outcomes, *each) for each in zip(asked[:-1], votes, strict=False)],
        usd=[outcomes.usd[step] for step in steps],
        final=final,
        final_p=final_p,
        strongest=outcomes.scores[top],
        strongest_usd=outcomes.usd[top],
    )


def _asked(steps: list[list[int]], top: int) -> list[list[int]]:
    """Who has been asked after each step, and in the end."""
    asked, so_far = list[list[int]](), list[int]()
    for step in [*steps, [top]]:
        so_far = [*so_far, *step]
        asked.append(so_far)
    return asked


def _fit_gains(counted: Counted, price: float) -> list[Floats]:
    """For each step the expected gain of going on, as a function of its signals; fitted backwards."""
    mean = counted.strongest_usd.mean()
    ahead = _value(counted.final, counted.final_p, counted.strongest)
    ahead = ahead - price * (counted.strongest_usd / mean)
    gains = list[Floats]()
    for step, usd in reversed(list(zip(counted.steps, counted.usd, strict=True))):
        value = _value(step.scores, step.signals[:, SIGNALS.index("p_top")], counted.strongest)
        rule = fit_ridge(step.signals[step.compared], (ahead - value)[step.compared])
        goes_on = (step.signals @ rule > 0) | ~step.compared
        ahead = np.where(goes_on, ahead, value) - price * (usd / mean).sum(axis=0)
        gains.append(rule)
    return gains[::-1]


def _value(scores: Floats, p: Floats, reference: Floats) -> Floats:
    """What an answer is worth while learning: smoothed, and charged where it differs from the strongest's."""
    return (1 - SMOOTHING) * scores + SMOOTHING * p - CAUTION * np.abs(scores - reference)


def _stand_all(outcomes: Outcomes, models: list[int], vote: Vote) -> Standings:
    patterns, tokens = outcomes.patterns(models), outcomes.tokens[models].T.tolist()
    counted = {pattern: stand(vote, pattern) for pattern in set(patterns)}
    standings = [counted[pattern] for pattern in patterns]
    signals = [read_signals(standing, lengths) for standing, lengths in zip(standings, tokens, strict=True)]
    scores = [
        0.0 if standing.top is None else outcomes.scores[models[standing.top], at]
        for at, standing in enumerate(standings)
    ]
    compared = [standing.top is not None for standing in standings]
    return Standings(np.array(compared), np.array(signals), np.array(scores))


def _conclude_all(outcomes: Outcomes, models: list[int], vote: Vote, caution: float) -> tuple[Floats, Floats]:
    """Once all have answered: the score of the answer that is taken, and how likely it was to be right."""
    patterns = outcomes.patterns(models)
    concluded = {pattern: conclude(vote, pattern, caution) for pattern in set(patterns)}
    scores, shares = np.zeros(outcomes.prompts), np.zeros(outcomes.prompts)
    for at, pattern in enumerate(patterns):
        taken, standing = concluded[pattern]
        scores[at], shares[at] = outcomes.scores[models[taken], at], standing.shares[taken]
    return scores, shares
