"""The outer object of a body: what is read, and what is said when it is not what it should be."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest
from junctor.wire.json_body import parse_outer, read_field, read_messages, read_model, read_raw


def test_values_stay_the_bytes_they_came_as() -> None:
    fields = parse_outer(b'{"a": [1,  2], "b": {"x" :null}}')
    assert {name: bytes(raw) for name, raw in fields.items()} == {"a": b"[1,  2]", "b": b'{"x" :null}'}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "JSON object"),
        (b'{"a": "\xff"}', "not UTF-8: see byte 7"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_object_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse_outer(body)


def test_a_field_is_decoded_or_named() -> None:
    fields = parse_outer(b'{"n": 5, "none": null}')
    assert read_field(fields, "n", int, "a number") == 5
    assert read_field(fields, "none", int, "a number") is None
    assert read_field(fields, "missing", int, "a number") is None
    with pytest.raises(BadRequest, match="`n` must be a string") as caught:
        read_field(fields, "n", str, "a string")
    assert caught.value.param == "n"


def test_a_raw_field_is_checked_by_its_first_byte_and_an_empty_list_is_none() -> None:
    fields = parse_outer(b'{"a": [1], "b": [ \n ], "c": 5}')
    assert read_raw(fields, "a", (b"[",), "a list") == msgspec.Raw(b"[1]")
    assert read_raw(fields, "b", (b"[",), "a list") is None
    with pytest.raises(BadRequest, match="must be a list"):
        read_raw(fields, "c", (b"[",), "a list")


@pytest.mark.parametrize("body", [b"{}", b'{"model": "", "messages": []}', b'{"model": 5, "messages": {}}'])
def test_a_request_needs_a_model_and_messages(body: bytes) -> None:
    fields = parse_outer(body)
    with pytest.raises(BadRequest, match="`model`"):
        read_model(fields)
    with pytest.raises(BadRequest, match="`messages`"):
        read_messages(fields)


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_a_bad_request(body: bytes) -> None:
    with suppress(BadRequest):
        parse_outer(body)
