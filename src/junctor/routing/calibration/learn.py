"""The learner's process: a `Study` comes in on stdin as JSON, what was learnt goes out on stdout.

    python -P -m junctor.routing.calibration.learn  started by `learner.py`; numpy is in `junctor[calibrate]`

What is learnt is compared with what is in force on prompts that neither was learnt from: each fifth of the
prompts in turn is held back from the new one. What is reported is then learnt from all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from junctor.chat import Mode
from junctor.routing.abilities import Abilities, Ability, level_of
from junctor.routing.calibration.ability_fit import (
    Answered,
    Fitted,
    Spreads,
    fit_abilities,
    log_losses,
    predict,
    read_answered,
)
from junctor.routing.calibration.calibrate import TooFewOutcomes, calibrate, climb
from junctor.routing.calibration.held_out import FOLDS, compare, error_of, make_folds
from junctor.routing.calibration.learn_votes import compare_votes, explain_none, learn_votes
from junctor.routing.calibration.outcomes import Floats, Outcomes
from junctor.routing.calibration.residuals import FEWEST, add_neighbours, make_neighbours, move_all, pick
from junctor.routing.calibration.study import Comparison, Learnt, Studied, Study, mean_of
from junctor.routing.ladder import Ladder
from junctor.routing.neighbours import Neighbours, find_neighbours

COMPLETE = 0.8
"A model that answered a smaller share of the prompts than this is not put on the ladder."
MODE: Mode = "balanced"
"The mode in which ladders are compared."
EXCHANGE = 0.05
"What all that the strongest model costs for a prompt is exchanged for: so many right answers."
Places = NDArray[np.int64]
"Of prompts."
FIXED = 1e-4
"The prior error of what is not to be learnt."


def main() -> None:
    """Read, learn, write."""
    study = msgspec.json.decode(sys.stdin.buffer.read(), type=Study)
    sys.stdout.buffer.write(msgspec.json.encode(learn(study)))


def learn(study: Study) -> Learnt:
    """All that a study tells."""
    strongest = study.strongest or choose_strongest(study)
    models, which = _complete(study, strongest)
    outcomes = _outcomes_of(models, which)
    ladder, no_ladder = _try_calibrate(outcomes, strongest, study)
    answered = read_answered(study)
    named = {it.model for it in models}
    votes = learn_votes(study, [it.model for it in models])
    abilities, neighbours = measure_abilities(study, answered), compare_neighbours(study, answered)
    if neighbours is not None and neighbours.new > neighbours.old:
        abilities = add_neighbours(abilities, study.named, answered)
    return Learnt(
        strongest=strongest,
        prompts=outcomes.prompts,
        left_out=tuple(it.model for it in study.models if it.model not in named),
        ladder=ladder,
        no_ladder=no_ladder,
        abilities=abilities,
        ladder_comparison=_compare_ladders(study, outcomes, strongest, ladder),
        abilities_comparison=_compare_abilities(study, answered, abilities),
        neighbours_comparison=neighbours,
        votes=votes,
        no_votes=explain_none(study, votes),
        votes_comparison=compare_votes(study, votes),
    )


def choose_strongest(study: Study) -> str:
    """The highest mean score; of equals the cheapest. Over the prompts that it answered.

    Where the scores cannot rank models: the strongest by what was known before; of equals the dearest.
    """
    measured = {each.model: each.p for each in study.abilities.models} if study.abilities else {}

    def rank(it: Studied) -> tuple[float, float]:
        usd = mean_of(it.usd) or 0.0
        return (it.score or 0.0, -usd) if study.ranks else (measured.get(it.model, it.prior), usd)

    return max((it for it in study.models if _share(it) >= COMPLETE), key=rank, default=study.models[0]).model


def _share(it: Studied) -> float:
    return sum(score is not None for score in it.scores) / max(1, len(it.scores))


def _complete(study: Study, strongest: str) -> tuple[list[Studied], list[int]]:
    """The models that answered enough, and the prompts that all of them answered."""
    models = [it for it in study.models if _share(it) >= COMPLETE or it.model == strongest]
    which = [at for at in range(len(study.kinds)) if all(it.scores[at] is not None for it in models)]
    return models, which


def _outcomes_of(models: list[Studied], which: list[int]) -> Outcomes:
    def table(read: Callable[[Studied], tuple[float | None, ...]]) -> Floats:
        return np.array([[read(it)[at] for at in which] for it in models], float)

    return Outcomes(
        models=tuple(it.model for it in models),
        scores=table(lambda it: it.scores),
        usd=table(lambda it: it.usd),
        tokens=table(lambda it: it.tokens),
        answers=tuple(tuple(it.answers[at] for at in which) for it in models),
    )


def _try_calibrate(outcomes: Outcomes, strongest: str, study: Study) -> tuple[Ladder | None, str]:
    top = outcomes.models.index(strongest)
    if outcomes.prompts and not outcomes.usd[top].any():
        return None, f"{strongest} costs nothing: there is nothing to save"
    try:
        ladder = calibrate(outcomes, strongest, floor=study.floor, confidence=study.confidence)
    except TooFewOutcomes as error:
        return None, str(error)
    return msgspec.structs.replace(ladder, judged_by_strongest=study.judged_by_strongest), ""


def _fit(study: Study, answered: Answered) -> Fitted:
    return fit_abilities(answered, [it.prior for it in study.models], [it.prior_error for it in study.models])


def measure_abilities(study: Study, answered: Answered) -> Abilities:
    """As stored. Levels only of the user's own prompts: traffic is not like ours."""
    fitted = _fit(study, answered)
    logits, errors = fitted.abilities.logits, fitted.abilities.errors
    mean_ps, above, below = (_mean_ps(study, at) for at in (logits, logits + errors, logits - errors))
    return Abilities(
        artefact=study.artefact,
        models=tuple(
            Ability(
                model=it.model,
                identity=it.identity,
                logits=_rounded(logits[at]),
                error=_rounded(errors[at]),
                p=_rounded(mean_ps[at]),
                p_error=_rounded((above[at] - below[at]) / 2),
                score=round(it.score or 0.0, 4),
                prompts=sum(score is not None for score in it.scores),
                level=_rounded(fitted.levels.logits[at]) if study.is_own else None,
                level_error=_rounded(fitted.levels.errors[at]) if study.is_own else 0.0,
            )
            for at, it in enumerate(study.models)
        ),
        shift=_rounded(fitted.shift.logits[0]) if study.is_own else 0.0,
        shift_error=_rounded(fitted.shift.errors[0]) if study.is_own else 0.0,
        judged_by_strongest=study.judged_by_strongest,
    )


def _mean_ps(study: Study, abilities: Floats) -> Floats:
    return np.interp(abilities, study.abilities_table, study.mean_ps_table)


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _compare_ladders(
    study: Study, outcomes: Outcomes, strongest: str, ladder: Ladder | None
) -> Comparison | None:
    if study.ladder is None or ladder is None or study.only_agrees(study.ladder):
        return None
    place = {name: at for at, name in enumerate(outcomes.models)}
    unit = outcomes.usd[place[strongest]].mean()
    new = np.zeros(outcomes.prompts)
    for train, test in make_folds(outcomes.prompts):
        learnt, _ = _try_calibrate(outcomes.pick(train), strongest, study)
        if learnt is None:
            return None
        scores, usd = _use(learnt, outcomes.pick(test))
        new[test] = scores - EXCHANGE * usd / unit
    scores, usd = _use(study.ladder, outcomes)
    old = scores - EXCHANGE * usd / unit
    kept = scores - study.ladder.floor * outcomes.scores[place[study.ladder.strongest]]
    bound = kept.mean() + NormalDist().inv_cdf(study.ladder.confidence) * error_of(kept)
    return compare(old, new, is_broken=bool(bound < 0))


def _use(ladder: Ladder, outcomes: Outcomes) -> tuple[Floats, Floats]:
    """Scores and costs of what a ladder does with prompts: without a promise the strongest answers."""
    if MODE in ladder.promises:
        climbed = climb(ladder, outcomes, MODE)
        return climbed.scores, climbed.usd
    top = outcomes.models.index(ladder.strongest)
    return outcomes.scores[top], outcomes.usd[top]


def compare_neighbours(study: Study, answered: Answered) -> Comparison | None:
    """Whether neighbours among the user's own prompts predict those held back better than levels alone."""
    count = len(study.named)
    if count < FEWEST:
        return None
    plain, moved = np.zeros(count), np.zeros(count)
    for train, test in make_folds(count):
        held = answered.pick(test)
        without, with_them = (
            _expect_own(study, answered, train, test, neighbours=each) for each in (False, True)
        )
        plain[test], moved[test] = -log_losses(held, without), -log_losses(held, with_them)
    return compare(plain, moved, is_broken=False)


def _expect_own(study: Study, answered: Answered, train: Places, test: Places, *, neighbours: bool) -> Floats:
    """What is expected of prompts of the user's own, after learning from others of them."""
    seen = answered.pick(train)
    levels = _fit(study, seen).levels.logits[:, None]
    p = predict(answered.pick(test), levels)
    if not neighbours:
        return p
    near = make_neighbours(pick(study.named, train), seen, predict(seen, levels))
    return move_all(near, pick(study.named, test), p)


def _compare_abilities(study: Study, answered: Answered, learnt: Abilities) -> Comparison | None:
    """By the log loss on prompts held back, as the router would predict them.

    Where they are not the user's own it predicts none like them; how hard they are is learnt beside both.
    `learnt`: says whether the new ones have neighbours.
    """
    count = len(study.kinds)
    if study.abilities is None or count < 2 * FOLDS or study.only_agrees(study.abilities):
        return None
    if not study.can_judge(study.abilities):
        return None
    stale = _known_before(study, study.abilities)
    known = _neighbours_before(study, study.abilities)
    old, new = np.zeros(count), np.zeros(count)
    for train, test in make_folds(count):
        seen, held = answered.pick(train), answered.pick(test)
        if study.is_own:
            near = learnt.neighbourhood is not None
            after = _expect_own(study, answered, train, test, neighbours=near)
            before = move_all(known, pick(study.named, test) if known else (), predict(held, stale[:, None]))
        else:
            fresh = _fit(study, seen).abilities.logits
            before, after = (
                predict(held, _with_shifts(each, seen).abilities_at(held.kinds)) for each in (stale, fresh)
            )
        old[test], new[test] = -log_losses(held, before), -log_losses(held, after)
    return compare(old, new, is_broken=False)


def _neighbours_before(study: Study, abilities: Abilities) -> Neighbours | None:
    """Those in force."""
    told = {each.model: each for each in abilities.models}
    names = [it.model for it in study.models]
    return find_neighbours(abilities, told, names, study.artefact) if study.named else None


def _with_shifts(abilities: Floats, answered: Answered) -> Fitted:
    """Abilities as they are, and how hard these questions are, given them."""
    return fit_abilities(answered, abilities.tolist(), [FIXED] * len(abilities), Spreads(knack=FIXED))


def _known_before(study: Study, abilities: Abilities) -> Floats:
    """(m,): what the abilities in force let the router expect of each model, on the present scale."""
    told = {each.model: each for each in abilities.models}
    if abilities.artefact != study.artefact:
        mean_ps = np.array([told[it.model].p for it in study.models])
        return np.interp(mean_ps, study.mean_ps_table, study.abilities_table)
    return np.array([level_of(told[it.model], abilities)[0] for it in study.models])


if __name__ == "__main__":
    main()
