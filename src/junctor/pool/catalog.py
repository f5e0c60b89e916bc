"""The providers we know how to reach, and what their models cost.

Each provider is one row of facts; any other server that speaks one of the dialects is reached by naming its
`base_url`. List prices come from the package genai-prices, asked in a child process (docs/adr/0001).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from junctor.chat import Dialect, Price, Skill

log = logging.getLogger(__name__)

CONFIGURED = "junctor.toml"
"Price source of a price that the configuration states."

_PATIENCE_S = 30.0


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A service or a local server whose models can be in the pool."""

    base_url: str
    "Where it answers, up to and including the version."
    api_key_env: str | None = None
    "The environment variable that its own client libraries read the key from; None: it needs no key."
    dialect: Dialect = "openai_chat"
    price_list: str | None = None
    "Its name in genai-prices; None: answers cost nothing that a list would know."
    skills: frozenset[Skill] = frozenset()
    "What nearly all of its chat models can do; `skills` in junctor.toml says otherwise for one."


_TEXT: frozenset[Skill] = frozenset({"tools", "json"})
_SEEING: frozenset[Skill] = frozenset({"tools", "json", "vision"})
_OPEN: frozenset[Skill] = frozenset({"json"})
"Local servers hold a decoder to JSON; whether tools work depends on the model."

PROVIDERS: dict[str, Provider] = {
    "openai": Provider(
        base_url="https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
        price_list="openai",
        skills=_SEEING,
    ),
    "anthropic": Provider(
        base_url="https://api.anthropic.com/v1",
        api_key_env="ANTHROPIC_API_KEY",
        dialect="anthropic_messages",
        price_list="anthropic",
        skills=frozenset({"tools", "vision"}),
    ),
    "google": Provider(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        api_key_env="GEMINI_API_KEY",
        price_list="google",
        skills=_SEEING,
    ),
    "mistral": Provider(
        base_url="https://api.mistral.ai/v1",
        api_key_env="MISTRAL_API_KEY",
        price_list="mistral",
        skills=_TEXT,
    ),
    "groq": Provider(
        base_url="https://api.groq.com/openai/v1",
        api_key_env="GROQ_API_KEY",
        price_list="groq",
        skills=_TEXT,
    ),
    "deepseek": Provider(
        base_url="https://api.deepseek.com/v1",
        api_key_env="DEEPSEEK_API_KEY",
        price_list="deepseek",
        skills=_TEXT,
    ),
    "xai": Provider(
        base_url="https://api.x.ai/v1",
        api_key_env="XAI_API_KEY",
        price_list="x-ai",
        skills=_TEXT,
    ),
    "openrouter": Provider(
        base_url="https://openrouter.ai/api/v1",
        api_key_env="OPENROUTER_API_KEY",
        price_list="openrouter",
        skills=_TEXT,
    ),
    "together": Provider(
        base_url="https://api.together.ai/v1",
        api_key_env="TOGETHER_API_KEY",
        price_list="together",
        skills=_TEXT,
    ),
    "fireworks": Provider(
        base_url="https://api.fireworks.ai/inference/v1",
        api_key_env="FIREWORKS_API_KEY",
        price_list="fireworks",
        skills=_TEXT,
    ),
    "cerebras": Provider(
        base_url="https://api.cerebras.ai/v1",
        api_key_env="CEREBRAS_API_KEY",
        price_list="cerebras",
        skills=_TEXT,
    ),
    "ollama": Provider(base_url="http://127.0.0.1:11434/v1", skills=_OPEN),
    "vllm": Provider(base_url="http://127.0.0.1:8000/v1", skills=_OPEN),
    "lmstudio": Provider(base_url="http://127.0.0.1:1234/v1", skills=_OPEN),
    "llama.cpp": Provider(base_url="http://127.0.0.1:8080/v1", skills=_OPEN),
}
"By the name that `provider` in junctor.toml gives. Azure is not here: each customer has a URL of their own."


class PriceRef(msgspec.Struct, frozen=True):
    """Which price to look up."""

    provider: str
    "Its name in genai-prices: `Provider.price_list`."
    model: str
    "The model's name at the provider."


class ListPrice(msgspec.Struct, frozen=True, kw_only=True):
    """What the price list says of one model. USD per million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    window: int | None = None
    "Tokens it can read; None: the list does not say."
    source: str
    until: date
    "From this day (UTC) on it has to be looked up again."

    def price(self) -> Price:
        """As the noun of a `ModelCard`."""
        return Price(
            input=self.input,
            output=self.output,
            cached_input=self.cached_input,
            cache_write=self.cache_write,
            source=self.source,
        )


_CACHE_FORM = 2
"Raised when `ListPrice` gets a field: what an older Junctor cached lacks it."


class PriceCache(msgspec.Struct, frozen=True, kw_only=True):
    """The cache file: what one version of the list said."""

    version: str
    prices: dict[str, ListPrice | None] = {}


def choose_price(configured: Price | None, listed: ListPrice | None) -> Price | None:
    """The configuration's price if it states one, else the list's; None when neither knows."""
    return configured or (listed.price() if listed else None)


async def look_up_prices(refs: Collection[PriceRef], cache_path: Path) -> dict[PriceRef, ListPrice | None]:
    """The list price of each; None where the list knows none.

    What the cache file knows costs nothing; the rest is asked in one child process (about half a second) and
    written to the cache. A cache that cannot be read or written is done without. When the child fails, its
    prices are None and the reason is logged: a missing price is not an error.
    """
    cache = read_cache(cache_path, cache_version())
    today = datetime.now(UTC).date()
    missing = [ref for ref in dict.fromkeys(refs) if not _is_fresh(cache, ref, today)]
    known = dict(cache.prices)
    if missing and (asked := await _ask(missing)) is not None:
        known.update(zip(map(_key, missing), asked, strict=True))
        write_cache(cache_path, msgspec.structs.replace(cache, prices=known))
    return {ref: known.get(_key(ref)) for ref in refs}


def cache_version() -> str:
    """Which list, in which form, the cache must hold to be of use."""
    return f"{version('genai-prices')}, form {_CACHE_FORM}"


def read_cache(path: Path, list_version: str) -> PriceCache:
    """The cache, or an empty one when the file is missing, damaged, or of another version of the list."""
    try:
        cache = msgspec.json.decode(path.read_bytes(), type=PriceCache)
    except FileNotFoundError:
        return PriceCache(version=list_version)
    except (OSError, msgspec.DecodeError) as error:
        log.warning("the price cache %s is ignored: %s", path, error)
        return PriceCache(version=list_version)
    return cache if cache.version == list_version else PriceCache(version=list_version)


def write_cache(path: Path, cache: PriceCache) -> None:
    """Replace the file as a whole, so that no reader finds half of one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(msgspec.json.encode(cache))
        draft.replace(path)
    except OSError as error:
        log.warning("the price cache %s is not written: %s", path, error)


def _key(ref: PriceRef) -> str:
    return f"{ref.provider} {ref.model}"


def _is_fresh(cache: PriceCache, ref: PriceRef, today: date) -> bool:
    if _key(ref) not in cache.prices:
        return False
    listed = cache.prices[_key(ref)]
    return listed is None or today < listed.until


async def _ask(refs: Iterable[PriceRef]) -> list[ListPrice | None] | None:
    """Ask `junctor.pool.prices`; None when it failed."""
    try:
        answer, complaint = await asyncio.wait_for(_run(msgspec.json.encode(list(refs))), _PATIENCE_S)
    except (OSError, TimeoutError) as error:
        log.warning("no list prices: %s", error or f"the child took longer than {_PATIENCE_S:.0f} s")
        return None
    try:
        return msgspec.json.decode(answer, type=list[ListPrice | None])
    except msgspec.DecodeError:
        log.warning("no list prices: the child failed: %s", complaint.decode(errors="replace")[-2000:])
        return None


async def _run(question: bytes) -> tuple[bytes, bytes]:
    """What the child writes on stdout and stderr. Cancelling ends the child."""
    child = await asyncio.create_subprocess_exec(
        # -P: whatever lies in the current folder must not be imported.
        *(sys.executable, "-P", "-m", "junctor.pool.prices"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        return await child.communicate(question)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
