"""What `junctor calibrate` prints: the plan, the report, the calibrations that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from rich import box
from rich.markup import escape
from rich.table import Table

from junctor.chat import Mode, ModelCard
from junctor.cli.calibrate_judges import Examined
from junctor.cli.terminal import console, errors
from junctor.routing.abilities import Abilities, parse_abilities
from junctor.routing.calibration.adopt import IN_FORCE, Adopted, Verdict
from junctor.routing.calibration.grading import Graded, has_price
from junctor.routing.calibration.judges import LEAST_PAIRS, Judges, parse_judges
from junctor.routing.calibration.ratings import RatedVotes, parse_rated_votes
from junctor.routing.calibration.store import Calibration, ladder_of
from junctor.routing.calibration.study import Comparison, Learnt, Study, mean_of
from junctor.routing.calibration.survey import Survey
from junctor.routing.calibration.votes import PoolVote, Votes, parse_votes
from junctor.routing.ladder import Ladder

_MODES: tuple[Mode, ...] = ("quality", "balanced", "cost")
_VERDICTS: dict[Verdict, str] = {
    "first": "in force from now on",
    "better": "in force from now on: better than the one before",
    "broken": "in force from now on: the one before does not hold its promise any more",
    "stricter": "in force from now on: it promises more than the one before, as you asked",
    "kept": "kept, not in force: the one before is as good, or better",
    "untested": "kept, not in force: too few prompts, or models, to compare it with the one before",
    "own": "kept, not in force: the one before was measured on prompts of your own, which these are not",
    "agreement": "kept, not in force: the one before was learnt from answers known to be right, and this one "
    "from who agrees with the strongest model",
    "useless": "kept, not in force: these answers do not tell the models apart",
    "nothing": "",
}
_Z = 1.96

_UNITS = {
    "ladder": "right answers a prompt, costs taken off",
    "abilities": "log likelihood an answer",
    "votes": "right answers a prompt",
}


def print_plan(cards: Sequence[ModelCard], questions: int, survey: Survey, usd: float) -> None:
    """How much is about to be asked, and what it may cost."""
    calls, models = len(survey.calls), len(cards)
    errors.print(
        f"{questions} questions to {models} model{'s' * (models != 1)}: {calls} calls, about {usd:.4f} USD "
        f"by their prices.",
        soft_wrap=True,
    )
    if kept := questions * models - calls:
        errors.print(
            f"{kept} answers are here already, from a run that did not end; they cost {survey.usd:.4f} USD."
        )
    if unpriced := [card.name for card in cards if not has_price(card)]:
        errors.print(
            f"{', '.join(unpriced)}: no price; what counts is the time, at local.usd_per_hour.",
            markup=False,
            soft_wrap=True,
        )


def print_report(
    graded: Graded, study: Study, learnt: Learnt, adopted: Adopted, cards: Sequence[ModelCard]
) -> None:
    """What was measured, what was learnt of it, and what is in force now."""
    console.print(_model_table(study, learnt.abilities, cards))
    if study.why_useless:
        _print_useless(study)
    if graded.judged_by_strongest:
        console.print(
            f"For {graded.judged_by_strongest} prompts without an answer, what {learnt.strongest} said "
            "counts as right: scores say how often a model agrees with it, not how often it is right.",
            soft_wrap=True,
        )
    if graded.left_out:
        console.print(f"{graded.left_out} prompts are left out: nothing to compare an answer with.")
    for name in learnt.left_out:
        console.print(f"{name} answered too few of them to be on a ladder.", markup=False)
    _print_ladder(study, learnt)
    _print_votes(learnt)
    if adopted.ladder_id:
        _print_verdict("ladder", adopted.ladder_id, adopted.ladder, learnt.ladder_comparison)
        if adopted.ladder == "stricter" and study.ladder is not None:
            console.print(f"The one before: at least {_spell_terms(study.ladder)}.", markup=False)
    _print_verdict("abilities", adopted.abilities_id, adopted.abilities, learnt.abilities_comparison)
    if adopted.votes_id:
        _print_verdict("votes", adopted.votes_id, adopted.votes, learnt.votes_comparison)
    if study.is_own and adopted.abilities in IN_FORCE:
        _print_shift(learnt.abilities)


def _model_table(study: Study, abilities: Abilities, cards: Sequence[ModelCard]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("model", "right", "95 %", "ability", "USD an answer", "tokens", "answers"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    prices = {card.name: has_price(card) for card in cards}
    for it, ability in zip(study.models, abilities.models, strict=True):
        table.add_row(
            escape(it.model),
            f"{ability.score:.1%}",
            _between(ability.score, ability.prompts),
            f"{ability.p:.2f} ± {ability.p_error:.2f}",
            f"{mean_of(it.usd) or 0:.6f}{'' if prices[it.model] else ' (its time)'}",
            f"{mean_of(it.tokens) or 0:.0f}",
            f"{ability.prompts}",
        )
    return table


def _between(share: float, count: int) -> str:
    """The 95 % interval of a share of so many, after Wilson (1927): it holds near 0 and 1, too."""
    if not count:
        return ""
    low, high = wilson(share, count)
    return f"{100 * low:.0f} .. {100 * high:.0f} %"


def wilson(share: float, count: int) -> tuple[float, float]:
    """E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927."""
    spread = _Z * sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    middle, scale = share + _Z**2 / (2 * count), 1 + _Z**2 / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def _print_useless(study: Study) -> None:
    """Why nothing of it comes into force, and what to do."""
    console.print(
        f"[bold red]This calibration cannot rank your models:[/] {study.why_useless}. Nothing of it comes "
        "into force. See whether they say `Answer: ...` on a last line, allow longer answers (--max-tokens), "
        "or ask easier prompts (--prompts).",
        soft_wrap=True,
    )


def _print_ladder(study: Study, learnt: Learnt) -> None:
    known = " by what was known before" if not study.ranks and study.strongest is None else ""
    console.print(f"[bold]Strongest{known}:[/] {escape(learnt.strongest)}.", end=" ")
    if learnt.ladder is None:
        console.print(f"No ladder: {learnt.no_ladder}.", markup=False, soft_wrap=True)
        if study.ladder is not None:
            console.print(f"The one in force stays: at least {_spell_terms(study.ladder)}.", markup=False)
        return
    ladder = learnt.ladder
    console.print(f"[bold]Ladder:[/] {escape(_spell(ladder))}.", soft_wrap=True)
    for mode in _MODES:
        console.print(f"  {mode:9}{_promise(ladder, mode)}", soft_wrap=True)


def _spell(ladder: Ladder) -> str:
    steps = [" and ".join(rung.models) for rung in ladder.rungs]
    return ", then ".join([*steps, ladder.strongest])


def _promise(ladder: Ladder, mode: Mode) -> str:
    promise = ladder.promises.get(mode)
    if promise is None:
        return (
            f"no promise: {ladder.prompts} prompts do not show that {_percent(ladder.floor)} of the quality "
            f"is kept with {_percent(ladder.confidence)} confidence; {ladder.strongest} answers"
        )
    return (
        f"saves {promise.saved:.0%}; {promise.quality:.1%} right, {ladder.strongest} alone "
        f"{promise.strongest_quality:.1%}; at least {_percent(ladder.floor)} of it with "
        f"{_percent(ladder.confidence)} confidence"
    )


def _spell_terms(ladder: Ladder) -> str:
    return (
        f"{_percent(ladder.floor)} of the quality of {ladder.strongest}, with {_percent(ladder.confidence)} "
        "confidence"
    )


def _percent(share: float) -> str:
    """Of a floor or a confidence: 99.5 % is not 100 %."""
    return f"{100 * share:.6g}%"


def _print_votes(learnt: Learnt) -> None:
    if learnt.votes is None:
        console.print(f"No votes for fusions: {learnt.no_votes}.", markup=False, soft_wrap=True)
        return
    for pool in learnt.votes.pools:
        console.print(f"[bold]Vote[/] of {escape(', '.join(pool.members))}: {_gain(pool)}.", soft_wrap=True)


def _gain(pool: PoolVote) -> str:
    return (
        f"{pool.score:.1%} right; its best member, {escape(pool.best)}, {pool.best_score:.1%}; "
        f"counted plainly {pool.majority_score:.1%}; on {pool.prompts} prompts"
    )


def print_judges(examined: Sequence[Examined]) -> None:
    """How good each judge is, or why that is not known."""
    for each in examined:
        skill = each.skill
        said = f"[bold]Judge[/] {escape(each.card.name)}: "
        if skill is not None:
            between = _between(skill.accuracy, skill.pairs)
            said += f"prefers the right one of two answers in {skill.accuracy:.0%} ({between}), "
            said += f"on {skill.pairs} pairs, for {each.usd:.4f} USD."
        else:
            why = f": {escape(each.failed)}" if each.failed else ""
            said += f"not measured; of {each.asked} pairs too few brought a verdict{why}."
        console.print(said, soft_wrap=True)


def print_too_few_pairs(count: int) -> None:
    """Why no judge is tried."""
    console.print(
        f"No judge is tried: {count} questions were answered rightly by one model and wrongly by another in "
        f"this run; {LEAST_PAIRS} are the least.",
        soft_wrap=True,
    )


def _print_verdict(kind: str, id: str, verdict: Verdict, comparison: Comparison | None) -> None:  # noqa: A002
    style = "green" if verdict in IN_FORCE else "yellow"
    console.print(f"[{style}]{kind} {id}[/]: {_VERDICTS[verdict]}", end="", soft_wrap=True)
    if comparison is not None:
        console.print(
            f" ({_UNITS[kind]}: {comparison.new:.4f}, before {comparison.old:.4f}, "
            f"± {comparison.error:.4f} between them, on {comparison.prompts} prompts that neither was learnt "
            "from)",
            end="",
            soft_wrap=True,
        )
    use = "" if verdict in IN_FORCE else f" `junctor calibrate --use {id}` puts it in force."
    console.print(f".{use}", soft_wrap=True)


def _print_shift(abilities: Abilities) -> None:
    harder = "harder" if abilities.shift > 0 else "easier"
    console.print(
        f"auto takes its traffic to be like your prompts: {harder} than it would have guessed, by "
        f"{abs(abilities.shift):.1f} ± {abilities.shift_error:.1f} logits.",
        soft_wrap=True,
    )


def print_all(calibrations: Sequence[Calibration]) -> None:
    """All that are kept."""
    if not calibrations:
        console.print("There are no calibrations; `junctor calibrate` makes one.")
        return
    for each in calibrations:
        mark = ", [green]in force[/]" if each.is_current else ""
        made = each.created_at[:16].replace("T", " ")
        console.print(f"{each.id}  {made}  {each.kind}{mark}", soft_wrap=True)
        console.print(f"    {_tell(each)}", markup=False, soft_wrap=True)


def _tell(calibration: Calibration) -> str:
    if calibration.kind == "ladder":
        ladder = ladder_of(calibration)
        if ladder is None:
            return "of another version"
        saved = [f"{mode} saves {it.saved:.0%}" for mode, it in ladder.promises.items()]
        return f"{_spell(ladder)}: {', '.join(saved) or 'no promise'}"
    if calibration.kind == "votes":
        return _tell_votes(parse_votes(calibration.document))
    if calibration.kind == "rated votes":
        return _tell_rated(parse_rated_votes(calibration.document))
    if calibration.kind == "judges":
        return _tell_judges(parse_judges(calibration.document))
    abilities = parse_abilities(calibration.document)
    if abilities is None:
        return "of another version"
    return ", ".join(f"{each.model} {each.p:.2f} ± {each.p_error:.2f}" for each in abilities.models)


def _tell_votes(votes: Votes | None) -> str:
    if votes is None:
        return "of another version"
    return "; ".join(f"{', '.join(pool.members)}: {pool.score:.1%} right" for pool in votes.pools)


def _tell_rated(votes: RatedVotes | None) -> str:
    if votes is None:
        return "of another version"
    return "; ".join(
        f"{', '.join(pool.members)}: {pool.ratings} ratings, {pool.score:.0%} good" for pool in votes.pools
    )


def _tell_judges(judges: Judges | None) -> str:
    if judges is None:
        return "of another version"
    return ", ".join(f"{each.model} {each.accuracy:.0%} of {each.pairs} pairs" for each in judges.judges)
