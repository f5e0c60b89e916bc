"""What the router tells a caller whose limits cannot be kept: which limit, its figure, and what to change."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from junctor.chat import BadRequest, Constraints, NoModelFits

Verdict = tuple[str, str]
"The constraint that rules a model out, and why in words."
NEEDS = "needs."
UNKNOWN = {
    "max_usd": "its price is not known: state its `price`",
    "max_first_token_ms": "its time to the first token is not known: state its `first_token_ms`",
    "max_total_ms": "its speed is not known: state its `first_token_ms` and `tokens_per_s`",
}
"Of limits on figures that a card may not hold: what is missing, and what to write into junctor.toml."
STRONGEST_SHARE = "key.strongest_share"
"The constraint that rules out what a key's share of the strongest model does not allow now."


def check_names(constraints: Constraints, known: Collection[str]) -> None:
    """Raises `BadRequest` for a name that the pool does not hold: a typing error must not mean `no limit`."""
    for field, names in (("only", constraints.only), ("never", constraints.never)):
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(sorted(known))}"
                raise BadRequest(
                    f"`junctor.{field}` names `{name[:80]}`, which the pool does not hold; {hint}",
                    param=f"junctor.{field}",
                )


def no_model_fits(
    verdicts: Sequence[tuple[str, Verdict]], limits: Constraints, max_tokens: int | None
) -> NoModelFits:
    """Of a request for any model: each with what rules it out. `max_tokens`: as the request states it."""
    if not verdicts:
        return NoModelFits("the pool holds no model; add a [[models]] to junctor.toml, or `junctor pull` one")
    reasons = "; ".join(f"{name}: {constraint} ({why})" for name, (constraint, why) in verdicts)
    remedies = "; ".join(sorted({_remedy(constraint, limits, max_tokens) for _, (constraint, _) in verdicts}))
    return NoModelFits(
        f"no model satisfies the request. {reasons}. What may help: {remedies}", param="junctor"
    )


def does_not_fit(name: str, verdict: Verdict, limits: Constraints, max_tokens: int | None) -> NoModelFits:
    """Of a request that names this model."""
    constraint, why = verdict
    return NoModelFits(
        f"`{name}` does not keep what the request demands. {constraint}: {why}. What may help: "
        f"{_remedy(constraint, limits, max_tokens)}; name another model, or `auto`",
        param=f"junctor.{'needs' if constraint.startswith(NEEDS) else constraint}",
    )


def _remedy(constraint: str, limits: Constraints, max_tokens: int | None) -> str:
    """What a caller can change, by the name that it has for a caller."""
    if constraint == "max_tokens":
        return "lower `max_tokens`"
    if constraint == "window":
        return "shorten the prompt" if max_tokens is None else "lower `max_tokens`, or shorten the prompt"
    if constraint.startswith(NEEDS):
        skill = constraint.removeprefix(NEEDS)
        return "loosen `junctor.needs`" if skill in limits.needs else f"leave out what needs {skill}"
    if constraint == STRONGEST_SHARE:
        return "wait until the key's share allows it"
    if constraint == "quality" and limits.quality is None:
        return "lower `routing.quality` in junctor.toml"
    return f"loosen `junctor.{constraint}`"
