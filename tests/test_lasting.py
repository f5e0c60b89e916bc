"""What outlives a reload: made once, and nothing of it opened by the making."""

from __future__ import annotations

from pathlib import Path

import pytest

from junctor.chat import ModelCard
from junctor.lasting import ARTEFACT, lasting_of
from junctor.routing.predictor import parse_artefact
from junctor.settings import parse_settings
from running import environment

pytestmark = pytest.mark.anyio


def nobody() -> ModelCard | None:
    return None


async def test_making_it_touches_no_file(tmp_path: Path) -> None:
    """A refused start leaves no database behind."""
    settings = parse_settings(f'[store]\npath = "{tmp_path}/x.db"', tmp_path / "junctor.toml")
    lasting = lasting_of(settings, environment(tmp_path), nobody)
    assert list(tmp_path.iterdir()) == []
    await lasting.transport.close()


async def test_the_database_lies_where_the_settings_say_and_its_state_is_a_metric(tmp_path: Path) -> None:
    settings = parse_settings(f'[store]\npath = "{tmp_path}/x.db"', tmp_path / "junctor.toml")
    lasting = lasting_of(settings, environment(tmp_path), nobody)
    async with lasting.database:
        assert (tmp_path / "x.db").is_file()
        assert b"junctor_store_" in lasting.metrics.render()
    await lasting.transport.close()


def test_what_the_router_was_trained_to_is_shipped() -> None:
    assert parse_artefact(ARTEFACT.read_bytes())
