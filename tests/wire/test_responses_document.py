"""Kept responses: what a later request goes on from, and what their caller may list."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from junctor.chat import BadRequest
from junctor.wire.responses_document import Document, parse_document, render_document, render_input_items
from junctor.wire.responses_ids import input_id
from junctor.wire.responses_reply import Kept
from junctor.wire.responses_request import parse_request

SUFFIX = "0" * 32


def document(items: Any) -> Document:
    body = json.dumps({"model": "m", "input": items}).encode()
    call = parse_request(body, {}, request_id=f"req_{SUFFIX}", caller="")
    kept = Kept("resp_1", msgspec.Raw(b'{"id": "resp_1"}'), [{"type": "message", "id": "msg_9"}])
    return parse_document(render_document(call, kept))


def page(of: Document, **asked: Any) -> dict[str, Any]:
    return json.loads(render_input_items(of, **{"order": "asc", "limit": 10, "after": None} | asked))


def test_items_are_kept_with_type_id_and_parts() -> None:
    kept = document(
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"type": "function_call_output", "id": "mine", "call_id": "c", "output": "x"},
        ]
    )
    assert kept.input == [
        {
            "type": "message",
            "id": input_id("message", SUFFIX, 0),
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}],
        },
        {
            "type": "message",
            "id": input_id("message", SUFFIX, 1),
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
        },
        {
            "type": "function_call_output",
            "id": "mine",
            "status": "completed",
            "call_id": "c",
            "output": "x",
        },
    ]
    assert bytes(kept.response) == b'{"id": "resp_1"}'
    assert kept.conversation == [*kept.input, {"type": "message", "id": "msg_9"}]


def test_pages() -> None:
    kept = document([{"role": "user", "content": str(number), "id": f"i{number}"} for number in range(5)])
    first = page(kept, limit=2)
    assert [item["id"] for item in first["data"]] == ["i0", "i1"]
    assert (first["first_id"], first["last_id"], first["has_more"]) == ("i0", "i1", True)
    last = page(kept, limit=3, after="i1")
    assert ([item["id"] for item in last["data"]], last["has_more"]) == (["i2", "i3", "i4"], False)
    newest = page(kept, order="desc", limit=1)
    assert newest["data"][0]["id"] == "i4"
    nothing = page(kept, after="i4")
    assert (nothing["data"], nothing["first_id"], nothing["has_more"]) == ([], None, False)
    with pytest.raises(BadRequest) as caught:
        page(kept, after="i9")
    assert caught.value.param == "after"
