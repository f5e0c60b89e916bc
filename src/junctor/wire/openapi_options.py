"""What callers say of an answer beside the dialect's own fields, as JSON Schema: `junctor` and `fusion`.

The structs have the types; what the parsers check beyond them is added here, so that the two say the same.
"""

from __future__ import annotations

from typing import Any

import msgspec

from junctor.chat import Constraints, FusionOptions
from junctor.wire import fusion
from junctor.wire.constraints import HIGHEST, SAID_AS

Schema = dict[str, Any]
_NULL: Schema = {"type": "null"}


def _describe_constraints() -> Schema:
    """The struct, with what it does not say of its fields, and `parse_constraints` checks."""
    _, described = msgspec.json.schema_components((Constraints,))
    whole: Schema = described["Constraints"]
    for name, schema in whole["properties"].items():
        schema["description"] = f"Must be {SAID_AS[name]}; left out: no limit."
        for option in schema.get("anyOf", [schema]):
            if option.get("type") in ("number", "integer"):
                option["minimum"] = 0
                option |= {"maximum": HIGHEST[name]} if name in HIGHEST else {}
            elif option.get("type") == "array" and option["items"].get("type") == "string":
                option["items"]["minLength"] = 1
    return whole


def _in_header(schema: Schema) -> Schema:
    """A constraint as the value of a header: lists are joined by commas, and null is no value."""
    if schema.get("type") == "array":
        one = "|".join(schema["items"].get("enum", [r"[\w.:/@-]+"]))
        return {"type": "string", "pattern": f"^({one})(, ?({one}))*$"}
    return next((option for option in schema.get("anyOf", ()) if option.get("type") != "null"), schema)


def _describe_fusion() -> Schema:
    """The struct, with what it does not say of its fields, and `parse_fusion` checks."""
    _, described = msgspec.json.schema_components((FusionOptions,))
    whole: Schema = described["FusionOptions"]
    for name, schema in whole["properties"].items():
        options: list[Schema] = schema.get("anyOf", [schema])
        value = next((option for option in options if option.get("type") != "null"), schema)
        value.pop("default", None)
        words = f"Must be {fusion.SAID_AS[name]}; left out: as the fusion is configured."
        whole["properties"][name] = {"description": words, "anyOf": [value | _checked(name, value), _NULL]}
    return whole


def _checked(name: str, value: Schema) -> Schema:
    """What `parse_fusion` checks beyond the type."""
    if name in fusion.RANGES:
        least, most = fusion.RANGES[name]
        return {"exclusiveMinimum" if name in fusion.ABOVE else "minimum": least, "maximum": most}
    one = {"minLength": 1, "maxLength": fusion.MOST_NAME_CHARS}
    if value.get("type") == "array":
        return {"minItems": 1, "maxItems": fusion.MOST_NAMES[name], "items": value["items"] | one}
    if name in fusion.MOST_NAMES:
        return one
    return {"type": "object"} if name == fusion.UNREAD else {}


CONSTRAINTS = _describe_constraints()
FUSION = _describe_fusion()
CONSTRAINT_HEADERS: dict[str, Schema] = {
    name: {**_in_header(schema), "description": schema["description"]}
    for name, schema in CONSTRAINTS["properties"].items()
}
"The constraints as headers, by the constraint's name."
