"""Models are found by name, and slips are met with a suggestion."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from junctor.chat import ChatRequest, Event, Model, ModelCard, UnknownModel
from junctor.pool.pool import find, plain_name, resolve


class Mute:
    """A model that is only looked up."""

    def __init__(self, name: str) -> None:
        self.card = ModelCard(name=name)

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        raise NotImplementedError
        yield


def pool_of(*names: str) -> dict[str, Model]:
    return {name: Mute(name) for name in names}


def test_a_model_is_found_by_its_name() -> None:
    """The object that stands in the pool."""
    pool = pool_of("auto", "small")
    assert find(pool, "small") is pool["small"]


def test_a_slip_is_told_what_was_meant() -> None:
    """And what there is; the field at fault is named."""
    with pytest.raises(
        UnknownModel, match=r"`gpt4o-mini`.*Did you mean `gpt-4o-mini`.*auto, gpt-4o-mini"
    ) as caught:
        find(pool_of("gpt-4o-mini", "auto"), "gpt4o-mini")
    assert (caught.value.param, caught.value.status) == ("model", 404)


def test_an_empty_pool_says_how_to_fill_it() -> None:
    """The first thing a newcomer may see."""
    with pytest.raises(UnknownModel, match=r"\[\[models\]\]"):
        find({}, "gpt-4o")


def test_a_big_pool_and_a_wild_name_make_a_short_message() -> None:
    """No reply of a megabyte."""
    with pytest.raises(UnknownModel, match="and 480 more") as caught:
        find(pool_of(*(f"model-{number}" for number in range(500))), "x" * 1_000_000)
    assert len(caught.value.message) < 1000


def test_each_model_has_an_alias_that_claude_code_lists() -> None:
    """A model's own name comes before an alias."""
    pool = pool_of("auto", "small")
    assert find(pool, "claude-junctor-auto") is pool["auto"]
    own = pool_of("claude-junctor-auto", "auto")
    assert find(own, "claude-junctor-auto") is own["claude-junctor-auto"]
    with pytest.raises(UnknownModel, match="claude-junctor-x"):
        find(pool, "claude-junctor-x")


def test_clients_of_openrouters_fusion_find_ours() -> None:
    """Also through the alias that Claude Code lists; a model of that very name goes before."""
    pool = pool_of("fusion", "small")
    assert find(pool, "openrouter/fusion") is pool["fusion"]
    assert resolve(pool, "claude-junctor-openrouter/fusion") == "fusion"
    assert plain_name("openrouter/fusion") == plain_name("claude-junctor-fusion") == "fusion"
    own = pool_of("fusion", "openrouter/fusion")
    assert find(own, "openrouter/fusion") is own["openrouter/fusion"]
    assert find(own, "claude-junctor-openrouter/fusion") is own["openrouter/fusion"]
    assert resolve(pool_of("small"), "openrouter/fusion") is None
