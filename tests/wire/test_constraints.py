"""Constraints: body and headers say the same things; every mistake is named."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest, Constraints
from junctor.wire.constraints import parse_constraints

FULL: dict[str, Any] = {
    "max_usd": 0.01,
    "max_first_token_ms": 250,
    "max_total_ms": 4000,
    "needs": ["vision", "tools"],
    "min_window": 32000,
    "only": ["a", "b"],
    "never": ["c"],
    "quality": 0.8,
    "mode": "cost",
}
FULL_HEADERS = {
    "x-junctor-max-usd": "0.01",
    "x-junctor-max-first-token-ms": "250",
    "x-junctor-max-total-ms": "4000",
    "x-junctor-needs": "vision, tools",
    "x-junctor-min-window": "32000",
    "x-junctor-only": "a,b",
    "x-junctor-never": " c ",
    "x-junctor-quality": ".8",
    "x-junctor-mode": "cost",
}


def from_body(value: Any, headers: dict[str, str] | None = None) -> Constraints:
    return parse_constraints(msgspec.Raw(json.dumps(value).encode()), headers or {})


def test_body_and_headers_say_the_same() -> None:
    expected = msgspec.convert(FULL, Constraints)
    assert from_body(FULL) == expected
    assert parse_constraints(None, FULL_HEADERS) == expected
    assert set(FULL) == set(Constraints.__struct_fields__), "a new constraint belongs into these tests"


def test_a_field_of_the_body_wins_over_its_header_and_others_join() -> None:
    headers = {"x-junctor-mode": "cost", "x-junctor-quality": "0.5"}
    assert from_body({"mode": "quality"}, headers) == Constraints(mode="quality", quality=0.5)


def test_header_names_are_read_in_any_case_and_others_left_alone() -> None:
    headers = {"X-Junctor-Mode": "cost", "x-request-id": "1", "x-junction": "no"}
    assert parse_constraints(None, headers) == Constraints(mode="cost")


def test_null_means_no_constraints() -> None:
    assert from_body(None) == from_body({}) == from_body({"max_usd": None}) == Constraints()


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"modde": "cost"}, "junctor.modde", "did you mean `mode`"),
        ({"mode": "cheap"}, "junctor.mode", "balanced, cost, quality"),
        ({"mode": 3}, "junctor.mode", "balanced, cost, quality"),
        ({"quality": 1.5}, "junctor.quality", "from 0 to 1"),
        ({"quality": -0.1}, "junctor.quality", "from 0 to 1"),
        ({"quality": "high"}, "junctor.quality", '"high"'),
        ({"max_usd": -1}, "junctor.max_usd", "at least 0"),
        ({"max_usd": "1"}, "junctor.max_usd", "USD"),
        ({"min_window": 1.5}, "junctor.min_window", "whole number"),
        ({"min_window": True}, "junctor.min_window", "whole number"),
        ({"needs": ["sight"]}, "junctor.needs", "tools, vision, json, audio"),
        ({"only": "a"}, "junctor.only", "list"),
        ({"only": [""]}, "junctor.only", "list"),
        ([], "junctor", "object"),
        ("cost", "junctor", "object"),
    ],
)
def test_a_mistake_in_the_body_is_named(body: Any, param: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        from_body(body)
    assert caught.value.param == param
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("header", "value", "words"),
    [
        ("x-junctor-modus", "cost", "did you mean `x-junctor-mode`"),
        ("x-junctor-zzz", "1", "known: x-junctor-max-usd"),
        ("x-junctor-max-usd", "nan", "at least 0"),
        ("x-junctor-max-usd", "inf", "at least 0"),
        ("x-junctor-max-usd", "a lot", "USD"),
        ("x-junctor-min-window", "1.5", "whole number"),
        ("x-junctor-needs", "tools,,json", "skills"),
        ("x-junctor-only", "", "names of models"),
    ],
)
def test_a_mistake_in_a_header_is_named(header: str, value: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_constraints(None, {header: value})
    assert caught.value.param == header
    assert words in caught.value.message


@pytest.mark.parametrize(
    "raw", [b'{"max_usd": 1e999}', b'{"mode": "\\ud800"}', b'{"a":' * 5000 + b"1" + b"}" * 5000]
)
def test_hostile_json_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_constraints(msgspec.Raw(raw), {})


@pytest.mark.parametrize(
    ("value", "shown"),
    [('"fast"', '"fast"'), ("true", "true"), ('{"a":["b"]}', '{"a": ["b"]}'), ('"\u00e9"', '"\u00e9"')],
)
def test_a_value_is_quoted_as_the_json_that_it_came_as(value: str, shown: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_constraints(msgspec.Raw(f'{{"min_window": {value}, "mode": {value}}}'.encode()), {})
    assert caught.value.message.endswith(f"it is {shown}")


def test_a_long_value_is_not_repeated_whole() -> None:
    with pytest.raises(BadRequest) as caught:
        from_body({"mode": "x" * 10_000})
    assert len(caught.value.message) < 300


@given(st.dictionaries(st.sampled_from(sorted(FULL_HEADERS)), st.text(max_size=12), max_size=3))
def test_any_header_value_is_constraints_or_a_bad_request(headers: dict[str, str]) -> None:
    with suppress(BadRequest):
        parse_constraints(None, headers)


SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(SCALARS, st.lists, max_leaves=4)


@given(st.dictionaries(st.sampled_from([*FULL, "x"]), VALUES, max_size=3))
def test_any_body_value_is_constraints_or_a_bad_request(body: dict[str, Any]) -> None:
    with suppress(BadRequest):
        from_body(body)
