"""What the types of the settings cannot say: names that clash or are reserved, figures out of range."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import inf

from msgspec.structs import asdict

from junctor.settings_check import suggestion
from junctor.settings_tables import ModelSettings, Settings, ShadowSettings

RESERVED_NAMES = frozenset({"auto"})
MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.\-:/@]{0,127}", re.ASCII)
VARIABLE = re.compile(r"[A-Za-z_]\w{0,127}", re.ASCII)
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def check_meaning(settings: Settings) -> Iterator[tuple[str, str]]:
    """What is wrong, each as (path, sentence)."""
    for index, model in enumerate(settings.models):
        yield from _check_model(model, f"models[{index}]")
        yield from _check_names(settings.models, index)
    for index, key in enumerate(settings.keys):
        if not SHA256.fullmatch(key.sha256):
            yield f"keys[{index}].sha256", "must be 64 hexadecimal digits; `junctor keys new NAME` makes them"
    yield from _check_ranges(settings)


def _check_model(model: ModelSettings, at: str) -> Iterator[tuple[str, str]]:
    if not MODEL_NAME.fullmatch(model.name):
        yield f"{at}.name", f"{model.name!r} may hold letters, digits and . _ - : / @ only, 128 at most"
    if model.name in RESERVED_NAMES:
        yield f"{at}.name", f"`{model.name}` is reserved for the router; take another name"
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
        if name not in names:
            yield f"{at}.fallbacks", f"no model is called `{name}`{suggestion(name, names)}"
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
        hint = suggestion(shadow.judge, chats)
        yield "routing.shadow.judge", f"no chat model is called `{shadow.judge}`{hint}"


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
        yield from _check_shadow(settings.routing.shadow, settings.models)
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
