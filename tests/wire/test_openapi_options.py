"""The schemas of `junctor` and `fusion`: they say what the parsers take, no more and no less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from junctor.chat import BadRequest, Constraints, FusionOptions, Verdict
from junctor.wire.constraints import parse_constraints
from junctor.wire.fusion import parse_fusion, render_verdict
from junctor.wire.openapi_options import CONSTRAINT_HEADERS, CONSTRAINTS, FUSION
from junctor.wire.openapi_schemas import refer, render_schemas
from verdicts import JUDGED, MERGED

VALUES = st.one_of(
    st.none(),
    # To JSON Schema 2.0 is a whole number, to the parser it is none.
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()),
    st.integers(-5, 10),
    st.booleans(),
    st.sampled_from(["cost", "quality", "tools", "vote", "best", "", "x" * 200, "x" * 201]),
    st.lists(st.sampled_from(["tools", "json", "x", "", "y" * 201]), max_size=9),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


def objects(struct: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from([*struct.__struct_fields__, "other"]), VALUES, max_size=3)


def encode(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def fits(schema: dict[str, Any], fields: dict[str, Any], parse: Callable[[msgspec.Raw], object]) -> None:
    """Whatever the one accepts, the other does."""
    is_valid = Draft202012Validator(schema).is_valid(fields)
    try:
        parse(encode(fields))
    except BadRequest:
        assert not is_valid
    else:
        assert is_valid


def test_constraints_have_words_and_ranges() -> None:
    fields = CONSTRAINTS["properties"]
    assert set(fields) == set(Constraints.__struct_fields__) == set(CONSTRAINT_HEADERS)
    assert "USD" in fields["max_usd"]["description"]
    assert {"type": "number", "minimum": 0, "maximum": 1.0} in fields["quality"]["anyOf"]
    assert fields["never"]["items"] == {"type": "string", "minLength": 1}


def test_options_of_a_fusion_have_words_and_ranges() -> None:
    fields = FUSION["properties"]
    assert set(fields) == set(FusionOptions.__struct_fields__)
    assert "USD" in fields["max_usd"]["description"]
    assert {"type": "integer", "minimum": 1, "maximum": 8} in fields["quorum"]["anyOf"]
    assert {"type": "object"} in fields["reasoning"]["anyOf"]
    assert FUSION["additionalProperties"] is False


@given(objects(Constraints))
def test_the_schema_of_constraints_says_what_the_parser_takes(fields: dict[str, Any]) -> None:
    fits(CONSTRAINTS, fields, lambda raw: parse_constraints(raw, {}))


@given(objects(FusionOptions))
def test_the_schema_of_a_fusion_says_what_the_parser_takes(fields: dict[str, Any]) -> None:
    fits(FUSION, fields, lambda raw: parse_fusion({"fusion": raw}))


@pytest.mark.parametrize("verdict", [JUDGED, MERGED, Verdict(fusion="f", mode="vote")])
def test_a_reply_says_what_the_schema_of_a_verdict_promises(verdict: Verdict) -> None:
    whole = {**refer("Verdict"), "components": {"schemas": render_schemas(())}}
    Draft202012Validator(whole).validate(msgspec.json.decode(msgspec.json.encode(render_verdict(verdict))))
