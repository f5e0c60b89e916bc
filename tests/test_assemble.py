"""From settings to the pool's members: where each fact of a card comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from junctor.assemble import Builder, choose_members, choose_models, find_mistakes
from junctor.chat import ModelCard
from junctor.pool.embeddings import EmbeddingsUpstream, ScriptedEmbeddings
from junctor.pool.responses_upstream import OpenAIResponsesUpstream
from junctor.pool.scripted import ScriptedModel
from junctor.pool.transport import Transport
from junctor.pool.upstream import AnthropicUpstream, OpenAIUpstream
from junctor.settings import Settings, parse_settings
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
