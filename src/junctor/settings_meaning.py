"""What the types of the settings cannot say: names that clash or are reserved, figures out of range."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import inf

from msgspec.structs import asdict

from junctor.settings_check import suggestion_or_all
from junctor.settings_tables import FusionSettings, ModelSettings, Settings, ShadowSettings

ROUTER = "auto"
FUSION = "fusion"
"The fusion that is always there."
RESERVED_NAMES = {ROUTER: "the router", FUSION: "a fusion of the pool's models"}
MOST_MEMBERS = 8
"Of a fusion, as in OpenRouter's."
MEMBERS_BY_DEFAULT = 5
"Of a fusion that names none, at most."
DEEPEST = 3
"Eight members of eight members each are enough."
MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.\-:/@]{0,127}", re.ASCII)
VARIABLE = re.compile(r"[A-Za-z_]\w{0,127}", re.ASCII)
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def check_meaning(settings: Settings, *, knows_names: bool = True) -> Iterator[tuple[str, str]]:
    """What is wrong, each as (path, sentence). Without `knows_names`: nothing of who names whom."""
    for index, model in enumerate(settings.models):
        yield from _check_model(model, f"models[{index}]")
        if knows_names:
            yield from _check_names(settings.models, index)
    for index, key in enumerate(settings.keys):
        if not SHA256.fullmatch(key.sha256):
            yield f"keys[{index}].sha256", "must be 64 hexadecimal digits; `junctor keys new NAME` makes them"
    yield from check_fusions(settings.fusions, (settings.models or None) if knows_names else None)
    if settings.routing.shadow is not None:
        yield from _check_shadow(settings.routing.shadow, settings.models if knows_names else ())
    yield from _check_ranges(settings)


def _check_model(model: ModelSettings, at: str) -> Iterator[tuple[str, str]]:
    if not MODEL_NAME.fullmatch(model.name):
        yield f"{at}.name", f"{model.name!r} may hold letters, digits and . _ - : / @ only, 128 at most"
    if model.name in RESERVED_NAMES:
        yield f"{at}.name", f"`{model.name}` is reserved for {RESERVED_NAMES[model.name]}; take another name"
    if model.ability is not None and not 0 < model.ability < 1:
        yield f"{at}.ability", "must lie between 0 and 1"
    if model.api_key_env is not None and not VARIABLE.fullmatch(model.api_key_env):
        yield f"{at}.api_key_env", "must be the name of an environment variable, not the key itself"
    yield from _check_figures(model, at)


def _check_names(models: Sequence[ModelSettings], index: int) -> Iterator[tuple[str, str]]:
    """One model beside the others: its name is its own, and its fallbacks are theirs."""
    names, model, at = [each.name for each in models], models[index], f"models[{index}]"
    if names.index(model.name) < index:
        yield f"{at}.name", f"`{model.name}` stands twice; each model needs a name of its own"
    for name in model.fallbacks:
        if name == model.name:
            yield f"{at}.fallbacks", f"`{name}` would fall back on itself; name another model"
        elif name not in names:
            yield f"{at}.fallbacks", f"no model is called `{name}`{suggestion_or_all(name, names)}"
        elif models[names.index(name)].kind != model.kind:
            yield f"{at}.fallbacks", f"`{name}` is not of the same kind: one makes embeddings, one chats"


def _check_figures(model: ModelSettings, at: str) -> Iterator[tuple[str, str]]:
    for name in ("window", "max_output", "tokens_per_s", "first_token_ms"):
        value: float | None = getattr(model, name)
        if value is not None and not 0 < value < inf:
            yield f"{at}.{name}", "must be more than 0"
    for name, value in asdict(model.price).items() if model.price else ():
        if value is not None and not 0 <= value < inf:
            yield f"{at}.price.{name}", "must be 0 or more"


def _check_shadow(shadow: ShadowSettings, models: Sequence[ModelSettings]) -> Iterator[tuple[str, str]]:
    if not 0 <= shadow.max_usd_per_day < inf:
        yield "routing.shadow.max_usd_per_day", "must be 0 or more"
    chats = [model.name for model in models if model.kind == "chat"]
    if shadow.judge is not None and models and shadow.judge not in chats:
        hint = suggestion_or_all(shadow.judge, chats)
        yield "routing.shadow.judge", f"no chat model is called `{shadow.judge}`{hint}"


def check_fusions(
    fusions: Sequence[FusionSettings], models: Sequence[ModelSettings] | None
) -> Iterator[tuple[str, str]]:
    """What is wrong with fusions of these models, each as (path, sentence). None: models unknown."""
    for index, fusion in enumerate(fusions):
        at = f"fusions[{index}]"
        yield from _check_fusion_name(fusion, [it.name for it in fusions[:index]], models, at)
        if len(fusion.members) > MOST_MEMBERS:
            yield (
                f"{at}.members",
                f"a fusion has 1 to {MOST_MEMBERS} members; this one has {len(fusion.members)}",
            )
        for name in dict.fromkeys(fusion.members):
            if objection := _objection_to_member(name, fusion, fusions, models):
                yield f"{at}.members", objection
        if fusion.judge is not None and (objection := _objection_to_judge(fusion.judge, fusions, models)):
            yield f"{at}.judge", objection
        yield from _check_fusion_figures(fusion, models, at)


def _check_fusion_name(
    fusion: FusionSettings, before: Sequence[str], models: Sequence[ModelSettings] | None, at: str
) -> Iterator[tuple[str, str]]:
    name = fusion.name
    if not MODEL_NAME.fullmatch(name):
        yield f"{at}.name", f"{name!r} may hold letters, digits and . _ - : / @ only, 128 at most"
    if name == ROUTER:
        yield f"{at}.name", f"`{name}` is reserved for {RESERVED_NAMES[name]}; take another name"
    if name in before:
        yield f"{at}.name", f"`{name}` stands twice; each fusion needs a name of its own"
    if any(name == model.name for model in models or ()):
        yield f"{at}.name", f"a model is called `{name}`, too; take another name for one of them"


def _objection_to_member(
    name: str,
    fusion: FusionSettings,
    fusions: Sequence[FusionSettings],
    models: Sequence[ModelSettings] | None,
) -> str | None:
    depths = {FUSION: 1, **{each.name: each.depth for each in fusions}}
    if name not in depths:
        return _objection_to_model(name, models, [*depths] if fusion.depth > 1 else [])
    if name == fusion.name:
        return f"`{name}` would ask itself"
    if fusion.name in _reached_from(name, fusions):
        return f"`{fusion.name}` would ask itself, through `{name}`"
    if fusion.depth == 1:
        return f"`{name}` is a fusion; with `depth = {depths[name] + 1}` it can be a member"
    if depths[name] >= fusion.depth:
        return f"`{name}` has a depth of {depths[name]}; a member's is less than its fusion's, {fusion.depth}"
    return None


def _objection_to_judge(
    name: str, fusions: Sequence[FusionSettings], models: Sequence[ModelSettings] | None
) -> str | None:
    if name == FUSION or any(name == each.name for each in fusions):
        return f"`{name}` is a fusion; a judge is one model"
    return _objection_to_model(name, models, [])


def _objection_to_model(
    name: str, models: Sequence[ModelSettings] | None, others: Sequence[str]
) -> str | None:
    """Why it is neither a model that chats nor the router. `others`: names that would do, too."""
    if name == ROUTER or models is None:
        return None
    kinds = {model.name: model.kind for model in models}
    if name not in kinds:
        known = [each for each, kind in kinds.items() if kind == "chat"]
        return f"no model is called `{name}`{suggestion_or_all(name, [*known, ROUTER, *others])}"
    return f"`{name}` makes embeddings, and no answers" if kinds[name] == "embeddings" else None


def _reached_from(name: str, fusions: Sequence[FusionSettings]) -> set[str]:
    """All that a fusion asks, and those ask."""
    members = {fusion.name: fusion.members for fusion in fusions}
    reached, ahead = set[str](), [name]
    while ahead:
        found = set(members.get(ahead.pop(), ())) - reached
        reached |= found
        ahead += found
    return reached


def _check_fusion_figures(
    fusion: FusionSettings, models: Sequence[ModelSettings] | None, at: str
) -> Iterator[tuple[str, str]]:
    ranges: dict[str, tuple[float, float]] = {
        "judge_accuracy": (0.5, 1),
        "temperature": (0, 2),
        "depth": (1, DEEPEST),
    }
    for name, (least, most) in ranges.items():
        value: float | None = getattr(fusion, name)
        if value is not None and not least <= value <= most:
            yield f"{at}.{name}", f"must lie between {least} and {most}"
    for name in ("deadline_ms", "max_usd", "max_completion_tokens"):
        value = getattr(fusion, name)
        if value is not None and not 0 < value < inf:
            yield f"{at}.{name}", "must be more than 0"
    if not 0 <= fusion.grace_ms < inf:
        yield f"{at}.grace_ms", "must be 0 or more"
    chats = MEMBERS_BY_DEFAULT if models is None else sum(model.kind == "chat" for model in models)
    members = len(fusion.members) or min(chats, MEMBERS_BY_DEFAULT)
    if fusion.quorum is not None and not 1 <= fusion.quorum <= members:
        yield f"{at}.quorum", f"must lie between 1 and the number of members, {members}"


def _check_ranges(settings: Settings) -> Iterator[tuple[str, str]]:
    if not 0 <= settings.server.port <= 65535:
        yield "server.port", "must lie between 0 and 65535"
    if settings.routing.quality is not None and not 0 <= settings.routing.quality <= 1:
        yield "routing.quality", "must lie between 0 and 1"
    positive = {
        "server.max_body_bytes": settings.server.max_body_bytes,
        "server.body_timeout_s": settings.server.body_timeout_s,
        "retries.attempts": settings.retries.attempts,
        "ejection.failures": settings.ejection.failures,
        "ejection.base_s": settings.ejection.base_s,
        "ejection.max_s": settings.ejection.max_s,
        "local.window": settings.local.window,
        "local.parallel": settings.local.parallel,
        "server.send_timeout_s": settings.server.send_timeout_s,
        "server.grace_s": settings.server.grace_s,
        "server.head_timeout_s": settings.server.head_timeout_s,
        "server.idle_timeout_s": settings.server.idle_timeout_s,
        "server.max_connections": settings.server.max_connections,
        "server.max_in_flight": settings.server.max_in_flight,
        "server.keepalive_s": settings.server.keepalive_s,
    }
    shares = {"retries.share": settings.retries.share, "hedging.share": settings.hedging.share}
    if settings.routing.shadow is not None:
        shares["routing.shadow.share"] = settings.routing.shadow.share
    for path, share in shares.items():
        if not 0 <= share <= 1:
            yield path, "must lie between 0 and 1"
    if not 0 <= settings.store.keep_responses_days <= 36500:
        yield "store.keep_responses_days", "must lie between 0 and 36500"
    if not 0 <= settings.local.usd_per_hour < inf:
        yield "local.usd_per_hour", "must be 0 or more"
    if not 0 <= settings.server.drain_s < inf:
        yield "server.drain_s", "must be 0 or more"
    if settings.local.threads < 0:
        yield "local.threads", "must be 0 or more"
    timeouts = asdict(settings.timeouts)
    positive |= {f"timeouts.{name}": value for name, value in timeouts.items()}
    for path, value in positive.items():
        if not 0 < value < inf:
            yield path, "must be more than 0"
