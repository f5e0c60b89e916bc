"""The whole application, from settings to answers: what only shows when all rooms stand together."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from junctor.app import Junctor
from junctor.settings import Settings, parse_settings
from junctor.settings_check import SettingsError
from running import environment, running

pytestmark = pytest.mark.anyio


async def test_it_does_not_start_with_settings_that_cannot_work(tmp_path: Path) -> None:
    settings = parse_settings('[[models]]\nname = "a"\nprovider = "openai"', tmp_path / "junctor.toml")
    app = Junctor(settings, environment(tmp_path))
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        await app.start()
    await app.stop()


async def test_starting_and_stopping_leaves_nothing_behind(tmp_path: Path) -> None:
    """`filterwarnings = error` turns whatever is left open into a failure."""
    for _ in range(2):
        app = Junctor(Settings(), environment(tmp_path))
        await app.start()
        assert app.models == ()
        await app.stop()


def test_the_serving_process_loads_nothing_that_it_does_not_need() -> None:
    """Start-up time and memory: docs/adr/0001."""
    code = "import sys, junctor.cli.serve; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"sqlalchemy", "alembic", "pydantic", "genai_prices", "numpy", "openai", "httpx2"}


def test_retries_and_fallbacks_are_one_request_and_one_row(tmp_path: Path) -> None:
    config = """
    [[models]]
    name = "frail"
    provider = "scripted"
    price = { input = 1, output = 1 }
    fallbacks = ["sound"]
    script = [{ fail = "upstream_timeout" }]
    [[models]]
    name = "sound"
    provider = "scripted"
    price = { input = 2, output = 2 }
    script = [{ text = "Hi" }]
    [retries]
    attempts = 2
    """
    with running(config, tmp_path) as server, openai.OpenAI(base_url=server.api, api_key="x") as client:
        reply = client.chat.completions.with_raw_response.create(
            model="frail", messages=[{"role": "user", "content": "Hi"}]
        )
        assert reply.headers["x-junctor-model"] == "sound"


def test_auto_falls_back_along_its_own_ranking(tmp_path: Path) -> None:
    config = """
    [[models]]
    name = "cheap"
    provider = "scripted"
    price = { input = 1, output = 1 }
    ability = 0.70
    script = [{ fail = "upstream_unauthorised" }]
    [[models]]
    name = "dear"
    provider = "scripted"
    price = { input = 2, output = 2 }
    ability = 0.70
    script = [{ text = "Hi" }]
    """
    with running(config, tmp_path) as server, openai.OpenAI(base_url=server.api, api_key="x") as client:
        reply = client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": "Hi"}]
        )
        decision = client.get(f"{server.url}/api/decisions/{reply.headers['x-request-id']}", cast_to=object)
    assert decision["chosen"] == "cheap"
    assert decision["outcome"]["model"] == reply.headers["x-junctor-model"] == "dear"


def test_auto_never_asks_what_a_request_rules_out_not_even_as_a_fallback(tmp_path: Path) -> None:
    """`fallbacks` are for callers who name the model; the router keeps to its own ranking."""
    config = """
    [[models]]
    name = "a"
    provider = "scripted"
    fallbacks = ["b"]
    script = [{ fail = "upstream_broken" }]
    [[models]]
    name = "b"
    provider = "scripted"
    script = [{ text = "Hi" }]
    [retries]
    attempts = 2
    """
    messages = [{"role": "user", "content": "Hi"}]
    with (
        running(config, tmp_path) as server,
        openai.OpenAI(base_url=server.api, api_key="x", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError, match="upstream_broken"):
            client.chat.completions.create(
                model="auto", messages=messages, extra_body={"junctor": {"never": ["b"]}}
            )
        named = client.chat.completions.with_raw_response.create(model="a", messages=messages)
    assert named.headers["x-junctor-model"] == "b"


def test_a_fault_of_ours_on_any_route_is_a_clean_500(tmp_path: Path) -> None:
    with (
        running("", tmp_path) as server,
        openai.OpenAI(base_url=server.api, api_key="x", max_retries=0) as client,
    ):
        with sqlite3.connect(server.database) as database:
            database.execute("INSERT INTO decisions VALUES ('dec_x', 'req_x', '', '', '', '{}')")
        with pytest.raises(openai.InternalServerError) as caught:
            client.get(f"{server.url}/api/decisions/dec_x", cast_to=object)
        assert caught.value.response.headers["content-type"] == "application/problem+json"
        assert client.models.with_raw_response.list().headers["x-request-id"].startswith("req_")
