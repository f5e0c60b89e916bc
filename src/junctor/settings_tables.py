"""The tables of `junctor.toml` as frozen structs, with their defaults.

`docs/reference/settings.md` is generated from the strings under the fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`: where callers reach us."""

    host: str = "127.0.0.1"
    "Address to listen on. Anything but loopback needs at least one `[[keys]]`."
    port: int = 8400
    "TCP port; 0 takes a free one."
    max_body_bytes: int = 32 * 1024 * 1024
    "A larger request body is refused with 413 before it is read."
    head_timeout_s: float = 10.0
    "A request line and headers that take longer to arrive are refused with 408, seconds."
    body_timeout_s: float = 30.0
    "A request body that takes longer to arrive is refused with 408, seconds."
    send_timeout_s: float = 60.0
    "A client that takes nothing of its answer for so long counts as gone, seconds."
    keepalive_s: float = 10.0
    "A stream that says nothing for so long gets a comment, lest somebody on its way drops it, seconds."
    idle_timeout_s: float = 75.0
    "A connection without a request is closed after so long, seconds. A proxy in front should have less."
    max_connections: int = 10_000
    "Connections at once, at most half of the open files that the system allows; those beyond get 503."
    max_in_flight: int = 2_000
    "Requests at once; those beyond get 503 with `Retry-After` before any work is done for them."
    drain_s: float = 0.0
    "How long to go on after SIGTERM with `/readyz` at 503, so that load balancers leave first, seconds."
    grace_s: float = 30.0
    "How long answers in progress may go on after SIGTERM, seconds; at least 1."
    watch_config: bool = True
    "Whether a change of this file comes into force at once; without it, on SIGHUP."


class KeySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[keys]]`: who may call. `junctor keys new NAME` makes one; `junctor keys create` needs no file."""

    name: str
    "Who it belongs to; stands in the ledger as the caller. Keys of one name share their limits."
    sha256: str
    "SHA-256 of the key, 64 hexadecimal digits. The key itself is stored nowhere."
    admin: bool = False
    "Whether it may make, change and revoke keys at `/api/keys`, and have this file read again."
    models: tuple[str, ...] = ()
    "The models and fusions it may use; left out: all. `auto` chooses among them, and other fusions ask them."
    requests_per_minute: int | None = None
    "Requests a minute; left out: no limit. So with the other three."
    tokens_per_minute: int | None = None
    "Tokens a minute, read and written."
    usd_per_day: float | None = None
    "What it may spend in a day (UTC), USD."
    usd_per_month: float | None = None
    "What it may spend in a calendar month (UTC), USD."
    strongest_share: float | None = None
    "Of its last 100 answers by `auto`, those of the strongest model at most, 0..1; left out: all."
    expires: str | None = None
    "A day such as 2027-01-31, until its end, or a time such as 2027-01-31T12:00:00Z; left out: never."


class PriceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`price = { input = 0.15, output = 0.6 }`: USD per million tokens, over any list price."""

    input: float
    "USD per million input tokens."
    output: float
    "USD per million output tokens."
    cached_input: float | None = None
    "USD per million input tokens read from the upstream's prompt cache; left out: as `input`."
    cache_write: float | None = None
    "USD per million input tokens written to the upstream's prompt cache; left out: as `input`."


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[models]]`: one model of the pool."""

    name: str
    "Its name in the pool: what callers send as `model`."
    provider: str
    "One of the catalogue (`junctor models --providers`), `local`, `scripted`, or any word with a `base_url`."
    kind: Literal["chat", "embeddings"] = "chat"
    "What it is asked for: `embeddings` are asked by name at `/v1/embeddings`, and never by the router."
    model: str = ""
    "Its name at the provider; left out: the same as `name`."
    base_url: str | None = None
    "Where the provider answers, up to and including the version; left out: the catalogue's."
    dialect: Literal["openai_chat", "openai_responses", "anthropic_messages"] | None = None
    "The provider's wire format; left out: the catalogue's, else `openai_chat`."
    api_key_env: str | None = None
    "Name of the environment variable that holds the provider's key; left out: the catalogue's."
    price: PriceSettings | None = None
    "Left out: the list price of the package genai-prices."
    window: int | None = None
    "Tokens it can read and write in all; left out: the list's, else 8192."
    max_output: int | None = None
    "Tokens it can write at most."
    skills: tuple[Literal["tools", "vision", "json", "audio"], ...] | None = None
    "What it can do besides text; left out: the catalogue's."
    ability: float | None = None
    "Mean probability of a good answer, 0..1, for a model that the router was not trained on."
    first_token_ms: float | None = None
    "Typical time to its first token, milliseconds; needed for latency limits."
    tokens_per_s: float | None = None
    "Typical output speed; needed for latency limits."
    licence: str = ""
    "Licence of its weights, shown by `junctor models`."
    fallbacks: tuple[str, ...] = ()
    "Models of the pool to try, in order, when this one fails before its first text."
    script: tuple[dict[str, Any], ...] = ()
    'For `provider = "scripted"`: what it says and how it fails.'


class ShadowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[routing.shadow]`: measure what `auto` does to quality. Left out: nothing is measured."""

    share: float = 0.02
    """Of the requests that `auto` gave to another model than the strongest: this share, drawn at random, is
    answered by the strongest, too, in the background, and the two answers are compared. 0..1."""
    max_usd_per_day: float = 1.0
    "What that may cost in a day (UTC), USD. It is charged to nobody's budget."
    judge: str | None = None
    """The model of the pool that says which of two answers is better; left out: nobody, and answers without a
    final answer cannot be compared. It is asked with temperature 0."""


class RoutingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[routing]`: how `model = "auto"` chooses."""

    mode: Literal["balanced", "cost", "quality"] | None = None
    """How much predicted quality may be given up for cost: 2 points, 6 points, none. Left out: `balanced`, or
    with `quality` whatever reaches it."""
    quality: float | None = None
    "Floor for the predicted probability of a good answer, 0..1, for requests that name none."
    cascade: Literal["auto", "off"] = "auto"
    """Whether cheap models are asked first, and the strongest only where their answers do not settle it.
    `auto`: once `junctor calibrate` has found what can be promised for it; where answers can be compared."""
    drafts: Literal["parallel", "sequential"] = "parallel"
    """How a cascade asks the models of a step: at once, or one after the other. That changes no answer;
    `sequential` takes longer, and is for models that share one machine."""
    keep_answers: bool = True
    """Whether the decision of a cascade keeps what was compared, such as a number or a letter, at most 80
    characters of each answer. Without it, equal answers are only numbered."""
    second_look: bool = True
    """Whether the ends of a prompt are judged, too, where all of it calls for a dearer model, so that words
    put before it cannot choose the model: where they disagree, the cheaper verdict holds."""
    neighbours: bool = False
    """Whether what models did with the most alike prompts of a calibration moves what is predicted of them.
    For traffic of sorts that the predictor does not know, and callers you trust: words put before a prompt
    move it more. `junctor calibrate --prompts` keeps what it needs while this is true, where it helps."""
    prompt_cache_s: float = 300.0
    """How long upstreams keep a prompt in their cache, seconds: so long a conversation stays with its model
    where leaving would lose more than it saves. 0: it never does."""
    prompt_cache_size: int = 10_000
    "Conversations of which that is remembered; a hash of each, nothing of its text."
    shadow: ShadowSettings | None = None
    "`[routing.shadow]`."
    on_drift: Literal["strongest", "warn"] = "strongest"
    """Once comparisons refute what was promised: `strongest` gives everything to the strongest model, until
    the router is calibrated again; `warn` only says so."""


class FusionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[fusions]]`: several models of the pool that give one answer together."""

    name: str
    """What callers send as `model`, or as the preset of a fusion. `fusion` is always there; a table of that
    name says what it is."""
    members: tuple[str, ...] = ()
    """Who is asked: 1 to 8 chat models, or `auto`. A name that stands n times is asked n times. Left out: all
    chat models of the pool, or the five ablest of more."""
    judge: str | None = None
    """Who decides where the vote is close, and writes merged answers: a chat model of the pool, or `auto`.
    Left out: the best member that is not involved."""
    judge_accuracy: float = 0.6
    "How often the judge prefers the right one of two answers, 0.5..1, until that is measured."
    mode: Literal["auto", "vote", "best-of", "merge", "debate"] = "auto"
    """How several answers become one; `auto` counts those that can be compared, asks the judge where that is
    close, and has one written of those that cannot."""
    quorum: int | None = None
    "Once so many have answered, the others get `grace_ms` more; left out: all are waited for."
    grace_ms: float = 2000.0
    "Milliseconds."
    deadline_ms: float = 60_000.0
    "Who has not answered by then is not waited for, milliseconds from the start."
    max_usd: float | None = None
    "Estimated cost of all calls for one answer, USD, at most: members that do not fit are left out."
    on_judge_failure: Literal["vote", "best", "error"] = "vote"
    "Without a judge the vote decides, or the best member's answer is taken, or the request fails."
    max_completion_tokens: int | None = None
    "Most tokens of each member's answer; left out: as the request says."
    temperature: float | None = None
    "For the members, 0..2; left out: as the request says. A judge is always asked at 0."
    reasoning: dict[str, Any] | None = None
    'For the members, passed on as it is: `reasoning = { effort = "low" }`.'
    depth: int = 1
    "How deep fusions may nest, 1..3: from 2 on, a member may be a fusion of a lesser depth."


class TimeoutSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[timeouts]`: how long an upstream may take, seconds."""

    connect_s: float = 5.0
    "To connect."
    first_token_s: float = 120.0
    "From sending the request to the first piece of the answer."
    idle_s: float = 30.0
    "Between two pieces of a streamed answer."
    total_s: float = 600.0
    "For the whole answer, all tries and fallbacks included. A local model that is asked first has its own."


class RetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[retries]`: tries at one model before the next one is asked; only before the first text."""

    attempts: int = 3
    "Tries at most, the first one included."
    share: float = 0.2
    """Retries at most, as a share of the requests of the last 10 s, so that an outage does not multiply the
    load; three in 10 s are always granted. 0: none."""


class EjectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[ejection]`: when a model that fails, or has become slow, is set aside. The last one never is."""

    failures: int = 5
    "Failed calls in a row, or first texts in a row that came late (five times the model's own p95)."
    base_s: float = 30.0
    "For how long, seconds: the first time; the n-th time n times as long. Then one request probes it."
    max_s: float = 300.0
    "For how long at most, seconds; also where an upstream asks for a longer pause."


class HedgingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[hedging]`: when a first text is later than 19 of 20, ask the next candidate too; the first wins."""

    enabled: bool = False
    "Off: the second answer costs money, and the next candidate may be dearer."
    share: float = 0.07
    "Such extra calls at most, as a share of the requests."


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[store]`: the database."""

    path: Path | None = None
    "SQLite file; left out: `junctor.db` in the data directory."
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    "`NORMAL` survives a killed process; `FULL` also a power cut, at about 3 ms a commit."
    keep_responses_days: float = 30.0
    "How long answers of the Responses API are kept for later requests to go on from, days; 0 keeps none."


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[local]`: models that Junctor runs itself."""

    weights_dir: Path | None = None
    "Where `junctor pull` puts weights; left out: `weights` in the cache directory."
    window: int = 8192
    "Tokens a request to a local model can read and write in all; more takes more memory."
    parallel: int = 2
    "Requests one local model answers at the same time."
    threads: int = 0
    "Threads for one local model; 0: all processor cores."
    usd_per_hour: float = 0.04
    "What an hour of this machine costs, USD: the price of local answers. 0.04: a cloud VM with 2 cores."


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of `junctor.toml`."""

    server: ServerSettings = ServerSettings()
    keys: tuple[KeySettings, ...] = ()
    models: tuple[ModelSettings, ...] = ()
    fusions: tuple[FusionSettings, ...] = ()
    routing: RoutingSettings = RoutingSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    retries: RetrySettings = RetrySettings()
    ejection: EjectionSettings = EjectionSettings()
    hedging: HedgingSettings = HedgingSettings()
    store: StoreSettings = StoreSettings()
    local: LocalSettings = LocalSettings()
