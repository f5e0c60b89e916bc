"""The schemas of the OpenAPI document."""

from __future__ import annotations

import msgspec
import pytest
from jsonschema import Draft202012Validator

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
