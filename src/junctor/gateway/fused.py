"""A fusion, as far as keys and budgets are concerned: which calls it may make for one request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from junctor.chat import BadRequest, Constraints, FusionMode, FusionOptions

VERDICT_TOKENS = 2000
"Of a judge's verdict, or of its comparison of the answers, at most: judges that reason need that."
_FRAME_TOKENS = 1000
"Of what a judge is told beside the prompt and the answers."


class Fused(msgspec.Struct, frozen=True, kw_only=True):
    """One fusion."""

    members: tuple[str, ...]
    "Names in the pool, the best first; one that comes n times is asked n times."
    able: frozenset[str] = frozenset()
    "Who may take part where a request names its own members: models, routers, fusions of a lesser depth."
    presets: frozenset[str] = frozenset()
    "Those that a request may name instead."
    judge: str | None = None
    "None: the best of the members that are asked."
    mode: FusionMode = "auto"
    max_completion_tokens: int | None = None
    "Of each member's answer."
    max_usd: float | None = None


class Question(NamedTuple):
    """Put to a judge."""

    times: int
    "At most: in both orders, and once more each where the reply has not the form that was asked for."
    usually: int
    reads: int
    "Tokens that it is shown."
    words: int | None
    "Tokens of its reply at most; None: it writes the answer that the caller gets."


Path = tuple[Question, ...]
"What a judge is asked for one request."


def as_asked(fused: Fused, presets: Mapping[str, Fused], options: FusionOptions | None) -> Fused:
    """The fusion as one request has it. Raises `BadRequest`: no such preset."""
    if options is None:
        return fused
    if options.preset is not None:
        if options.preset not in fused.presets:
            known = ", ".join(f"`{name}`" for name in presets if name in fused.presets)
            raise BadRequest(
                f"there is no preset `{options.preset[:200]}`; there are {known}", param="fusion.preset"
            )
        fused = replace(presets[options.preset], able=fused.able, presets=fused.presets)
    return replace(
        fused,
        members=options.analysis_models or fused.members,
        judge=options.model or fused.judge,
        mode=options.mode or fused.mode,
        max_completion_tokens=options.max_completion_tokens or fused.max_completion_tokens,
        max_usd=fused.max_usd if options.max_usd is None else options.max_usd,
    )


def members_asked(fused: Fused, limits: Constraints) -> list[str]:
    """Those whom the request's limits leave."""
    return [name for name in fused.members if _is_allowed(name, limits)]


def judges_asked(fused: Fused, limits: Constraints) -> list[str]:
    """Those of whom one may judge: who is named, unless the request's limits rule it out; else a member."""
    if fused.judge is not None and _is_allowed(fused.judge, limits):
        return [fused.judge]
    return members_asked(fused, limits)


def _is_allowed(name: str, limits: Constraints) -> bool:
    return name not in limits.never and (not limits.only or name in limits.only)


def paths_of_judging(
    mode: FusionMode, members: int, prompt_tokens: int, answer_tokens: int
) -> tuple[Path, ...]:
    """What the judge may be asked; one path where only one can come."""
    if members < 2 or mode in ("vote", "debate"):
        return ()

    def shown(answers: int) -> int:
        return prompt_tokens + _FRAME_TOKENS + answers * answer_tokens

    written = (
        Question(2, 1, shown(members), VERDICT_TOKENS),
        Question(1, 1, shown(members) + VERDICT_TOKENS, None),
    )
    chosen = (Question(4, 2, shown(members if mode == "best-of" else 2), VERDICT_TOKENS),)
    return (written, chosen) if mode == "auto" else (written,) if mode == "merge" else (chosen,)


def label_of(name: str, fused: Fused, options: FusionOptions | None) -> str:
    """What its cost is remembered under: a request with members of its own says nothing of others' cost."""
    if options is None:
        return name
    asked = "+".join(sorted(fused.members))
    return f"{name} of {asked} by {fused.judge or 'the best'}: {fused.mode}"
