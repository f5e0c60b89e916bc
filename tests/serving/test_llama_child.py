"""The two real models: they answer, they come back after a crash, and strangers get nothing from them.

The first run pulls 1.6 GB of weights into the user's cache.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
from pyreqwest.client import Client, ClientBuilder

from junctor.chat import ChatRequest, EngineDown, Finished, Started, Text, Usage, WindowExceeded, collect
from junctor.pool.transport import Transport
from junctor.serving.card import card_of
from junctor.serving.engine import LlamaEngine, Patience
from junctor.serving.llama import LocalModel
from junctor.serving.llama_child import READ_AT_ONCE, _params_of
from junctor.serving.manifest import Manifest, shipped
from junctor.serving.order import Order
from junctor.serving.weights import pull

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.models,
    pytest.mark.timeout(600),
]

WINDOW = 512
SMALL, LARGE = shipped().values()


def ask(text: str, *, stream: bool = True, max_tokens: int = 24, **more: object) -> ChatRequest:
    return ChatRequest(
        model="any",
        messages=msgspec.Raw(msgspec.json.encode([{"role": "user", "content": text}])),
        stream=stream,
        max_tokens=max_tokens,
        response_format=msgspec.Raw(msgspec.json.encode(more.pop("schema"))) if "schema" in more else None,
        passthrough={"temperature": msgspec.Raw(b"0")},
    )


class Running:
    """A model, its engine, and what it takes to end them."""

    def __init__(self, manifest: Manifest, weights: Path) -> None:
        self.engine = LlamaEngine(weights, manifest.name, window=WINDOW, patience=Patience(backoff_s=0.1))
        self.transport = Transport()
        self.model = LocalModel(card_of(manifest, 0.04, window=WINDOW), self.engine, self.transport)


@pytest.fixture(params=[SMALL, LARGE], ids=lambda manifest: manifest.name)
async def running(request: pytest.FixtureRequest, real_weights_dir: Path) -> AsyncIterator[Running]:
    """Each model in turn, loading."""
    made = Running(request.param, await pull(request.param, real_weights_dir))
    await made.engine.start()
    yield made
    await made.engine.stop()
    await made.transport.close()


only_small = pytest.mark.parametrize("running", [SMALL], indirect=True, ids=lambda manifest: manifest.name)


async def test_it_answers_streamed_and_whole(running: Running) -> None:
    """Both ways the same words, in several pieces or in one, with the tokens counted."""
    question = "What is the capital of France? Answer with one word."
    events = [event async for event in running.model.answer(ask(question))]
    pieces = [event.text for event in events if isinstance(event, Text)]
    whole = await collect(running.model.answer(ask(question, stream=False)))
    assert "Paris" in whole.text
    assert "".join(pieces) == whole.text
    assert isinstance(events[0], Started)
    assert events[-1] == Finished("stop")
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.input_tokens > 10
    assert usage.output_tokens >= 1


async def test_its_json_follows_a_schema(running: Running) -> None:
    """The skill that the manifest claims."""
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": city, "strict": True}}
    answer = await collect(running.model.answer(ask("Name a city as JSON.", schema=schema, max_tokens=60)))
    assert msgspec.json.decode(answer.text, type=dict[str, str]).keys() == {"city"}


@only_small
async def test_each_of_two_requests_at_once_has_the_whole_window(running: Running) -> None:
    """llama.cpp divides its context among the slots: two prompts that fill most of the window both fit."""
    long = "word " * (WINDOW - 100)
    answers = [collect(running.model.answer(ask(f"{n} {long}", max_tokens=4))) for n in (1, 2)]
    for answer in await asyncio.gather(*answers):
        assert answer.usage
        assert answer.usage.input_tokens > WINDOW - 100


@only_small
async def test_a_request_longer_than_the_window_is_refused_not_cut(running: Running) -> None:
    """In both ways of asking."""
    for stream in (True, False):
        with pytest.raises(WindowExceeded):
            await collect(running.model.answer(ask("word " * (WINDOW + 100), stream=stream)))


@only_small
async def test_kill_9_in_the_answer_is_engine_down_and_the_next_request_is_answered(running: Running) -> None:
    """A crash is a clean error and a restart, never a hung request."""
    said = 0
    with pytest.raises(EngineDown):
        async with aclosing(running.model.answer(ask("Count from 1 to 200.", max_tokens=400))) as events:
            async for event in events:
                said += isinstance(event, Text)
                if said == 3 and running.engine.status.pid:
                    os.kill(running.engine.status.pid, signal.SIGKILL)
    assert 3 <= said < 200
    answer = await collect(running.model.answer(ask("Say hello.")))
    assert answer.text
    assert running.engine.status.crashes == 1


@only_small
async def test_replies_do_not_name_the_path_of_the_weights(running: Running) -> None:
    """Relayed frames are the child's own bytes: callers must not learn about our disk from them."""
    frames = await _relayed(running)
    assert frames
    assert all(b".gguf" not in frame and b"/root" not in frame for frame in frames)


async def _relayed(running: Running) -> list[bytes]:
    request = msgspec.structs.replace(ask("hi", max_tokens=3), relay="openai_chat")
    return [
        frame
        for event in [e async for e in running.model.answer(request)]
        if (frame := getattr(event, "frame", b""))
    ]


@only_small
async def test_a_stranger_on_the_listener_gets_nothing(running: Running) -> None:
    """Without the key: every path is refused or not found, and no other web origin is let in."""
    endpoint = await running.engine.endpoint()
    origin, _, rest = endpoint.base_url.removeprefix("http://").partition("/")
    host, prefix = f"http://{origin}", rest.removesuffix("/v1")
    paths = [
        "",
        "health",
        "v1/health",
        "models",
        "v1/models",
        "props",
        "slots",
        "metrics",
        "tools",
        "index.html",
    ]
    async with ClientBuilder().build() as client:
        for path in [*(f"{host}/{p}" for p in paths), *(f"{host}/{prefix}/{p}" for p in paths)]:
            assert await _status(client, "GET", path) in (401, 404), path
        for path in ("v1/chat/completions", "completion", "tokenize", "slots/0", "v1/messages"):
            for url in (f"{host}/{path}", f"{host}/{prefix}/{path}"):
                assert await _status(client, "POST", url) in (401, 404), url
        assert await _status(client, "POST", f"{host}/v1/chat/completions", endpoint.key) == 404


async def _status(client: Client, method: str, url: str, key: str = "0" * 64) -> int:
    request = client.request(method, url).bearer_auth(key).header("origin", "http://evil.example")
    if method == "POST":
        request = request.body_json({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1})
    response = await request.build().send()
    allowed = response.get_header("access-control-allow-origin") or ""
    assert allowed not in ("*", "http://evil.example")
    assert ".gguf" not in await response.text()
    return response.status


@only_small
async def test_a_web_page_is_not_let_in_by_the_preflight(running: Running) -> None:
    """The browser asks first; what it is told names an origin that cannot exist."""
    endpoint = await running.engine.endpoint()
    async with ClientBuilder().build() as client:
        request = client.request("OPTIONS", f"{endpoint.base_url}/chat/completions")
        request = request.header("origin", "http://evil.example").header(
            "access-control-request-method", "POST"
        )
        response = await request.build().send()
    assert response.get_header("access-control-allow-origin") == "http://junctor.invalid"
    assert response.get_header("access-control-allow-credentials") != "true"


async def test_a_prompt_that_nobody_waits_for_is_given_up_soon() -> None:
    """llama.cpp looks for those who went away between batches: its own are a minute of a processor each."""
    params = _params_of(Order(weights="w", name="n", window=WINDOW, parallel=2, threads=1))
    assert params.n_batch == READ_AT_ONCE <= 128


async def test_the_child_dies_with_its_parent_even_while_it_is_stuck(
    tmp_path: Path, real_weights_dir: Path
) -> None:
    """kill -9 of the parent while the child cannot read its stdin: the kernel ends it."""
    weights = await pull(LARGE, real_weights_dir)
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, pathlib\n"
        "from junctor.serving.engine import LlamaEngine\n"
        "async def main():\n"
        f"    await LlamaEngine(pathlib.Path({str(weights)!r}), 'x').start(); await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, str(script))
    child = await _child_that_loads(parent.pid, weights)
    os.kill(child, signal.SIGSTOP)
    parent.kill()
    await parent.wait()
    while Path(f"/proc/{child}").exists():
        await asyncio.sleep(0.01)


async def test_a_child_whose_parent_went_before_it_could_be_told_ends_by_itself(
    real_weights_dir: Path,
) -> None:
    """Its order is there, and nobody at the other ends: the kernel tells only of a parent that goes later."""
    weights = await pull(SMALL, real_weights_dir)
    order = Order(name="x", weights=str(weights), window=512, parallel=1, threads=1, key="k", path="p")
    heard, said = os.pipe()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "junctor.serving.llama_child", stdin=PIPE, stdout=said, stderr=DEVNULL
    )
    os.close(heard)
    os.close(said)
    assert child.stdin
    child.stdin.write(msgspec.json.encode(order) + b"\n")
    child.stdin.close()
    assert await child.wait() == 0


async def _child_that_loads(parent: int, weights: Path) -> int:
    while True:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if children and str(weights) in Path(f"/proc/{children[0]}/maps").read_text():
            return int(children[0])
        await asyncio.sleep(0.001)


async def test_a_damaged_file_is_given_up_with_a_reason(tmp_path: Path) -> None:
    """llama.cpp's own words reach the error."""
    weights = tmp_path / "bad.gguf"
    weights.write_bytes(b"GGUF" + bytes(1000))
    engine = LlamaEngine(weights, "bad", patience=Patience(backoff_s=0.01, quick_crashes=2))
    await engine.start()
    try:
        with pytest.raises(EngineDown, match="exit status"):
            await engine.endpoint()
    finally:
        await engine.stop()
