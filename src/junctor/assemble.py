"""From settings to the pool's members: a card of facts for each model, and what answers under its name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec

from junctor.chat import BadRequest, Model, ModelCard, Price
from junctor.gateway.admit import CallerKey, Doorkeeper, Ring, is_loopback
from junctor.gateway.count_tokens import Counter
from junctor.gateway.fused import Fused
from junctor.gateway.keys import find_mistakes as find_key_mistakes
from junctor.gateway.keys import parse_budget, parse_expiry
from junctor.gateway.menu import Menu
from junctor.gateway.pepper import VARIABLE, Pepper
from junctor.pool.catalog import (
    CONFIGURED,
    PROVIDERS,
    ListPrice,
    PriceRef,
    Provider,
    choose_price,
    look_up_prices,
)
from junctor.pool.choice import Policy
from junctor.pool.embeddings import EmbeddingsUpstream, ScriptedEmbeddings
from junctor.pool.outlier import Ejection
from junctor.pool.responses_upstream import OpenAIResponsesUpstream
from junctor.pool.scripted import Script, ScriptedModel, parse_script
from junctor.pool.transport import Target, Timeouts, Transport
from junctor.pool.upstream import AnthropicUpstream, OpenAIUpstream
from junctor.routing.calibration.store import Calibrated
from junctor.routing.ladder import Ladder
from junctor.routing.measuring.savings_store import Terms
from junctor.serving.card import card_of
from junctor.serving.engine import LlamaEngine
from junctor.serving.llama import LocalModel
from junctor.serving.manifest import named, shipped
from junctor.serving.weights import installed
from junctor.settings import (
    Environment,
    HedgingSettings,
    KeySettings,
    ModelSettings,
    Settings,
)
from junctor.settings_check import SettingsError, suggestion_or_all
from junctor.settings_meaning import check_fusions
from junctor.wire.embeddings import RELAY as EMBEDDINGS

LOCAL = "local"
"The provider of models that Junctor runs itself."
SCRIPTED = "scripted"
"The provider of models that say what a script says."

_UPSTREAMS = {
    "openai_chat": OpenAIUpstream,
    "openai_responses": OpenAIResponsesUpstream,
    "anthropic_messages": AnthropicUpstream,
    "openai_embeddings": EmbeddingsUpstream,
}
_NO_PROVIDER = Provider(base_url="")


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the pool before it is built."""

    settings: ModelSettings
    card: ModelCard


def weights_dir(settings: Settings, environment: Environment) -> Path:
    """Where the weights of local models lie."""
    return settings.local.weights_dir or environment.cache_dir / "weights"


def database_path(settings: Settings, environment: Environment) -> Path:
    """Where the ledger and the decisions lie."""
    return settings.store.path or environment.data_dir / "junctor.db"


def pepper_of(environment: Environment) -> Pepper:
    """What the digests of API keys are made with."""
    return Pepper(environment.data_dir, environment.secret(VARIABLE))


def doorkeeper_of(settings: Settings, ring: Ring) -> Doorkeeper:
    """Who lets callers in: by the keys of the settings and those of the database."""
    keys = [caller_key(key) for key in settings.keys]
    return Doorkeeper(keys, ring, may_be_open=is_loopback(settings.server.host))


def choose_models(settings: Settings, environment: Environment) -> Sequence[ModelSettings]:
    """The configured models; without any, the local ones that are pulled."""
    if settings.models:
        return settings.models
    folder = weights_dir(settings, environment)
    pulled = [manifest for manifest in shipped().values() if installed(manifest, folder)]
    return [ModelSettings(name=manifest.name, provider=LOCAL) for manifest in pulled]


def find_mistakes(settings: Settings, environment: Environment) -> Iterator[str]:
    """What makes a key, a model or a fusion of the settings impossible to build, each as one sentence."""
    names = {f"keys[{index}]": key.name for index, key in enumerate(settings.keys)}
    names |= {f"models[{index}]": model.name for index, model in enumerate(settings.models)}
    for place, words in find_places(settings, environment):
        table = place.partition(".")[0]
        yield f"{table} ({names[table]}): {words}" if table in names else f"{place}: {words}"


def find_places(settings: Settings, environment: Environment) -> Iterator[tuple[str, str]]:
    """The same, each as (place in the file, sentence)."""
    for index, key in enumerate(settings.keys):
        yield from ((f"keys[{index}].{field}", words) for field, words in _key_mistakes(key))
    for index, model in enumerate(settings.models):
        found = _model_mistakes(model, settings, environment)
        yield from ((f"models[{index}].{field}", words) for field, words in found)
    if not settings.models:  # those that are pulled: not known to whom reads the file alone
        yield from check_fusions(settings.fusions, choose_models(settings, environment))


def _key_mistakes(key: KeySettings) -> Iterator[tuple[str, str]]:
    try:
        grant = caller_key(key)
    except (BadRequest, OverflowError, ValueError) as error:
        yield "expires", str(error)
    else:
        found = find_key_mistakes(grant, key.name)
        yield from ((field, f"`{field}` {words}") for field, words in found.items())


def _model_mistakes(
    model: ModelSettings, settings: Settings, environment: Environment
) -> Iterator[tuple[str, str]]:
    if model.kind == "embeddings":
        yield from _embeddings_mistakes(model)
    if model.provider == LOCAL:
        yield from _local_mistakes(model, weights_dir(settings, environment))
    elif model.provider == SCRIPTED:
        yield from _script_mistakes(model)
    elif model.provider not in PROVIDERS and model.base_url is None:
        hint = suggestion_or_all(model.provider, PROVIDERS)
        yield "provider", f"provider `{model.provider}` is not in the catalogue and has no base_url{hint}"
    else:
        yield from _upstream_mistakes(model, environment)


def caller_key(key: KeySettings) -> CallerKey:
    """A key of the settings. Raises `BadRequest`; one that has expired is still a key."""
    return CallerKey(
        name=key.name,
        sha256=key.sha256,
        is_admin=key.admin,
        models=key.models,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
        usd_nano_per_day=parse_budget(key.usd_per_day),
        usd_nano_per_month=parse_budget(key.usd_per_month),
        strongest_share=key.strongest_share,
        expires_at=None if key.expires is None else parse_expiry(key.expires),
    )


def _embeddings_mistakes(model: ModelSettings) -> Iterator[tuple[str, str]]:
    dialect = PROVIDERS.get(model.provider, _NO_PROVIDER).dialect
    if model.provider == LOCAL or dialect != "openai_chat":
        yield "provider", f"provider {model.provider} makes no embeddings; OpenAI and servers of its API do"
    if model.dialect is not None:
        yield "dialect", "leave out `dialect`: embeddings have OpenAI's wire format, and no other"


def _upstream_mistakes(model: ModelSettings, environment: Environment) -> Iterator[tuple[str, str]]:
    variable = _key_variable(model)
    key = environment.secret(variable) if variable else None
    if variable and key is None:
        field = "provider" if model.api_key_env is None else "api_key_env"
        yield field, f"the environment variable {variable} is not set; it must hold the provider's key"
    if model.base_url is not None and "@" in model.base_url:
        yield "base_url", "base_url must not hold a user name or a password; name a variable with api_key_env"
        return
    try:
        Target(model.base_url or PROVIDERS[model.provider].base_url, {"authorization": key or ""})
    except ValueError as error:
        yield "base_url", str(error)


def _script_mistakes(model: ModelSettings) -> Iterator[tuple[str, str]]:
    if not model.script and model.kind == "chat":
        yield "script", 'provider scripted needs a `script`, such as [{ text = "Hi" }]'
        return
    try:
        _script(model)
    except BadRequest as error:
        yield "script", error.message


def _script(model: ModelSettings) -> Script:
    """Raises `BadRequest`. A model for embeddings needs no lines: its script says when it waits or fails."""
    return parse_script(list(model.script) or ([{"turn": True}] if model.kind == "embeddings" else []))


def _local_mistakes(model: ModelSettings, folder: Path) -> Iterator[tuple[str, str]]:
    name, field = model.model or model.name, "model" if model.model else "name"
    if name not in shipped():
        yield field, f"no local model is named `{name}`{suggestion_or_all(name, shipped())}"
    elif installed(named(name), folder) is None:
        yield field, f"its weights are not here; run `junctor pull {name}`"
    if find_spec("xllamacpp") is None:
        yield "provider", "the local engine is not installed; `pip install '.[local]'`, in a clone of Junctor"


async def choose_members(settings: Settings, environment: Environment) -> list[Member]:
    """The models with their cards; list prices are looked up. Raises `SettingsError`."""
    if mistakes := list(find_mistakes(settings, environment)):
        places = list(find_places(settings, environment))
        raise SettingsError(Path("junctor.toml"), mistakes, places)
    models = choose_models(settings, environment)
    refs = {model.name: ref for model in models if (ref := _price_ref(model))}
    prices = await look_up_prices(refs.values(), environment.cache_dir / "prices.json") if refs else {}
    return [
        Member(
            settings=model,
            card=_card(model, settings, prices.get(refs[model.name]) if model.name in refs else None),
        )
        for model in models
    ]


def _price_ref(model: ModelSettings) -> PriceRef | None:
    price_list = PROVIDERS.get(model.provider, _NO_PROVIDER).price_list
    return PriceRef(price_list, model.model or model.name) if price_list else None


def _card(model: ModelSettings, settings: Settings, listed: ListPrice | None) -> ModelCard:
    """The facts of a model: what the settings say, else what the catalogue and the price list say."""
    if model.provider == LOCAL:
        manifest = named(model.model or model.name)
        known = card_of(manifest, settings.local.usd_per_hour, window=settings.local.window)
    else:
        provider = PROVIDERS.get(model.provider, _NO_PROVIDER)
        known = ModelCard(
            name=model.name,
            upstream=model.model or model.name,
            provider=model.provider,
            dialect=provider.dialect,
            price=choose_price(None, listed),
            window=listed.window if listed and listed.window else 8192,
            skills=provider.skills,
        )
    price = None
    if model.price is not None:
        price = Price(**msgspec.structs.asdict(model.price), source=CONFIGURED)
    said = {
        "dialect": model.dialect,
        "price": price,
        "window": model.window,
        "max_output": model.max_output,
        "skills": None if model.skills is None else frozenset(model.skills),
        "ability": model.ability,
        "first_token_ms": model.first_token_ms,
        "tokens_per_s": model.tokens_per_s,
        "licence": model.licence or None,
    }
    overlay = {name: value for name, value in said.items() if value is not None}
    if model.kind == "embeddings":
        overlay |= {"dialect": EMBEDDINGS, "skills": frozenset(model.skills or ())}
    return msgspec.structs.replace(known, name=model.name, **overlay)


def _key_variable(model: ModelSettings) -> str | None:
    return model.api_key_env or PROVIDERS.get(model.provider, _NO_PROVIDER).api_key_env


class Builder:
    """Builds what answers under a member's name; keeps the engines it made, to start and stop them."""

    def __init__(
        self,
        settings: Settings,
        environment: Environment,
        transport: Transport,
        running: Mapping[str, LlamaEngine] | None = None,
    ) -> None:
        """`running`: engines by model; one that does what is wanted is taken instead of a new one."""
        self._running = running or {}
        self._settings = settings
        self._environment = environment
        self._transport = transport
        self._timeouts = Timeouts(**msgspec.structs.asdict(settings.timeouts))
        self.engines: dict[str, LlamaEngine] = {}
        "By the name of the model."
        self.counters: dict[str, Counter] = {}
        "What counts tokens at an upstream, by the name of the model; not all can."

    def build(self, member: Member) -> Model:
        """The bare model: no retries, no metering."""
        model, card = member.settings, member.card
        if model.provider == SCRIPTED:
            script = _script(model)
            return ScriptedModel(card, script) if model.kind == "chat" else ScriptedEmbeddings(card, script)
        if model.provider == LOCAL:
            return self._build_local(member)
        variable = _key_variable(model)
        upstream = _UPSTREAMS[card.dialect](
            card,
            base_url=model.base_url or PROVIDERS[model.provider].base_url,
            key=self._environment.secret(variable) if variable else None,
            transport=self._transport,
            timeouts=self._timeouts,
        )
        if isinstance(upstream, AnthropicUpstream):
            self.counters[card.name] = upstream.count_tokens
        return upstream

    def _build_local(self, member: Member) -> Model:
        local = self._settings.local
        manifest = named(member.settings.model or member.settings.name)
        weights = installed(manifest, weights_dir(self._settings, self._environment))
        assert weights is not None, "find_mistakes() has made sure"
        engine = LlamaEngine(
            weights,
            member.card.name,
            window=member.card.window,
            parallel=local.parallel,
            threads=local.threads,
        )
        running = self._running.get(member.card.name)
        if running is not None and running.serves(engine.order):
            engine = running
        self.engines[member.card.name] = engine
        return LocalModel(member.card, engine, self._transport)


def menu_of(
    members: Sequence[Member],
    router: ModelCard,
    hedging: HedgingSettings,
    climbs: Collection[str] = (),
    fused: Mapping[str, Fused] | None = None,
    presets: Mapping[str, Fused] | None = None,
) -> Menu:
    """Who may answer under each name of the pool. `climbs`: models that the router may all ask for one."""
    cards = {member.card.name: member.card for member in members}
    named = {
        member.card.name: [member.card, *(cards[name] for name in member.settings.fallbacks)]
        for member in members
    }
    chats = [member.card for member in members if member.settings.kind == "chat"]
    hedges = hedging.enabled and hedging.share > 0
    together = {router.name: climbs}
    return Menu(named, {router.name: chats}, hedges=hedges, together=together, fused=fused, presets=presets)


def policy_of(settings: Settings) -> Policy:
    """How hard to try."""
    return Policy(
        attempts=settings.retries.attempts,
        retry_share=settings.retries.share,
        hedge_share=settings.hedging.share if settings.hedging.enabled else 0.0,
        first_text_s=settings.timeouts.first_token_s,
        total_s=settings.timeouts.total_s,
        ejection=Ejection(
            failures=settings.ejection.failures,
            base_s=settings.ejection.base_s,
            max_s=settings.ejection.max_s,
        ),
    )


def ladder_in_force(settings: Settings, members: Sequence[Member], calibrated: Calibrated) -> Ladder | None:
    """The ladder that `auto` climbs; None where it climbs none."""
    if settings.routing.cascade != "auto":
        return None
    return calibrated.ladder_for([it.card for it in members if it.settings.kind == "chat"])


def terms_of(settings: Settings, members: Sequence[Member], calibrated: Calibrated) -> Terms:
    """What the report on savings needs to know of the settings."""
    shadow = settings.routing.shadow
    chats = [member.card for member in members if member.settings.kind == "chat"]
    return Terms(
        prices={card.name: card.price for card in chats if card.price is not None},
        mode=settings.routing.mode,
        ladder=ladder_in_force(settings, members, calibrated),
        falls_back=settings.routing.on_drift == "strongest",
        share=shadow.share if shadow else 0.0,
        judge=shadow.judge if shadow else None,
    )
