"""The schemas of the OpenAPI document."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from junctor.chat import BadRequest, Constraints
from junctor.wire.constraints import parse_constraints
from junctor.wire.openapi_schemas import BODIES, array, obj, or_null, render_schemas


class Part(msgspec.Struct):
    """A part."""

    size: int


class Whole(msgspec.Struct):
    """Something of parts."""

    parts: list[Part]


def test_structs_are_described_with_what_they_refer_to() -> None:
    schemas = render_schemas((Whole,))
    assert schemas["Whole"]["properties"]["parts"]["items"] == {"$ref": "#/components/schemas/Part"}
    assert schemas["Part"]["description"] == "A part."


def test_every_reference_leads_somewhere() -> None:
    schemas = render_schemas(())
    text = msgspec.json.encode(schemas).decode()
    for piece in text.split('"$ref":"#/components/schemas/')[1:]:
        assert piece.partition('"')[0] in schemas


@pytest.mark.parametrize("name", BODIES)
def test_a_schema_is_one(name: str) -> None:
    """JSON Schema 2020-12, as OpenAPI 3.1 wants it."""
    Draft202012Validator.check_schema(BODIES[name])


def test_constraints_have_words_and_ranges() -> None:
    fields = render_schemas(())["Constraints"]["properties"]
    assert set(fields) == set(Constraints.__struct_fields__)
    assert "USD" in fields["max_usd"]["description"]
    assert {"type": "number", "minimum": 0, "maximum": 1.0} in fields["quality"]["anyOf"]
    assert fields["never"]["items"] == {"type": "string", "minLength": 1}


VALUES = st.one_of(
    st.none(),
    # To JSON Schema 2.0 is a whole number, to the parser it is none.
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()),
    st.integers(-5, 5),
    st.sampled_from(["cost", "quality", "tools", ""]),
    st.lists(st.sampled_from(["tools", "json", "x", ""]), max_size=2),
)


@given(st.dictionaries(st.sampled_from([*Constraints.__struct_fields__, "other"]), VALUES, max_size=3))
def test_the_schema_of_constraints_says_what_the_parser_takes(fields: dict[str, Any]) -> None:
    """Whatever the one accepts, the other does."""
    fits = Draft202012Validator(render_schemas(())["Constraints"]).is_valid(fields)
    try:
        parse_constraints(msgspec.Raw(msgspec.json.encode(fields)), {})
    except BadRequest:
        assert not fits
    else:
        assert fits


def test_builders() -> None:
    assert or_null({"type": "string"}) == {"type": ["string", "null"]}
    assert or_null({"enum": ["a"]}) == {"anyOf": [{"enum": ["a"]}, {"type": "null"}]}
    assert array({}, 1) == {"type": "array", "items": {}, "minItems": 1}
    assert obj("a", a={}) == {
        "type": "object",
        "properties": {"a": {}},
        "additionalProperties": True,
        "required": ["a"],
    }
