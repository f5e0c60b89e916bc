"""The official OpenAI SDK's embeddings, unmodified, against a running server."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI

from faults.fault_server import INPUT_TOKENS, FaultServer, embeddings_reply, running_fault_server
from junctor.settings import parse_settings
from junctor.settings_check import SettingsError
from running import Running, running

CONFIG = """
[retries]
attempts = 2
[timeouts]
total_s = 3
[[models]]
name = "vectors"
kind = "embeddings"
provider = "scripted"
price = { input = 0.02, output = 0 }
script = [{ when = "refuse", fail = "upstream_refused" }, { turn = true }]
[[models]]
name = "chatty"
provider = "scripted"
price = { input = 10, output = 20 }
ability = 0.8
script = [{ text = "Hello." }]
"""
FAULTS = ("ok", "500*1", "500", "429-long", "400", "hang", "no-usage")


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultServer]:
    with (
        anyio.from_thread.start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(running_fault_server()) as faults,
    ):
        yield faults


@pytest.fixture(scope="module")
def server(upstream: FaultServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = "".join(
        f"""
        [[models]]
        name = "{fault.replace("*", "-times-")}"
        kind = "embeddings"
        provider = "test"
        base_url = "{upstream.base_url(fault)}"
        model = "upstream-name"
        price = {{ input = 1, output = 0 }}
        """
        for fault in FAULTS
    )
    models += f"""
        [[models]]
        name = "saved"
        kind = "embeddings"
        provider = "test"
        base_url = "{upstream.base_url("404")}"
        fallbacks = ["ok"]
    """
    with running(CONFIG + models, tmp_path_factory.mktemp("server")) as it:
        yield it


@pytest.fixture
def client(server: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.api, api_key="none", max_retries=0) as it:
        yield it


def row(server: Running, client: OpenAI, request_id: str) -> dict[str, Any]:
    """The ledger's row, once it is there: rows reach SQLite some milliseconds after the reply."""
    for _ in range(200):
        with sqlite3.connect(server.database) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute("SELECT * FROM ledger WHERE request_id = ?", (request_id,)).fetchone()
        if found:
            return dict(found)
        time.sleep(0.02)
    raise AssertionError(f"no row for {request_id}")


def test_one_text(client: OpenAI, server: Running) -> None:
    """The SDK asks for base64 by itself, and decodes it."""
    raw = client.embeddings.with_raw_response.create(model="vectors", input="Hi there", dimensions=16)
    reply = raw.parse()
    assert len(reply.data[0].embedding) == 16
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0
    assert raw.headers["x-junctor-model"] == "vectors"
    assert float(raw.headers["x-junctor-cost"]) > 0
    assert float(raw.headers["x-junctor-saved"]) == 0
    kept = row(server, client, raw.headers["x-request-id"])
    assert (kept["route"], kept["model"], kept["outcome"]) == ("/v1/embeddings", "vectors", "ok")
    assert (kept["input_tokens"], kept["output_tokens"]) == (reply.usage.prompt_tokens, 0)
    assert kept["strongest_model"] is None


def test_both_encodings_give_the_same_vectors(client: OpenAI) -> None:
    plain = client.embeddings.create(model="vectors", input=["a", "b"], encoding_format="float")
    packed = client.embeddings.create(model="vectors", input=["a", "b"])
    for one, other in zip(plain.data, packed.data, strict=True):
        assert one.index == other.index
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)


@pytest.mark.anyio
async def test_async(server: Running) -> None:
    async with AsyncOpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
        reply = await client.embeddings.create(model="vectors", input=[1, 2, 3])
        assert len(reply.data) == 1


def test_azures_path_names_the_model(server: Running) -> None:
    with AzureOpenAI(azure_endpoint=server.url, api_key="none", api_version="2026-01-01") as client:
        assert client.embeddings.create(model="vectors", input="Hi").data


def test_an_upstreams_reply_passes_byte_for_byte(
    client: OpenAI, upstream: FaultServer, server: Running
) -> None:
    raw = client.embeddings.with_raw_response.create(model="ok", input="Hi", encoding_format="float")
    assert raw.http_response.content == embeddings_reply()
    assert upstream.seen[-1].json == {"model": "upstream-name", "input": "Hi", "encoding_format": "float"}
    assert row(server, client, raw.headers["x-request-id"])["usd_nano"] == INPUT_TOKENS * 1000


def test_a_reply_without_a_count_is_estimated_from_the_prompt(client: OpenAI, server: Running) -> None:
    raw = client.embeddings.with_raw_response.create(model="no-usage", input="x" * 400)
    kept = row(server, client, raw.headers["x-request-id"])
    assert kept["tokens_estimated"] == 1
    assert (100 <= kept["input_tokens"] <= 130, kept["output_tokens"]) == (True, 0)


def test_a_failure_that_passes_is_tried_again(client: OpenAI, server: Running) -> None:
    raw = client.embeddings.with_raw_response.create(model="500-times-1", input="Hi")
    assert row(server, client, raw.headers["x-request-id"])["attempts"] == 2


def test_the_same_model_elsewhere_steps_in(client: OpenAI) -> None:
    raw = client.embeddings.with_raw_response.create(model="saved", input="Hi")
    assert raw.headers["x-junctor-model"] == "ok"


@pytest.mark.parametrize(
    ("model", "status", "outcome"),
    [
        ("500", 502, "upstream_broken"),
        ("429-long", 429, "upstream_rate_limited"),
        ("400", 400, "upstream_refused"),
        ("hang", 504, "upstream_timeout"),
    ],
)
def test_a_failure_is_one_error_and_one_row(
    client: OpenAI, server: Running, model: str, status: int, outcome: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model=model, input="Hi")
    assert caught.value.status_code == status
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    kept = row(server, client, caught.value.response.headers["x-request-id"])
    assert (kept["outcome"], kept["http_status"]) == (outcome, status)


def test_a_client_that_leaves_ends_the_upstreams_call(server: Running, upstream: FaultServer) -> None:
    before = len(upstream.seen)
    impatient = OpenAI(base_url=server.api, api_key="none", max_retries=0, timeout=0.3)
    with impatient, pytest.raises(openai.APITimeoutError):
        impatient.embeddings.create(model="hang", input="Hi")
    left = threading.Event()
    for _ in range(100):
        if upstream.seen[before].client_closed.is_set():
            break
        left.wait(0.02)
    assert upstream.seen[before].client_closed.is_set()


def test_chat_and_embeddings_are_two_pools(client: OpenAI) -> None:
    """Neither kind exists for the other's endpoints; the router chooses among chats; the list names all."""
    for model in ("chatty", "auto", "none"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.embeddings.create(model=model, input="Hi")
        assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="vectors", messages=[{"role": "user", "content": "Hi"}])
    reply = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "Hi"}]
    )
    assert reply.headers["x-junctor-model"] == "chatty"
    assert {"vectors", "chatty", "auto", "ok"} <= {model.id for model in client.models.list()}


def test_a_bad_request_names_its_field(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="vectors", input=[])
    assert caught.value.param == "input"
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="vectors", input="refuse")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('fallbacks = ["chatty"]', "not of the same kind"),
        ('kind = "images"', "kind"),
    ],
)
def test_mistakes_of_the_configuration_are_named(line: str, words: str, tmp_path: Path) -> None:
    config = f"""
    [[models]]
    name = "chatty"
    provider = "scripted"
    script = [{{ text = "Hi" }}]
    [[models]]
    name = "v"
    provider = "scripted"
    {'kind = "embeddings"' if "kind" not in line else ""}
    {line}
    """
    with pytest.raises(SettingsError, match=words):
        parse_settings(config, tmp_path / "junctor.toml")
