"""What one reading of the settings makes: a pool with every part in its place, beside the one before it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from junctor.assemble import choose_members
from junctor.gateway.dialect import DIALECTS
from junctor.gateway.reload_api import Reloaded
from junctor.generation import Generation, Operations, build
from junctor.lasting import Lasting, lasting_of
from junctor.pool.outlier import Health
from junctor.pool.scripted import ScriptedModel, parse_script
from junctor.settings import Settings, parse_settings
from running import environment

pytestmark = pytest.mark.anyio

CONFIG = """
[[models]]
name = "a"
provider = "scripted"
ability = 0.5
script = [{ text = "Hi." }]
[[models]]
name = "b"
provider = "scripted"
ability = 0.9
script = [{ text = "Hi." }]
[[models]]
name = "e"
provider = "scripted"
kind = "embeddings"
"""


async def reload() -> Reloaded:
    raise AssertionError


OPERATIONS = Operations(readiness=dict, reload=reload)


@pytest.fixture
async def lasting(tmp_path: Path) -> AsyncIterator[Lasting]:
    lasting = lasting_of(Settings(), environment(tmp_path), lambda: None)
    async with lasting.database:
        yield lasting
    await lasting.transport.close()


async def make(config: str, lasting: Lasting, before: Generation | None = None) -> Generation:
    settings = parse_settings(config, Path("junctor.toml"))
    members = await choose_members(settings, lasting.environment)
    return build(settings, members, lasting, OPERATIONS, before)


async def test_it_answers_every_dialect_and_tells_of_all_it_serves(lasting: Lasting) -> None:
    made = await make(CONFIG, lasting)
    assert set(made.endpoints) == set(DIALECTS)
    assert {"/v1/models", "/api/keys", "/openapi.json", *DIALECTS} <= {each.path for each in made.served}


async def test_the_strongest_is_one_that_chats(lasting: Lasting) -> None:
    strongest = (await make(CONFIG, lasting)).strongest
    assert strongest is not None
    assert strongest.name == "b"


async def test_what_is_known_of_a_model_that_did_not_change_is_kept(lasting: Lasting) -> None:
    """And of no other: `b` now says something else."""
    first = await make(CONFIG, lasting)
    second = await make(CONFIG.replace("ability = 0.9", "ability = 0.8"), lasting, first)

    def health(made: Generation, name: str) -> Health:
        card = next(member.card for member in made.members if member.card.name == name)
        return made.resilience.watch(ScriptedModel(card, parse_script([{"text": "Hi."}]))).health

    assert health(second, "a") is health(first, "a")
    assert health(second, "b") is not health(first, "b")
