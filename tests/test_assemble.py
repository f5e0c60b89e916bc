"""From settings to the pool's members: where each fact of a card comes from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import Raw

from junctor.assemble import (
    Builder,
    caller_key,
    choose_members,
    choose_models,
    doorkeeper_of,
    find_mistakes,
    menu_of,
    pepper_of,
    terms_of,
)
from junctor.chat import ChatRequest, ModelCard
from junctor.gateway.admit import CallerKey, NoRing
from junctor.pool.embeddings import EmbeddingsUpstream, ScriptedEmbeddings
from junctor.pool.responses_upstream import OpenAIResponsesUpstream
from junctor.pool.scripted import ScriptedModel
from junctor.pool.transport import Transport
from junctor.pool.upstream import AnthropicUpstream, OpenAIUpstream
from junctor.routing.calibration.store import NOT_CALIBRATED
from junctor.settings import HedgingSettings, Settings, parse_settings
from junctor.settings_check import SettingsError
from running import environment

pytestmark = pytest.mark.anyio


def settings(text: str) -> Settings:
    return parse_settings(text, Path("junctor.toml"))


async def card_of(text: str, folder: Path, **variables: str) -> ModelCard:
    (member,) = await choose_members(settings(text), environment(folder, **variables))
    return member.card


async def test_the_catalogue_and_the_price_list_fill_what_the_file_leaves_out(tmp_path: Path) -> None:
    card = await card_of(
        '[[models]]\nname = "m"\nprovider = "openai"\nmodel = "gpt-4o-mini"', tmp_path, OPENAI_API_KEY="x"
    )
    assert (card.name, card.upstream, card.dialect) == ("m", "gpt-4o-mini", "openai_chat")
    assert card.price is not None
    assert card.price.source.startswith("genai-prices")
    assert card.window == 128_000
    assert card.skills == {"tools", "json", "vision"}


async def test_the_file_wins(tmp_path: Path) -> None:
    card = await card_of(
        """
        [[models]]
        name = "m"
        provider = "anthropic"
        price = { input = 1, output = 2 }
        window = 1000
        skills = []
        ability = 0.9
        """,
        tmp_path,
        ANTHROPIC_API_KEY="x",
    )
    assert card.price is not None
    assert (card.price.input, card.price.source) == (1, "junctor.toml")
    assert (card.window, card.skills, card.ability) == (1000, frozenset(), 0.9)
    assert card.dialect == "anthropic_messages"


async def test_any_server_is_reached_by_its_base_url(tmp_path: Path) -> None:
    card = await card_of(
        '[[models]]\nname = "m"\nprovider = "ours"\nbase_url = "http://127.0.0.1:1/v1"', tmp_path
    )
    assert card.price is None
    assert card.window == 8192


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('provider = "opnai"', "did you mean `openai`?"),
        ('provider = "openai"', "OPENAI_API_KEY is not set"),
        ('provider = "x"\nbase_url = "ftp://host/v1"', "must begin with http"),
        ('provider = "x"\nbase_url = "http://u:p@host/v1"', "must not hold a user name"),
        ('provider = "scripted"', "needs a `script`"),
        ('provider = "scripted"\nscript = [{ txet = "x" }]', "did you mean `text`?"),
        ('provider = "local"', "no local model is named `m`"),
        ('provider = "local"\nmodel = "qwen2.5-coder-0.5b"', "junctor pull qwen2.5-coder-0.5b"),
    ],
)
async def test_a_model_that_cannot_be_built_is_a_mistake_of_the_settings(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        await choose_members(settings(f'[[models]]\nname = "m"\n{text}'), environment(tmp_path))


async def test_a_mistake_never_repeats_a_secret(tmp_path: Path) -> None:
    text = '[[models]]\nname = "m"\nprovider = "openai"\nbase_url = "http://host/ v1"'
    env = environment(tmp_path, OPENAI_API_KEY="sk-canary\n")
    assert "canary" not in " ".join(find_mistakes(settings(text), env))
    assert list(find_mistakes(settings(text), env))


def test_without_models_the_pulled_ones_are_taken(tmp_path: Path) -> None:
    assert choose_models(Settings(), environment(tmp_path)) == []


async def test_each_dialect_has_its_upstream(tmp_path: Path) -> None:
    text = """
    [[models]]
    name = "a"
    provider = "openai"
    [[models]]
    name = "b"
    provider = "anthropic"
    [[models]]
    name = "c"
    provider = "scripted"
    script = [{ text = "Hi" }]
    """
    env = environment(tmp_path, OPENAI_API_KEY="x", ANTHROPIC_API_KEY="y")
    members = await choose_members(settings(text), env)
    builder = Builder(settings(text), env, Transport())
    kinds = [type(builder.build(member)) for member in members]
    assert kinds == [OpenAIUpstream, AnthropicUpstream, ScriptedModel]


async def test_embeddings_have_a_kind_of_model_of_their_own(tmp_path: Path) -> None:
    text = """
    [[models]]
    name = "vectors"
    kind = "embeddings"
    provider = "scripted"
    [[models]]
    name = "text-embedding-3-small"
    kind = "embeddings"
    provider = "openai"
    [[models]]
    name = "gpt"
    provider = "openai"
    dialect = "openai_responses"
    """
    members = await choose_members(settings(text), environment(tmp_path, OPENAI_API_KEY="sk-x"))
    builder = Builder(settings(text), environment(tmp_path, OPENAI_API_KEY="sk-x"), Transport())
    built = [type(builder.build(member)) for member in members]
    assert built == [ScriptedEmbeddings, EmbeddingsUpstream, OpenAIResponsesUpstream]
    assert [member.card.dialect for member in members] == [
        "openai_embeddings",
        "openai_embeddings",
        "openai_responses",
    ]
    assert members[1].card.skills == frozenset()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('provider = "anthropic"', "makes no embeddings"),
        ('provider = "local"\nmodel = "qwen3-0.6b"', "makes no embeddings"),
        ('provider = "x"\nbase_url = "http://h/v1"\ndialect = "openai_chat"', "leave out `dialect`"),
        ('provider = "scripted"\nscript = [{ fial = "x" }]', "did you mean `fail`"),
    ],
)
def test_who_makes_no_embeddings_is_a_mistake_of_the_settings(lines: str, words: str, tmp_path: Path) -> None:
    text = f'[[models]]\nname = "v"\nkind = "embeddings"\n{lines}'
    mistakes = list(find_mistakes(settings(text), environment(tmp_path, ANTHROPIC_API_KEY="sk-x")))
    assert any(words in mistake for mistake in mistakes)


def test_a_fusion_of_models_that_are_not_pulled_is_a_mistake_of_the_settings(tmp_path: Path) -> None:
    text = '[[fusions]]\nname = "f"\nmembers = ["qwen2.5-coder-0.5b", "auto"]'
    (mistake,) = find_mistakes(settings(text), environment(tmp_path))
    assert mistake == "fusions[0].members: no model is called `qwen2.5-coder-0.5b`; there are: auto"


KEY = '[[keys]]\nname = "ann"\nsha256 = "' + "ab" * 32 + '"\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("requests_per_minute = 0", "`requests_per_minute` must lie between"),
        ("tokens_per_minute = -1", "`tokens_per_minute` must lie between"),
        ("usd_per_day = 0", "`usd_per_day` must be more than 0"),
        ("strongest_share = 2", "`strongest_share` must lie between 0 and 1"),
        ("usd_per_month = inf", "`usd_per_month` must be more than 0"),
        ("usd_per_month = nan", "`usd_per_month` must be more than 0"),
        ('expires = "soon"', "must be a day such as"),
        ('models = [""]', "`models` must be names of models"),
    ],
)
async def test_a_limit_of_a_key_that_makes_no_sense_is_named(tmp_path: Path, line: str, said: str) -> None:
    (mistake,) = find_mistakes(settings(KEY + line), environment(tmp_path))
    assert mistake.startswith("keys[0] (ann): ")
    assert said in mistake


def test_a_key_of_the_file_has_the_limits_that_it_says() -> None:
    text = KEY + (
        'admin = true\nmodels = ["a"]\nrequests_per_minute = 1\ntokens_per_minute = 2\n'
        'usd_per_day = 0.5\nusd_per_month = 3\nstrongest_share = 0.2\nexpires = "2027-01-31"\n'
    )
    key = caller_key(settings(text).keys[0])
    assert key == CallerKey(
        name="ann",
        sha256="ab" * 32,
        is_admin=True,
        models=("a",),
        requests_per_minute=1,
        tokens_per_minute=2,
        usd_nano_per_day=500_000_000,
        usd_nano_per_month=3_000_000_000,
        strongest_share=0.2,
        expires_at=datetime(2027, 2, 1, tzinfo=UTC),
    )
    assert caller_key(settings(KEY).keys[0]) == CallerKey(name="ann", sha256="ab" * 32)


def test_a_door_beyond_loopback_is_never_open() -> None:
    assert doorkeeper_of(settings(""), NoRing()).is_open
    assert not doorkeeper_of(settings('[server]\nhost = "0.0.0.0"'), NoRing()).is_open
    assert not doorkeeper_of(settings(KEY), NoRing()).is_open


async def test_fallbacks_and_the_router_may_answer_and_embeddings_are_not_routed(tmp_path: Path) -> None:
    """So an estimate takes the dearest of those who may."""
    text = """
    [[models]]
    name = "cheap"
    provider = "scripted"
    script = [{ text = "Hi" }]
    price = { input = 1, output = 1 }
    fallbacks = ["dear"]
    [[models]]
    name = "dear"
    provider = "scripted"
    script = [{ text = "Hi" }]
    price = { input = 2, output = 2 }
    [[models]]
    name = "vectors"
    provider = "scripted"
    kind = "embeddings"
    price = { input = 9, output = 9 }
    """
    members = await choose_members(settings(text), environment(tmp_path))
    menu = menu_of(members, ModelCard(name="auto"), HedgingSettings())
    asked = ChatRequest(model="cheap", messages=Raw(b"[]"), max_tokens=1)
    nano = {name: menu.estimate(name, asked, 9).most_nano for name in ("cheap", "dear", "auto", "vectors")}
    assert nano == {"cheap": 20_000, "dear": 20_000, "auto": 20_000, "vectors": 90_000}


def test_the_pepper_lies_in_the_data_directory_or_in_the_environment(tmp_path: Path) -> None:
    given = "x" * 40
    assert pepper_of(environment(tmp_path, JUNCTOR_PEPPER=given)).make() == given.encode()
    assert not (tmp_path / "pepper").exists()
    assert (tmp_path / "pepper").write_bytes(pepper_of(environment(tmp_path)).make()) == 32


async def test_the_report_on_savings_knows_the_prices_of_all_that_chat(tmp_path: Path) -> None:
    config = settings(
        """
[[models]]
name = "priced"
provider = "scripted"
price = { input = 1, output = 2 }
script = [{ text = "Hi." }]
[[models]]
name = "unpriced"
provider = "scripted"
script = [{ text = "Hi." }]
[[models]]
name = "vectors"
provider = "scripted"
kind = "embeddings"
price = { input = 1, output = 0 }
[routing]
mode = "cost"
on_drift = "warn"
[routing.shadow]
judge = "priced"
"""
    )
    terms = terms_of(config, await choose_members(config, environment(tmp_path)), NOT_CALIBRATED)
    assert list(terms.prices) == ["priced"]
    assert (terms.mode, terms.falls_back, terms.share, terms.judge) == ("cost", False, 0.02, "priced")
    plain = terms_of(Settings(), [], NOT_CALIBRATED)
    assert (plain.falls_back, plain.share, plain.judge) == (True, 0.0, None)
