"""Models that make embeddings: behind a server, and scripted."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest

from faults.fault_server import INPUT_TOKENS, FaultServer, embeddings_reply
from junctor.chat import (
    BadRequest,
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    ModelCard,
    Raw,
    Started,
    UnsupportedByModel,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnauthorised,
    Usage,
)
from junctor.pool.embeddings import EmbeddingsUpstream, ScriptedEmbeddings, render_vectors
from junctor.pool.scripted import parse_script
from junctor.pool.transport import Timeouts, Transport
from junctor.wire.embeddings import RELAY, parse_request
from junctor.wire.openai_request import parse_request as parse_chat

pytestmark = pytest.mark.anyio

CARD = ModelCard(name="m", upstream="theirs", dialect=RELAY)
SHORT = Timeouts(first_token_s=0.3, idle_s=0.3, total_s=0.5)


def ask(**fields: Any) -> ChatRequest:
    body = json.dumps({"model": "m", "input": "Hi", **fields}).encode()
    return parse_request(body, {}, request_id="req_1", caller="").request


def chat() -> ChatRequest:
    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}'
    return parse_chat(body, {}, request_id="req_1", caller="").request


def upstream(faults: FaultServer, transport: Transport, fault: str = "ok") -> EmbeddingsUpstream:
    return EmbeddingsUpstream(
        CARD, base_url=faults.base_url(fault), key="sk-x", transport=transport, timeouts=SHORT
    )


async def test_a_reply_passes_byte_for_byte(faults: FaultServer, transport: Transport) -> None:
    events: list[Event] = [event async for event in upstream(faults, transport).answer(ask(dimensions=2))]
    assert events == [
        Started("m"),
        Raw(embeddings_reply(), has_text=False),
        Usage(INPUT_TOKENS, 0),
        Finished("stop"),
    ]
    seen = faults.seen[-1]
    assert seen.path == "/v1/embeddings"
    assert seen.headers["authorization"] == "Bearer sk-x"
    assert seen.json == {"model": "theirs", "input": "Hi", "dimensions": 2}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", UpstreamRefused),
        ("401", UpstreamUnauthorised),
        ("429", UpstreamRateLimited),
        ("500", UpstreamBroken),
        ("html", UpstreamBroken),
        ("garbage", UpstreamBroken),
        ("reset", UpstreamBroken),
        ("close-mid-body", UpstreamBroken),
        ("hang", UpstreamTimeout),
        ("hang-after-headers", UpstreamTimeout),
        ("until-close", UpstreamBroken),
    ],
)
async def test_faults(
    faults: FaultServer, transport: Transport, fault: str, kind: type[JunctorError]
) -> None:
    with pytest.raises(JunctorError) as caught:
        async for event in upstream(faults, transport, fault).answer(ask()):
            assert not isinstance(event, Raw)
    assert type(caught.value) is kind


async def test_a_chat_is_refused(faults: FaultServer, transport: Transport) -> None:
    for model in (
        upstream(faults, transport),
        ScriptedEmbeddings(CARD, parse_script([{"turn": True}])),
    ):
        with pytest.raises(UnsupportedByModel, match="does not chat"):
            async for _ in model.answer(chat()):
                pass
    assert faults.seen == []


async def test_a_script_makes_vectors_and_fails_where_it_says() -> None:
    script = [{"when": "bad", "fail": "upstream_broken"}, {"turn": True}]
    model = ScriptedEmbeddings(CARD, parse_script(script))
    started, raw, usage, finished = [event async for event in model.answer(ask())]
    assert (started, usage, finished) == (Started("m"), Usage(1, 0), Finished("stop"))
    assert isinstance(raw, Raw)
    assert len(json.loads(raw.frame)["data"]) == 1
    with pytest.raises(UpstreamBroken):
        async for _ in model.answer(ask(input="bad")):
            pass


def vectors(**fields: Any) -> list[Any]:
    _, reply = render_vectors(json.dumps({"model": "m", "input": "Hi", **fields}).encode())
    return [one["embedding"] for one in json.loads(reply)["data"]]


def test_scripted_vectors_are_a_function_of_the_text() -> None:
    first, second, third = vectors(input=["a", "b", "a"])
    assert first == third != second
    assert math.isclose(sum(number * number for number in first), 1.0)
    assert [len(vector) for vector in vectors(dimensions=3)] == [3]
    assert len(vectors(input=[1, 2, 3])) == 1
    assert len(vectors(input=[[1, 2], [3]])) == 2


def test_base64_holds_the_same_numbers() -> None:
    (numbers,) = vectors()
    (encoded,) = vectors(encoding_format="base64")
    assert struct.unpack("<8f", base64.b64decode(encoded)) == pytest.approx(numbers, abs=1e-6)


@pytest.mark.parametrize("fields", [{"dimensions": 0}, {"dimensions": 10**9}, {"dimensions": "x"}])
def test_a_scripted_model_refuses_what_it_cannot_make(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        vectors(**fields)
