"""What a fusion does: as it is configured, and as one request has it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from junctor.chat import BadRequest, ChatRequest, Constraints, FusionMode, FusionOptions, OnJudgeFailure

MOST_MEMBERS = 8
"As in OpenRouter's fusion: 1 to 8."


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One fusion."""

    name: str
    "In the pool."
    members: tuple[str, ...]
    "Names in the pool, in the order of `junctor.toml`. A name that comes n times is asked n times."
    judge: str | None = None
    "Who judges contested answers and writes merged ones; None: the best member that is not involved."
    judge_accuracy: float = 0.6
    """How often the judge prefers the right one of two answers, 0.5..1. Strong models are right on 55 to 66 %
    of hard pairs (JudgeBench); what a calibration has measured goes before this."""
    mode: FusionMode = "auto"
    quorum: int | None = None
    "Once so many have answered, the others get `grace_ms` more; None: all are waited for."
    grace_ms: float = 2000.0
    deadline_ms: float = 60_000.0
    "Who has not answered by then is not waited for."
    max_usd: float | None = None
    on_judge_failure: OnJudgeFailure = "vote"
    max_completion_tokens: int | None = None
    temperature: float | None = None
    reasoning: msgspec.Raw | None = None


def for_request(plan: Plan, presets: Mapping[str, Plan], options: FusionOptions | None) -> Plan:
    """The plan as one request has it. Raises `BadRequest`, which names the field."""
    if options is None:
        return plan
    if options.preset is not None:
        if options.preset not in presets:
            known = ", ".join(f"`{name}`" for name in presets)
            raise BadRequest(
                f"there is no preset `{options.preset}`; there are {known}", param="fusion.preset"
            )
        plan = msgspec.structs.replace(presets[options.preset], name=plan.name)
    said = {
        "members": options.analysis_models or None,
        "judge": options.model,
        "mode": options.mode,
        "quorum": options.quorum,
        "grace_ms": options.grace_ms,
        "deadline_ms": options.deadline_ms,
        "max_usd": options.max_usd,
        "on_judge_failure": options.on_judge_failure,
        "max_completion_tokens": options.max_completion_tokens,
        "temperature": options.temperature,
        "reasoning": options.reasoning,
    }
    changed = {field: value for field, value in said.items() if value is not None}
    return msgspec.structs.replace(plan, **changed) if changed else plan


def keep_to(plan: Plan, limits: Constraints) -> Plan:
    """The plan within the caller's limits: on what all calls may cost, and on who may judge."""
    allowed = [usd for usd in (plan.max_usd, limits.max_usd) if usd is not None]
    judge = plan.judge
    if judge in limits.never or (limits.only and judge not in limits.only):
        judge = None
    return msgspec.structs.replace(plan, max_usd=min(allowed, default=None), judge=judge)


def who_may(request: ChatRequest) -> Constraints:
    """What of the caller's limits holds for a judge or writer that chooses others.

    Not `only`: it has to name whoever is asked, and a router or a fusion that is named comes with its models.
    """
    return Constraints(never=request.constraints.never)
